//! How the index keeps vectors: in how many bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::InvalidInput;
use crate::name::VectorName;
use crate::schema::Metric;

/// How the index keeps the vectors of a name, once it has a graph over them. Hits are scored from the vectors
/// themselves, and exact searches are exact, whatever it is; it decides how much memory there is to be, and which points
/// the graph comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Quantization {
    /// The graph at half precision, beside one byte a value.
    #[default]
    F16,
    /// The graph over one bit a value, beside one byte a value.
    Int8,
    /// The graph over one bit a value, and nothing beside it: what it finds is read from storage, and so is all that an
    /// exact search looks at.
    Binary,
}

impl Quantization {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F16, Self::Int8, Self::Binary];

    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Binary => "binary",
        }
    }

    /// What stands for it in canonical bytes and in files, for ever.
    #[must_use]
    pub fn tag(self) -> u8 {
        match self {
            Self::F16 => 1,
            Self::Int8 => 2,
            Self::Binary => 3,
        }
    }

    /// What a tag stands for.
    #[must_use]
    pub fn of_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.tag() == tag)
    }

    /// Refuses what would change nothing: without a graph vectors are kept as they are.
    pub(crate) fn check(self, vector: &VectorName, metric: Metric) -> Result<(), InvalidInput> {
        match metric {
            Metric::Cosine | Metric::Dot | Metric::Euclidean => Ok(()),
            Metric::Manhattan | Metric::Poincare if self == Self::default() => Ok(()),
            Metric::Manhattan | Metric::Poincare => Err(InvalidInput::BadField {
                field: "quantization".to_owned(),
                reason: format!(
                    "vector {vector} is compared by {metric}, which has no graph and keeps vectors whole; leave it \
                     at {}",
                    Self::default()
                ),
            }),
        }
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Quantization {
    type Err = InvalidInput;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        (Self::ALL.into_iter().find(|it| it.name() == s)).ok_or_else(|| InvalidInput::BadField {
            field: "quantization".to_owned(),
            reason: format!("{s:?} is none of {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_are_read_back() {
        for quantization in Quantization::ALL {
            assert_eq!(quantization.name().parse(), Ok(quantization));
            assert_eq!(Quantization::of_tag(quantization.tag()), Some(quantization));
        }
        let error = "int4".parse::<Quantization>().expect_err("unknown");
        assert!(
            error.to_string().contains("none of f16, int8, binary"),
            "{error}"
        );
        assert_eq!(Quantization::of_tag(0), None);
    }

    #[test]
    fn what_has_no_graph_is_not_quantized() {
        let name = VectorName::default();
        for metric in Metric::ALL {
            assert_eq!(Quantization::F16.check(&name, metric), Ok(()));
            let int8 = Quantization::Int8.check(&name, metric);
            let scanned = matches!(metric, Metric::Manhattan | Metric::Poincare);
            assert_eq!(int8.is_err(), scanned, "{metric}");
        }
    }
}
