//! Collections: their vectors, metrics and definitions, and how points are checked against them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::canonical::{DecodeError, Reader, Writer};
use crate::command::Point;
use crate::error::InvalidInput;
use crate::limits::{DIMENSION_MAX, VECTORS_PER_COLLECTION_MAX};
use crate::name::{CollectionName, VectorName};
use crate::row::TreeId;
use crate::stamp::Stamp;

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Metric {
    /// Cosine similarity, higher is nearer. Vectors are normalised when written.
    Cosine,
    /// Dot product, higher is nearer.
    Dot,
    /// Euclidean distance, lower is nearer.
    Euclidean,
}

impl Metric {
    /// Whether a higher score is nearer.
    #[must_use]
    pub fn higher_is_nearer(self) -> bool {
        match self {
            Self::Cosine | Self::Dot => true,
            Self::Euclidean => false,
        }
    }

    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
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
        [Self::Cosine, Self::Dot, Self::Euclidean]
            .into_iter()
            .find(|m| m.name() == s)
            .ok_or_else(|| InvalidInput::BadField {
                field: "metric".into(),
                reason: format!("{s:?} is none of cosine, dot, euclidean"),
            })
    }
}

/// One vector of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorParams {
    /// Number of `f32` values.
    pub dimension: u32,
    /// How they are compared.
    pub metric: Metric,
}

/// The vectors of a collection, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionSchema {
    /// The default vector has the empty name.
    pub vectors: BTreeMap<VectorName, VectorParams>,
}

/// A collection as the catalogue holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name.
    pub name: CollectionName,
    /// The tree that holds its rows.
    pub tree: TreeId,
    /// Salts the keys of its tree.
    pub salt: [u8; 16],
    /// When it was created.
    pub created: Stamp,
    /// Its vectors.
    pub schema: CollectionSchema,
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

impl CollectionSchema {
    /// A schema with the default vector only.
    #[must_use]
    pub fn single(dimension: u32, metric: Metric) -> Self {
        Self {
            vectors: BTreeMap::from([(VectorName::default(), VectorParams { dimension, metric })]),
        }
    }

    /// Refuses schemas without vectors, with too many, or with dimensions out of range.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        let count = self.vectors.len();
        if count == 0 || count > VECTORS_PER_COLLECTION_MAX {
            return Err(InvalidInput::VectorCount {
                count,
                max: VECTORS_PER_COLLECTION_MAX,
            });
        }
        for (name, params) in &self.vectors {
            let max = DIMENSION_MAX;
            if params.dimension == 0 || params.dimension as usize > max {
                let dimension = params.dimension.into();
                return Err(InvalidInput::BadDimension {
                    vector: name.clone(),
                    dimension,
                    max,
                });
            }
        }
        Ok(())
    }

    /// The parameters of one vector.
    pub fn vector(&self, name: &VectorName) -> Result<VectorParams, InvalidInput> {
        self.vectors
            .get(name)
            .copied()
            .ok_or_else(|| InvalidInput::UnknownVector {
                vector: name.clone(),
                known: self
                    .vectors
                    .keys()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// Checks a vector's name, length and values.
    pub fn check_vector(&self, name: &VectorName, values: &[f32]) -> Result<(), InvalidInput> {
        let expected = self.vector(name)?.dimension as usize;
        if values.len() != expected {
            let actual = values.len();
            return Err(InvalidInput::DimensionMismatch {
                vector: name.clone(),
                expected,
                actual,
            });
        }
        check_values(name, values)
    }

    /// Checks a vector and brings it into the form that is stored and searched: unit length under cosine.
    pub fn normalise(&self, name: &VectorName, values: &mut [f32]) -> Result<(), InvalidInput> {
        self.check_vector(name, values)?;
        if self.vector(name)?.metric != Metric::Cosine {
            return Ok(());
        }
        let norm_squared: f64 = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
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

    /// Checks a point as it is: known vectors of the right length, finite, at least one.
    pub fn check_point(&self, point: &Point) -> Result<(), InvalidInput> {
        if point.vectors.is_empty() {
            return Err(InvalidInput::NoVector { id: point.id });
        }
        point
            .vectors
            .iter()
            .try_for_each(|(name, values)| self.check_vector(name, values))
    }
}

const FORMAT: u8 = 1;

impl Definition {
    /// Canonical bytes: hashed into the collection root and stored in the system tree.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT)
            .bytes(self.name.as_str().as_bytes())
            .u32(self.tree.0)
            .raw(&self.salt);
        w.raw(&self.created.to_bytes())
            .count(self.schema.vectors.len());
        for (name, params) in &self.schema.vectors {
            let metric = match params.metric {
                Metric::Cosine => 1,
                Metric::Dot => 2,
                Metric::Euclidean => 3,
            };
            w.bytes(name.as_str().as_bytes())
                .u32(params.dimension)
                .u8(metric);
        }
        w.finish()
    }

    /// Reads canonical bytes back.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new("collection definition", bytes);
        let bad = r.malformed();
        if r.u8()? != FORMAT {
            return Err(bad);
        }
        let name = CollectionName::parse(r.str()?).map_err(|_| bad.clone())?;
        let tree = TreeId(r.u32()?);
        let mut salt = [0; 16];
        salt.copy_from_slice(r.take(16)?);
        let mut created = [0; 16];
        created.copy_from_slice(r.take(16)?);
        let mut vectors = BTreeMap::new();
        for _ in 0..r.count()? {
            let vector = VectorName::parse(r.str()?).map_err(|_| bad.clone())?;
            let dimension = r.u32()?;
            let metric = match r.u8()? {
                1 => Metric::Cosine,
                2 => Metric::Dot,
                3 => Metric::Euclidean,
                _ => return Err(bad),
            };
            vectors.insert(vector, VectorParams { dimension, metric });
        }
        r.finish()?;
        let schema = CollectionSchema { vectors };
        Ok(Self {
            name,
            tree,
            salt,
            created: Stamp::from_bytes(created),
            schema,
        })
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
        let dot = CollectionSchema::single(2, Metric::Dot);
        assert!(
            dot.normalise(&name(), &mut [0.0, 0.0]).is_ok(),
            "zero is fine under dot"
        );
    }

    #[test]
    fn definitions_round_trip() {
        let mut schema = CollectionSchema::single(384, Metric::Cosine);
        let params = VectorParams {
            dimension: 8,
            metric: Metric::Euclidean,
        };
        schema
            .vectors
            .insert(VectorName::parse("title").expect("name"), params);
        let definition = Definition {
            name: CollectionName::parse("words").expect("name"),
            tree: TreeId(7),
            salt: [9; 16],
            created: Stamp::at(5),
            schema,
        };
        let bytes = definition.encode();
        assert_eq!(Definition::decode(&bytes).expect("own bytes"), definition);
        for cut in 0..bytes.len() {
            assert!(Definition::decode(&bytes[..cut]).is_err());
        }
    }
}
