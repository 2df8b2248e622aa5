//! Collections: their vectors and metrics, and how points are checked against them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::command::Point;
use crate::error::InvalidInput;
use crate::limits::{DIMENSION_MAX, VECTORS_PER_COLLECTION_MAX};
use crate::name::VectorName;
use crate::quantization::Quantization;
use crate::query::SearchQuery;
use crate::sparse::SparseVector;

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Metric {
    /// Cosine similarity, higher is nearer. Vectors are normalised when written.
    Cosine,
    /// Dot product, higher is nearer.
    Dot,
    /// Euclidean distance, lower is nearer.
    Euclidean,
    /// Manhattan distance, the sum of absolute differences; lower is nearer. Searched by exact scans.
    Manhattan,
    /// Hyperbolic distance in the Poincare ball, lower is nearer: vectors have a norm below 1. Searched by exact scans.
    Poincare,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Cosine,
        Self::Dot,
        Self::Euclidean,
        Self::Manhattan,
        Self::Poincare,
    ];

    /// Whether a higher score is nearer.
    #[must_use]
    pub fn higher_is_nearer(self) -> bool {
        match self {
            Self::Cosine | Self::Dot => true,
            Self::Euclidean | Self::Manhattan | Self::Poincare => false,
        }
    }

    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
            Self::Manhattan => "manhattan",
            Self::Poincare => "poincare",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = InvalidInput;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|m| m.name() == s)
            .ok_or_else(|| InvalidInput::BadField {
                field: "metric".into(),
                reason: format!("{s:?} is none of {}", Self::ALL.map(Self::name).join(", ")),
            })
    }
}

/// One vector of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorParams {
    /// Number of `f32` values.
    pub dimension: u32,
    /// How they are compared.
    pub metric: Metric,
    /// How the index keeps them. May be changed.
    pub quantization: Quantization,
}

impl VectorParams {
    /// Kept as they are by default.
    #[must_use]
    pub fn new(dimension: u32, metric: Metric) -> Self {
        Self {
            dimension,
            metric,
            quantization: Quantization::default(),
        }
    }

    fn validate(&self, vector: &VectorName) -> Result<(), InvalidInput> {
        let max = DIMENSION_MAX;
        if self.dimension == 0 || self.dimension as usize > max {
            return Err(InvalidInput::BadDimension {
                vector: vector.clone(),
                dimension: self.dimension.into(),
                max,
            });
        }
        self.quantization.check(vector, self.metric)
    }
}

/// The vectors of a collection, by name. Stored in a [`crate::Command`] and in a [`crate::Definition`], each with a form
/// of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionSchema {
    /// Those with a value for every dimension. The default vector has the empty name.
    pub vectors: BTreeMap<VectorName, VectorParams>,
    /// Sparse ones, compared by dot product. No name is in both.
    pub sparse_vectors: BTreeSet<VectorName>,
}

/// How far a squared norm may be from 1 and still count as normalised: a unit vector given in `f32` (or
/// rounded through `f16`, when it is normalised anew) keeps its bytes when it is written again.
const UNIT_TOLERANCE: f64 = 1e-6;

fn check_values(vector: &VectorName, values: &[f32]) -> Result<(), InvalidInput> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(position) => Err(InvalidInput::NotFinite {
            vector: vector.clone(),
            position,
        }),
        None => Ok(()),
    }
}

fn norm_squared(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum()
}

impl CollectionSchema {
    /// A schema with the default vector only.
    #[must_use]
    pub fn single(dimension: u32, metric: Metric) -> Self {
        Self {
            vectors: BTreeMap::from([(
                VectorName::default(),
                VectorParams::new(dimension, metric),
            )]),
            sparse_vectors: BTreeSet::new(),
        }
    }

    /// The same with a sparse vector more.
    #[must_use]
    pub fn with_sparse(mut self, name: VectorName) -> Self {
        self.sparse_vectors.insert(name);
        self
    }

    /// The same with vectors of these names quantized otherwise.
    ///
    /// # Errors
    /// When there is no such dense vector, or it cannot be quantized like this.
    pub fn quantized(
        mut self,
        changes: &BTreeMap<VectorName, Quantization>,
    ) -> Result<Self, InvalidInput> {
        for (name, quantization) in changes {
            let mut params = self.vector(name)?;
            params.quantization = *quantization;
            params.validate(name)?;
            self.vectors.insert(name.clone(), params);
        }
        Ok(self)
    }

    /// Refuses schemas without vectors, with too many, with a name twice, or with dimensions out of range.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        let count = self.vectors.len() + self.sparse_vectors.len();
        if count == 0 || count > VECTORS_PER_COLLECTION_MAX {
            return Err(InvalidInput::VectorCount {
                count,
                max: VECTORS_PER_COLLECTION_MAX,
            });
        }
        for (name, params) in &self.vectors {
            if self.sparse_vectors.contains(name) {
                return Err(InvalidInput::NameTwice {
                    vector: name.clone(),
                });
            }
            params.validate(name)?;
        }
        Ok(())
    }

    /// The parameters of one dense vector.
    pub fn vector(&self, name: &VectorName) -> Result<VectorParams, InvalidInput> {
        match self.vectors.get(name) {
            Some(params) => Ok(*params),
            None if self.sparse_vectors.contains(name) => Err(InvalidInput::IsSparse {
                vector: name.clone(),
            }),
            None => Err(self.unknown(name)),
        }
    }

    /// Whether a vector is sparse.
    pub fn is_sparse(&self, name: &VectorName) -> Result<bool, InvalidInput> {
        match self.sparse_vectors.contains(name) {
            true => Ok(true),
            false => self.vector(name).map(|_| false),
        }
    }

    fn unknown(&self, name: &VectorName) -> InvalidInput {
        let dense = self.vectors.keys().map(ToString::to_string);
        let sparse = self.sparse_vectors.iter().map(|n| format!("{n} (sparse)"));
        InvalidInput::UnknownVector {
            vector: name.clone(),
            known: dense.chain(sparse).collect::<Vec<_>>().join(", "),
        }
    }

    /// Checks that a sparse vector may have this name; what it holds is always right.
    pub fn check_sparse(&self, name: &VectorName) -> Result<(), InvalidInput> {
        if self.sparse_vectors.contains(name) {
            return Ok(());
        }
        Err(match self.vectors.get(name) {
            Some(params) => InvalidInput::IsDense {
                vector: name.clone(),
                dimension: params.dimension,
            },
            None => self.unknown(name),
        })
    }

    /// Checks what a search is by, once it is a vector of either kind.
    pub fn check_query(&self, query: &SearchQuery) -> Result<(), InvalidInput> {
        match query.sparse_vector {
            Some(_) => self.check_sparse(&query.vector_name),
            None => self.check_vector(&query.vector_name, &query.vector),
        }
    }

    /// Checks a vector's name, length and values, and under poincare its norm.
    pub fn check_vector(&self, name: &VectorName, values: &[f32]) -> Result<(), InvalidInput> {
        let params = self.vector(name)?;
        let expected = params.dimension as usize;
        if values.len() != expected {
            let actual = values.len();
            return Err(InvalidInput::DimensionMismatch {
                vector: name.clone(),
                expected,
                actual,
            });
        }
        check_values(name, values)?;
        if params.metric == Metric::Poincare && norm_squared(values) >= 1.0 {
            return Err(InvalidInput::OutsideBall {
                vector: name.clone(),
            });
        }
        Ok(())
    }

    /// Checks a vector and brings it into the form that is stored and searched: unit length under cosine.
    pub fn normalise(&self, name: &VectorName, values: &mut [f32]) -> Result<(), InvalidInput> {
        self.check_vector(name, values)?;
        if self.vector(name)?.metric != Metric::Cosine {
            return Ok(());
        }
        let norm_squared = norm_squared(values);
        if (norm_squared - 1.0).abs() <= UNIT_TOLERANCE {
            return Ok(());
        }
        let scale = norm_squared.sqrt().recip();
        if !scale.is_finite() || scale == 0.0 {
            return Err(InvalidInput::ZeroVector {
                vector: name.clone(),
            });
        }
        for v in values {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounding to f32 is the point"
            )]
            let scaled = (f64::from(*v) * scale) as f32;
            *v = scaled;
        }
        Ok(())
    }

    /// Checks a point and brings its vectors into stored form.
    pub fn normalise_point(&self, point: &mut Point) -> Result<(), InvalidInput> {
        self.check_point(point)?;
        point
            .vectors
            .iter_mut()
            .try_for_each(|(name, values)| self.normalise(name, values))
    }

    /// Checks a point as it is: known vectors of the right kind and length, finite, at least one.
    pub fn check_point(&self, point: &Point) -> Result<(), InvalidInput> {
        if point.vectors.is_empty() && point.sparse_vectors.is_empty() {
            return Err(InvalidInput::NoVector { id: point.id });
        }
        self.check_vectors(&point.vectors, &point.sparse_vectors)
    }

    /// Checks the vectors of a point, except that there are any.
    pub fn check_vectors(
        &self,
        vectors: &BTreeMap<VectorName, Vec<f32>>,
        sparse_vectors: &BTreeMap<VectorName, SparseVector>,
    ) -> Result<(), InvalidInput> {
        vectors
            .iter()
            .try_for_each(|(name, values)| self.check_vector(name, values))?;
        (sparse_vectors.keys()).try_for_each(|name| self.check_sparse(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> VectorName {
        VectorName::default()
    }

    #[test]
    fn cosine_vectors_are_normalised_once() {
        let schema = CollectionSchema::single(2, Metric::Cosine);
        let mut v = vec![3.0, 4.0];
        schema.normalise(&name(), &mut v).expect("fine");
        assert_eq!(v, [0.6, 0.8]);
        let again = v.clone();
        schema.normalise(&name(), &mut v).expect("fine");
        assert_eq!(v, again);
    }

    #[test]
    fn bad_vectors_are_refused() {
        let schema = CollectionSchema::single(2, Metric::Cosine);
        let refuse = |mut v: Vec<f32>| schema.normalise(&name(), &mut v).expect_err("bad");
        assert!(matches!(
            refuse(vec![0.0, 0.0]),
            InvalidInput::ZeroVector { .. }
        ));
        assert!(matches!(
            refuse(vec![0.0, f32::NAN]),
            InvalidInput::NotFinite { position: 1, .. }
        ));
        assert!(matches!(
            refuse(vec![f32::INFINITY, 0.0]),
            InvalidInput::NotFinite { .. }
        ));
        assert!(matches!(
            refuse(vec![1.0]),
            InvalidInput::DimensionMismatch {
                expected: 2,
                actual: 1,
                ..
            }
        ));
        let other = VectorName::parse("title").expect("name");
        assert!(matches!(
            schema.check_vector(&other, &[1.0, 0.0]),
            Err(InvalidInput::UnknownVector { .. })
        ));
        let ball = CollectionSchema::single(2, Metric::Poincare);
        for outside in [[1.0, 0.0], [0.8, -0.8]] {
            assert!(matches!(
                ball.check_vector(&name(), &outside),
                Err(InvalidInput::OutsideBall { .. })
            ));
        }
        let mut inside = [0.999, 0.0];
        ball.normalise(&name(), &mut inside).expect("fine");
        assert_eq!(inside, [0.999, 0.0], "it stays as it is");
        let dot = CollectionSchema::single(2, Metric::Dot);
        assert!(
            dot.normalise(&name(), &mut [0.0, 0.0]).is_ok(),
            "zero is fine under dot"
        );
    }

    fn mixed() -> CollectionSchema {
        let name = |name| VectorName::parse(name).expect("name");
        let schema = CollectionSchema::single(2, Metric::Dot);
        schema.with_sparse(name("tags")).with_sparse(name("terms"))
    }

    #[test]
    fn a_vector_of_the_other_kind_is_refused_by_what_it_is() {
        let schema = mixed();
        let vector = SparseVector::new(vec![3], vec![1.0]).expect("fine");
        let terms = VectorName::parse("terms").expect("name");
        let says = |result: Result<(), InvalidInput>| result.expect_err("refused").to_string();
        let is_sparse = says(schema.check_vector(&terms, &[1.0, 0.0]));
        assert!(is_sparse.contains("terms is sparse"), "{is_sparse}");
        let is_dense = says(schema.check_sparse(&name()));
        assert!(
            is_dense.contains("is dense: give all of its 2"),
            "{is_dense}"
        );
        let other = VectorName::parse("title").expect("name");
        for unknown in [
            schema.check_sparse(&other),
            schema.check_vector(&other, &[1.0]),
        ] {
            let unknown = says(unknown);
            assert!(
                unknown.contains("(default), tags (sparse), terms"),
                "{unknown}"
            );
        }
        let query = |name: &VectorName| SearchQuery::by_sparse(name.clone(), vector.clone(), 1);
        assert_eq!(schema.check_query(&query(&terms)), Ok(()));
        assert!(schema.check_query(&query(&name())).is_err());
        assert!(schema.check_query(&query(&other)).is_err());
        let mut point = Point {
            sparse_vectors: BTreeMap::from([(terms, vector.clone())]),
            vectors: BTreeMap::new(),
            ..Point::new(1, Vec::new(), Default::default())
        };
        assert_eq!(schema.check_point(&point), Ok(()), "sparse alone is enough");
        point.sparse_vectors.insert(name(), vector);
        assert!(matches!(
            schema.check_point(&point),
            Err(InvalidInput::IsDense { dimension: 2, .. })
        ));
    }

    #[test]
    fn names_are_unique_over_both_kinds_and_counted_together() {
        let mut schema = mixed();
        assert_eq!(schema.validate(), Ok(()));
        schema.sparse_vectors.insert(name());
        assert!(matches!(
            schema.validate(),
            Err(InvalidInput::NameTwice { .. })
        ));
        schema.vectors.clear();
        assert_eq!(schema.validate(), Ok(()), "sparse alone is enough");
        for n in 0..16 {
            let name = VectorName::parse(&format!("v{n}")).expect("name");
            schema.sparse_vectors.insert(name);
        }
        assert!(matches!(
            schema.validate(),
            Err(InvalidInput::VectorCount { count: 19, max: 16 })
        ));
    }
}
