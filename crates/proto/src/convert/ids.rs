//! Ids and names.

use pando_model::{CollectionName, InvalidInput, PointId, RequestId};
use uuid::Uuid;

use super::all;
use crate::error::DecodeError;
use crate::v1;

impl From<PointId> for v1::PointId {
    fn from(id: PointId) -> Self {
        let id = match id {
            PointId::Num(n) => v1::point_id::Id::Num(n),
            PointId::Uuid(u) => v1::point_id::Id::Uuid(u.to_string()),
        };
        Self { id: Some(id) }
    }
}

impl TryFrom<v1::PointId> for PointId {
    type Error = DecodeError;

    fn try_from(wire: v1::PointId) -> Result<Self, Self::Error> {
        match wire.id {
            Some(v1::point_id::Id::Num(n)) => Ok(Self::Num(n)),
            Some(v1::point_id::Id::Uuid(text)) => {
                let bad = || InvalidInput::BadId {
                    id: text.chars().take(64).collect(),
                };
                Uuid::parse_str(&text)
                    .map(Self::Uuid)
                    .map_err(|_| DecodeError::refused("uuid")(bad()))
            }
            None => Err(DecodeError::missing("id")),
        }
    }
}

/// A point id that must be there.
pub fn decode_id(field: &str, wire: Option<v1::PointId>) -> Result<PointId, DecodeError> {
    wire.ok_or_else(|| DecodeError::missing(field))?
        .try_into()
        .map_err(DecodeError::within(field))
}

/// Point ids, in order or as a set.
pub fn decode_ids<C: FromIterator<PointId>>(
    field: &str,
    wire: Vec<v1::PointId>,
) -> Result<C, DecodeError> {
    all(field, wire, PointId::try_from)
}

/// The name of a collection or an alias.
pub fn decode_collection(field: &str, name: &str) -> Result<CollectionName, DecodeError> {
    CollectionName::parse(name).map_err(DecodeError::refused(field))
}

/// The request id of a write; empty means none.
pub fn decode_request_id(text: &str) -> Result<Option<RequestId>, DecodeError> {
    if text.is_empty() {
        return Ok(None);
    }
    Uuid::parse_str(text)
        .map(|uuid| Some(RequestId(uuid)))
        .map_err(|_| DecodeError::malformed("request_id", "use a UUID, or leave it empty"))
}

/// The wire form of a request id.
#[must_use]
pub fn encode_request_id(id: Option<RequestId>) -> String {
    id.map_or_else(String::new, |id| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_ids_name_their_place() {
        let bad = v1::PointId {
            id: Some(v1::point_id::Id::Uuid("zzz".into())),
        };
        let error =
            decode_ids::<Vec<_>>("ids", vec![PointId::Num(1).into(), bad]).expect_err("bad");
        assert_eq!(error.field(), "ids[1].uuid");
        assert!(matches!(
            InvalidInput::from(error),
            InvalidInput::BadId { id } if id == "zzz"
        ));
        let error = decode_ids::<Vec<_>>("ids", vec![v1::PointId::default()]).expect_err("empty");
        assert_eq!(error, DecodeError::missing("ids[0].id"));
    }

    #[test]
    fn request_ids_are_uuids_or_absent() {
        let id = RequestId(Uuid::from_u128(7));
        assert_eq!(decode_request_id(""), Ok(None));
        assert_eq!(
            decode_request_id(&encode_request_id(Some(id))),
            Ok(Some(id))
        );
        assert!(decode_request_id("7").is_err());
    }
}
