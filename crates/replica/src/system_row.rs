//! The rows of the system tree: everything replicated that is not a point.

use pando_merkle::{Key, Leaf};
use pando_model::{
    CollectionName, DecodeError, Definition, NodeId, Reader, RequestId, Row, Stamp, Writer,
};
use pando_storage::{codec, leaf_of};
use uuid::Uuid;

use crate::reply::Reply;

/// Names one row of the system tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SystemId {
    /// The clock and the next tree id.
    Counters,
    /// A collection's definition.
    Collection(CollectionName),
    /// An alias.
    Alias(CollectionName),
    /// A remembered request.
    Request(RequestId),
    /// A node id in use for good.
    Node(NodeId),
}

/// One row of the system tree.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SystemRow {
    /// What rises with the log.
    Counters { clock: Stamp, next_tree: u32 },
    /// A collection.
    Collection(Definition),
    /// An alias and its collection.
    Alias {
        alias: CollectionName,
        collection: CollectionName,
    },
    /// The reply to a request.
    Request { id: RequestId, reply: Reply },
    /// The data directory a node id was given to.
    Node { id: NodeId, instance: Uuid },
}

const COUNTERS: u8 = 1;
const COLLECTION: u8 = 2;
const ALIAS: u8 = 3;
const REQUEST: u8 = 4;
const NODE: u8 = 5;
/// Keys of the system tree are not salted: users do not choose them freely enough to aim at a bucket.
pub(crate) const SYSTEM_SALT: [u8; 16] = [0; 16];
const RESULT_TAG: u8 = 1;

impl SystemId {
    fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Counters => w.u8(COUNTERS),
            Self::Collection(name) => w.u8(COLLECTION).raw(name.as_str().as_bytes()),
            Self::Alias(name) => w.u8(ALIAS).raw(name.as_str().as_bytes()),
            Self::Request(id) => w.u8(REQUEST).raw(id.0.as_bytes()),
            Self::Node(id) => w.u8(NODE).u64(*id),
        };
        w.finish()
    }

    /// The row's key in the system tree.
    pub(crate) fn key(&self) -> Key {
        Key::derive(&SYSTEM_SALT, &self.to_bytes())
    }
}

impl SystemRow {
    /// The row's id.
    pub(crate) fn id(&self) -> SystemId {
        match self {
            Self::Counters { .. } => SystemId::Counters,
            Self::Collection(definition) => SystemId::Collection(definition.name.clone()),
            Self::Alias { alias, .. } => SystemId::Alias(alias.clone()),
            Self::Request { id, .. } => SystemId::Request(*id),
            Self::Node { id, .. } => SystemId::Node(*id),
        }
    }

    /// The row as it is stored, and its leaf. The version is the stamp of the entry that writes it, which no other
    /// entry's is: so a row that changes never becomes again what it was (an alias moved there and back would), which
    /// is what lets a follower apply entries while it stages.
    pub(crate) fn to_row(&self, version: Stamp, index: u64) -> (Row, Leaf) {
        let mut w = Writer::new();
        match self {
            Self::Counters { clock, next_tree } => w.raw(&clock.to_bytes()).u32(*next_tree),
            Self::Collection(definition) => w.raw(&definition.encode()),
            Self::Alias { collection, .. } => w.raw(collection.as_str().as_bytes()),
            Self::Request { reply, .. } => w
                .u64(reply.index)
                .u64(reply.fingerprint)
                .raw(&codec::encode_versioned(RESULT_TAG, &reply.result)),
            Self::Node { instance, .. } => w.raw(instance.as_bytes()),
        };
        let row = Row {
            id: self.id().to_bytes(),
            version: version.to_bytes(),
            content: w.finish(),
        };
        let leaf = leaf_of(&row, index);
        (row, leaf)
    }

    /// Reads a stored row back.
    pub(crate) fn from_row(row: &Row) -> Result<Self, DecodeError> {
        let bad = DecodeError::Malformed { what: "system row" };
        let (kind, id) = row.id.split_first().ok_or_else(|| bad.clone())?;
        let name = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map_err(|_| bad.clone())?;
            CollectionName::parse(text).map_err(|_| bad.clone())
        };
        let mut id_reader = Reader::new("system row id", id);
        let mut r = Reader::new("system row", &row.content);
        Ok(match *kind {
            COUNTERS => {
                let clock = Stamp::from_bytes(array(r.take(16)?, &bad)?);
                let next_tree = r.u32()?;
                r.finish()?;
                Self::Counters { clock, next_tree }
            }
            COLLECTION => {
                let definition = Definition::decode(&row.content)?;
                if definition.name != name(id)? {
                    return Err(bad);
                }
                Self::Collection(definition)
            }
            ALIAS => Self::Alias {
                alias: name(id)?,
                collection: name(&row.content)?,
            },
            REQUEST => {
                let (index, fingerprint) = (r.u64()?, r.u64()?);
                let result =
                    codec::decode_versioned(RESULT_TAG, r.rest()).map_err(|_| bad.clone())?;
                Self::Request {
                    id: RequestId(Uuid::from_bytes(array(id, &bad)?)),
                    reply: Reply {
                        index,
                        fingerprint,
                        result,
                    },
                }
            }
            NODE => {
                let node = id_reader.u64()?;
                id_reader.finish()?;
                Self::Node {
                    id: node,
                    instance: Uuid::from_bytes(array(&row.content, &bad)?),
                }
            }
            _ => return Err(bad),
        })
    }
}

fn array(bytes: &[u8], bad: &DecodeError) -> Result<[u8; 16], DecodeError> {
    bytes.try_into().map_err(|_| bad.clone())
}

#[cfg(test)]
mod tests {
    use pando_model::{CollectionSchema, Effect, Metric, TreeId, WriteError};

    use super::*;

    #[test]
    fn rows_round_trip() {
        let name = |s| CollectionName::parse(s).expect("name");
        let definition = Definition {
            name: name("words"),
            tree: TreeId(3),
            salt: [1; 16],
            created: Stamp::at(9),
            schema: CollectionSchema::single(4, Metric::Dot),
        };
        let id = RequestId(Uuid::from_u128(5));
        let rows = [
            SystemRow::Counters {
                clock: Stamp::at(77),
                next_tree: 4,
            },
            SystemRow::Collection(definition),
            SystemRow::Alias {
                alias: name("w"),
                collection: name("words"),
            },
            SystemRow::Request {
                id,
                reply: Reply {
                    index: 12,
                    fingerprint: 7,
                    result: Ok(Effect::Done),
                },
            },
            SystemRow::Request {
                id,
                reply: Reply {
                    index: 12,
                    fingerprint: 7,
                    result: Err(WriteError::CollectionNotFound { name: "x".into() }),
                },
            },
            SystemRow::Node {
                id: 3,
                instance: Uuid::from_u128(6),
            },
        ];
        for system in rows {
            let (row, _) = system.to_row(Stamp::at(8), 1);
            assert_eq!(SystemRow::from_row(&row).expect("own row"), system);
            let mut cut = row.clone();
            cut.content.pop();
            assert_ne!(SystemRow::from_row(&cut).ok(), Some(system));
        }
    }
}
