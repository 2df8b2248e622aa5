//! The JSON form of a filter, as users write it in scripts and on the command line.
//!
//! `{"must": [{"key": "pos", "match": {"value": "verb"}}, {"key": "n", "range": {"gte": 3}}]}`, with
//! `match: {"any": [..]}`, `match: {"text": "some words"}`, `range` of dates (`{"gte": "2024-01-01"}`), `geo_radius:
//! {"center": {"lat": .., "lon": ..}, "radius": METRES}`, `geo_bounding_box: {"top_left": {..}, "bottom_right": {..}}`,
//! `is_null`, `is_empty`, `has_id` and nested filters. Unknown fields are refused.

use serde::Deserialize;
use thiserror::Error;

use super::{Condition, DatetimeRange, Filter, NO_BOUNDS, Range};
use crate::error::InvalidInput;
use crate::geo::{GeoBox, GeoCircle, GeoPoint};
use crate::limits::NESTING_MAX;
use crate::moment::Moment;
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
    geo_radius: Option<JsonCircle>,
    geo_bounding_box: Option<JsonBox>,
    is_null: Option<bool>,
    is_empty: Option<bool>,
    has_id: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum JsonMatch {
    Value(serde_json::Value),
    Any(Vec<serde_json::Value>),
    Text(String),
}

/// Numbers or dates, not both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRange {
    gt: Option<JsonBound>,
    gte: Option<JsonBound>,
    lt: Option<JsonBound>,
    lte: Option<JsonBound>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a bound is a number, or a date in a string")]
enum JsonBound {
    Number(f64),
    Date(String),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPlace {
    lat: f64,
    lon: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonCircle {
    center: JsonPlace,
    radius: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBox {
    top_left: JsonPlace,
    bottom_right: JsonPlace,
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
    let given = [
        c.r#match.is_some(),
        c.range.is_some(),
        c.geo_radius.is_some(),
        c.geo_bounding_box.is_some(),
        c.is_null.is_some(),
        c.is_empty.is_some(),
        c.has_id.is_some(),
    ];
    let one = given.into_iter().filter(|given| *given).count() == 1;
    Ok(match c {
        JsonCondition {
            r#match: Some(test),
            ..
        } if one => match_condition(key, test)?,
        JsonCondition {
            range: Some(range), ..
        } if one => range_condition(key, range)?,
        JsonCondition {
            geo_radius: Some(JsonCircle { center, radius }),
            ..
        } if one => {
            let JsonPlace { lat, lon } = center;
            let center = GeoPoint { lat, lon };
            let circle = GeoCircle { center, radius };
            Condition::GeoRadius { key, circle }
        }
        JsonCondition {
            geo_bounding_box:
                Some(JsonBox {
                    top_left,
                    bottom_right,
                }),
            ..
        } if one => {
            let area = GeoBox {
                south: bottom_right.lat,
                west: top_left.lon,
                north: top_left.lat,
                east: bottom_right.lon,
            };
            Condition::GeoBox { key, area }
        }
        JsonCondition {
            is_null: Some(true),
            ..
        } if one => Condition::IsNull { key },
        JsonCondition {
            is_empty: Some(true),
            ..
        } if one => Condition::IsEmpty { key },
        _ => {
            let hint = "a condition with a key needs exactly one of match, range, geo_radius, geo_bounding_box, \
                        is_null: true, is_empty: true";
            return Err(bad(hint).into());
        }
    })
}

fn match_condition(key: String, test: JsonMatch) -> Result<Condition, InvalidInput> {
    Ok(match test {
        JsonMatch::Value(value) => Condition::Match {
            key,
            value: Value::from_json(value)?,
        },
        JsonMatch::Any(values) => {
            let values = values.into_iter().map(Value::from_json);
            let values = values.collect::<Result<_, _>>()?;
            Condition::AnyOf { key, values }
        }
        JsonMatch::Text(text) => Condition::Text { key, text },
    })
}

fn range_condition(key: String, range: JsonRange) -> Result<Condition, InvalidInput> {
    let JsonRange { gt, gte, lt, lte } = range;
    let bounds = [&gt, &gte, &lt, &lte];
    let dates = bounds.map(|bound| matches!(bound, Some(JsonBound::Date(_))));
    let numbers = bounds.map(|bound| matches!(bound, Some(JsonBound::Number(_))));
    match (dates.contains(&true), numbers.contains(&true)) {
        (true, false) => {
            let range = DatetimeRange {
                gt: date(gt)?,
                gte: date(gte)?,
                lt: date(lt)?,
                lte: date(lte)?,
            };
            Ok(Condition::DatetimeRange { key, range })
        }
        (false, true) => {
            let range = Range {
                gt: number(gt),
                gte: number(gte),
                lt: number(lt),
                lte: number(lte),
            };
            Ok(Condition::Range { key, range })
        }
        (true, true) => Err(bad("the bounds of a range are all numbers, or all dates")),
        (false, false) => Err(bad(NO_BOUNDS)),
    }
}

fn number(bound: Option<JsonBound>) -> Option<f64> {
    match bound {
        Some(JsonBound::Number(number)) => Some(number),
        Some(JsonBound::Date(_)) | None => None,
    }
}

fn date(bound: Option<JsonBound>) -> Result<Option<Moment>, InvalidInput> {
    match bound {
        Some(JsonBound::Date(text)) => DatetimeRange::bound(&text).map(Some),
        Some(JsonBound::Number(_)) | None => Ok(None),
    }
}

fn point_id(json: &serde_json::Value) -> Result<PointId, InvalidInput> {
    match json {
        serde_json::Value::String(s) => s.parse(),
        other => other.to_string().parse(),
    }
}
