//! Filters.

use pando_model::{Condition, DatetimeRange, Filter, GeoBox, GeoCircle, GeoPoint, Moment, Range};

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
            Condition::DatetimeRange { key, range } => Wire::DatetimeRange(datetimes(key, range)),
            Condition::Text { key, text } => Wire::Text(v1::TextMatch { key, text }),
            Condition::GeoRadius { key, circle } => Wire::GeoRadius(v1::GeoRadius {
                key,
                center: Some(circle.center.into()),
                radius: circle.radius,
            }),
            Condition::GeoBox { key, area } => Wire::GeoBoundingBox(v1::GeoBoundingBox {
                key,
                top_left: Some(v1::GeoPoint {
                    lat: area.north,
                    lon: area.west,
                }),
                bottom_right: Some(v1::GeoPoint {
                    lat: area.south,
                    lon: area.east,
                }),
            }),
        };
        Self {
            condition: Some(wire),
        }
    }
}

fn datetimes(key: String, range: DatetimeRange) -> v1::DatetimeRange {
    let bound = |moment: Option<Moment>| moment.map(|moment| moment.to_string());
    v1::DatetimeRange {
        key,
        gt: bound(range.gt),
        gte: bound(range.gte),
        lt: bound(range.lt),
        lte: bound(range.lte),
    }
}

fn decode_datetimes(wire: v1::DatetimeRange) -> Result<Condition, DecodeError> {
    let bound = |field: &'static str, text: Option<String>| {
        let moment = text.map(|text| DatetimeRange::bound(&text));
        moment.transpose().map_err(DecodeError::refused(field))
    };
    let range = DatetimeRange {
        gt: bound("datetime_range.gt", wire.gt)?,
        gte: bound("datetime_range.gte", wire.gte)?,
        lt: bound("datetime_range.lt", wire.lt)?,
        lte: bound("datetime_range.lte", wire.lte)?,
    };
    Ok(Condition::DatetimeRange {
        key: wire.key,
        range,
    })
}

impl From<GeoPoint> for v1::GeoPoint {
    fn from(GeoPoint { lat, lon }: GeoPoint) -> Self {
        Self { lat, lon }
    }
}

fn decode_place(field: &'static str, wire: Option<v1::GeoPoint>) -> Result<GeoPoint, DecodeError> {
    let v1::GeoPoint { lat, lon } = wire.ok_or_else(|| DecodeError::missing(field))?;
    Ok(GeoPoint { lat, lon })
}

fn decode_box(wire: v1::GeoBoundingBox) -> Result<Condition, DecodeError> {
    let top_left = decode_place("geo_bounding_box.top_left", wire.top_left)?;
    let bottom_right = decode_place("geo_bounding_box.bottom_right", wire.bottom_right)?;
    let area = GeoBox {
        south: bottom_right.lat,
        west: top_left.lon,
        north: top_left.lat,
        east: bottom_right.lon,
    };
    Ok(Condition::GeoBox {
        key: wire.key,
        area,
    })
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
            Wire::DatetimeRange(range) => decode_datetimes(range)?,
            Wire::Text(v1::TextMatch { key, text }) => Self::Text { key, text },
            Wire::GeoRadius(v1::GeoRadius {
                key,
                center,
                radius,
            }) => {
                let center = decode_place("geo_radius.center", center)?;
                let circle = GeoCircle { center, radius };
                Self::GeoRadius { key, circle }
            }
            Wire::GeoBoundingBox(area) => decode_box(area)?,
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

    fn refused(condition: Wire) -> String {
        let filter = v1::Filter {
            must: vec![v1::Condition {
                condition: Some(condition),
            }],
            ..Default::default()
        };
        decode_filter(Some(filter))
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn bounds_that_are_no_dates_and_boxes_without_corners_are_refused() {
        let range = v1::DatetimeRange {
            key: "when".into(),
            lt: Some("soon".into()),
            ..Default::default()
        };
        let error = refused(Wire::DatetimeRange(range));
        assert!(
            error.contains("filter.must[0].datetime_range.lt"),
            "{error}"
        );
        assert!(error.contains("RFC 3339"), "{error}");
        let area = v1::GeoBoundingBox {
            key: "place".into(),
            top_left: Some(v1::GeoPoint::default()),
            bottom_right: None,
        };
        let error = refused(Wire::GeoBoundingBox(area));
        assert!(error.contains("bottom_right"), "{error}");
    }
}
