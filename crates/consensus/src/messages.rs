//! The bodies of the calls between nodes that are not openraft's own.

use std::time::Duration;

use pando_merkle::Prefix;
use pando_model::{CheckReport, Command, Effect, NodeId, RequestId, TreeId};
use pando_replica::{FrozenNode, LookRefused};
use serde::{Deserialize, Serialize};

use crate::address::NodeAddress;
use crate::error::{AdminFailure, ReadFailure, WriteFailure};
use crate::status::VerifyReport;

/// What a write came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The write's log index: a read at this index sees it.
    pub index: u64,
    /// What it did.
    pub effect: Effect,
}

/// Body of [`crate::PeerRpc::Propose`]: something only the leader can do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum LeaderRequest {
    /// Answered with a [`WriteReply`].
    Write {
        command: Command,
        request: Option<RequestId>,
        within: Duration,
    },
    /// Answered with a [`ChangeReply`].
    Change { change: Change, within: Duration },
    /// Compares all members; answered with a [`VerifyReply`].
    Verify { within: Duration },
}

pub(crate) type WriteReply = Result<Receipt, WriteFailure>;
pub(crate) type ChangeReply = Result<(), AdminFailure>;
pub(crate) type VerifyReply = Result<VerifyReport, WriteFailure>;

/// A change of the membership or the leadership.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    AddLearner { id: NodeId, address: NodeAddress },
    Promote { id: NodeId },
    Demote { id: NodeId },
    Remove { id: NodeId, force: bool },
    Transfer { to: NodeId },
}

/// Answer to [`crate::PeerRpc::ReadIndex`], whose body is empty.
pub(crate) type ReadIndexReply = Result<u64, ReadFailure>;

/// Body of [`crate::PeerRpc::Report`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReportRequest {
    /// The log index of the check; `None` asks only for a sign of life.
    pub(crate) index: Option<u64>,
    /// How long to wait for it to be applied.
    pub(crate) within: Duration,
}

/// Answer to [`crate::PeerRpc::Report`]; `None` for a sign of life.
pub(crate) type ReportReply = Result<Option<CheckReport>, String>;

/// Body of [`crate::PeerRpc::Trust`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum TrustRequest {
    /// The leader to a member: your root at this index is not that of the majority. Answered with nothing.
    Quarantine { index: u64, majority: [u8; 32] },
    /// A member to the leader: what did your tree have at the check of this index? Answered with a [`LookReply`].
    Look {
        index: u64,
        tree: TreeId,
        prefixes: Vec<Prefix>,
    },
    /// A member to the leader: offer me a state that replaces mine. Answered with nothing, as soon as that is begun.
    Repair,
}

/// Answer to [`TrustRequest::Look`].
pub(crate) type LookReply = Result<Vec<FrozenNode>, LookRefused>;
