//! The types openraft works with, and the two directions between its log ids and the model's log positions.

use std::fmt;
use std::sync::Arc;

use openraft::CommittedLeaderId;
use pando_model::{LogPosition, NodeId, Proposal, WriteResult};
use pando_replica::{FrozenView, StagedDelta};
use serde::{Deserialize, Serialize};

use crate::address::NodeAddress;

openraft::declare_raft_types!(
    /// openraft with Pando's commands, answers and snapshots.
    pub(crate) TypeConfig:
        D = Proposal,
        R = Outcome,
        NodeId = NodeId,
        Node = NodeAddress,
        SnapshotData = SnapshotHandle,
);

pub(crate) type Raft = openraft::Raft<TypeConfig>;
pub(crate) type Entry = openraft::Entry<TypeConfig>;
pub(crate) type LogId = openraft::LogId<NodeId>;
pub(crate) type Vote = openraft::Vote<NodeId>;
pub(crate) type Membership = openraft::Membership<NodeId, NodeAddress>;
pub(crate) type StoredMembership = openraft::StoredMembership<NodeId, NodeAddress>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<NodeId, NodeAddress>;
pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
pub(crate) type RaftMetrics = openraft::RaftMetrics<NodeId, NodeAddress>;
pub(crate) type RaftStorageError = openraft::StorageError<NodeId>;
pub(crate) type RaftStorageIoError = openraft::StorageIOError<NodeId>;
pub(crate) type Fatal = openraft::error::Fatal<NodeId>;

/// What applying one entry came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The entry's log index; for the retry of a write, that of the entry which did it.
    pub(crate) index: u64,
    /// The write's result; membership changes and blank entries are done.
    pub(crate) result: WriteResult,
}

/// What openraft calls a snapshot's data. Here a snapshot is a root; its data is moved by a sync session, never by
/// openraft, so all it is ever handed is one of these.
pub(crate) enum SnapshotHandle {
    /// Only described: building a snapshot makes the state durable and says so; nothing is kept for it.
    Described,
    /// On the leader: the view a session is served from.
    Frozen(Arc<FrozenView>),
    /// On the follower: a session's verified outcome, durably staged, ready to be installed.
    Staged(Box<StagedDelta>),
}

impl fmt::Debug for SnapshotHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Described => "Described",
            Self::Frozen(_) => "Frozen",
            Self::Staged(_) => "Staged",
        })
    }
}

/// The log id at a position.
pub(crate) fn log_id(position: LogPosition) -> LogId {
    LogId::new(
        CommittedLeaderId::new(position.term, position.leader),
        position.index,
    )
}

/// The position of a log id.
pub(crate) fn position(id: LogId) -> LogPosition {
    LogPosition {
        term: id.leader_id.term,
        leader: id.leader_id.node_id,
        index: id.index,
    }
}
