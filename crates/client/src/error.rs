//! Why a request failed, and what that means for asking again.

use std::time::Duration;
use std::{fmt, io};

use pando_model::{InvalidInput, NodeId};
use pando_proto::{DecodeError, detail, v1};
use tonic::{Code, ConnectError, Status};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong whatever the state.
    InvalidInput,
    /// No such collection.
    CollectionNotFound,
    /// The name is taken.
    CollectionExists,
    /// The name is an alias where a collection is expected.
    NameIsAlias,
    /// No such alias.
    AliasNotFound,
    /// The asked node is not the leader and could not pass the request on.
    NotLeader,
    /// There is no leader at the moment.
    NoLeader,
    /// Not finished within the deadline.
    Timeout,
    /// Too much at once.
    Overloaded,
    /// The asked node serves nothing at the moment.
    NotServing,
    /// The asked node is shutting down.
    Stopped,
    /// The asked node could not use its own storage.
    Storage,
    /// The asked node belongs to no cluster yet.
    NotInitialized,
    /// The asked node belongs to a cluster already.
    AlreadyInitialized,
    /// No such member.
    NodeNotFound,
    /// A membership change that is refused, or another one is going on.
    Membership,
    /// The other node belongs to another cluster.
    ForeignCluster,
    /// The two sides do not speak the same protocol version.
    ProtocolVersion,
    /// The reply would be over the message limit.
    ResponseTooLarge,
    /// As many collections or aliases as there may be.
    CatalogueFull,
    /// The node id was given to another data directory.
    NodeIdUsed,
    /// A point that a search names as an example does not exist.
    PointNotFound,
    /// No connection, or it broke.
    Unreachable,
    /// The reply means nothing to this version of the SDK.
    BadReply,
    /// A defect of the server.
    Internal,
}

impl From<v1::ErrorKind> for ErrorKind {
    fn from(wire: v1::ErrorKind) -> Self {
        use v1::ErrorKind as Wire;
        match wire {
            Wire::InvalidInput => Self::InvalidInput,
            Wire::CollectionNotFound => Self::CollectionNotFound,
            Wire::CollectionExists => Self::CollectionExists,
            Wire::NameIsAlias => Self::NameIsAlias,
            Wire::AliasNotFound => Self::AliasNotFound,
            Wire::NotLeader => Self::NotLeader,
            Wire::NoLeader => Self::NoLeader,
            Wire::Timeout => Self::Timeout,
            Wire::Overloaded => Self::Overloaded,
            Wire::NotServing => Self::NotServing,
            Wire::Stopped => Self::Stopped,
            Wire::Storage => Self::Storage,
            Wire::NotInitialized => Self::NotInitialized,
            Wire::AlreadyInitialized => Self::AlreadyInitialized,
            Wire::NodeNotFound => Self::NodeNotFound,
            Wire::Membership => Self::Membership,
            Wire::ForeignCluster => Self::ForeignCluster,
            Wire::ProtocolVersion => Self::ProtocolVersion,
            Wire::ResponseTooLarge => Self::ResponseTooLarge,
            Wire::CatalogueFull => Self::CatalogueFull,
            Wire::NodeIdUsed => Self::NodeIdUsed,
            Wire::PointNotFound => Self::PointNotFound,
            Wire::Internal | Wire::Unspecified => Self::Internal,
        }
    }
}

/// Who leads, as a node that does not lead sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader.
    pub node: NodeId,
    /// host:port of its public API.
    pub api_address: String,
}

/// A failed request.
#[derive(Clone, Debug)]
pub struct ClientError(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    endpoint: Option<String>,
    leader: Option<LeaderHint>,
    limit: Option<u64>,
    actual: Option<u64>,
    outcome_unknown: bool,
    retry_after: Option<Duration>,
}

impl ClientError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            endpoint: None,
            leader: None,
            limit: None,
            actual: None,
            outcome_unknown: false,
            retry_after: None,
        }))
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same request may succeed later, although nothing about it is changed.
    ///
    /// The client has retried such errors itself until the deadline. Unless [`Self::has_no_side_effects`], a write
    /// that is issued anew gets another request id and may happen twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.0.kind {
            ErrorKind::NotLeader
            | ErrorKind::NoLeader
            | ErrorKind::Timeout
            | ErrorKind::Overloaded
            | ErrorKind::NotServing
            | ErrorKind::Stopped
            | ErrorKind::Storage
            | ErrorKind::Unreachable => true,
            ErrorKind::InvalidInput
            | ErrorKind::CollectionNotFound
            | ErrorKind::CollectionExists
            | ErrorKind::NameIsAlias
            | ErrorKind::AliasNotFound
            | ErrorKind::NotInitialized
            | ErrorKind::AlreadyInitialized
            | ErrorKind::NodeNotFound
            | ErrorKind::Membership
            | ErrorKind::ForeignCluster
            | ErrorKind::ProtocolVersion
            | ErrorKind::ResponseTooLarge
            | ErrorKind::CatalogueFull
            | ErrorKind::NodeIdUsed
            | ErrorKind::PointNotFound
            | ErrorKind::BadReply
            | ErrorKind::Internal => false,
        }
    }

    /// Whether it is certain that nothing was changed, by any of the attempts.
    #[must_use]
    pub fn has_no_side_effects(&self) -> bool {
        !self.0.outcome_unknown
    }

    /// Who leads, if the answering node said so.
    #[must_use]
    pub fn leader_hint(&self) -> Option<&LeaderHint> {
        self.0.leader.as_ref()
    }

    /// The limit that was exceeded, if one was.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.0.limit
    }

    /// What was given or found, next to [`Self::limit`].
    #[must_use]
    pub fn actual(&self) -> Option<u64> {
        self.0.actual
    }

    /// When asking again is likely to help, if an overloaded node said so. The client waits that long by itself before it
    /// asks that node again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The endpoint the error came from.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.0.endpoint.as_deref()
    }

    pub(crate) fn at(mut self, endpoint: &str) -> Self {
        self.0.endpoint = Some(endpoint.to_owned());
        self
    }

    pub(crate) fn with_outcome_unknown(mut self, unknown: bool) -> Self {
        self.0.outcome_unknown = unknown;
        self
    }

    /// The deadline of the whole request has passed.
    pub(crate) fn deadline(timeout: Duration, last: Option<&Self>, outcome_unknown: bool) -> Self {
        let last = last.map_or_else(String::new, |e| format!("; last error: {e}"));
        let message = format!("not finished within {timeout:?}{last}");
        Self::new(ErrorKind::Timeout, message).with_outcome_unknown(outcome_unknown)
    }

    /// One attempt was given up, to try elsewhere.
    pub(crate) fn attempt_timeout(limit: Duration) -> Self {
        Self::new(ErrorKind::Timeout, format!("no answer within {limit:?}"))
            .with_outcome_unknown(true)
    }

    pub(crate) fn from_status(status: &Status) -> Self {
        let Some(detail) = detail::from_status(status) else {
            return Self::without_detail(status);
        };
        let leader = detail.leader.as_ref().map(|hint| LeaderHint {
            node: hint.node_id,
            api_address: hint.api_address.clone(),
        });
        let mut error = Self::new(detail.kind().into(), detail.message.clone());
        error.0.leader = leader;
        error.0.limit = detail.limit;
        error.0.actual = detail.actual;
        error.0.retry_after = detail.retry_after_ms.map(Duration::from_millis);
        error.with_outcome_unknown(detail.outcome_unknown)
    }

    /// Pando's servers always send a detail: this failed on the way.
    fn without_detail(status: &Status) -> Self {
        let broken = is_transport(status);
        let kind = match status.code() {
            Code::DeadlineExceeded | Code::Cancelled if !broken => ErrorKind::Timeout,
            Code::Unavailable | Code::Unknown | Code::Aborted => ErrorKind::Unreachable,
            _ if broken => ErrorKind::Unreachable,
            _ => ErrorKind::Internal,
        };
        let nothing_sent = never_connected(status) || status.code() == Code::Unimplemented;
        let said = || format!("{}: {}", status.code(), status.message());
        let message = match status.code() {
            Code::Unimplemented => {
                format!("this is not the public API (default port 7700): {}", said())
            }
            _ if is_refused_connection(status) => {
                "connection refused; is `pando serve` running there?".to_owned()
            }
            _ => said(),
        };
        Self::new(kind, message).with_outcome_unknown(!nothing_sent)
    }
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |e| e.source())
}

fn is_transport(status: &Status) -> bool {
    causes(status).next().is_some() && !causes(status).any(|e| e.is::<tonic::TimeoutExpired>())
}

fn never_connected(status: &Status) -> bool {
    causes(status).any(|e| e.is::<ConnectError>())
}

fn is_refused_connection(status: &Status) -> bool {
    let refused = |e: &io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
    causes(status).any(|e| e.downcast_ref().is_some_and(refused))
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.endpoint {
            Some(endpoint) => write!(f, " (from {endpoint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<InvalidInput> for ClientError {
    fn from(error: InvalidInput) -> Self {
        Self::new(ErrorKind::InvalidInput, error.to_string())
    }
}

impl From<DecodeError> for ClientError {
    fn from(error: DecodeError) -> Self {
        let message = format!("the reply cannot be read: {error}");
        Self::new(ErrorKind::BadReply, message).with_outcome_unknown(true)
    }
}
