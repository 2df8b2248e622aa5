//! Filters.

use pando_model::{Condition, Filter, Range};

use super::{all, decode_ids};
use crate::error::DecodeError;
use crate::v1::{self, condition::Condition as Wire};

impl From<Filter> for v1::Filter {
    fn from(filter: Filter) -> Self {
        let all = |conditions: Vec<Condition>| conditions.into_iter().map(Into::into).collect();
        Self {
            must: all(filter.must),
            should: all(filter.should),
            must_not: all(filter.must_not),
        }
    }
}

impl From<Condition> for v1::Condition {
    fn from(condition: Condition) -> Self {
        let wire = match condition {
            Condition::Match { key, value } => Wire::Match(v1::Match {
                key,
                value: Some(value.into()),
            }),
            Condition::AnyOf { key, values } => Wire::AnyOf(v1::AnyOf {
                key,
                values: values.into_iter().map(Into::into).collect(),
            }),
            Condition::Range { key, range } => Wire::Range(v1::Range {
                key,
                gt: range.gt,
                gte: range.gte,
                lt: range.lt,
                lte: range.lte,
            }),
            Condition::IsNull { key } => Wire::IsNull(v1::IsNull { key }),
            Condition::IsEmpty { key } => Wire::IsEmpty(v1::IsEmpty { key }),
            Condition::HasId(ids) => Wire::HasId(v1::PointIds {
                ids: ids.into_iter().map(Into::into).collect(),
            }),
            Condition::Nested(filter) => Wire::Nested(filter.into()),
        };
        Self {
            condition: Some(wire),
        }
    }
}

impl TryFrom<v1::Filter> for Filter {
    type Error = DecodeError;

    fn try_from(wire: v1::Filter) -> Result<Self, Self::Error> {
        Ok(Self {
            must: all("must", wire.must, Condition::try_from)?,
            should: all("should", wire.should, Condition::try_from)?,
            must_not: all("must_not", wire.must_not, Condition::try_from)?,
        })
    }
}

impl TryFrom<v1::Condition> for Condition {
    type Error = DecodeError;

    fn try_from(wire: v1::Condition) -> Result<Self, Self::Error> {
        let wire = wire
            .condition
            .ok_or_else(|| DecodeError::missing("condition"))?;
        Ok(match wire {
            Wire::Match(v1::Match { key, value }) => Self::Match {
                key,
                value: value
                    .ok_or_else(|| DecodeError::missing("match.value"))?
                    .try_into()
                    .map_err(DecodeError::within("match.value"))?,
            },
            Wire::AnyOf(v1::AnyOf { key, values }) => Self::AnyOf {
                key,
                values: all("any_of.values", values, TryInto::try_into)?,
            },
            Wire::Range(r) => Self::Range {
                key: r.key,
                range: Range {
                    gt: r.gt,
                    gte: r.gte,
                    lt: r.lt,
                    lte: r.lte,
                },
            },
            Wire::IsNull(v1::IsNull { key }) => Self::IsNull { key },
            Wire::IsEmpty(v1::IsEmpty { key }) => Self::IsEmpty { key },
            Wire::HasId(v1::PointIds { ids }) => Self::HasId(decode_ids("has_id.ids", ids)?),
            Wire::Nested(filter) => {
                Self::Nested(filter.try_into().map_err(DecodeError::within("nested"))?)
            }
        })
    }
}

/// A filter, if there is one.
pub fn decode_filter(wire: Option<v1::Filter>) -> Result<Option<Filter>, DecodeError> {
    wire.map(Filter::try_from)
        .transpose()
        .map_err(DecodeError::within("filter"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::strategies::filters;
    use super::*;

    proptest! {
        #[test]
        fn filters_round_trip_through_bytes(filter in filters()) {
            let bytes = v1::Filter::from(filter.clone()).encode_to_vec();
            let wire = v1::Filter::decode(bytes.as_slice()).expect("own bytes");
            prop_assert_eq!(Filter::try_from(wire).expect("own message"), filter);
        }
    }

    #[test]
    fn hollow_conditions_are_refused() {
        let filter = v1::Filter {
            must_not: vec![v1::Condition::default()],
            ..Default::default()
        };
        let error = decode_filter(Some(filter)).expect_err("hollow");
        assert_eq!(error, DecodeError::missing("filter.must_not[0].condition"));
    }
}
