//! Failed calls: the typed detail that goes along with a gRPC status, and how the model's errors become one.
//!
//! The details bytes of a status are a `google.rpc.Status` that holds one `pando.v1.ErrorDetail`, which is what
//! the gRPC libraries of other languages look for.

use pando_model::{InvalidInput, ReadError, SparseError, WriteError};
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

use crate::v1::{ErrorDetail, ErrorKind};

const TYPE_URL: &str = "type.googleapis.com/pando.v1.ErrorDetail";

/// `google.rpc.Status`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// A detail of a kind, with a message for people.
#[must_use]
pub fn new(kind: ErrorKind, message: impl Into<String>) -> ErrorDetail {
    ErrorDetail {
        kind: kind.into(),
        message: message.into(),
        ..ErrorDetail::default()
    }
}

/// The status code that goes with a kind, as documented in `types.proto`.
#[must_use]
pub fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidInput => Code::InvalidArgument,
        ErrorKind::CollectionNotFound
        | ErrorKind::AliasNotFound
        | ErrorKind::NodeNotFound
        | ErrorKind::PointNotFound => Code::NotFound,
        ErrorKind::CollectionExists => Code::AlreadyExists,
        ErrorKind::NameIsAlias
        | ErrorKind::NotInitialized
        | ErrorKind::AlreadyInitialized
        | ErrorKind::CatalogueFull
        | ErrorKind::NodeIdUsed
        | ErrorKind::Membership
        | ErrorKind::ForeignCluster
        | ErrorKind::ProtocolVersion => Code::FailedPrecondition,
        ErrorKind::NotLeader | ErrorKind::NoLeader | ErrorKind::NotServing | ErrorKind::Stopped => {
            Code::Unavailable
        }
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Overloaded => Code::ResourceExhausted,
        ErrorKind::ResponseTooLarge => Code::OutOfRange,
        ErrorKind::Storage | ErrorKind::Internal | ErrorKind::Unspecified => Code::Internal,
    }
}

/// The status that carries a detail.
#[must_use]
pub fn to_status(detail: &ErrorDetail) -> Status {
    let code = code(detail.kind());
    let rpc = RpcStatus {
        code: code.into(),
        message: detail.message.clone(),
        details: vec![Any {
            type_url: TYPE_URL.to_owned(),
            value: detail.encode_to_vec(),
        }],
    };
    Status::with_details(code, &detail.message, rpc.encode_to_vec().into())
}

/// The detail a status carries. `None` if it has none that can be read: the call did not fail in Pando's own
/// code, but on the way.
#[must_use]
pub fn from_status(status: &Status) -> Option<ErrorDetail> {
    let rpc = RpcStatus::decode(status.details()).ok()?;
    let any = rpc.details.iter().find(|any| any.type_url == TYPE_URL)?;
    ErrorDetail::decode(any.value.as_slice()).ok()
}

/// The limit an input is over, and by what.
fn limit_and_actual(error: &InvalidInput) -> Option<(usize, u64)> {
    match error {
        InvalidInput::VectorCount { count, max } | InvalidInput::TooMany { count, max, .. } => {
            Some((*max, *count as u64))
        }
        InvalidInput::BadDimension { dimension, max, .. } => Some((*max, *dimension)),
        InvalidInput::DimensionMismatch {
            expected, actual, ..
        } => Some((*expected, *actual as u64)),
        InvalidInput::Sparse(error) => match error {
            SparseError::TooMany { count, max } => Some((*max, *count as u64)),
            SparseError::Lengths { indices, values } => Some((*indices, *values as u64)),
            SparseError::Empty
            | SparseError::Unsorted { .. }
            | SparseError::Repeated { .. }
            | SparseError::NotFinite { .. }
            | SparseError::Zero { .. } => None,
        },
        InvalidInput::PayloadTooLarge { bytes, max }
        | InvalidInput::WriteTooLarge { bytes, max } => Some((*max, *bytes as u64)),
        InvalidInput::PayloadTooDeep { .. }
        | InvalidInput::BadName { .. }
        | InvalidInput::BadId { .. }
        | InvalidInput::NotFinite { .. }
        | InvalidInput::ZeroVector { .. }
        | InvalidInput::UnknownVector { .. }
        | InvalidInput::NoVector { .. }
        | InvalidInput::PayloadNotObject
        | InvalidInput::NumberOutOfRange { .. }
        | InvalidInput::Empty { .. }
        | InvalidInput::DuplicateId { .. }
        | InvalidInput::BadFilter { .. }
        | InvalidInput::BadField { .. }
        | InvalidInput::ExampleWithoutVector { .. }
        | InvalidInput::OutsideBall { .. }
        | InvalidInput::IsSparse { .. }
        | InvalidInput::IsDense { .. }
        | InvalidInput::NameTwice { .. }
        | InvalidInput::SparseExamples { .. } => None,
    }
}

impl From<&InvalidInput> for ErrorDetail {
    fn from(error: &InvalidInput) -> Self {
        let numbers = limit_and_actual(error);
        Self {
            limit: numbers.map(|(limit, _)| limit as u64),
            actual: numbers.map(|(_, actual)| actual),
            ..new(ErrorKind::InvalidInput, error.to_string())
        }
    }
}

impl From<&WriteError> for ErrorDetail {
    fn from(error: &WriteError) -> Self {
        let kind = match error {
            WriteError::Invalid(invalid) => return invalid.into(),
            WriteError::CollectionNotFound { .. } => ErrorKind::CollectionNotFound,
            WriteError::CollectionExists { .. } => ErrorKind::CollectionExists,
            WriteError::NameIsAlias { .. } => ErrorKind::NameIsAlias,
            WriteError::AliasNotFound { .. } => ErrorKind::AliasNotFound,
            WriteError::CatalogueFull { max, .. } => {
                return Self {
                    limit: Some(*max as u64),
                    ..new(ErrorKind::CatalogueFull, error.to_string())
                };
            }
            WriteError::NodeIdUsed { .. } => ErrorKind::NodeIdUsed,
        };
        new(kind, error.to_string())
    }
}

impl From<&ReadError> for ErrorDetail {
    fn from(error: &ReadError) -> Self {
        let kind = match error {
            ReadError::Invalid(invalid) => return invalid.into(),
            ReadError::CollectionNotFound { .. } => ErrorKind::CollectionNotFound,
            ReadError::PointNotFound { .. } => ErrorKind::PointNotFound,
            ReadError::OutOfTime => ErrorKind::Timeout,
            ReadError::Storage { .. } => ErrorKind::Storage,
            ReadError::NotServing { .. } => ErrorKind::NotServing,
        };
        new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::LeaderHint;

    #[test]
    fn details_survive_the_status() {
        let detail = ErrorDetail {
            leader: Some(LeaderHint {
                node_id: 3,
                api_address: "10.0.0.3:7700".into(),
            }),
            limit: Some(0),
            actual: Some(9),
            outcome_unknown: true,
            ..new(ErrorKind::NotLeader, "node 3 leads")
        };
        let status = to_status(&detail);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "node 3 leads");
        assert_eq!(from_status(&status), Some(detail));
    }

    #[test]
    fn statuses_of_others_have_no_detail() {
        assert_eq!(
            from_status(&Status::unavailable("connection refused")),
            None
        );
        let garbage = Status::with_details(Code::Internal, "", vec![0xff, 1, 2].into());
        assert_eq!(from_status(&garbage), None);
    }

    #[test]
    fn every_kind_has_a_code_that_is_an_error() {
        for kind in (0..64).filter_map(|k| ErrorKind::try_from(k).ok()) {
            assert_ne!(code(kind), Code::Ok, "{kind:?}");
            assert_ne!(code(kind), Code::Unknown, "{kind:?}");
        }
    }

    #[test]
    fn limits_are_quoted() {
        let error = InvalidInput::WriteTooLarge { bytes: 9, max: 7 };
        let detail = ErrorDetail::from(&WriteError::Invalid(error));
        assert_eq!(detail.kind(), ErrorKind::InvalidInput);
        assert_eq!((detail.limit, detail.actual), (Some(7), Some(9)));
    }
}
