//! A store in memory that fails to read some keys, on demand, with an error that says nothing of what is stored.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use pando_storage::{Batch, KvStore, MemoryStore, StorageError};
use parking_lot::Mutex;

type Pair = (Vec<u8>, Vec<u8>);

#[derive(Debug, Default)]
pub(super) struct FrailStore {
    store: MemoryStore,
    refused: Mutex<BTreeSet<Vec<u8>>>,
}

impl FrailStore {
    /// What a restart would find, on a sound disk.
    pub(super) fn crash(&self) -> Self {
        Self {
            store: self.store.crash(),
            refused: Mutex::default(),
        }
    }

    /// From now on these keys cannot be read, and all others can.
    pub(super) fn refuse(&self, keys: impl IntoIterator<Item = Vec<u8>>) {
        *self.refused.lock() = keys.into_iter().collect();
    }
}

impl KvStore for FrailStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        if self.refused.lock().contains(key) {
            return Err(StorageError::Io {
                path: PathBuf::from("frail"),
                operation: "read",
                source: io::Error::other("the test refuses this key"),
            });
        }
        self.store.get(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StorageError> {
        self.store.scan(prefix, after, limit)
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, StorageError> {
        self.store.last(prefix)
    }

    fn apply(&self, batch: Batch) -> Result<(), StorageError> {
        self.store.apply(batch)
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.store.flush()
    }

    fn size_on_disk(&self) -> Result<u64, StorageError> {
        self.store.size_on_disk()
    }
}
