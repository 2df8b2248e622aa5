//! What a call can fail with, and the one map from there to the wire.
//!
//! Every failed call of the public API becomes a [`ServiceError`] and leaves as a gRPC status that carries a
//! typed detail. No handler makes a status of its own.

use std::time::Duration;

use pando_consensus::{AdminFailure, NodeAddress, ReadFailure, WriteFailure};
use pando_model::{ClusterId, InvalidInput, NodeId, ReadError, WriteError};
use pando_proto::v1::{ErrorDetail, ErrorKind, LeaderHint};
use pando_proto::{DecodeError, detail};
use tonic::Status;

/// Why a call of the public API failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The request is wrong whatever the state.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// The write was refused when it was applied.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The read cannot be answered.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Another node leads and the request could not be passed on.
    #[error(
        "this node does not lead and could not pass the request on; ask the leader, or ask again"
    )]
    NotLeader {
        /// Who leads, and its public API.
        leader: Option<(NodeId, String)>,
    },
    /// Nobody leads.
    #[error(
        "the cluster has no leader: a majority of the voters cannot be reached, or an election is going on; ask again"
    )]
    NoLeader,
    /// Not finished in time.
    #[error("not finished in time{}", if *outcome_unknown { "; the write may or may not have happened" } else { "" })]
    Timeout {
        /// Whether something may have been done.
        outcome_unknown: bool,
    },
    /// The node is behind what a read must see.
    #[error(
        "this node has applied log index {applied}, the read must see {wanted}; ask again or ask another node"
    )]
    Behind {
        /// What the read must see.
        wanted: u64,
        /// What was applied in time.
        applied: u64,
    },
    /// Too much at once.
    #[error(
        "this node has {limit} requests in work, which is its limit; nothing was done, ask again later"
    )]
    Overloaded {
        /// The limit.
        limit: u64,
    },
    /// Too many searches.
    #[error(
        "{running} searches run and {limit} wait on this node, which is its limit; nothing was done, ask again in {} ms \
         or ask another node",
        retry_after.as_millis()
    )]
    SearchesOverloaded {
        /// How many may wait.
        limit: u64,
        /// How many run.
        running: u64,
        /// When asking again is likely to help.
        retry_after: Duration,
    },
    /// The node is shutting down.
    #[error("this node is shutting down: {reason}")]
    Stopped {
        /// What is known about it.
        reason: String,
        /// Whether something may have been done.
        outcome_unknown: bool,
    },
    /// The node belongs to no cluster.
    #[error("this node belongs to no cluster yet; initialise it, or add it to one")]
    NotInitialized,
    /// The node belongs to a cluster.
    #[error("this node belongs to a cluster already{}", cluster.map_or_else(String::new, |c| format!(": {c}")))]
    AlreadyInitialized {
        /// Which, if known.
        cluster: Option<ClusterId>,
    },
    /// The node id belongs to another data directory.
    #[error(
        "node id {id} was used in this cluster before; start the node on an empty data directory with a new id"
    )]
    NodeIdUsed {
        /// The id.
        id: NodeId,
    },
    /// No such member.
    #[error("node {id} is not a member of this cluster")]
    NodeNotFound {
        /// The id given.
        id: NodeId,
    },
    /// A membership change that is refused.
    #[error("membership change refused: {reason}")]
    Membership {
        /// Why, and what to do.
        reason: String,
    },
    /// The other node belongs to another cluster.
    #[error("{reason}")]
    ForeignCluster {
        /// What it said.
        reason: String,
    },
    /// The other node speaks another protocol.
    #[error("{reason}")]
    ProtocolVersion {
        /// What it said.
        reason: String,
    },
    /// Another node could not be reached.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The reply would not fit a message.
    #[error("the reply of {bytes} bytes is over the limit of {max} bytes; ask for less at once")]
    ResponseTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The request does not fit a message.
    #[error("the request is over the limit of {max} bytes; split it into smaller ones")]
    RequestTooLarge {
        /// The limit.
        max: usize,
    },
    /// The node could not read or write its own storage.
    #[error("storage failed: {detail}")]
    Storage {
        /// What is known about it.
        detail: String,
    },
    /// A defect.
    #[error("internal error: {detail}")]
    Internal {
        /// What is known about it.
        detail: String,
    },
}

impl ServiceError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::RequestTooLarge { .. } => ErrorKind::InvalidInput,
            Self::Write(error) => ErrorDetail::from(error).kind(),
            Self::Read(error) => ErrorDetail::from(error).kind(),
            Self::NotLeader { .. } => ErrorKind::NotLeader,
            Self::NoLeader => ErrorKind::NoLeader,
            Self::Timeout { .. } | Self::Behind { .. } => ErrorKind::Timeout,
            Self::NodeIdUsed { .. } => ErrorKind::NodeIdUsed,
            Self::Overloaded { .. } | Self::SearchesOverloaded { .. } => ErrorKind::Overloaded,
            Self::Stopped { .. } => ErrorKind::Stopped,
            Self::NotInitialized => ErrorKind::NotInitialized,
            Self::AlreadyInitialized { .. } => ErrorKind::AlreadyInitialized,
            Self::NodeNotFound { .. } => ErrorKind::NodeNotFound,
            Self::Membership { .. } | Self::Unreachable { .. } => ErrorKind::Membership,
            Self::ForeignCluster { .. } => ErrorKind::ForeignCluster,
            Self::ProtocolVersion { .. } => ErrorKind::ProtocolVersion,
            Self::ResponseTooLarge { .. } => ErrorKind::ResponseTooLarge,
            Self::Storage { .. } => ErrorKind::Storage,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    fn detail(&self) -> ErrorDetail {
        let plain = detail::new(self.kind(), self.to_string());
        match self {
            Self::Invalid(error) => error.into(),
            Self::Write(error) => error.into(),
            Self::Read(error) => error.into(),
            Self::NotLeader { leader } => ErrorDetail {
                leader: leader.clone().map(|(node_id, api_address)| LeaderHint {
                    node_id,
                    api_address,
                }),
                ..plain
            },
            Self::Timeout { outcome_unknown }
            | Self::Stopped {
                outcome_unknown, ..
            } => ErrorDetail {
                outcome_unknown: *outcome_unknown,
                ..plain
            },
            Self::Overloaded { limit } => ErrorDetail {
                limit: Some(*limit),
                ..plain
            },
            Self::SearchesOverloaded {
                limit, retry_after, ..
            } => ErrorDetail {
                limit: Some(*limit),
                retry_after_ms: u64::try_from(retry_after.as_millis()).ok(),
                ..plain
            },
            Self::RequestTooLarge { max } => ErrorDetail {
                limit: Some(*max as u64),
                ..plain
            },
            Self::ResponseTooLarge { bytes, max } => ErrorDetail {
                limit: Some(*max as u64),
                actual: Some(*bytes as u64),
                ..plain
            },
            Self::NoLeader
            | Self::Behind { .. }
            | Self::NodeIdUsed { .. }
            | Self::NotInitialized
            | Self::AlreadyInitialized { .. }
            | Self::NodeNotFound { .. }
            | Self::Membership { .. }
            | Self::Unreachable { .. }
            | Self::ForeignCluster { .. }
            | Self::ProtocolVersion { .. }
            | Self::Storage { .. }
            | Self::Internal { .. } => plain,
        }
    }
}

impl From<WriteFailure> for ServiceError {
    fn from(failure: WriteFailure) -> Self {
        match failure {
            WriteFailure::Invalid(error) => Self::Invalid(error),
            WriteFailure::Rejected(error) => Self::Write(error),
            WriteFailure::NoLeader => Self::NoLeader,
            WriteFailure::NotLeader { leader } => not_leader(leader),
            WriteFailure::Timeout => Self::Timeout {
                outcome_unknown: true,
            },
            WriteFailure::Overloaded { limit } => Self::Overloaded {
                limit: limit as u64,
            },
            WriteFailure::Stopped(reason) => Self::Stopped {
                reason,
                outcome_unknown: true,
            },
        }
    }
}

impl From<ReadFailure> for ServiceError {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::NoLeader => Self::NoLeader,
            ReadFailure::Behind { wanted, applied } => Self::Behind { wanted, applied },
            ReadFailure::Stopped(reason) => Self::Stopped {
                reason,
                outcome_unknown: false,
            },
            ReadFailure::Quarantined { .. } => Self::Read(ReadError::NotServing {
                reason: failure.to_string(),
            }),
        }
    }
}

impl From<AdminFailure> for ServiceError {
    fn from(failure: AdminFailure) -> Self {
        match failure {
            AdminFailure::NoLeader => Self::NoLeader,
            AdminFailure::NotLeader { leader } => not_leader(leader),
            AdminFailure::Timeout { .. } => Self::Timeout {
                outcome_unknown: true,
            },
            AdminFailure::AlreadyInitialized => Self::AlreadyInitialized { cluster: None },
            AdminFailure::IdUsed { id } => Self::NodeIdUsed { id },
            AdminFailure::UnknownNode { id } => Self::NodeNotFound { id },
            AdminFailure::Stopped(reason) => Self::Stopped {
                reason,
                outcome_unknown: true,
            },
            AdminFailure::NotVoter { .. }
            | AdminFailure::LastVoter { .. }
            | AdminFailure::NotCaughtUp { .. }
            | AdminFailure::QuorumAtRisk { .. }
            | AdminFailure::InProgress
            | AdminFailure::NotTransferred { .. }
            | AdminFailure::Refused { .. } => Self::Membership {
                reason: failure.to_string(),
            },
        }
    }
}

fn not_leader(leader: Option<(NodeId, NodeAddress)>) -> ServiceError {
    ServiceError::NotLeader {
        leader: leader.map(|(id, address)| (id, address.api)),
    }
}

impl From<DecodeError> for ServiceError {
    fn from(error: DecodeError) -> Self {
        Self::Invalid(error.into())
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        detail::to_status(&error.detail())
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn the_wire_carries_what_a_client_acts_upon() {
        let leader = Some((3, "10.0.0.3:7700".to_owned()));
        let status = Status::from(ServiceError::NotLeader { leader });
        let sent = detail::from_status(&status).expect("a detail");
        assert_eq!(status.code(), Code::Unavailable);
        let hint = sent.leader.expect("a hint");
        assert_eq!(
            (hint.node_id, hint.api_address.as_str()),
            (3, "10.0.0.3:7700")
        );

        let status = Status::from(ServiceError::Timeout {
            outcome_unknown: true,
        });
        let sent = detail::from_status(&status).expect("a detail");
        assert_eq!(
            (status.code(), sent.outcome_unknown),
            (Code::DeadlineExceeded, true)
        );

        let status = Status::from(ServiceError::Overloaded { limit: 8 });
        let sent = detail::from_status(&status).expect("a detail");
        assert_eq!(
            (status.code(), sent.limit),
            (Code::ResourceExhausted, Some(8))
        );
    }
}
