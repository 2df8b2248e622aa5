//! Durable key-value storage behind a trait: the only crate that names sled.
//!
//! Owns what is on disk: the [`KvStore`] seam with its two implementations ([`SledStore`] and its in-memory
//! twin [`MemoryStore`]), the catalogue of keys ([`keys`]), the codec of stored values ([`codec`]), and the
//! layouts built on them: rows ([`Rows`]), changes laid over rows ([`Overlay`]) and the Raft log
//! ([`EntryLog`]).
//!
//! Invariants: every key starts with a group id; every value starts with a version byte; no value exceeds
//! [`VALUE_BYTES_MAX`]; a batch is applied whole or not at all, also across a crash.
//!
//! It knows rows and digests, but neither points and collections nor what a log entry says.

mod batch;
pub mod codec;
mod content;
mod digest_row;
mod entry_log;
mod error;
pub mod keys;
mod kv;
mod memory;
mod overlay;
mod rows;
mod sled_store;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use batch::{BATCH_BYTES_MAX, Batch, KEY_BYTES_MAX, Op, VALUE_BYTES_MAX};
pub use codec::{CodecError, Versioned};
pub use content::{CHUNK_BYTES_MAX, CONTENT_BYTES_MAX, chunk_count};
pub use digest_row::{DigestRow, ID_BYTES_MAX, StoredRow, leaf_of};
pub use entry_log::{ENTRY_BYTES_MAX, EntryLog};
pub use error::{Rot, StorageError};
pub use keys::{GroupId, KeyError, OverlayId, RowAddress, StoredKey};
pub use kv::{KvStore, Pair, StoreHealth};
pub use memory::MemoryStore;
pub use overlay::{Laid, Overlay};
pub use rows::Rows;
pub use sled_store::{SledOptions, SledStore};
