//! Points in the order of a payload field, page by page.
//!
//! A page begins after a place in the order, not after a number of points: so what is written between two pages neither
//! makes the next one skip a point nor repeat one.

use std::cmp::Ordering;

use crate::canonical::{DecodeError, Reader, Writer};
use crate::error::InvalidInput;
use crate::filter::Filter;
use crate::path::check_path;
use crate::payload::EncodedPayload;
use crate::point_id::PointId;
use crate::query::{StoredPoint, WithVectors, check_limit};
use crate::value::Value;

/// An order by a payload field: numbers, then strings by their bytes; descending the other way around. Points without
/// such a value come last either way, and equal values go by id. A list counts as its smallest item, descending its
/// largest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderBy {
    /// Dotted path of the payload field.
    pub key: String,
    /// Whether large values come first.
    pub descending: bool,
}

/// What a point is ordered by.
#[derive(Clone, Debug, PartialEq)]
pub enum SortKey {
    /// An integer.
    Int(i64),
    /// Another number; finite, not negative zero.
    Float(f64),
    /// A string.
    Text(String),
    /// Neither.
    Missing,
}

impl SortKey {
    fn of(value: Value) -> Option<Self> {
        match value {
            Value::Int(i) => Some(Self::Int(i)),
            Value::Float(f) => Some(Self::Float(f + 0.0)),
            Value::Str(s) => Some(Self::Text(s)),
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Ascending.
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Int(a), Self::Float(b)) => int_to_float(*a, *b),
            (Self::Float(a), Self::Int(b)) => int_to_float(*b, *a).reverse(),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (a, b) => a.kind().cmp(&b.kind()),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Int(_) | Self::Float(_) => 0,
            Self::Text(_) => 1,
            Self::Missing => 2,
        }
    }
}

/// Exactly: as floats, large integers would be equal that are not.
fn int_to_float(int: i64, float: f64) -> Ordering {
    /// 2^63, the first float that is larger than every integer.
    const ABOVE: f64 = 9_223_372_036_854_775_808.0;
    if float >= ABOVE {
        return Ordering::Less;
    }
    if float < -ABOVE {
        return Ordering::Greater;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within the integers"
    )]
    let whole = float.trunc() as i64;
    let part = 0.0_f64
        .partial_cmp(&float.fract())
        .unwrap_or(Ordering::Equal);
    int.cmp(&whole).then(part)
}

impl OrderBy {
    /// By this field, small values first.
    #[must_use]
    pub fn ascending(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            descending: false,
        }
    }

    /// By this field, large values first.
    #[must_use]
    pub fn descending(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            descending: true,
        }
    }

    /// Compares two places in this order.
    #[must_use]
    pub fn compare(&self, a: (&SortKey, PointId), b: (&SortKey, PointId)) -> Ordering {
        let missing = |key: &SortKey| *key == SortKey::Missing;
        let by_key = match (missing(a.0), missing(b.0)) {
            (false, false) if self.descending => b.0.compare(a.0),
            (false, false) => a.0.compare(b.0),
            (a, b) => a.cmp(&b),
        };
        by_key.then(a.1.cmp(&b.1))
    }

    /// What a point of this payload is ordered by.
    #[must_use]
    pub fn key_of(&self, payload: &EncodedPayload) -> SortKey {
        let key = match payload.find(&self.key) {
            Some(Value::List(items)) => {
                let keys = items.into_iter().filter_map(SortKey::of);
                match self.descending {
                    false => keys.min_by(SortKey::compare),
                    true => keys.max_by(SortKey::compare),
                }
            }
            Some(value) => SortKey::of(value),
            None => None,
        };
        key.unwrap_or(SortKey::Missing)
    }
}

/// A place in an order: that of a point, which need not exist any more.
#[derive(Clone, Debug, PartialEq)]
pub struct PageToken {
    /// The order.
    pub order: OrderBy,
    /// What the point was ordered by.
    pub key: SortKey,
    /// Its id.
    pub id: PointId,
}

const FORMAT: u8 = 1;
const INT: u8 = 0;
const FLOAT: u8 = 1;
const TEXT: u8 = 2;
const MISSING: u8 = 3;

impl PageToken {
    /// The bytes clients hand back.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT)
            .u8(u8::from(self.order.descending))
            .bytes(self.order.key.as_bytes())
            .bytes(&self.id.to_bytes());
        match &self.key {
            SortKey::Int(i) => w.u8(INT).raw(&i.to_be_bytes()),
            SortKey::Float(f) => w.u8(FLOAT).raw(&f.to_bits().to_be_bytes()),
            SortKey::Text(s) => w.u8(TEXT).bytes(s.as_bytes()),
            SortKey::Missing => w.u8(MISSING),
        };
        w.finish()
    }

    /// Reads them back.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new("page token", bytes);
        let bad = r.malformed();
        if r.u8()? != FORMAT {
            return Err(bad);
        }
        let descending = match r.u8()? {
            0 => false,
            1 => true,
            _ => return Err(bad),
        };
        let key = r.str()?.to_owned();
        let order = OrderBy { key, descending };
        let id = PointId::from_bytes(r.bytes()?)?;
        let key = match r.u8()? {
            INT => SortKey::Int(r.u64()?.cast_signed()),
            FLOAT => match f64::from_bits(r.u64()?) {
                f if f.is_finite() => SortKey::Float(f + 0.0),
                _ => return Err(bad),
            },
            TEXT => SortKey::Text(r.str()?.to_owned()),
            MISSING => SortKey::Missing,
            _ => return Err(bad),
        };
        r.finish()?;
        Ok(Self { order, key, id })
    }
}

/// One page of points in the order of a payload field.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderedScroll {
    /// Which points.
    pub filter: Option<Filter>,
    /// The order.
    pub order: OrderBy,
    /// Where the page begins: after this place. `None` starts at the beginning.
    pub after: Option<PageToken>,
    /// Most points on the page.
    pub limit: usize,
    /// Whether points carry their payload.
    pub with_payload: bool,
    /// Whether points carry their vectors.
    pub with_vectors: WithVectors,
}

impl OrderedScroll {
    /// The first `limit` points in this order, with payloads.
    #[must_use]
    pub fn new(order: OrderBy, limit: usize) -> Self {
        Self {
            filter: None,
            order,
            after: None,
            limit,
            with_payload: true,
            with_vectors: WithVectors::None,
        }
    }

    /// Refuses limits out of range, malformed paths and filters, and the token of another order.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        check_limit(self.limit, 0)?;
        check_path("order_by", &self.order.key)?;
        if self
            .after
            .as_ref()
            .is_some_and(|token| token.order != self.order)
        {
            return Err(InvalidInput::BadField {
                field: "page_token".into(),
                reason: "it comes from a page in another order; give it with that order, or leave it out".into(),
            });
        }
        self.filter.as_ref().map_or(Ok(()), Filter::validate)
    }
}

/// A page of points in the order of a payload field.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderedPage {
    /// The points.
    pub points: Vec<StoredPoint>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<PageToken>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::payload::Payload;

    fn keys() -> impl Strategy<Value = SortKey> {
        prop_oneof![
            (-3_i64..3).prop_map(SortKey::Int),
            any::<i64>().prop_map(SortKey::Int),
            (-6_i32..6).prop_map(|i| SortKey::Float(f64::from(i) / 2.0 + 0.0)),
            any::<i64>().prop_map(|i| SortKey::Float(i as f64)),
            "[ab]{0,2}".prop_map(SortKey::Text),
            Just(SortKey::Missing),
        ]
    }

    proptest! {
        #[test]
        fn places_are_in_one_total_order(
            keys in prop::collection::vec(keys(), 3),
            descending in any::<bool>(),
        ) {
            let order = OrderBy { key: "k".into(), descending };
            let at = |i: usize| (&keys[i], PointId::Num(0));
            let compare = |a, b| order.compare(at(a), at(b));
            prop_assert_eq!(compare(0, 1), compare(1, 0).reverse());
            if compare(0, 1).is_le() && compare(1, 2).is_le() {
                prop_assert!(compare(0, 2).is_le(), "{:?}", keys);
            }
        }

        #[test]
        fn tokens_round_trip_and_bytes_are_decoded_or_refused(
            key in keys(),
            (id, descending) in any::<(u64, bool)>(),
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let order = OrderBy { key: "a.b".into(), descending };
            let token = PageToken { order, key, id: PointId::Num(id) };
            prop_assert_eq!(PageToken::decode(&token.encode()).expect("own bytes"), token);
            if let Ok(token) = PageToken::decode(&bytes) {
                prop_assert!(PageToken::decode(&token.encode()).is_ok());
            }
        }
    }

    #[test]
    fn numbers_compare_exactly() {
        let big = 1_i64 << 53;
        let (int, float) = (SortKey::Int, SortKey::Float);
        assert_eq!(int(big + 1).compare(&float(big as f64)), Ordering::Greater);
        assert_eq!(int(big).compare(&float(big as f64)), Ordering::Equal);
        assert_eq!(
            int(i64::MAX).compare(&float(i64::MAX as f64)),
            Ordering::Less
        );
        assert_eq!(
            int(i64::MIN).compare(&float(i64::MIN as f64)),
            Ordering::Equal
        );
        assert_eq!(int(-1).compare(&float(-1.5)), Ordering::Greater);
        assert_eq!(int(1).compare(&float(1.5)), Ordering::Less);
    }

    #[test]
    fn a_list_counts_as_its_first_item_in_the_order() {
        let payload = Payload::from_json(json!({"n": [3, 1.5, null, "x"], "b": true}));
        let payload = payload.expect("an object").encode();
        let key = |order: OrderBy| order.key_of(&payload);
        assert_eq!(key(OrderBy::ascending("n")), SortKey::Float(1.5));
        assert_eq!(key(OrderBy::descending("n")), SortKey::Text("x".into()));
        assert_eq!(key(OrderBy::ascending("b")), SortKey::Missing);
        assert_eq!(key(OrderBy::ascending("none")), SortKey::Missing);
    }

    #[test]
    fn a_token_of_another_order_is_refused() {
        let token = PageToken {
            order: OrderBy::ascending("n"),
            key: SortKey::Missing,
            id: PointId::Num(1),
        };
        let mut scroll = OrderedScroll::new(OrderBy::ascending("n"), 10);
        scroll.after = Some(token);
        assert!(scroll.validate().is_ok());
        scroll.order.descending = true;
        let error = scroll.validate().expect_err("another order").to_string();
        assert!(error.contains("another order"), "{error}");
    }
}
