//! Commands: what one Raft entry asks every replica to do.

mod form;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::InvalidInput;
use crate::filter::Filter;
use crate::ids::{GroupId, NodeId, RequestId};
use crate::limits::{POINTS_PER_WRITE_MAX, WRITE_BYTES_MAX};
use crate::name::{CollectionName, VectorName};
use crate::payload::Payload;
use crate::point_id::PointId;
use crate::quantization::Quantization;
use crate::row::TreeId;
use crate::schema::CollectionSchema;
use crate::sparse::SparseVector;
use crate::stamp::Stamp;

/// A point as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its id; an existing point of this id is replaced whole.
    pub id: PointId,
    /// Its vectors by name.
    pub vectors: BTreeMap<VectorName, Vec<f32>>,
    /// Its sparse vectors by name; no name is in both.
    pub sparse_vectors: BTreeMap<VectorName, SparseVector>,
    /// Its payload.
    pub payload: Payload,
}

impl Point {
    /// A point with the default vector only.
    #[must_use]
    pub fn new(id: impl Into<PointId>, vector: Vec<f32>, payload: Payload) -> Self {
        Self {
            id: id.into(),
            vectors: BTreeMap::from([(VectorName::default(), vector)]),
            sparse_vectors: BTreeMap::new(),
            payload,
        }
    }

    /// The same point with a sparse vector more.
    #[must_use]
    pub fn with_sparse(mut self, name: VectorName, vector: SparseVector) -> Self {
        self.sparse_vectors.insert(name, vector);
        self
    }

    /// Refuses one name for a dense and a sparse vector: on the wire there is one map of vectors.
    pub fn check_names(&self) -> Result<(), InvalidInput> {
        let mut names = self.sparse_vectors.keys();
        match names.find(|name| self.vectors.contains_key(*name)) {
            Some(name) => Err(InvalidInput::NameTwice {
                vector: name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Bytes of its vectors.
    #[must_use]
    pub fn vector_bytes(&self) -> usize {
        vector_bytes(&self.vectors, &self.sparse_vectors)
    }
}

/// Bytes of a point's vectors.
pub(crate) fn vector_bytes(
    dense: &BTreeMap<VectorName, Vec<f32>>,
    sparse: &BTreeMap<VectorName, SparseVector>,
) -> usize {
    let dense = dense.values().map(|v| size_of_val(v.as_slice()));
    let sparse = sparse.values().map(SparseVector::bytes);
    dense.sum::<usize>() + sparse.sum::<usize>()
}

/// Which points a write is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Selector {
    /// These, if they exist.
    Ids(BTreeSet<PointId>),
    /// Those that pass when the write is applied, in id order, as many as one entry may change; the outcome
    /// says where to go on.
    Filter {
        /// Which points.
        filter: Filter,
        /// The first id looked at; `None` starts at the beginning.
        from: Option<PointId>,
    },
}

impl Selector {
    /// What is left of a write that one entry could not finish: it goes on at `next`.
    #[must_use]
    pub fn resume_at(self, next: PointId) -> Self {
        match self {
            Self::Ids(mut ids) => Self::Ids(ids.split_off(&next)),
            Self::Filter { filter, .. } => Self::Filter {
                filter,
                from: Some(next),
            },
        }
    }
}

/// One write. Collections are named by tree, resolved when the write was proposed: a collection dropped and
/// created anew in between has another tree, and the write is refused. How it is stored and sent, `form` says.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Creates an empty collection.
    CreateCollection {
        /// Its name.
        name: CollectionName,
        /// Its vectors.
        schema: CollectionSchema,
        /// Drawn by the proposer.
        salt: [u8; 16],
    },
    /// Drops a collection, its points and its aliases.
    DropCollection {
        /// Its name (not an alias).
        name: CollectionName,
    },
    /// Points an alias at a collection, moving it if it exists.
    SetAlias {
        /// The alias.
        alias: CollectionName,
        /// The collection.
        collection: CollectionName,
    },
    /// Drops an alias.
    DropAlias {
        /// The alias.
        alias: CollectionName,
    },
    /// Inserts points, replacing those of the same id.
    Upsert {
        /// The collection's tree.
        tree: TreeId,
        /// The points, ids distinct.
        points: Vec<Point>,
    },
    /// Deletes points.
    Delete {
        /// The collection's tree.
        tree: TreeId,
        /// Which.
        selector: Selector,
    },
    /// Sets top-level payload fields of existing points.
    SetPayload {
        /// The collection's tree.
        tree: TreeId,
        /// Which points.
        selector: Selector,
        /// The fields.
        payload: Payload,
    },
    /// Removes top-level payload fields; all of them if `keys` is empty.
    ClearPayload {
        /// The collection's tree.
        tree: TreeId,
        /// Which points.
        selector: Selector,
        /// The fields.
        keys: BTreeSet<String>,
    },
    /// Reserves a node id for one data directory, for good: a wiped disk needs another id.
    RegisterNode {
        /// The id.
        id: NodeId,
        /// Drawn when the data directory was created.
        instance: Uuid,
    },
    /// Makes every replica record its root at this index.
    ConsistencyCheck,
    /// Changes how the index keeps vectors of a collection.
    Quantize {
        /// The collection's tree.
        tree: TreeId,
        /// How, by vector. Those not named stay as they are.
        vectors: BTreeMap<VectorName, Quantization>,
    },
}

/// A command as it goes into the log: everything apply needs, so that apply needs no clock and no randomness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The Raft group.
    pub group: GroupId,
    /// The leader's clock; apply moves it past the last one applied.
    pub stamp: Stamp,
    /// Makes a retry safe.
    pub request: Option<RequestId>,
    /// What to do.
    pub command: Command,
}

fn check_selector(selector: &Selector) -> Result<(), InvalidInput> {
    match selector {
        Selector::Filter { filter, .. } => filter.validate(),
        Selector::Ids(ids) => check_count("point ids", ids.len()),
    }
}

fn check_count(what: &str, count: usize) -> Result<(), InvalidInput> {
    match count {
        0 => Err(InvalidInput::Empty { what: what.into() }),
        count if count > POINTS_PER_WRITE_MAX => Err(InvalidInput::TooMany {
            what: what.into(),
            count,
            max: POINTS_PER_WRITE_MAX,
        }),
        _ => Ok(()),
    }
}

impl Command {
    /// Refuses what is wrong whatever the state: counts, sizes, malformed filters, duplicate ids.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        match self {
            Self::CreateCollection { schema, .. } => schema.validate(),
            Self::Upsert { points, .. } => check_points(points),
            Self::Delete { selector, .. } => check_selector(selector),
            Self::SetPayload {
                selector, payload, ..
            } => {
                check_selector(selector)?;
                if payload.0.is_empty() {
                    return Err(InvalidInput::Empty {
                        what: "payload fields".into(),
                    });
                }
                payload.validate()
            }
            Self::ClearPayload { selector, .. } => check_selector(selector),
            Self::Quantize { vectors, .. } if vectors.is_empty() => Err(InvalidInput::Empty {
                what: "vectors".into(),
            }),
            Self::Quantize { .. }
            | Self::DropCollection { .. }
            | Self::SetAlias { .. }
            | Self::DropAlias { .. }
            | Self::RegisterNode { .. }
            | Self::ConsistencyCheck => Ok(()),
        }
    }
}

fn check_points(points: &[Point]) -> Result<(), InvalidInput> {
    check_count("points", points.len())?;
    let mut ids = BTreeSet::new();
    let mut bytes = 0;
    for point in points {
        if !ids.insert(point.id) {
            return Err(InvalidInput::DuplicateId { id: point.id });
        }
        point.check_names()?;
        point.payload.validate()?;
        bytes += point.payload.encode().as_bytes().len();
        bytes += point.vector_bytes();
    }
    if bytes > WRITE_BYTES_MAX {
        return Err(InvalidInput::WriteTooLarge {
            bytes,
            max: WRITE_BYTES_MAX,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Metric;

    fn upsert(points: Vec<Point>) -> Result<(), InvalidInput> {
        Command::Upsert {
            tree: TreeId(1),
            points,
        }
        .validate()
    }

    #[test]
    fn writes_are_bounded() {
        let point = |id: u64, dim| Point::new(id, vec![1.0; dim], Payload::default());
        assert!(matches!(upsert(vec![]), Err(InvalidInput::Empty { .. })));
        assert!(upsert(vec![point(1, 4), point(2, 4)]).is_ok());
        assert!(matches!(
            upsert(vec![point(1, 4), point(1, 4)]),
            Err(InvalidInput::DuplicateId {
                id: PointId::Num(1)
            })
        ));
        let many = (0..=POINTS_PER_WRITE_MAX as u64)
            .map(|i| point(i, 1))
            .collect();
        assert!(matches!(upsert(many), Err(InvalidInput::TooMany { .. })));
        let wide = (0..100).map(|i| point(i, 4096)).collect();
        assert!(matches!(
            upsert(wide),
            Err(InvalidInput::WriteTooLarge { .. })
        ));
        let terms = VectorName::parse("terms").expect("name");
        let entries = SparseVector::from_pairs((1..=16_000).map(|i| (i, 1.0))).expect("fine");
        let sparse = |id| point(id, 1).with_sparse(terms.clone(), entries.clone());
        assert!(upsert((0..8).map(sparse).collect()).is_ok());
        assert!(matches!(
            upsert((0..9).map(sparse).collect()),
            Err(InvalidInput::WriteTooLarge { .. })
        ));
        let none = Command::Delete {
            tree: TreeId(1),
            selector: Selector::Ids(BTreeSet::new()),
        };
        assert!(none.validate().is_err());
    }

    #[test]
    fn one_name_is_not_dense_and_sparse() {
        let sparse = SparseVector::new(vec![1], vec![1.0]).expect("fine");
        let point = Point::new(1, vec![1.0], Payload::default());
        let twice = point
            .clone()
            .with_sparse(VectorName::default(), sparse.clone());
        let other = point.with_sparse(VectorName::parse("terms").expect("name"), sparse);
        assert!(matches!(
            check_points(&[twice]),
            Err(InvalidInput::NameTwice { .. })
        ));
        assert_eq!(check_points(&[other]), Ok(()));
    }

    #[test]
    fn a_write_goes_on_where_it_stopped() {
        let ids = [1, 5, 9].map(PointId::Num);
        let rest = Selector::Ids(BTreeSet::from(ids)).resume_at(PointId::Num(5));
        assert_eq!(rest, Selector::Ids(ids.into_iter().skip(1).collect()));
        let filter = Filter::default();
        let rest = Selector::Filter {
            filter: filter.clone(),
            from: None,
        };
        let from = Some(PointId::Num(5));
        assert_eq!(
            rest.resume_at(PointId::Num(5)),
            Selector::Filter { filter, from }
        );
    }

    #[test]
    fn schemas_are_checked() {
        let create = |dim| Command::CreateCollection {
            name: CollectionName::parse("a").expect("name"),
            schema: CollectionSchema::single(dim, Metric::Dot),
            salt: [0; 16],
        };
        assert!(create(0).validate().is_err());
        assert!(create(384).validate().is_ok());
        assert!(create(1_000_000).validate().is_err());
    }
}
