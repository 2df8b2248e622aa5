//! The JSON form of a filter, as users write it in scripts and on the command line.
//!
//! `{"must": [{"key": "pos", "match": {"value": "verb"}}, {"key": "n", "range": {"gte": 3}}]}`, with
//! `match: {"any": [..]}`, `is_null`, `is_empty`, `has_id` and nested filters. Unknown fields are refused.

use serde::Deserialize;
use thiserror::Error;

use super::{Condition, Filter, Range};
use crate::error::InvalidInput;
use crate::limits::NESTING_MAX;
use crate::point_id::PointId;
use crate::value::Value;

/// Text that is not a filter.
#[derive(Debug, Error)]
pub enum FilterParseError {
    /// Not JSON, or not of the filter's shape.
    #[error(
        "filter is not of the form {{\"must\": [..], \"should\": [..], \"must_not\": [..]}}: {0}"
    )]
    Shape(#[from] serde_json::Error),
    /// The shape is right, the content is not.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonFilter {
    #[serde(default)]
    must: Vec<serde_json::Value>,
    #[serde(default)]
    should: Vec<serde_json::Value>,
    #[serde(default)]
    must_not: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonCondition {
    key: Option<String>,
    r#match: Option<JsonMatch>,
    range: Option<JsonRange>,
    is_null: Option<bool>,
    is_empty: Option<bool>,
    has_id: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum JsonMatch {
    Value(serde_json::Value),
    Any(Vec<serde_json::Value>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRange {
    gt: Option<f64>,
    gte: Option<f64>,
    lt: Option<f64>,
    lte: Option<f64>,
}

impl Filter {
    /// Reads and checks the JSON form.
    pub fn from_json(text: &str) -> Result<Self, FilterParseError> {
        let filter = filter(serde_json::from_str(text)?, 0)?;
        filter.validate()?;
        Ok(filter)
    }
}

fn bad(reason: &str) -> InvalidInput {
    InvalidInput::BadFilter {
        reason: reason.to_owned(),
    }
}

fn filter(json: serde_json::Value, depth: usize) -> Result<Filter, FilterParseError> {
    if depth > NESTING_MAX {
        return Err(bad("nested too deeply").into());
    }
    // Serde would also read a struct from an array, field by field.
    if !json.is_object() {
        return Err(bad("a filter must be a JSON object").into());
    }
    let JsonFilter {
        must,
        should,
        must_not,
    } = serde_json::from_value(json)?;
    let all = |conditions: Vec<_>| {
        conditions
            .into_iter()
            .map(|c| condition(c, depth))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Filter {
        must: all(must)?,
        should: all(should)?,
        must_not: all(must_not)?,
    })
}

fn condition(json: serde_json::Value, depth: usize) -> Result<Condition, FilterParseError> {
    let nested = ["must", "should", "must_not"]
        .iter()
        .any(|k| json.get(k).is_some());
    if nested {
        return Ok(Condition::Nested(filter(json, depth + 1)?));
    }
    if !json.is_object() {
        return Err(bad("a condition must be a JSON object").into());
    }
    let c: JsonCondition = serde_json::from_value(json)?;
    if let (None, Some(ids)) = (&c.key, &c.has_id) {
        let ids = ids.iter().map(point_id).collect::<Result<_, _>>()?;
        return Ok(Condition::HasId(ids));
    }
    let key = c
        .key
        .ok_or_else(|| bad("a condition needs a key, has_id, or a nested filter"))?;
    Ok(
        match (c.r#match, c.range, c.is_null, c.is_empty, c.has_id) {
            (Some(JsonMatch::Value(v)), None, None, None, None) => Condition::Match {
                key,
                value: Value::from_json(v)?,
            },
            (Some(JsonMatch::Any(values)), None, None, None, None) => {
                let values = values
                    .into_iter()
                    .map(Value::from_json)
                    .collect::<Result<_, _>>()?;
                Condition::AnyOf { key, values }
            }
            (None, Some(r), None, None, None) => Condition::Range {
                key,
                range: Range {
                    gt: r.gt,
                    gte: r.gte,
                    lt: r.lt,
                    lte: r.lte,
                },
            },
            (None, None, Some(true), None, None) => Condition::IsNull { key },
            (None, None, None, Some(true), None) => Condition::IsEmpty { key },
            _ => {
                let hint = "a condition with a key needs exactly one of match, range, is_null: true, is_empty: true";
                return Err(bad(hint).into());
            }
        },
    )
}

fn point_id(json: &serde_json::Value) -> Result<PointId, InvalidInput> {
    match json {
        serde_json::Value::String(s) => s.parse(),
        other => other.to_string().parse(),
    }
}
