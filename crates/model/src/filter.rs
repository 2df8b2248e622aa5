//! Payload filters: conditions, how they are combined, checked and evaluated.

mod json;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::InvalidInput;
use crate::limits::{FILTER_CONDITIONS_MAX, NESTING_MAX, VALUES_PER_CONDITION_MAX};
use crate::payload::EncodedPayload;
use crate::point_id::PointId;
use crate::value::Value;

pub use json::FilterParseError;

/// Conditions combined: all of `must`, none of `must_not`, and at least one of `should` if there is any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    /// All of these must hold.
    pub must: Vec<Condition>,
    /// If there are any, at least one of these must hold.
    pub should: Vec<Condition>,
    /// None of these may hold.
    pub must_not: Vec<Condition>,
}

/// One condition. Keys are dotted paths into the payload; a list matches if any of its items does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// The field equals the value; `3` equals `3.0`.
    Match {
        /// Path of the field.
        key: String,
        /// What it must equal: a bool, a number or a string.
        value: Value,
    },
    /// The field equals any of the values.
    AnyOf {
        /// Path of the field.
        key: String,
        /// The values.
        values: Vec<Value>,
    },
    /// The field is a number within the bounds.
    Range {
        /// Path of the field.
        key: String,
        /// The bounds.
        range: Range,
    },
    /// The field is there and null.
    IsNull {
        /// Path of the field.
        key: String,
    },
    /// The field is missing, null or an empty list.
    IsEmpty {
        /// Path of the field.
        key: String,
    },
    /// The point's id is one of these.
    HasId(BTreeSet<PointId>),
    /// A filter within the filter.
    Nested(Filter),
}

/// Numeric bounds; at least one is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Greater than.
    pub gt: Option<f64>,
    /// Greater than or equal.
    pub gte: Option<f64>,
    /// Less than.
    pub lt: Option<f64>,
    /// Less than or equal.
    pub lte: Option<f64>,
}

impl Range {
    fn holds(&self, v: f64) -> bool {
        self.gt.is_none_or(|b| v > b)
            && self.gte.is_none_or(|b| v >= b)
            && self.lt.is_none_or(|b| v < b)
            && self.lte.is_none_or(|b| v <= b)
    }
}

fn bad(reason: impl Into<String>) -> InvalidInput {
    InvalidInput::BadFilter {
        reason: reason.into(),
    }
}

fn check_key(key: &str) -> Result<(), InvalidInput> {
    if key.is_empty() || key.split('.').any(str::is_empty) {
        return Err(bad(format!(
            "key {key:?} must be a dotted path without empty steps"
        )));
    }
    Ok(())
}

fn check_scalar(value: &Value) -> Result<(), InvalidInput> {
    match value {
        Value::Bool(_) | Value::Int(_) | Value::Str(_) => Ok(()),
        Value::Float(f) if f.is_finite() => Ok(()),
        Value::Float(_) | Value::Null | Value::List(_) | Value::Map(_) => Err(bad(
            "match needs a bool, a finite number or a string; use is_null for null",
        )),
    }
}

fn check_count(what: &str, count: usize) -> Result<(), InvalidInput> {
    match count {
        0 => Err(bad(format!("{what} needs at least one value"))),
        n if n > VALUES_PER_CONDITION_MAX => Err(bad(format!(
            "{what} has {n} values, the limit is {VALUES_PER_CONDITION_MAX}"
        ))),
        _ => Ok(()),
    }
}

impl Filter {
    /// Refuses filters that are too large, too deep or cannot mean anything.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        let mut left = FILTER_CONDITIONS_MAX;
        self.validate_at(0, &mut left)
    }

    fn validate_at(&self, depth: usize, left: &mut usize) -> Result<(), InvalidInput> {
        if depth > NESTING_MAX {
            return Err(bad(format!("nested deeper than {NESTING_MAX} levels")));
        }
        for condition in self.must.iter().chain(&self.should).chain(&self.must_not) {
            *left = left.checked_sub(1).ok_or_else(|| {
                bad(format!(
                    "more conditions than the limit of {FILTER_CONDITIONS_MAX}"
                ))
            })?;
            condition.validate(depth, left)?;
        }
        Ok(())
    }

    /// Whether a point passes.
    #[must_use]
    pub fn matches(&self, id: PointId, payload: &EncodedPayload) -> bool {
        let holds = |c: &Condition| c.holds(id, payload);
        self.must.iter().all(holds)
            && (self.should.is_empty() || self.should.iter().any(holds))
            && !self.must_not.iter().any(holds)
    }
}

impl Condition {
    fn validate(&self, depth: usize, left: &mut usize) -> Result<(), InvalidInput> {
        match self {
            Self::Match { key, value } => {
                check_key(key)?;
                check_scalar(value)
            }
            Self::AnyOf { key, values } => {
                check_key(key)?;
                check_count("any-of", values.len())?;
                values.iter().try_for_each(check_scalar)
            }
            Self::Range { key, range } => {
                check_key(key)?;
                let bounds = [range.gt, range.gte, range.lt, range.lte];
                if bounds.iter().all(Option::is_none) {
                    return Err(bad("range needs at least one of gt, gte, lt, lte"));
                }
                if bounds.iter().flatten().any(|b| b.is_nan()) {
                    return Err(bad("range bounds must be numbers, not NaN"));
                }
                Ok(())
            }
            Self::IsNull { key } | Self::IsEmpty { key } => check_key(key),
            Self::HasId(ids) => check_count("has-id", ids.len()),
            Self::Nested(filter) => filter.validate_at(depth + 1, left),
        }
    }

    fn holds(&self, id: PointId, payload: &EncodedPayload) -> bool {
        match self {
            Self::Match { key, value } => any(payload, key, |v| v.same(value)),
            Self::AnyOf { key, values } => any(payload, key, |v| values.iter().any(|x| v.same(x))),
            Self::Range { key, range } => {
                any(payload, key, |v| v.as_f64().is_some_and(|v| range.holds(v)))
            }
            Self::IsNull { key } => payload.find(key) == Some(Value::Null),
            Self::IsEmpty { key } => match payload.find(key) {
                None | Some(Value::Null) => true,
                Some(Value::List(items)) => items.is_empty(),
                Some(_) => false,
            },
            Self::HasId(ids) => ids.contains(&id),
            Self::Nested(filter) => filter.matches(id, payload),
        }
    }
}

fn any(payload: &EncodedPayload, key: &str, test: impl Fn(&Value) -> bool) -> bool {
    match payload.find(key) {
        Some(Value::List(items)) => items.iter().any(test),
        Some(value) => test(&value),
        None => false,
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
