//! Random logs: commands over few names and ids, so that they meet.

use std::collections::BTreeMap;

use pando_model::{Command, Payload, Quantization, RequestId, Selector, TreeId, Value, VectorName};
use proptest::prelude::*;
use uuid::Uuid;

use super::harness::{World, create, entry, ids_of, name, payload, point};
use crate::{ApplyEntry, ApplyPayload, Replica};

/// What a client does, before names are resolved.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Create(u8),
    Drop(u8),
    Upsert {
        collection: u8,
        ids: Vec<u8>,
        value: u16,
    },
    Delete {
        collection: u8,
        ids: Vec<u8>,
    },
    DeleteOdd {
        collection: u8,
    },
    SetPayload {
        collection: u8,
        ids: Vec<u8>,
        value: u16,
    },
    ClearPayload {
        collection: u8,
        ids: Vec<u8>,
    },
    SetAlias {
        alias: u8,
        collection: u8,
    },
    DropAlias(u8),
    Quantize {
        collection: u8,
        int8: bool,
    },
    RegisterNode(u8),
    Check,
    Blank,
    Membership(u8),
    /// The write before this one, or another, under a request id.
    Request {
        id: u8,
        collection: u8,
        point: u8,
    },
}

const COLLECTIONS: [&str; 3] = ["a", "bb", "ccc"];
const ALIASES: [&str; 2] = ["x", "y"];

pub(super) fn acts(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(act(), len)
}

fn act() -> impl Strategy<Value = Act> {
    let collection = 0..3_u8;
    let ids = || prop::collection::vec(0..60_u8, 1..12);
    prop_oneof![
        2 => collection.clone().prop_map(Act::Create),
        1 => collection.clone().prop_map(Act::Drop),
        10 => (collection.clone(), ids(), any::<u16>())
            .prop_map(|(collection, ids, value)| Act::Upsert { collection, ids, value }),
        4 => (collection.clone(), ids()).prop_map(|(collection, ids)| Act::Delete { collection, ids }),
        1 => collection.clone().prop_map(|collection| Act::DeleteOdd { collection }),
        3 => (collection.clone(), ids(), any::<u16>())
            .prop_map(|(collection, ids, value)| Act::SetPayload { collection, ids, value }),
        1 => (collection.clone(), ids()).prop_map(|(collection, ids)| Act::ClearPayload { collection, ids }),
        3 => (0..2_u8, collection.clone()).prop_map(|(alias, collection)| Act::SetAlias { alias, collection }),
        2 => (0..2_u8).prop_map(Act::DropAlias),
        1 => (collection.clone(), any::<bool>())
            .prop_map(|(collection, int8)| Act::Quantize { collection, int8 }),
        1 => (0..4_u8).prop_map(Act::RegisterNode),
        1 => Just(Act::Check),
        1 => Just(Act::Blank),
        1 => any::<u8>().prop_map(Act::Membership),
        3 => (0..6_u8, collection, 0..60_u8)
            .prop_map(|(id, collection, point)| Act::Request { id, collection, point }),
    ]
}

fn ids(ids: &[u8]) -> Selector {
    ids_of(ids.iter().map(|id| u64::from(*id)))
}

fn tree(replica: &Replica, collection: u8) -> TreeId {
    let definition = replica.resolve(&name(COLLECTIONS[usize::from(collection)]));
    definition.map_or(TreeId(99), |definition| definition.tree)
}

/// The entry of an act, proposed at a leader in this state.
fn propose(replica: &Replica, index: u64, act: &Act) -> ApplyEntry {
    let (request, command) = command(replica, act);
    let mut entry = entry(index, request, command);
    match act {
        Act::Blank => entry.payload = ApplyPayload::Blank,
        Act::Membership(n) => entry.payload = ApplyPayload::Membership(vec![*n; 5]),
        _ => {}
    }
    entry
}

fn command(replica: &Replica, act: &Act) -> (Option<RequestId>, Command) {
    let collection_name = |n: &u8| name(COLLECTIONS[usize::from(*n)]);
    let alias_name = |n: &u8| name(ALIASES[usize::from(*n)]);
    let mut request = None;
    let command = match act {
        Act::Create(n) => create(COLLECTIONS[usize::from(*n)]),
        Act::Drop(n) => Command::DropCollection {
            name: collection_name(n),
        },
        Act::Upsert {
            collection,
            ids,
            value,
        } => {
            let distinct: BTreeMap<u8, ()> = ids.iter().map(|id| (*id, ())).collect();
            let points = distinct
                .keys()
                .map(|id| point(u64::from(*id), u64::from(*value)));
            Command::Upsert {
                tree: tree(replica, *collection),
                points: points.collect(),
            }
        }
        Act::Delete {
            collection,
            ids: list,
        } => Command::Delete {
            tree: tree(replica, *collection),
            selector: ids(list),
        },
        Act::DeleteOdd { collection } => Command::Delete {
            tree: tree(replica, *collection),
            selector: odd(),
        },
        Act::SetPayload {
            collection,
            ids: list,
            value,
        } => Command::SetPayload {
            tree: tree(replica, *collection),
            selector: ids(list),
            payload: Payload(BTreeMap::from([(
                "set".into(),
                Value::Int((*value).into()),
            )])),
        },
        Act::ClearPayload {
            collection,
            ids: list,
        } => Command::ClearPayload {
            tree: tree(replica, *collection),
            selector: ids(list),
            keys: payload(0).0.into_keys().collect(),
        },
        Act::SetAlias { alias, collection } => Command::SetAlias {
            alias: alias_name(alias),
            collection: collection_name(collection),
        },
        Act::DropAlias(n) => Command::DropAlias {
            alias: alias_name(n),
        },
        Act::Quantize { collection, int8 } => quantize(tree(replica, *collection), *int8),
        Act::RegisterNode(n) => Command::RegisterNode {
            id: u64::from(*n),
            instance: Uuid::from_u128(u128::from(n / 2)),
        },
        Act::Request {
            id,
            collection,
            point: p,
        } => {
            request = Some(RequestId(Uuid::from_u128(u128::from(*id))));
            let points = vec![point(u64::from(*p), 1)];
            Command::Upsert {
                tree: tree(replica, *collection),
                points,
            }
        }
        Act::Check | Act::Blank | Act::Membership(_) => Command::ConsistencyCheck,
    };
    (request, command)
}

pub(super) fn quantize(tree: TreeId, int8: bool) -> Command {
    let vectors = as_int8(int8);
    Command::Quantize { tree, vectors }
}

/// The default vector as int8, or as it is by default.
pub(super) fn as_int8(int8: bool) -> BTreeMap<VectorName, Quantization> {
    let quantization = match int8 {
        true => Quantization::Int8,
        false => Quantization::default(),
    };
    BTreeMap::from([(VectorName::default(), quantization)])
}

/// Points with an odd value.
pub(super) fn odd() -> Selector {
    let condition = pando_model::Condition::Match {
        key: "even".into(),
        value: Value::Bool(false),
    };
    let filter = pando_model::Filter {
        must: vec![condition],
        ..Default::default()
    };
    Selector::Filter { filter, from: None }
}

impl World {
    /// Does these things, as the leader; returns the log they make.
    pub(super) fn act(&self, acts: &[Act]) -> Vec<ApplyEntry> {
        let mut log = Vec::new();
        for act in acts {
            let entry = propose(&self.replica, self.next_index(), act);
            self.replica.apply(vec![entry.clone()]).unwrap();
            log.push(entry);
        }
        log
    }

    /// A replica with some points in two collections.
    pub(super) fn populated() -> (Self, Vec<ApplyEntry>) {
        let world = Self::new();
        let upsert = |collection, from: u8| Act::Upsert {
            collection,
            ids: (from..from + 50).collect(),
            value: 7,
        };
        let log = world.act(&[
            Act::Create(0),
            Act::Create(1),
            upsert(0, 0),
            upsert(0, 50),
            upsert(1, 0),
        ]);
        (world, log)
    }
}
