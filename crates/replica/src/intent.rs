//! The intent to install: the durable record that makes an install whole, whatever happens in its middle.

use pando_model::GroupId;
use pando_model::TreeId;
use pando_storage::{Batch, KvStore, StorageError, StoredKey, Versioned, codec};
use serde::{Deserialize, Serialize};

use crate::applied::{Applied, StoredApplied};
use crate::error::ReplicaError;

/// How far an install is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// All is staged and verified. The old state is whole.
    Staged,
    /// The stage is being applied. The state may be a mixture; only going on makes it whole.
    Applying,
    /// All is applied. What is left of the stage and of the rows replaced is still to be cleared.
    Installed,
}

/// What is to be installed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) phase: Phase,
    /// The state the install ends in.
    applied: StoredApplied,
    /// The trees of that state; all others go.
    pub(crate) trees: Vec<u32>,
    /// Log index of the state that the stage was verified against. Keys written after it were not known to be
    /// absent from the new state when the stage was complete.
    pub(crate) base: u64,
}

impl Versioned for Intent {
    const TAG: u8 = 1;
    type Previous = Self;

    fn upgrade(previous: Self) -> Self {
        previous
    }
}

impl Intent {
    pub(crate) fn new(phase: Phase, applied: &Applied, trees: &[TreeId], base: u64) -> Self {
        let trees = trees.iter().map(|tree| tree.0).collect();
        Self {
            phase,
            applied: StoredApplied::from(applied),
            trees,
            base,
        }
    }

    pub(crate) fn read(store: &dyn KvStore, group: GroupId) -> Result<Option<Self>, ReplicaError> {
        let value = store.get(&StoredKey::Intent.encode(group))?;
        Ok(value.as_deref().map(codec::decode).transpose()?)
    }

    /// Adds the intent to a batch.
    pub(crate) fn put(&self, batch: &mut Batch, group: GroupId) {
        batch.put(StoredKey::Intent.encode(group), codec::encode(self));
    }

    /// Removes the intent.
    pub(crate) fn clear(store: &dyn KvStore, group: GroupId) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        batch.delete(StoredKey::Intent.encode(group));
        store.apply(batch)
    }

    /// The state the install ends in, and the trees it has.
    pub(crate) fn into_target(self) -> Result<(Applied, Vec<TreeId>), ReplicaError> {
        let trees = self.trees.into_iter().map(TreeId).collect();
        Ok((self.applied.try_into()?, trees))
    }
}
