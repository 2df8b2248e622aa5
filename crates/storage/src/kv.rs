//! The seam between Pando and its storage engine.

use crate::batch::Batch;
use crate::error::StorageError;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// How a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// How often it was rebuilt without what could not be read, since it was opened. Pairs may be gone each time.
    pub rebuilds: u64,
    /// Whether it is being rebuilt: writes wait until that is done.
    pub rebuilding: bool,
}

/// An ordered map from bytes to bytes with atomic batches and an explicit point of durability.
///
/// The contract is written down as the module `suite`, which every implementation passes. Each call is atomic by
/// itself; two calls may see two states. All calls block: never make them on an async worker.
pub trait KvStore: Send + Sync + 'static {
    /// The value under `key`.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// The first `limit` pairs whose keys start with `prefix` and are greater than `after`, in key order.
    /// `after` need not be present nor start with `prefix`.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StorageError>;

    /// The pair with the greatest key that starts with `prefix`.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, StorageError>;

    /// Applies all writes of the batch or none, also across a crash; readers see all or none. Not durable
    /// before [`KvStore::flush`]. What survives a crash is a prefix of the applied batches that holds at least
    /// all flushed ones.
    ///
    /// # Errors
    /// When the batch breaks a limit (nothing is applied) or the engine cannot write.
    fn apply(&self, batch: Batch) -> Result<(), StorageError>;

    /// Makes everything applied before the call durable, against loss of power too, before it returns.
    ///
    /// # Errors
    /// When the engine or the device cannot write. Nothing may be acknowledged then.
    fn flush(&self) -> Result<(), StorageError>;

    /// Bytes the store takes on disk (for an in-memory store, of keys and values).
    ///
    /// # Errors
    /// When the files cannot be listed.
    fn size_on_disk(&self) -> Result<u64, StorageError>;

    /// How the store is. One that never loses anything by itself is well.
    fn health(&self) -> StoreHealth {
        StoreHealth::default()
    }
}
