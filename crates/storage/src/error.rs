//! What can go wrong in storage, said so that an operator knows what to do.

use std::io;
use std::path::PathBuf;

use pando_merkle::Key;
use pando_model::TreeId;

use crate::codec::CodecError;
use crate::keys::KeyError;

/// An error of the storage layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Another process (or another handle in this one) has the directory open.
    #[error(
        "the data directory {} is in use by another process; stop that process or give this one its own directory",
        path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The files cannot be read as a store. This replica is lost, the cluster is not.
    #[error(
        "the store in {} is damaged: {detail}; move the directory aside and let this node rejoin under a new id, \
         it will be synced from the others",
        path.display()
    )]
    Corrupt {
        /// The directory.
        path: PathBuf,
        /// What the engine said.
        detail: String,
    },
    /// No space left on the device.
    #[error("no space left for the store in {} while it tried to {operation}; free some space and restart", path.display())]
    DiskFull {
        /// The directory.
        path: PathBuf,
        /// What was being done, as a verb.
        operation: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {operation} the store in {}: {source}", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What was being done, as a verb.
        operation: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The engine refused for a reason of its own.
    #[error("the storage engine of {} failed to {operation}: {detail}", path.display())]
    Engine {
        /// The directory.
        path: PathBuf,
        /// What was being done, as a verb.
        operation: &'static str,
        /// What the engine said.
        detail: String,
    },
    /// A batch exceeds [`crate::BATCH_BYTES_MAX`].
    #[error("a batch of {bytes} bytes exceeds the limit of {bytes_max}; split it")]
    BatchTooLarge {
        /// Size of keys and values together.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A key is empty or exceeds [`crate::KEY_BYTES_MAX`].
    #[error("a key must have 1 to {bytes_max} bytes, this one has {bytes}")]
    KeyLength {
        /// Length of the key.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A value exceeds [`crate::VALUE_BYTES_MAX`].
    #[error(
        "a stored value of {bytes} bytes exceeds the limit of {bytes_max}; split it over several keys"
    )]
    ValueTooLarge {
        /// Length of the value.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A row id exceeds [`crate::ID_BYTES_MAX`].
    #[error("a row id of {bytes} bytes exceeds the limit of {bytes_max}")]
    IdTooLong {
        /// Length of the id.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The content of a row exceeds [`crate::CONTENT_BYTES_MAX`].
    #[error("a row content of {bytes} bytes exceeds the limit of {bytes_max}")]
    ContentTooLong {
        /// Length of the content.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A log entry exceeds [`crate::ENTRY_BYTES_MAX`].
    #[error(
        "a log entry of {bytes} bytes exceeds the limit of {bytes_max}; propose smaller batches"
    )]
    EntryTooLong {
        /// Length of the entry.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A stored row is not what its digest says.
    #[error("row {key:?} of tree {tree} is rotten: {rot}; repair it from another replica")]
    Rotten {
        /// The tree.
        tree: TreeId,
        /// The row's key.
        key: Key,
        /// What is wrong with it.
        rot: Rot,
    },
    /// A log entry is not whole.
    #[error(
        "log entry {index} is rotten: {rot}; this node's log is lost, let it rejoin under a new id"
    )]
    EntryRotten {
        /// Index of the entry.
        index: u64,
        /// What is wrong with it.
        rot: Rot,
    },
    /// A stored value does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A stored key does not decode.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl StorageError {
    /// Whether it says that something stored is not what was written: the engine works, one row does not.
    #[must_use]
    pub fn is_rot(&self) -> bool {
        matches!(self, Self::Rotten { .. } | Self::Codec(_) | Self::Key(_))
    }

    /// Whether it says that the store is not what was written, as a whole or in part: trying again does not help.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        self.is_rot() || matches!(self, Self::Corrupt { .. } | Self::Engine { .. })
    }
}

/// How something stored differs from what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rot {
    /// A chunk is not there.
    #[error("chunk {chunk} of {chunks} is missing")]
    MissingChunk {
        /// The first missing chunk.
        chunk: u16,
        /// How many there should be.
        chunks: u16,
    },
    /// Content, version or id do not hash to the digest.
    #[error("it does not hash to its digest")]
    Digest,
    /// The chunks together have another length than was written.
    #[error("it has {found} bytes instead of {expected}")]
    Length {
        /// The length written down.
        expected: u64,
        /// The length found.
        found: u64,
    },
}
