//! Reads: search, get, scroll, count, and what they return.

use std::collections::BTreeMap;

use crate::command::vector_bytes;
use crate::definition::Definition;
use crate::error::InvalidInput;
use crate::examples::Examples;
use crate::filter::Filter;
use crate::limits::{EF_MAX, OVERSAMPLING_MAX, RESULTS_MAX};
use crate::name::VectorName;
use crate::payload::Payload;
use crate::point_id::PointId;
use crate::sparse::SparseVector;
use crate::stamp::Stamp;

/// What a read must have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Whatever this node has applied.
    #[default]
    Local,
    /// At least this log index: with the index of one's own write, read your writes.
    AtLeast(u64),
    /// Every write acknowledged before the read began.
    Linearizable,
}

/// Which vectors come back with a point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WithVectors {
    /// None.
    #[default]
    None,
    /// All.
    All,
}

/// The nearest points to one vector, given as it is or by examples.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchQuery {
    /// Which of the collection's vectors.
    pub vector_name: VectorName,
    /// The query vector; empty if there are examples, or if it is sparse.
    pub vector: Vec<f32>,
    /// The query vector by the name of a sparse one.
    pub sparse_vector: Option<SparseVector>,
    /// What hits are to be like, in place of a vector.
    pub like: Option<Examples>,
    /// Which points count.
    pub filter: Option<Filter>,
    /// How long a list the graph is searched with: longer finds more and takes longer. `None` is a good default.
    pub ef: Option<u32>,
    /// How many candidates are taken from the graph for each hit, and scored by their vectors: the list is at least so
    /// long. `None` is a good default for how vectors are quantized.
    pub oversampling: Option<f32>,
    /// Whether all points are looked at, so that no hit is missed.
    pub exact: bool,
    /// How many hits, after the offset.
    pub limit: usize,
    /// How many hits to skip.
    pub offset: usize,
    /// Worst acceptable score: a lower bound where higher is nearer, an upper bound for distances.
    pub score_threshold: Option<f32>,
    /// Whether hits carry their payload.
    pub with_payload: bool,
    /// Whether hits carry their vectors.
    pub with_vectors: WithVectors,
    /// Whether the answer tells how it was found.
    pub explain: bool,
}

impl SearchQuery {
    /// The nearest `limit` points by the default vector, with payloads.
    #[must_use]
    pub fn new(vector: Vec<f32>, limit: usize) -> Self {
        Self {
            vector_name: VectorName::default(),
            vector,
            sparse_vector: None,
            like: None,
            filter: None,
            ef: None,
            oversampling: None,
            exact: false,
            limit,
            offset: 0,
            score_threshold: None,
            with_payload: true,
            with_vectors: WithVectors::None,
            explain: false,
        }
    }

    /// The `limit` points with the highest dot product by a sparse vector, with payloads. Points that share no index with
    /// it are no hits.
    #[must_use]
    pub fn by_sparse(vector_name: VectorName, vector: SparseVector, limit: usize) -> Self {
        Self {
            vector_name,
            sparse_vector: Some(vector),
            ..Self::new(Vec::new(), limit)
        }
    }

    /// The `limit` points most like the examples by the default vector, with payloads.
    #[must_use]
    pub fn by_examples(examples: Examples, limit: usize) -> Self {
        Self {
            like: Some(examples),
            ..Self::new(Vec::new(), limit)
        }
    }

    /// The nearest `limit` points to a stored one by the default vector, with payloads, without that point.
    #[must_use]
    pub fn by_id(id: impl Into<PointId>, limit: usize) -> Self {
        Self::by_examples(Examples::point(id), limit)
    }

    /// Refuses limits out of range, examples that say nothing, and malformed filters.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        check_limit(self.limit, self.offset)?;
        if self.sparse_vector.is_some() && !self.vector.is_empty() {
            return Err(InvalidInput::BadField {
                field: "sparse_vector".into(),
                reason: "there is a dense vector, too; give one of the two".into(),
            });
        }
        if let Some(examples) = &self.like {
            if !self.vector.is_empty() || self.sparse_vector.is_some() {
                return Err(InvalidInput::BadField {
                    field: "like".into(),
                    reason: "there is a vector, too; give either a vector or examples".into(),
                });
            }
            examples.validate()?;
        }
        if let Some(ef) = self.ef
            && !(1..=EF_MAX).contains(&ef)
        {
            return Err(InvalidInput::BadField {
                field: "ef".into(),
                reason: format!("it is {ef}; use 1 to {EF_MAX}, or leave it out for the default"),
            });
        }
        if let Some(oversampling) = self.oversampling
            && !(1.0..=OVERSAMPLING_MAX).contains(&oversampling)
        {
            return Err(InvalidInput::BadField {
                field: "oversampling".into(),
                reason: format!(
                    "it is {oversampling}; use 1 to {OVERSAMPLING_MAX}, or leave it out for the default"
                ),
            });
        }
        if self.score_threshold.is_some_and(f32::is_nan) {
            return Err(InvalidInput::BadField {
                field: "score_threshold".into(),
                reason: "it is NaN; use a number".into(),
            });
        }
        self.filter.as_ref().map_or(Ok(()), Filter::validate)
    }
}

pub(crate) fn check_limit(limit: usize, offset: usize) -> Result<(), InvalidInput> {
    if limit == 0 {
        return Err(InvalidInput::BadField {
            field: "limit".into(),
            reason: format!("it is 0; use 1 to {RESULTS_MAX}"),
        });
    }
    match limit.saturating_add(offset) {
        count if count > RESULTS_MAX => Err(InvalidInput::TooMany {
            what: "results (limit + offset)".into(),
            count,
            max: RESULTS_MAX,
        }),
        _ => Ok(()),
    }
}

/// One page of points in id order.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrollQuery {
    /// Which points.
    pub filter: Option<Filter>,
    /// The first id of the page; `None` starts at the beginning.
    pub from: Option<PointId>,
    /// Most points on the page.
    pub limit: usize,
    /// Whether points carry their payload.
    pub with_payload: bool,
    /// Whether points carry their vectors.
    pub with_vectors: WithVectors,
}

impl ScrollQuery {
    /// Refuses limits out of range and malformed filters.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        check_limit(self.limit, 0)?;
        self.filter.as_ref().map_or(Ok(()), Filter::validate)
    }
}

/// How many points pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CountQuery {
    /// Which points; all without a filter.
    pub filter: Option<Filter>,
}

/// A search hit.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Similarity (cosine, dot) or distance (euclidean, manhattan, poincare).
    pub score: f32,
    /// The point.
    pub point: StoredPoint,
}

/// A point as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPoint {
    /// Its id.
    pub id: PointId,
    /// When it was last written.
    pub version: Stamp,
    /// Its payload, if asked for.
    pub payload: Option<Payload>,
    /// Its vectors, if asked for; empty otherwise.
    pub vectors: BTreeMap<VectorName, Vec<f32>>,
    /// Its sparse vectors, likewise.
    pub sparse_vectors: BTreeMap<VectorName, SparseVector>,
}

impl StoredPoint {
    /// Bytes of its vectors.
    #[must_use]
    pub fn vector_bytes(&self) -> usize {
        vector_bytes(&self.vectors, &self.sparse_vectors)
    }
}

/// A page of a scroll.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrollPage {
    /// The points.
    pub points: Vec<StoredPoint>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<PointId>,
}

/// A collection's description.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionInfo {
    /// Its definition.
    pub definition: Definition,
    /// Its aliases.
    pub aliases: Vec<crate::name::CollectionName>,
    /// Points.
    pub points: u64,
    /// Canonical bytes of the points.
    pub bytes: u64,
    /// Collection root.
    pub root: [u8; 32],
}
