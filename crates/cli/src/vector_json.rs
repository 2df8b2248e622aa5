//! Vectors as JSON: a dense one is a list of numbers, a sparse one `{"indices": [..], "values": [..]}`.

use std::fmt;
use std::str::FromStr;

use pando_model::{SearchQuery, SparseVector, VectorName};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A vector of either kind, as it is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum VectorJson {
    Dense(Vec<f32>),
    Sparse(SparseVector),
}

/// A vector of either kind, as it is written.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum VectorRef<'a> {
    Dense(&'a [f32]),
    Sparse(&'a SparseVector),
}

impl VectorJson {
    /// The search by this vector for so many hits.
    pub(crate) fn query(self, limit: usize) -> SearchQuery {
        match self {
            Self::Dense(vector) => SearchQuery::new(vector, limit),
            Self::Sparse(vector) => SearchQuery::by_sparse(VectorName::default(), vector, limit),
        }
    }
}

impl<'de> Deserialize<'de> for VectorJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// Tells the kinds by their brackets, so that an error is about the kind that was meant.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = VectorJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers, or {\"indices\": [..], \"values\": [..]}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(VectorJson::Dense)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
        SparseVector::deserialize(MapAccessDeserializer::new(fields)).map(VectorJson::Sparse)
    }
}

impl FromStr for VectorJson {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text).map_err(|e| {
            format!(
                "neither a JSON list of numbers such as [0.1, 0.2] nor a sparse vector such as \
                 {{\"indices\": [3, 17], \"values\": [0.5, 1.2]}}: {e}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_a_list_or_indices_and_values() {
        let dense = VectorJson::Dense(vec![1.0, 0.5]);
        assert_eq!("[1, 0.5]".parse(), Ok(dense));
        let sparse = SparseVector::new(vec![3, 9], vec![0.1, -2.0]).expect("fine");
        let text = serde_json::to_string(&VectorRef::Sparse(&sparse)).expect("JSON");
        assert_eq!(text, r#"{"indices":[3,9],"values":[0.1,-2.0]}"#);
        assert_eq!(text.parse(), Ok(VectorJson::Sparse(sparse.clone())));
        let query = VectorJson::Sparse(sparse.clone()).query(3);
        assert_eq!((query.sparse_vector, query.limit), (Some(sparse), 3));
        for (bad, says) in [
            ("", "JSON list"),
            ("1", "list of numbers"),
            ("[1, null]", "f32"),
            (r#"{"indices": [9, 3], "values": [1, 1]}"#, "increasing"),
            (
                r#"{"indices": [9], "values": [1, 1]}"#,
                "1 indices and 2 values",
            ),
            (r#"{"indices": [9]}"#, "values"),
        ] {
            let error = bad.parse::<VectorJson>().expect_err(bad);
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
