//! Searches by examples.

use pando_model::{Example, Examples};

use super::all;
use crate::error::DecodeError;
use crate::v1::{self, example};

impl From<Example> for v1::Example {
    fn from(example: Example) -> Self {
        let example = match example {
            Example::Id(id) => example::Example::Id(id.into()),
            Example::Vector(vector) => example::Example::Vector(vector.into()),
        };
        Self {
            example: Some(example),
        }
    }
}

impl TryFrom<v1::Example> for Example {
    type Error = DecodeError;

    fn try_from(wire: v1::Example) -> Result<Self, Self::Error> {
        Ok(match wire.example {
            Some(example::Example::Id(id)) => {
                Self::Id(id.try_into().map_err(DecodeError::within("id"))?)
            }
            Some(example::Example::Vector(vector)) => {
                Self::Vector(vector.try_into().map_err(DecodeError::within("vector"))?)
            }
            None => return Err(DecodeError::missing("example")),
        })
    }
}

impl From<Examples> for v1::Examples {
    fn from(examples: Examples) -> Self {
        let all = |of: Vec<Example>| of.into_iter().map(Into::into).collect();
        Self {
            positive: all(examples.positive),
            negative: all(examples.negative),
        }
    }
}

impl TryFrom<v1::Examples> for Examples {
    type Error = DecodeError;

    fn try_from(wire: v1::Examples) -> Result<Self, Self::Error> {
        Ok(Self {
            positive: all("positive", wire.positive, Example::try_from)?,
            negative: all("negative", wire.negative, Example::try_from)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_an_id_or_a_vector() {
        let wire = v1::Examples {
            positive: vec![v1::Example::from(Example::from(1)), v1::Example::default()],
            negative: Vec::new(),
        };
        let error = Examples::try_from(wire).expect_err("hollow");
        assert_eq!(error, DecodeError::missing("positive[1].example"));
    }
}
