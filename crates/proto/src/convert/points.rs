//! Points, their vectors and versions, and which of them a write is about.

use std::collections::BTreeMap;

use pando_model::{Point, Selector, Stamp, StoredPoint, VectorName};

use super::{all, decode_filter, decode_id, decode_ids, decode_payload};
use crate::error::DecodeError;
use crate::v1::{self, selector::Selector as WireSelector, vector::Data};

type Vectors = BTreeMap<VectorName, Vec<f32>>;

impl From<Vec<f32>> for v1::Vector {
    fn from(values: Vec<f32>) -> Self {
        Self {
            data: Some(Data::Dense(v1::DenseVector { values })),
        }
    }
}

impl TryFrom<v1::Vector> for Vec<f32> {
    type Error = DecodeError;

    fn try_from(wire: v1::Vector) -> Result<Self, Self::Error> {
        match wire.data {
            Some(Data::Dense(dense)) => Ok(dense.values),
            None => Err(DecodeError::missing("data")),
        }
    }
}

/// Vectors by name.
#[must_use]
pub fn encode_vectors(vectors: Vectors) -> BTreeMap<String, v1::Vector> {
    vectors
        .into_iter()
        .map(|(name, values)| (name.into(), values.into()))
        .collect()
}

/// Vectors by name.
pub fn decode_vectors(wire: BTreeMap<String, v1::Vector>) -> Result<Vectors, DecodeError> {
    wire.into_iter()
        .map(|(name, vector)| {
            let field = format!("vectors[{name:?}]");
            let name = VectorName::parse(&name).map_err(DecodeError::refused(&field))?;
            let values = vector.try_into().map_err(DecodeError::within(field))?;
            Ok((name, values))
        })
        .collect()
}

impl From<Point> for v1::Point {
    fn from(point: Point) -> Self {
        Self {
            id: Some(point.id.into()),
            vectors: encode_vectors(point.vectors),
            payload: Some(point.payload.into()),
        }
    }
}

impl TryFrom<v1::Point> for Point {
    type Error = DecodeError;

    fn try_from(wire: v1::Point) -> Result<Self, Self::Error> {
        Ok(Self {
            id: decode_id("id", wire.id)?,
            vectors: decode_vectors(wire.vectors)?,
            payload: decode_payload(wire.payload)?,
        })
    }
}

/// The points of a write.
pub fn decode_points(wire: Vec<v1::Point>) -> Result<Vec<Point>, DecodeError> {
    all("points", wire, Point::try_from)
}

impl From<Stamp> for v1::Stamp {
    fn from(stamp: Stamp) -> Self {
        Self {
            wall_ms: stamp.wall_ms,
            counter: stamp.counter,
            origin: stamp.origin,
        }
    }
}

impl From<v1::Stamp> for Stamp {
    fn from(wire: v1::Stamp) -> Self {
        Self {
            wall_ms: wire.wall_ms,
            counter: wire.counter,
            origin: wire.origin,
        }
    }
}

impl From<StoredPoint> for v1::StoredPoint {
    fn from(point: StoredPoint) -> Self {
        Self {
            id: Some(point.id.into()),
            version: Some(point.version.into()),
            payload: point.payload.map(Into::into),
            vectors: encode_vectors(point.vectors),
        }
    }
}

impl TryFrom<v1::StoredPoint> for StoredPoint {
    type Error = DecodeError;

    fn try_from(wire: v1::StoredPoint) -> Result<Self, Self::Error> {
        let version = wire
            .version
            .ok_or_else(|| DecodeError::missing("version"))?;
        Ok(Self {
            id: decode_id("id", wire.id)?,
            version: version.into(),
            payload: wire
                .payload
                .map(TryInto::try_into)
                .transpose()
                .map_err(DecodeError::within("payload"))?,
            vectors: decode_vectors(wire.vectors)?,
        })
    }
}

impl From<Selector> for v1::Selector {
    fn from(selector: Selector) -> Self {
        let selector = match selector {
            Selector::Ids(ids) => WireSelector::Ids(v1::PointIds {
                ids: ids.into_iter().map(Into::into).collect(),
            }),
            Selector::Filter { filter, from } => WireSelector::Filter(v1::FilterSelector {
                filter: Some(filter.into()),
                from: from.map(Into::into),
            }),
        };
        Self {
            selector: Some(selector),
        }
    }
}

/// Which points a write is about; must be there, so that a forgotten field never means "all".
pub fn decode_selector(wire: Option<v1::Selector>) -> Result<Selector, DecodeError> {
    match wire.and_then(|s| s.selector) {
        Some(WireSelector::Ids(ids)) => Ok(Selector::Ids(decode_ids("selector.ids", ids.ids)?)),
        Some(WireSelector::Filter(wire)) => {
            // Absent is refused rather than taken for the empty filter, which every point passes.
            let filter = decode_filter(wire.filter)
                .map_err(DecodeError::within("selector.filter"))?
                .ok_or_else(|| DecodeError::missing("selector.filter.filter"))?;
            let from = wire
                .from
                .map(TryInto::try_into)
                .transpose()
                .map_err(DecodeError::within("selector.filter.from"))?;
            Ok(Selector::Filter { filter, from })
        }
        None => Err(DecodeError::missing("selector")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::strategies::{filters, ids, points, stored_points};
    use super::*;

    proptest! {
        #[test]
        fn points_round_trip_through_bytes(point in points()) {
            let bytes = v1::Point::from(point.clone()).encode_to_vec();
            let wire = v1::Point::decode(bytes.as_slice()).expect("own bytes");
            prop_assert_eq!(Point::try_from(wire).expect("own message"), point);
        }

        #[test]
        fn stored_points_round_trip_through_bytes(point in stored_points()) {
            let bytes = v1::StoredPoint::from(point.clone()).encode_to_vec();
            let wire = v1::StoredPoint::decode(bytes.as_slice()).expect("own bytes");
            prop_assert_eq!(StoredPoint::try_from(wire).expect("own message"), point);
        }

        #[test]
        fn selectors_round_trip(
            set in prop::collection::btree_set(ids(), 0..5),
            filter in filters(),
            from in prop::option::of(ids()),
        ) {
            for selector in [Selector::Ids(set), Selector::Filter { filter, from }] {
                let wire = v1::Selector::from(selector.clone());
                prop_assert_eq!(decode_selector(Some(wire)).expect("own message"), selector);
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Ok(point)) = v1::Point::decode(bytes.as_slice()).map(Point::try_from) {
                prop_assert_eq!(Point::try_from(v1::Point::from(point.clone())).is_ok(), true);
            }
        }
    }

    #[test]
    fn a_missing_selector_never_means_all() {
        assert!(decode_selector(None).is_err());
        assert!(decode_selector(Some(v1::Selector::default())).is_err());
        let hollow = v1::Selector {
            selector: Some(WireSelector::Filter(v1::FilterSelector::default())),
        };
        let error = decode_selector(Some(hollow)).expect_err("no filter");
        assert_eq!(error, DecodeError::missing("selector.filter.filter"));
    }

    #[test]
    fn bad_vectors_name_their_place() {
        let mut point = v1::Point::from(Point::new(1, vec![1.0], Default::default()));
        point.vectors.insert("a b".into(), vec![1.0].into());
        let error = decode_points(vec![point]).expect_err("bad name");
        assert_eq!(error.field(), "points[0].vectors[\"a b\"]");
    }
}
