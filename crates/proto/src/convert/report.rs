//! Reports of the Cluster service.

mod catch_up;
mod scrub;

use super::{all, fixed};
use crate::error::DecodeError;
use crate::report::{ClusterStatus, LogKept, NodeReport, NodeState, NodeStatus, Role};
use crate::v1::{self, node_report, node_state};

impl From<ClusterStatus> for v1::StatusResponse {
    fn from(status: ClusterStatus) -> Self {
        Self {
            cluster_id: status.cluster.map_or_else(String::new, |id| id.to_string()),
            answered_by: status.answered_by,
            leader_id: status.leader.unwrap_or(0),
            nodes: status.nodes.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::StatusResponse> for ClusterStatus {
    type Error = DecodeError;

    fn try_from(wire: v1::StatusResponse) -> Result<Self, Self::Error> {
        let cluster = match wire.cluster_id.as_str() {
            "" => None,
            text => {
                let bad = |_| DecodeError::malformed("cluster_id", "it is not a UUID");
                Some(text.parse().map_err(bad)?)
            }
        };
        Ok(Self {
            cluster,
            answered_by: wire.answered_by,
            leader: Some(wire.leader_id).filter(|id| *id != 0),
            nodes: all("nodes", wire.nodes, NodeReport::try_from)?,
        })
    }
}

impl From<NodeReport> for v1::NodeReport {
    fn from(report: NodeReport) -> Self {
        Self {
            node_id: report.node,
            address: Some(v1::NodeAddress {
                node: report.node_address,
                api: report.api_address,
            }),
            voter: report.voter,
            result: Some(match report.status {
                Ok(status) => node_report::Result::Status(status.into()),
                Err(error) => node_report::Result::Error(error),
            }),
        }
    }
}

impl TryFrom<v1::NodeReport> for NodeReport {
    type Error = DecodeError;

    fn try_from(wire: v1::NodeReport) -> Result<Self, Self::Error> {
        let address = wire.address.unwrap_or_default();
        Ok(Self {
            node: wire.node_id,
            node_address: address.node,
            api_address: address.api,
            voter: wire.voter,
            status: match wire.result {
                Some(node_report::Result::Status(status)) => {
                    Ok(status.try_into().map_err(DecodeError::within("status"))?)
                }
                Some(node_report::Result::Error(error)) => Err(error),
                None => return Err(DecodeError::missing("result")),
            },
        })
    }
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Leader => Self::Leader,
            Role::Follower => Self::Follower,
            Role::Candidate => Self::Candidate,
            Role::Learner => Self::Learner,
        }
    }
}

fn decode_role(wire: i32) -> Result<Role, DecodeError> {
    match v1::Role::try_from(wire) {
        Ok(v1::Role::Leader) => Ok(Role::Leader),
        Ok(v1::Role::Follower) => Ok(Role::Follower),
        Ok(v1::Role::Candidate) => Ok(Role::Candidate),
        Ok(v1::Role::Learner) => Ok(Role::Learner),
        Ok(v1::Role::Unspecified) => Err(DecodeError::missing("role")),
        Err(_) => Err(DecodeError::malformed("role", format!("unknown: {wire}"))),
    }
}

impl From<NodeState> for v1::NodeState {
    fn from(state: NodeState) -> Self {
        let state = match state {
            NodeState::Serving => node_state::State::Serving(node_state::Serving {}),
            NodeState::Syncing(sync) => node_state::State::Syncing(sync.into()),
            NodeState::Waiting => node_state::State::Waiting(node_state::Waiting {}),
            NodeState::Quarantined { reason, repair } => {
                let repair = repair.map(Into::into);
                node_state::State::Quarantined(node_state::Quarantined { reason, repair })
            }
        };
        Self { state: Some(state) }
    }
}

fn decode_state(wire: Option<v1::NodeState>) -> Result<NodeState, DecodeError> {
    match wire.and_then(|s| s.state) {
        Some(node_state::State::Serving(_)) => Ok(NodeState::Serving),
        Some(node_state::State::Syncing(s)) => Ok(NodeState::Syncing(s.into())),
        Some(node_state::State::Waiting(_)) => Ok(NodeState::Waiting),
        Some(node_state::State::Quarantined(q)) => Ok(NodeState::Quarantined {
            reason: q.reason,
            repair: q.repair.map(Into::into),
        }),
        None => Err(DecodeError::missing("state")),
    }
}

impl From<NodeStatus> for v1::NodeStatus {
    fn from(s: NodeStatus) -> Self {
        Self {
            role: v1::Role::from(s.role).into(),
            term: s.term,
            last_log_index: s.last_log,
            committed_index: s.committed,
            applied_index: s.applied,
            lag: s.lag,
            root: s.root.to_vec(),
            state: Some(s.state.into()),
            log: Some(v1::LogStatus {
                kept_entries: s.log.entries,
                kept_bytes: s.log.bytes,
                snapshot_index: s.log.snapshot,
                purged_index: s.log.purged,
            }),
            catch_up: Some(s.catch_up.into()),
            scrub: Some(s.scrub.into()),
            verified: Some(s.verified.into()),
            points: s.points,
            point_bytes: s.point_bytes,
            disk_bytes: s.disk_bytes,
            memory_bytes: s.memory_bytes,
            index_backlog: s.index_backlog,
            index_indexed: s.index_indexed,
            index_reused: s.index_reused,
            version: s.version,
            uptime_seconds: s.uptime_seconds,
        }
    }
}

impl TryFrom<v1::NodeStatus> for NodeStatus {
    type Error = DecodeError;

    fn try_from(wire: v1::NodeStatus) -> Result<Self, Self::Error> {
        let log = wire.log.unwrap_or_default();
        Ok(Self {
            role: decode_role(wire.role)?,
            term: wire.term,
            last_log: wire.last_log_index,
            committed: wire.committed_index,
            applied: wire.applied_index,
            lag: wire.lag,
            root: fixed("root", &wire.root)?,
            state: decode_state(wire.state)?,
            log: LogKept {
                entries: log.kept_entries,
                bytes: log.kept_bytes,
                snapshot: log.snapshot_index,
                purged: log.purged_index,
            },
            catch_up: wire
                .catch_up
                .unwrap_or_default()
                .try_into()
                .map_err(DecodeError::within("catch_up"))?,
            scrub: wire.scrub.unwrap_or_default().into(),
            verified: wire.verified.unwrap_or_default().into(),
            points: wire.points,
            point_bytes: wire.point_bytes,
            disk_bytes: wire.disk_bytes,
            memory_bytes: wire.memory_bytes,
            index_backlog: wire.index_backlog,
            index_indexed: wire.index_indexed,
            index_reused: wire.index_reused,
            version: wire.version,
            uptime_seconds: wire.uptime_seconds,
        })
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
