//! Points and selectors.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use pando_model::limits::{
    FILTER_CONDITIONS_MAX, PAYLOAD_BYTES_MAX, POINTS_PER_WRITE_MAX, WRITE_BYTES_MAX,
};
use pando_model::{
    Condition, Consistency, CountQuery, Filter, Payload, Point, Range, Selector, SparseVector,
    Value, VectorName,
};

use super::expected::{Expected, check, invalid, over};
use super::{good, name, node};

fn with_vector(vector: Vec<f32>) -> Vec<Point> {
    vec![good(1), Point::new(2, vector, Payload::default())]
}

fn with_payload(value: Value) -> Vec<Point> {
    let payload = Payload(BTreeMap::from([("field".to_owned(), value)]));
    vec![good(1), Point::new(2, vec![1.0; 4], payload)]
}

type Bad = (&'static str, Vec<Point>, Expected);

fn bad_vectors() -> Result<Vec<Bad>> {
    let title = VectorName::parse("title")?;
    let sparse = SparseVector::new(vec![7], vec![1.0])?;
    let unknown_sparse = good(3).with_sparse(title.clone(), sparse.clone());
    let dense = Point {
        vectors: BTreeMap::new(),
        ..good(3)
    };
    let dense = dense.with_sparse(VectorName::default(), sparse);
    let unknown = Point {
        vectors: BTreeMap::from([(title, vec![1.0])]),
        ..good(3)
    };
    let none = Point {
        vectors: BTreeMap::new(),
        ..good(3)
    };
    Ok(vec![
        (
            "a wrong dimension",
            with_vector(vec![1.0; 3]),
            over(4, "expects 4"),
        ),
        (
            "NaN",
            with_vector(vec![1.0, f32::NAN, 1.0, 1.0]),
            invalid("must be finite"),
        ),
        (
            "infinity",
            with_vector(vec![f32::INFINITY, 1.0, 1.0, 1.0]),
            invalid("must be finite"),
        ),
        (
            "a zero vector under cosine",
            with_vector(vec![0.0; 4]),
            invalid("no cosine"),
        ),
        (
            "an unknown vector",
            vec![good(1), unknown],
            invalid("title"),
        ),
        (
            "an unknown sparse vector",
            vec![good(1), unknown_sparse],
            invalid("title"),
        ),
        (
            "a sparse vector in place of a dense one",
            vec![good(1), dense],
            invalid("give all of its 4 values"),
        ),
        ("no vector", vec![good(1), none], invalid("at least one")),
    ])
}

fn bad_writes() -> Vec<Bad> {
    let many = POINTS_PER_WRITE_MAX as u64 + 1;
    let big = Value::Str("x".repeat(PAYLOAD_BYTES_MAX));
    let heavy = |id| Point {
        payload: Payload(BTreeMap::from([(
            "f".to_owned(),
            Value::Str("x".repeat(60_000)),
        )])),
        ..good(id)
    };
    let mut deep = Value::Int(1);
    for _ in 0..20 {
        deep = Value::List(vec![deep]);
    }
    vec![
        ("nothing", Vec::new(), invalid("at least one")),
        (
            "too many points",
            (0..many).map(good).collect(),
            over(POINTS_PER_WRITE_MAX, "limit of 1024"),
        ),
        (
            "too many bytes",
            (0..30).map(heavy).collect(),
            over(WRITE_BYTES_MAX, "split it into smaller batches"),
        ),
        (
            "one id twice",
            vec![good(1), good(2), good(1)],
            invalid("twice"),
        ),
        (
            "an oversized payload",
            with_payload(big),
            over(PAYLOAD_BYTES_MAX, "limit of 65536"),
        ),
        (
            "a payload too deep",
            with_payload(deep),
            invalid("limit of 16 levels"),
        ),
        (
            "a float that is none",
            with_payload(Value::Float(f64::NAN)),
            invalid("finite float"),
        ),
    ]
}

fn bad_filters() -> Vec<(&'static str, Filter, &'static str)> {
    let bad_key = Condition::IsNull {
        key: "a..b".to_owned(),
    };
    let no_bounds = Condition::Range {
        key: "a".to_owned(),
        range: Range::default(),
    };
    let no_values = Condition::AnyOf {
        key: "a".to_owned(),
        values: Vec::new(),
    };
    let match_null = Condition::Match {
        key: "a".to_owned(),
        value: Value::Null,
    };
    let mut nested = Filter::default();
    for _ in 0..20 {
        nested = Filter {
            must: vec![Condition::Nested(nested)],
            ..Filter::default()
        };
    }
    let fine = Condition::IsNull {
        key: "a".to_owned(),
    };
    let crowd = Filter {
        must: vec![fine; FILTER_CONDITIONS_MAX + 1],
        ..Filter::default()
    };
    let one = |condition| Filter {
        must: vec![condition],
        ..Filter::default()
    };
    vec![
        ("a key with an empty step", one(bad_key), "dotted path"),
        ("a range without bounds", one(no_bounds), "filter"),
        ("any of nothing", one(no_values), "at least one"),
        ("a match with null", one(match_null), "is_null"),
        ("a filter too deep", nested, "16"),
        ("too many conditions", crowd, "256"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_points_are_refused_whole() -> Result<()> {
    let cluster = node().await?;
    let sdk = cluster.sdk()?;
    let before = cluster.status(1).await?;
    for (what, points, expected) in bad_vectors()?.into_iter().chain(bad_writes()) {
        check(what, sdk.upsert(&name("words"), points).await, &expected);
    }

    for (what, filter, says) in bad_filters() {
        let selector = Selector::Filter {
            filter: filter.clone(),
            from: None,
        };
        check(
            what,
            sdk.delete(&name("words"), selector).await,
            &invalid(says),
        );
        let query = CountQuery {
            filter: Some(filter),
        };
        let count = sdk.count(&name("words"), query, Consistency::Local).await;
        check(what, count, &invalid(says));
    }
    let nobody = Selector::Ids(BTreeSet::new());
    check(
        "a delete of nothing",
        sdk.delete(&name("words"), nobody).await,
        &invalid("at least one"),
    );

    // Purpose: none of it reached the log, let alone the state.
    let after = cluster.status(1).await?;
    assert_eq!((after.last_log, after.root), (before.last_log, before.root));
    cluster.finish().await
}
