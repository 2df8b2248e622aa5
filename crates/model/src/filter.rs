//! Payload filters: conditions, how they are combined, checked and evaluated.

mod json;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::InvalidInput;
use crate::geo::{GeoBox, GeoCircle, GeoPoint};
use crate::limits::{FILTER_CONDITIONS_MAX, NESTING_MAX, VALUES_PER_CONDITION_MAX};
use crate::moment::Moment;
use crate::payload::EncodedPayload;
use crate::point_id::PointId;
use crate::text::words;
use crate::value::Value;

pub use json::FilterParseError;

const NO_BOUNDS: &str = "range needs at least one of gt, gte, lt, lte";

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
///
/// Log entries carry conditions by their place in this list: new ones go to its end.
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
    /// The field is a date and time within the bounds: a string as in RFC 3339, or a date alone (see [`Moment`]).
    DatetimeRange {
        /// Path of the field.
        key: String,
        /// The bounds.
        range: DatetimeRange,
    },
    /// The field is a string in which every word of the text occurs (see [`words`]).
    Text {
        /// Path of the field.
        key: String,
        /// The text.
        text: String,
    },
    /// The field is a place (see [`GeoPoint::of`]) within the circle.
    GeoRadius {
        /// Path of the field.
        key: String,
        /// The circle.
        circle: GeoCircle,
    },
    /// The field is a place within the box.
    GeoBox {
        /// Path of the field.
        key: String,
        /// The box.
        area: GeoBox,
    },
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
    /// Whether a number is past the lower bounds.
    #[must_use]
    pub fn is_past_lower(&self, v: f64) -> bool {
        self.gt.is_none_or(|b| v > b) && self.gte.is_none_or(|b| v >= b)
    }

    /// Whether a number is before the upper bounds.
    #[must_use]
    pub fn is_before_upper(&self, v: f64) -> bool {
        self.lt.is_none_or(|b| v < b) && self.lte.is_none_or(|b| v <= b)
    }

    fn holds(&self, v: f64) -> bool {
        self.is_past_lower(v) && self.is_before_upper(v)
    }
}

/// Bounds in time; at least one is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatetimeRange {
    /// After.
    pub gt: Option<Moment>,
    /// At or after.
    pub gte: Option<Moment>,
    /// Before.
    pub lt: Option<Moment>,
    /// At or before.
    pub lte: Option<Moment>,
}

impl DatetimeRange {
    /// Reads a bound.
    pub fn bound(text: &str) -> Result<Moment, InvalidInput> {
        Moment::parse(text).ok_or_else(|| {
            bad(format!(
                "{text:?} is no date and time: use RFC 3339, like 2024-05-01T12:30:00Z, or a date, like 2024-05-01"
            ))
        })
    }

    /// Whether a moment is past the lower bounds.
    #[must_use]
    pub fn is_past_lower(&self, m: Moment) -> bool {
        self.gt.is_none_or(|b| m > b) && self.gte.is_none_or(|b| m >= b)
    }

    /// Whether a moment is before the upper bounds.
    #[must_use]
    pub fn is_before_upper(&self, m: Moment) -> bool {
        self.lt.is_none_or(|b| m < b) && self.lte.is_none_or(|b| m <= b)
    }

    fn holds(&self, m: Moment) -> bool {
        self.is_past_lower(m) && self.is_before_upper(m)
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

fn check_place(what: &str, place: GeoPoint) -> Result<(), InvalidInput> {
    if place.is_valid() {
        return Ok(());
    }
    Err(bad(format!(
        "{what} is at latitude {}, longitude {}; use -90 to 90 and -180 to 180 degrees",
        place.lat, place.lon
    )))
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
                    return Err(bad(NO_BOUNDS));
                }
                if bounds.iter().flatten().any(|b| b.is_nan()) {
                    return Err(bad("range bounds must be numbers, not NaN"));
                }
                Ok(())
            }
            Self::IsNull { key } | Self::IsEmpty { key } => check_key(key),
            Self::HasId(ids) => check_count("has-id", ids.len()),
            Self::Nested(filter) => filter.validate_at(depth + 1, left),
            Self::DatetimeRange { key, range } => {
                check_key(key)?;
                let bounds = [range.gt, range.gte, range.lt, range.lte];
                match bounds.iter().all(Option::is_none) {
                    true => Err(bad(NO_BOUNDS)),
                    false => Ok(()),
                }
            }
            Self::Text { key, text } => {
                check_key(key)?;
                check_count("text match (words)", words(text).len())
            }
            Self::GeoRadius { key, circle } => {
                check_key(key)?;
                check_place("the centre", circle.center)?;
                match circle.radius {
                    r if r.is_finite() && r > 0.0 => Ok(()),
                    r => Err(bad(format!(
                        "the radius is {r} m; use a number greater than 0"
                    ))),
                }
            }
            Self::GeoBox { key, area } => {
                check_key(key)?;
                let corner = |lat, lon| GeoPoint { lat, lon };
                check_place("the south-western corner", corner(area.south, area.west))?;
                check_place("the north-eastern corner", corner(area.north, area.east))?;
                match area.south <= area.north {
                    true => Ok(()),
                    false => Err(bad(format!(
                        "the box ends at latitude {} in the north, south of where it begins, {}",
                        area.north, area.south
                    ))),
                }
            }
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
            Self::DatetimeRange { key, range } => {
                any(payload, key, |v| moment(v).is_some_and(|m| range.holds(m)))
            }
            Self::Text { key, text } => {
                let wanted = words(text);
                any(payload, key, |v| match v {
                    Value::Str(text) => wanted.is_subset(&words(text)),
                    _ => false,
                })
            }
            Self::GeoRadius { key, circle } => any(payload, key, |v| {
                GeoPoint::of(v).is_some_and(|place| circle.contains(place))
            }),
            Self::GeoBox { key, area } => any(payload, key, |v| {
                GeoPoint::of(v).is_some_and(|place| area.contains(place))
            }),
        }
    }
}

fn moment(value: &Value) -> Option<Moment> {
    match value {
        Value::Str(text) => Moment::parse(text),
        _ => None,
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
