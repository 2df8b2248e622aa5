//! Why a request to a node failed. What crosses the wire between nodes is serialisable.

use std::time::Duration;

use pando_model::{InvalidInput, NodeId, WriteError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::address::NodeAddress;
use crate::log_store::LogError;
use crate::options::OptionsError;
use crate::transport::RefusalCode;
use crate::wire::WireError;

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting cannot work.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The replica cannot be made durable.
    #[error(transparent)]
    Replica(#[from] pando_replica::ReplicaError),
    /// The membership stored with the state cannot be read.
    #[error("the stored membership cannot be read")]
    Members(#[from] WireError),
    /// The consensus core did not start.
    #[error("the consensus core did not start: {reason}")]
    Core {
        /// What it says.
        reason: String,
    },
}

/// Why a write brought no receipt.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
pub enum WriteFailure {
    /// The input is wrong; nothing was done.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// The write was refused when it was applied; nothing was changed.
    #[error(transparent)]
    Rejected(#[from] WriteError),
    /// There is no leader with a quorum; nothing was done.
    #[error(
        "no leader with a quorum was found in time and nothing was done: check that a majority of the nodes is up \
         and connected, then try again"
    )]
    NoLeader,
    /// This node is not the leader; nothing was done.
    #[error("this node is not the leader; nothing was done")]
    NotLeader {
        /// The leader, if known.
        leader: Option<(NodeId, NodeAddress)>,
    },
    /// There was no answer in time. Whether the write takes effect is unknown.
    #[error(
        "no majority confirmed the write in time: it may or may not take effect; repeat it with the same request id"
    )]
    Timeout,
    /// Too many writes are under way; nothing was done.
    #[error("{limit} writes are under way on this node, which is its limit: try again shortly")]
    Overloaded {
        /// The limit.
        limit: usize,
    },
    /// The node cannot write any more.
    #[error("the node has stopped: {0}")]
    Stopped(String),
}

impl WriteFailure {
    /// Whether the write certainly did not and will not take effect.
    #[must_use]
    pub fn has_no_side_effects(&self) -> bool {
        match self {
            Self::Invalid(_)
            | Self::Rejected(_)
            | Self::NoLeader
            | Self::NotLeader { .. }
            | Self::Overloaded { .. } => true,
            Self::Timeout | Self::Stopped(_) => false,
        }
    }
}

/// Why a read could not be given the consistency it asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ReadFailure {
    /// No leader confirmed in time that it leads.
    #[error(
        "no leader with a quorum was found in time: check that a majority of the nodes is up and connected, or read \
         with local consistency"
    )]
    NoLeader,
    /// This node is behind what the read must see.
    #[error(
        "this node has applied log index {applied}, the read must see {wanted}: try again or ask another node"
    )]
    Behind {
        /// What the read must see.
        wanted: u64,
        /// What this node has applied.
        applied: u64,
    },
    /// The node cannot read any more.
    #[error("the node has stopped: {0}")]
    Stopped(String),
    /// This node's state was found wrong.
    #[error("this node is quarantined: {reason}; ask another node")]
    Quarantined {
        /// The log index of the check that found it.
        index: u64,
        /// What was found, and what is done about it.
        reason: String,
    },
}

/// Why an administrative request failed.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum AdminFailure {
    /// There is no leader with a quorum; nothing was done.
    #[error(
        "no leader with a quorum was found in time: check that a majority of the nodes is up and connected"
    )]
    NoLeader,
    /// This node is not the leader; nothing was done.
    #[error("this node is not the leader; nothing was done")]
    NotLeader {
        /// The leader, if known.
        leader: Option<(NodeId, NodeAddress)>,
    },
    /// No answer in time; the change may still take effect.
    #[error(
        "the change was not confirmed within {after:?}: look at the cluster's status before repeating it"
    )]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The node is a member of a cluster already.
    #[error("this node belongs to a cluster already: only an empty node can begin a new one")]
    AlreadyInitialized,
    /// The id belongs to another node, now or earlier.
    #[error(
        "node id {id} was used in this cluster before: give the node a new id and an empty data directory"
    )]
    IdUsed {
        /// The id.
        id: NodeId,
    },
    /// No such member.
    #[error("node {id} is not a member of the cluster")]
    UnknownNode {
        /// The id.
        id: NodeId,
    },
    /// The node is not a voter.
    #[error("node {id} is not a voter: promote it first")]
    NotVoter {
        /// The id.
        id: NodeId,
    },
    /// The node is the only voter.
    #[error("node {id} is the only voter: a cluster needs at least one")]
    LastVoter {
        /// The id.
        id: NodeId,
    },
    /// The node is not yet where the leader is.
    #[error(
        "node {id} is still {behind} entries behind after {after:?}: repeat the request when it has caught up"
    )]
    NotCaughtUp {
        /// The id.
        id: NodeId,
        /// Log entries it lacks.
        behind: u64,
        /// How long was waited.
        after: Duration,
    },
    /// The change would leave too few voters that are up.
    #[error(
        "without node {id} only {up} of {voters} voters would be up to date, and {needed} are needed: bring the others \
         up first, or force it"
    )]
    QuorumAtRisk {
        /// The node to be removed or demoted.
        id: NodeId,
        /// Voters left that are up to date.
        up: usize,
        /// Voters left.
        voters: usize,
        /// A majority of them.
        needed: usize,
    },
    /// Another change is under way.
    #[error("another membership change is under way: try again when it is done")]
    InProgress,
    /// The leadership did not move.
    #[error("node {to} did not become leader within {after:?}; the leader is as it was")]
    NotTransferred {
        /// The node that was to lead.
        to: NodeId,
        /// How long was waited.
        after: Duration,
    },
    /// The request makes no sense here.
    #[error("{reason}")]
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// The node cannot do anything any more.
    #[error("the node has stopped: {0}")]
    Stopped(String),
}

/// A refusal of a peer's call. The transport carries it back as [`crate::TransportError::Refused`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct PeerError {
    /// Why, for programs.
    pub code: RefusalCode,
    /// Why, for people.
    pub reason: String,
}

impl PeerError {
    pub(crate) fn new(code: RefusalCode, reason: impl ToString) -> Self {
        Self {
            code,
            reason: reason.to_string(),
        }
    }

    /// A cause with its causes, in one line.
    pub(crate) fn caused(code: RefusalCode, error: &(dyn std::error::Error + 'static)) -> Self {
        Self {
            code,
            reason: chain(error),
        }
    }
}

impl From<WireError> for PeerError {
    fn from(error: WireError) -> Self {
        Self::caused(RefusalCode::Malformed, &error)
    }
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // `transparent` errors repeat their cause.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
