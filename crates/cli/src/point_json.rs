//! Points as JSON: what `export` writes, `import` reads, and `get` and `search` print.

use std::collections::BTreeMap;
use std::fmt;

use pando_model::{Hit, PointId, StoredPoint, VectorName};
use serde::Serialize;
use serde_json::Value;

use crate::vector_json::VectorRef;

/// A point in the form [`crate::readers`] takes, with what a read adds to it.
#[derive(Debug, Serialize)]
pub(crate) struct PointJson<'a> {
    id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<&'a [f32]>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    vectors: BTreeMap<&'a str, VectorRef<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Id {
    Num(u64),
    Uuid(String),
}

impl<'a> From<&'a StoredPoint> for PointJson<'a> {
    fn from(point: &'a StoredPoint) -> Self {
        let all = &point.vectors;
        let single = all.get(&VectorName::default()).filter(|_| all.len() == 1);
        let named = all.iter().filter(|_| single.is_none());
        let named = named.map(|(name, v)| (name.as_str(), VectorRef::Dense(v)));
        let sparse = point.sparse_vectors.iter();
        let sparse = sparse.map(|(name, v)| (name.as_str(), VectorRef::Sparse(v)));
        Self {
            id: match point.id {
                PointId::Num(n) => Id::Num(n),
                PointId::Uuid(uuid) => Id::Uuid(uuid.to_string()),
            },
            score: None,
            version: None,
            vector: single.map(Vec::as_slice),
            vectors: named.chain(sparse).collect(),
            payload: point.payload.as_ref().map(|p| p.to_json()),
        }
    }
}

impl<'a> From<&'a Hit> for PointJson<'a> {
    fn from(hit: &'a Hit) -> Self {
        Self {
            score: Some(hit.score),
            ..(&hit.point).into()
        }
    }
}

impl<'a> PointJson<'a> {
    /// With its version: when it was last written.
    pub(crate) fn with_version(point: &'a StoredPoint) -> Self {
        Self {
            version: Some(point.version.to_string()),
            ..point.into()
        }
    }
}

/// The points that carry vectors, a line each: vectors are too wide for a table.
pub(crate) fn vector_lines<'a>(points: impl IntoIterator<Item = &'a StoredPoint>) -> String {
    let has_any =
        |point: &&StoredPoint| !(point.vectors.is_empty() && point.sparse_vectors.is_empty());
    let with_vectors = points.into_iter().filter(has_any);
    let line = |point| {
        format!(
            "\n{}",
            PointJson {
                payload: None,
                ..PointJson::from(point)
            }
        )
    };
    with_vectors.map(line).collect()
}

impl fmt::Display for PointJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use pando_model::{Payload, SparseVector, Stamp};

    use super::*;

    fn point(vectors: &[(&str, Vec<f32>)]) -> StoredPoint {
        let name = |n: &str| VectorName::parse(n).expect("a name");
        StoredPoint {
            id: PointId::Num(7),
            version: Stamp::at(5),
            payload: Some(Payload([("a".into(), pando_model::Value::Int(1))].into())),
            vectors: vectors.iter().map(|(n, v)| (name(n), v.clone())).collect(),
            sparse_vectors: BTreeMap::new(),
        }
    }

    #[test]
    fn floats_are_as_short_as_they_can_be() {
        let point = point(&[("", vec![0.1, 2.0])]);
        let text = PointJson::from(&point).to_string();
        assert_eq!(text, r#"{"id":7,"vector":[0.1,2.0],"payload":{"a":1}}"#);
        let hit = Hit { score: 0.3, point };
        assert!(
            PointJson::from(&hit)
                .to_string()
                .starts_with(r#"{"id":7,"score":0.3,"#)
        );
    }

    #[test]
    fn sparse_vectors_stand_with_the_named_ones() {
        let terms = VectorName::parse("terms").expect("a name");
        let vector = SparseVector::new(vec![3, 9], vec![0.1, 2.0]).expect("fine");
        let sparse_vectors = BTreeMap::from([(terms, vector)]);
        let point = StoredPoint {
            sparse_vectors,
            payload: None,
            ..point(&[("", vec![1.0])])
        };
        let terms = r#""vectors":{"terms":{"indices":[3,9],"values":[0.1,2.0]}}"#;
        let text = PointJson::from(&point).to_string();
        assert_eq!(text, format!(r#"{{"id":7,"vector":[1.0],{terms}}}"#));
        let alone = StoredPoint {
            vectors: BTreeMap::new(),
            ..point
        };
        let text = PointJson::from(&alone).to_string();
        assert_eq!(text, format!(r#"{{"id":7,{terms}}}"#));
        assert_eq!(vector_lines([&alone]), format!("\n{text}"));
    }

    #[test]
    fn several_vectors_have_their_names() {
        let point = point(&[("", vec![1.0]), ("title", vec![0.5])]);
        let text = PointJson::with_version(&point).to_string();
        let expected =
            r#"{"id":7,"version":"5.0@0","vectors":{"":[1.0],"title":[0.5]},"payload":{"a":1}}"#;
        assert_eq!(text, expected);
        assert_eq!(
            vector_lines([&point]).lines().count(),
            2,
            "a line of its own"
        );
        let bare = StoredPoint {
            payload: None,
            vectors: BTreeMap::new(),
            ..point
        };
        assert_eq!(PointJson::from(&bare).to_string(), r#"{"id":7}"#);
    }
}
