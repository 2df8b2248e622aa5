//! The seam to the network: a dumb pipe. The server implements it with gRPC, tests with channels and faults.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pando_model::NodeId;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::address::NodeAddress;

/// Which call a body belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeerRpc {
    /// Raft log entries, and the leader's heartbeat.
    Append,
    /// A candidate's request for a vote.
    Vote,
    /// The leader's offer of a snapshot. It is answered when the snapshot is installed, which can take as long as a
    /// full copy takes: a transport gives it no timeout, only a keepalive.
    SnapshotOffer,
    /// A write or an administrative request for the leader.
    Propose,
    /// A follower asks the leader for an index to read at.
    ReadIndex,
    /// The leader asks a follower to stand for election.
    Elect,
    /// The leader asks a member for its consistency report.
    Report,
    /// A member asks for rows by their digests, to mend its own.
    Rows,
    /// A member that lost its state asks for a view to repair from.
    View,
    /// What becomes of a member whose state is wrong.
    Trust,
}

impl PeerRpc {
    /// All of them, in the order of their wire numbers.
    pub const ALL: [Self; 10] = [
        Self::Append,
        Self::Vote,
        Self::SnapshotOffer,
        Self::Propose,
        Self::ReadIndex,
        Self::Elect,
        Self::Report,
        Self::Rows,
        Self::View,
        Self::Trust,
    ];

    /// A name for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Vote => "vote",
            Self::SnapshotOffer => "snapshot_offer",
            Self::Propose => "propose",
            Self::ReadIndex => "read_index",
            Self::Elect => "elect",
            Self::Report => "report",
            Self::Rows => "rows",
            Self::View => "view",
            Self::Trust => "trust",
        }
    }
}

impl fmt::Display for PeerRpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a peer refuses a call. Part of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RefusalCode {
    /// The body does not decode, or what it asks for makes no sense.
    Malformed,
    /// The peer belongs to another cluster, or this message to another node.
    Foreign,
    /// The peer has something better to do; try again later.
    Busy,
    /// The peer knows a newer leader than the caller.
    Stale,
    /// The peer cannot do it: its storage or its Raft core has failed.
    Failed,
    /// The peer is shutting down.
    Stopped,
}

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransportError {
    /// The request certainly did not reach the peer: whatever it asks for was not done.
    #[error("the peer is unreachable: {reason}")]
    Unreachable {
        /// What the network said.
        reason: String,
    },
    /// The connection broke after the request may have reached the peer: the outcome is unknown.
    #[error("the connection to the peer broke: {reason}")]
    Broken {
        /// What the network said.
        reason: String,
    },
    /// No answer in time: the outcome is unknown.
    #[error("the peer did not answer within {after:?}")]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The peer refused; nothing was done.
    #[error("the peer refused ({code:?}): {reason}")]
    Refused {
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people.
        reason: String,
    },
}

/// Both ends of a sync stream, one frame per message, both directions bounded.
#[derive(Debug)]
pub struct SyncPipe {
    /// Frames to the peer. Waits while the peer reads more slowly than this side writes.
    pub tx: mpsc::Sender<Bytes>,
    /// Frames from the peer; ends when the peer has closed its side.
    pub rx: mpsc::Receiver<Result<Bytes, TransportError>>,
}

/// Carries calls and sync streams to other nodes. Knows nothing of what the bodies say.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends a body and waits for the answer's body, at most `timeout`.
    async fn call(
        &self,
        to: NodeId,
        address: &NodeAddress,
        rpc: PeerRpc,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, TransportError>;

    /// Opens a sync stream to the peer, which serves it with [`crate::Node::serve_sync`].
    async fn open_sync(
        &self,
        to: NodeId,
        address: &NodeAddress,
    ) -> Result<SyncPipe, TransportError>;
}
