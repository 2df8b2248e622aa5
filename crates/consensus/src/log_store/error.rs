//! What can be wrong with the log.

use std::sync::Arc;

use pando_storage::{CodecError, StorageError};
use thiserror::Error;

/// An error of the Raft log. All of them end this node's part in the cluster until it is restarted.
#[derive(Debug, Error)]
pub enum LogError {
    /// The store failed.
    #[error("the log's store failed")]
    Storage(#[from] StorageError),
    /// An entry does not decode.
    #[error(
        "log entry {index} does not decode; this node's log is lost, let it rejoin under a new id"
    )]
    Entry {
        /// Its index.
        index: u64,
        /// Why.
        #[source]
        source: CodecError,
    },
    /// The vote, the committed or the purged position does not decode.
    #[error(
        "the stored {what} does not decode; this node's log is lost, let it rejoin under a new id"
    )]
    Record {
        /// Which record.
        what: &'static str,
        /// Why.
        #[source]
        source: CodecError,
    },
    /// Entries do not follow each other.
    #[error(
        "the log goes from index {expected} to {found}: entries are missing; this node's log is lost"
    )]
    Gap {
        /// The index that should be there.
        expected: u64,
        /// The index that is.
        found: u64,
    },
    /// An earlier write failed; nothing is written behind it.
    #[error("the log takes no more writes since an earlier one failed: {first}")]
    Broken {
        /// The failure.
        first: Arc<LogError>,
    },
    /// The thread that writes could not be started.
    #[error("the log's writer thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// The log is closed.
    #[error("the log is closed: the node is shutting down")]
    Closed,
}
