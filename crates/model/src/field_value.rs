//! Payload values that points are grouped and counted by.

use std::collections::BTreeSet;

use crate::payload::EncodedPayload;
use crate::value::Value;

/// A bool, an integer or a string, in this order, each by value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldValue {
    /// A bool.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A string.
    Str(String),
}

impl FieldValue {
    /// A payload value as one, if it can be: null, lists and objects cannot, and of floats only whole ones, which are
    /// the integers they equal, as in filters.
    #[must_use]
    pub fn of(value: Value) -> Option<Self> {
        match value {
            Value::Bool(b) => Some(Self::Bool(b)),
            Value::Int(i) => Some(Self::Int(i)),
            Value::Str(s) => Some(Self::Str(s)),
            Value::Float(f) => whole(f).map(Self::Int),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The different values of a field: none if it is missing, those of its items if it is a list.
    #[must_use]
    pub fn all_at(payload: &EncodedPayload, path: &str) -> BTreeSet<Self> {
        match payload.find(path) {
            Some(Value::List(items)) => items.into_iter().filter_map(Self::of).collect(),
            Some(value) => Self::of(value).into_iter().collect(),
            None => BTreeSet::new(),
        }
    }
}

/// The integer that a float equals.
fn whole(float: f64) -> Option<i64> {
    /// 2^63, the first float that is larger than every integer.
    const ABOVE: f64 = 9_223_372_036_854_775_808.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within the integers"
    )]
    let int = float as i64;
    (float.fract() == 0.0 && (-ABOVE..ABOVE).contains(&float)).then_some(int)
}

impl From<FieldValue> for Value {
    fn from(value: FieldValue) -> Self {
        match value {
            FieldValue::Bool(b) => Self::Bool(b),
            FieldValue::Int(i) => Self::Int(i),
            FieldValue::Str(s) => Self::Str(s),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::payload::Payload;

    #[test]
    fn a_field_has_the_values_of_its_items() {
        let payload = Payload::from_json(json!({
            "a": {"b": ["x", 1, 1.0, "x", true, 1.5, null, ["y"]]}, "c": "z", "d": 2.5, "e": -3.0,
            "f": 9.3e18,
        }));
        let payload = payload.expect("an object").encode();
        let all = |path| {
            FieldValue::all_at(&payload, path)
                .into_iter()
                .collect::<Vec<_>>()
        };
        let expected = [
            FieldValue::Bool(true),
            FieldValue::Int(1),
            FieldValue::Str("x".into()),
        ];
        assert_eq!(all("a.b"), expected);
        assert_eq!(all("c"), [FieldValue::Str("z".into())]);
        assert_eq!(all("e"), [FieldValue::Int(-3)]);
        assert!(all("d").is_empty() && all("f").is_empty() && all("g").is_empty());
    }
}
