//! Whose a store is: each store holds the instance of the identity it was first opened for.
//!
//! Invariant: a node that belongs to a cluster only ever starts on its own two stores. A node that lost one of them
//! has forgotten votes or entries that the others count on; starting it on an empty one would break what they were
//! promised. Knows nothing else of what the stores hold.

use pando_model::GroupId;
use pando_storage::{Batch, CodecError, KvStore, StorageError, StoredKey, codec};
use uuid::Uuid;

/// Version byte of the record.
const RECORD_VERSION: u8 = 1;

/// Why a store is not taken for a node's own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnerError {
    /// The store fails.
    #[error("the store failed")]
    Storage(#[from] StorageError),
    /// The record does not decode.
    #[error("the record of whose store it is does not decode")]
    Record(#[from] CodecError),
    /// It is another node's.
    #[error("the store is of instance {found}, this node is instance {expected}")]
    OtherInstance {
        /// The instance in the store.
        found: Uuid,
        /// The instance of this node.
        expected: Uuid,
    },
    /// The node has stored something, but not here.
    #[error("the store is not the one this node had: it does not name its owner")]
    Lost,
}

impl OwnerError {
    /// Whether a store that is this node's own can say so, having lost what it held.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_damage(),
            Self::Record(_) | Self::Lost => true,
            Self::OtherInstance { .. } => false,
        }
    }
}

/// Makes sure that the store belongs to this instance. A store in which there is nothing becomes its own, unless the
/// node is a member of a cluster: then it had one before. Blocks.
pub(crate) fn claim(store: &dyn KvStore, instance: Uuid, member: bool) -> Result<(), OwnerError> {
    let key = StoredKey::Owner.encode(GroupId::CATALOGUE);
    if let Some(bytes) = store.get(&key)? {
        let found = Uuid::from_bytes(codec::decode_versioned(RECORD_VERSION, &bytes)?);
        return if found == instance {
            Ok(())
        } else {
            Err(OwnerError::OtherInstance {
                found,
                expected: instance,
            })
        };
    }
    if member || !store.scan(b"", None, 1)?.is_empty() {
        return Err(OwnerError::Lost);
    }
    let mut batch = Batch::new();
    batch.put(
        key,
        codec::encode_versioned(RECORD_VERSION, instance.as_bytes()),
    );
    store.apply(batch)?;
    Ok(store.flush()?)
}

#[cfg(test)]
mod tests {
    use pando_storage::MemoryStore;

    use super::*;

    const MINE: Uuid = Uuid::from_u128(1);
    const OTHERS: Uuid = Uuid::from_u128(2);

    #[test]
    fn a_new_store_is_claimed_once_and_for_good() {
        let store = MemoryStore::new();
        claim(&store, MINE, false).expect("it is empty");
        let store = store.crash();
        for member in [false, true] {
            claim(&store, MINE, member).expect("its own");
            let error = claim(&store, OTHERS, member).expect_err("not its own");
            assert!(
                matches!(
                    error,
                    OwnerError::OtherInstance {
                        found: MINE,
                        expected: OTHERS
                    }
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn a_member_does_not_start_on_an_empty_store() {
        let store = MemoryStore::new();
        let error = claim(&store, MINE, true).expect_err("it had another");
        assert!(matches!(error, OwnerError::Lost), "{error}");
        let error = claim(&store, MINE, true).expect_err("asking again changes nothing");
        assert!(matches!(error, OwnerError::Lost), "{error}");
    }

    #[test]
    fn a_store_with_something_in_it_is_nobodys_to_claim() {
        let store = MemoryStore::new();
        let mut batch = Batch::new();
        batch.put(StoredKey::Vote.encode(GroupId::CATALOGUE), vec![1]);
        store.apply(batch).expect("written");
        let error = claim(&store, MINE, false).expect_err("whose is it?");
        assert!(matches!(error, OwnerError::Lost), "{error}");
    }
}
