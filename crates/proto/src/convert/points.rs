//! Points, their vectors and versions, and which of them a write is about.

use std::collections::BTreeMap;

use pando_model::{Point, Selector, SparseVector, Stamp, StoredPoint, VectorName};

use super::{all, decode_filter, decode_id, decode_ids, decode_payload};
use crate::error::DecodeError;
use crate::v1::{self, selector::Selector as WireSelector, vector::Data};

type Dense = BTreeMap<VectorName, Vec<f32>>;
type Sparse = BTreeMap<VectorName, SparseVector>;

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
            Some(Data::Sparse(_)) => {
                let reason = "it is sparse, and has to be dense here";
                Err(DecodeError::malformed("sparse", reason))
            }
            None => Err(DecodeError::missing("data")),
        }
    }
}

/// Vectors by name, of both kinds: no name is in both.
fn encode_vectors(dense: Dense, sparse: Sparse) -> BTreeMap<String, v1::Vector> {
    let dense = dense.into_iter().map(|(name, v)| (name.into(), v.into()));
    let sparse = sparse.into_iter().map(|(name, v)| (name.into(), v.into()));
    dense.chain(sparse).collect()
}

/// Vectors by name, by their kinds.
fn decode_vectors(wire: BTreeMap<String, v1::Vector>) -> Result<(Dense, Sparse), DecodeError> {
    let (mut dense, mut sparse) = (Dense::new(), Sparse::new());
    for (name, vector) in wire {
        let field = format!("vectors[{name:?}]");
        let name = VectorName::parse(&name).map_err(DecodeError::refused(&field))?;
        match vector.data {
            Some(Data::Sparse(wire)) => {
                let vector = wire.try_into().map_err(DecodeError::within(field))?;
                sparse.insert(name, vector);
            }
            Some(Data::Dense(wire)) => {
                dense.insert(name, wire.values);
            }
            None => return Err(DecodeError::missing(format!("{field}.data"))),
        }
    }
    Ok((dense, sparse))
}

impl From<Point> for v1::Point {
    fn from(point: Point) -> Self {
        Self {
            id: Some(point.id.into()),
            vectors: encode_vectors(point.vectors, point.sparse_vectors),
            payload: Some(point.payload.into()),
        }
    }
}

impl TryFrom<v1::Point> for Point {
    type Error = DecodeError;

    fn try_from(wire: v1::Point) -> Result<Self, Self::Error> {
        let id = decode_id("id", wire.id)?;
        let (vectors, sparse_vectors) = decode_vectors(wire.vectors)?;
        Ok(Self {
            id,
            vectors,
            sparse_vectors,
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
            vectors: encode_vectors(point.vectors, point.sparse_vectors),
        }
    }
}

impl TryFrom<v1::StoredPoint> for StoredPoint {
    type Error = DecodeError;

    fn try_from(wire: v1::StoredPoint) -> Result<Self, Self::Error> {
        let version = wire
            .version
            .ok_or_else(|| DecodeError::missing("version"))?;
        let (vectors, sparse_vectors) = decode_vectors(wire.vectors)?;
        Ok(Self {
            id: decode_id("id", wire.id)?,
            version: version.into(),
            payload: wire
                .payload
                .map(TryInto::try_into)
                .transpose()
                .map_err(DecodeError::within("payload"))?,
            vectors,
            sparse_vectors,
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
        let mut point = v1::Point::from(Point::new(1, vec![1.0], Default::default()));
        let sparse = v1::SparseVector {
            indices: vec![5, 5],
            values: vec![1.0, 1.0],
        };
        let data = Some(Data::Sparse(sparse));
        point.vectors.insert("t".into(), v1::Vector { data });
        let error = decode_points(vec![point]).expect_err("an index twice");
        assert_eq!(error.field(), "points[0].vectors[\"t\"].sparse");
    }
}
