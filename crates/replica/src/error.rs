//! Why a replica cannot go on. Each of these stops the node; none is an answer to a client.

use pando_merkle::{Digest, Key};
use pando_model::{DecodeError, TreeId};
use pando_storage::{CodecError, StorageError};
use thiserror::Error;

/// A replica's failure.
#[derive(Debug, Error)]
pub enum ReplicaError {
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A stored value cannot be read.
    #[error("a stored value cannot be read: {0}")]
    Codec(#[from] CodecError),
    /// A row's content cannot be read although it hashes to its digest.
    #[error("row {key:?} of tree {tree} cannot be read: {source}")]
    Row {
        /// The tree.
        tree: TreeId,
        /// The row.
        key: Key,
        /// What is wrong.
        source: DecodeError,
    },
    /// A row on disk is whole, but not the one that the tree names.
    #[error(
        "the stored row {key:?} of tree {tree} is not the one its tree names: the data directory is damaged; move \
         it aside and let the node rejoin under a new id"
    )]
    Damaged {
        /// The tree.
        tree: TreeId,
        /// The row.
        key: Key,
    },
    /// The description of a state, stored or of a snapshot, is not what was written.
    #[error(
        "the description of an applied state does not match its checksum: stored, it means a damaged data \
         directory (move it aside, rejoin under a new id); received, a broken peer"
    )]
    BadApplied,
    /// The rows on disk are not what they were.
    #[error(
        "the stored state at log index {index} has root {found}, expected {expected}: the data directory is \
         damaged; move it aside and let the node rejoin under a new id"
    )]
    RootMismatch {
        /// Applied log index.
        index: u64,
        /// The root of the rows found.
        found: Digest,
        /// The root stored with them.
        expected: Digest,
    },
    /// An entry out of order.
    #[error(
        "entry {index} came after entry {applied}: apply goes in order, without gaps backwards"
    )]
    OutOfOrder {
        /// The entry's index.
        index: u64,
        /// The last index applied.
        applied: u64,
    },
    /// Another catch-up is under way.
    #[error("a sync is staging already: only one runs at a time")]
    StageBusy,
    /// What was staged does not make the state that was announced.
    #[error("the staged delta does not make the announced state: {detail}; nothing was installed")]
    StageMismatch {
        /// What does not fit.
        detail: String,
    },
    /// An earlier failure left this replica unusable.
    #[error("this replica failed earlier and serves nothing until it is restarted")]
    Poisoned,
}

impl ReplicaError {
    /// Whether it says that what is stored here is not what was written: the state is lost here, and nowhere else.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_damage(),
            Self::Codec(_)
            | Self::Row { .. }
            | Self::Damaged { .. }
            | Self::BadApplied
            | Self::RootMismatch { .. } => true,
            Self::OutOfOrder { .. }
            | Self::StageBusy
            | Self::StageMismatch { .. }
            | Self::Poisoned => false,
        }
    }
}
