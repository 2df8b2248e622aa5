//! Model values for the round-trip tests of this crate.

use std::collections::BTreeMap;

use pando_model::{
    Condition, DatetimeRange, Example, Examples, Filter, GeoBox, GeoCircle, GeoPoint, Moment,
    Payload, Point, PointId, Range, SparseVector, Stamp, StoredPoint, Value, VectorName,
};
use proptest::prelude::*;
use uuid::Uuid;

pub(crate) fn ids() -> impl Strategy<Value = PointId> {
    prop_oneof![
        any::<u64>().prop_map(PointId::Num),
        any::<u128>().prop_map(|u| PointId::Uuid(Uuid::from_u128(u))),
    ]
}

fn finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("finite", |f| f.is_finite())
}

pub(crate) fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        finite().prop_map(Value::Float),
        ".{0,8}".prop_map(Value::Str),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map("[a-c]{0,2}", inner, 0..4).prop_map(Value::Map),
        ]
    })
}

pub(crate) fn payloads() -> impl Strategy<Value = Payload> {
    prop::collection::btree_map("[a-c]{0,2}", values(), 0..5).prop_map(Payload)
}

fn vectors() -> impl Strategy<Value = BTreeMap<VectorName, Vec<f32>>> {
    let name = prop::sample::select(vec!["", "title", "b"])
        .prop_map(|s| VectorName::parse(s).expect("name"));
    prop::collection::btree_map(name, prop::collection::vec(-1.0f32..1.0, 0..8), 0..3)
}

pub(crate) fn sparse_vectors() -> impl Strategy<Value = SparseVector> {
    prop::collection::btree_map(any::<u32>(), 0.1_f32..1.0, 1..6)
        .prop_map(|pairs| SparseVector::from_pairs(pairs).expect("fine"))
}

fn named_sparse() -> impl Strategy<Value = BTreeMap<VectorName, SparseVector>> {
    let name = prop::sample::select(vec!["terms", "tags"])
        .prop_map(|s| VectorName::parse(s).expect("name"));
    prop::collection::btree_map(name, sparse_vectors(), 0..3)
}

pub(crate) fn points() -> impl Strategy<Value = Point> {
    (ids(), vectors(), named_sparse(), payloads()).prop_map(
        |(id, vectors, sparse_vectors, payload)| Point {
            id,
            vectors,
            sparse_vectors,
            payload,
        },
    )
}

pub(crate) fn stored_points() -> impl Strategy<Value = StoredPoint> {
    let stamp = any::<(u64, u32, u32)>().prop_map(|(wall_ms, counter, origin)| Stamp {
        wall_ms,
        counter,
        origin,
    });
    let vectors = (vectors(), named_sparse());
    (ids(), stamp, prop::option::of(payloads()), vectors).prop_map(
        |(id, version, payload, (vectors, sparse_vectors))| StoredPoint {
            id,
            version,
            payload,
            vectors,
            sparse_vectors,
        },
    )
}

fn moments() -> impl Strategy<Value = Moment> {
    let parts = (
        0..10_000_u32,
        1..13_u32,
        1..29_u32,
        0..24_u32,
        0..1_000_000_000_u32,
    );
    parts.prop_map(|(year, month, day, hour, nanos)| {
        let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:59:59.{nanos:09}Z");
        Moment::parse(&text).expect("a moment")
    })
}

fn datetimes() -> impl Strategy<Value = DatetimeRange> {
    let bound = || prop::option::of(moments());
    (bound(), bound(), bound(), bound()).prop_map(|(gt, gte, lt, lte)| DatetimeRange {
        gt,
        gte,
        lt,
        lte,
    })
}

fn conditions() -> impl Strategy<Value = Condition> {
    let key = || "[a-c]{1,2}(\\.[a-c])?";
    let bound = || prop::option::of(finite());
    let range = (bound(), bound(), bound(), bound()).prop_map(|(gt, gte, lt, lte)| Range {
        gt,
        gte,
        lt,
        lte,
    });
    let leaf = prop_oneof![
        (key(), values()).prop_map(|(key, value)| Condition::Match { key, value }),
        (key(), prop::collection::vec(values(), 0..3))
            .prop_map(|(key, values)| Condition::AnyOf { key, values }),
        (key(), range).prop_map(|(key, range)| Condition::Range { key, range }),
        key().prop_map(|key| Condition::IsNull { key }),
        key().prop_map(|key| Condition::IsEmpty { key }),
        prop::collection::btree_set(ids(), 0..4).prop_map(Condition::HasId),
        (key(), datetimes()).prop_map(|(key, range)| Condition::DatetimeRange { key, range }),
        (key(), ".{0,8}").prop_map(|(key, text)| Condition::Text { key, text }),
        (key(), finite(), finite(), finite()).prop_map(|(key, lat, lon, radius)| {
            let center = GeoPoint { lat, lon };
            let circle = GeoCircle { center, radius };
            Condition::GeoRadius { key, circle }
        }),
        (key(), finite(), finite(), finite(), finite()).prop_map(
            |(key, south, west, north, east)| {
                let area = GeoBox {
                    south,
                    west,
                    north,
                    east,
                };
                Condition::GeoBox { key, area }
            }
        ),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let some = || prop::collection::vec(inner.clone(), 0..3);
        (some(), some(), some()).prop_map(|(must, should, must_not)| {
            Condition::Nested(Filter {
                must,
                should,
                must_not,
            })
        })
    })
}

pub(crate) fn filters() -> impl Strategy<Value = Filter> {
    let some = || prop::collection::vec(conditions(), 0..3);
    (some(), some(), some()).prop_map(|(must, should, must_not)| Filter {
        must,
        should,
        must_not,
    })
}

pub(crate) fn examples() -> impl Strategy<Value = Examples> {
    let vector = || prop::collection::vec(-1.0f32..1.0, 0..4);
    let example = move || {
        prop_oneof![
            ids().prop_map(Example::Id),
            vector().prop_map(Example::Vector)
        ]
    };
    let some = move || prop::collection::vec(example(), 0..3);
    (some(), some()).prop_map(|(positive, negative)| Examples { positive, negative })
}
