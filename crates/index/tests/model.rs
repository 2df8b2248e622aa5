//! Any sequence of writes leaves the index equal to a plain map, and every read equal to a naive one over that map.
//!
//! Values are chosen so that sums are exact in `f32` in any order: results must be equal to the last bit and the
//! last id, with plenty of equal scores among them.

use std::collections::{BTreeMap, BTreeSet};

use pando_index::{CollectionIndex, NoOriginals, Scored};
use pando_model::{
    CollectionSchema, Condition, EncodedPayload, Filter, Metric, Payload, PointId, SearchQuery,
    Stamp, Value, VectorName, VectorParams,
};
use proptest::prelude::*;
use serde_json::json;

/// Differing sizes make tails, several tiles and several chunks; the largest also takes the parallel path.
const DIMENSIONS: [u32; 5] = [1, 3, 17, 384, 4096];
const IDS: u64 = 160;

/// Metrics whose scores of small numbers are exact.
const EXACT: [Metric; 4] = [
    Metric::Cosine,
    Metric::Dot,
    Metric::Euclidean,
    Metric::Manhattan,
];

type Point = (BTreeMap<VectorName, Vec<f32>>, EncodedPayload);

#[derive(Clone, Debug)]
enum Write {
    Upsert { id: u64, seed: u64 },
    Remove { id: u64 },
}

fn id(n: u64) -> PointId {
    if n.is_multiple_of(3) {
        let uuid = format!("00000000-0000-4000-8000-{n:012x}");
        return uuid.parse().expect("a UUID");
    }
    PointId::Num(n)
}

fn names() -> [VectorName; 2] {
    ["", "title"].map(|name| VectorName::parse(name).expect("name"))
}

fn schema(dimension: u32, metric: Metric) -> CollectionSchema {
    let [default, title] = names();
    let params = VectorParams::new;
    CollectionSchema {
        vectors: BTreeMap::from([
            (default, params(dimension, metric)),
            (title, params(5, Metric::Euclidean)),
        ]),
        sparse_vectors: BTreeSet::new(),
    }
}

/// Pseudo-random numbers below what is asked for.
fn numbers(seed: u64) -> impl FnMut(u16) -> u16 {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u16::try_from((state >> 33) % u64::from(below)).expect("below a u16")
    }
}

/// Halves within [-1, 1]; under cosine, of a length that is exactly 1.
fn vector(params: VectorParams, next: &mut impl FnMut(u16) -> u16) -> Vec<f32> {
    let dimension = params.dimension as usize;
    if params.metric != Metric::Cosine {
        return (0..dimension)
            .map(|_| f32::from(next(5)) / 2.0 - 1.0)
            .collect();
    }
    let (count, size) = if dimension < 4 { (1, 1.0) } else { (4, 0.5) };
    let mut values = vec![0.0; dimension];
    let first = usize::from(next(4096)) % dimension;
    for i in 0..count {
        let sign = if next(2) == 0 { size } else { -size };
        values[(first + i) % dimension] = sign;
    }
    values
}

fn point(schema: &CollectionSchema, seed: u64) -> Point {
    let mut next = numbers(seed);
    let [default, title] = names();
    // One in three lacks the one vector, one in three the other.
    let which = match next(3) {
        0 => vec![default],
        1 => vec![title],
        _ => vec![default, title],
    };
    let vectors = (which.into_iter())
        .map(|name| {
            let params = schema.vectors[&name];
            (name, vector(params, &mut next))
        })
        .collect();
    let tag = ["a", "b", "c"][usize::from(next(3))];
    let payload = json!({ "n": next(20), "tag": tag });
    let payload = Payload::from_json(payload).expect("an object");
    (vectors, payload.encode())
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let write = prop_oneof![
        3 => (0..IDS, any::<u64>()).prop_map(|(id, seed)| Write::Upsert { id, seed }),
        1 => (0..IDS).prop_map(|id| Write::Remove { id }),
    ];
    prop::collection::vec(write, 0..300)
}

fn filters() -> impl Strategy<Value = Option<Filter>> {
    let parse = |json: serde_json::Value| Filter::from_json(&json.to_string()).expect("filter");
    let below = move |n: i64| parse(json!({ "must": [{ "key": "n", "range": { "lt": n } }] }));
    let not_tag = move |tag: &str| {
        parse(json!({ "must_not": [{ "key": "tag", "match": { "value": tag } }] }))
    };
    let some_ids = |ids: BTreeSet<u64>| Filter {
        must: vec![
            Condition::HasId(ids.into_iter().map(id).collect()),
            Condition::Match {
                key: "tag".into(),
                value: Value::Str("a".into()),
            },
        ],
        ..Filter::default()
    };
    prop_oneof![
        Just(None),
        (0..20_i64).prop_map(move |n| Some(below(n))),
        "[a-d]".prop_map(move |tag| Some(not_tag(&tag))),
        prop::collection::btree_set(0..2 * IDS, 1..40).prop_map(move |ids| Some(some_ids(ids))),
        (0..20_i64, prop::collection::btree_set(0..IDS, 1..40)).prop_map(move |(n, ids)| {
            let nested = [below(n), some_ids(ids)].map(Condition::Nested);
            Some(Filter {
                should: nested.into(),
                ..Filter::default()
            })
        }),
    ]
}

/// A query but for its vector, which depends on the schema.
#[derive(Clone, Debug)]
struct Ask {
    seed: u64,
    title: bool,
    filter: Option<Filter>,
    limit: usize,
    offset: usize,
    threshold: Option<i8>,
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let ask = (
        any::<u64>(),
        prop::bool::weighted(0.3),
        filters(),
        prop_oneof![1..6_usize, 1..200_usize],
        prop_oneof![Just(0), 0..30_usize],
        prop::option::weighted(0.3, any::<i8>()),
    );
    let ask = ask.prop_map(|(seed, title, filter, limit, offset, threshold)| Ask {
        seed,
        title,
        filter,
        limit,
        offset,
        threshold,
    });
    prop::collection::vec(ask, 1..8)
}

fn query(schema: &CollectionSchema, ask: &Ask) -> SearchQuery {
    let name = names()[usize::from(ask.title)].clone();
    let params = schema.vectors[&name];
    // Scores differ in scale: thresholds are given in eighths of a typical one.
    let scale = match params.metric {
        Metric::Cosine => 1.0,
        Metric::Dot => f32::from(u16::try_from(params.dimension).expect("small")) / 8.0,
        Metric::Euclidean | Metric::Poincare => (params.dimension as f32).sqrt(),
        Metric::Manhattan => params.dimension as f32,
    };
    SearchQuery {
        filter: ask.filter.clone(),
        limit: ask.limit,
        offset: ask.offset,
        score_threshold: ask.threshold.map(|t| f32::from(t) / 64.0 * scale),
        vector_name: name,
        ..SearchQuery::new(vector(params, &mut numbers(ask.seed)), 1)
    }
}

fn naive_score(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let score = match metric {
        Metric::Cosine | Metric::Dot => pairs.map(|(a, b)| a * b).sum::<f64>(),
        Metric::Euclidean => pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
        Metric::Manhattan => pairs.map(|(a, b)| (a - b).abs()).sum::<f64>(),
        Metric::Poincare => unreachable!("its scores are not exact: it has a test of its own"),
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to f32 is the point"
    )]
    let rounded = score as f32;
    rounded
}

fn naive_search(
    schema: &CollectionSchema,
    model: &BTreeMap<PointId, Point>,
    query: &SearchQuery,
) -> Vec<Scored> {
    let metric = schema.vectors[&query.vector_name].metric;
    let mut hits: Vec<_> = model
        .iter()
        .filter(|(id, (_, payload))| {
            let filter = query.filter.as_ref();
            filter.is_none_or(|f| f.matches(**id, payload))
        })
        .filter_map(|(id, (vectors, _))| {
            let score = naive_score(metric, &query.vector, vectors.get(&query.vector_name)?);
            Some(Scored { id: *id, score })
        })
        .filter(|hit| match (query.score_threshold, metric) {
            (None, _) => true,
            (Some(t), metric) if metric.higher_is_nearer() => hit.score >= t,
            (Some(t), _) => hit.score <= t,
        })
        .collect();
    // The sort is stable and the model is in id order.
    hits.sort_by(|a, b| match metric.higher_is_nearer() {
        false => a.score.total_cmp(&b.score),
        true => (b.score + 0.0).total_cmp(&(a.score + 0.0)),
    });
    let hits = hits.into_iter().skip(query.offset).take(query.limit);
    hits.collect()
}

fn check_points(index: &CollectionIndex, model: &BTreeMap<PointId, Point>) {
    assert_eq!(index.len(), model.len());
    assert_eq!(index.is_empty(), model.is_empty());
    for n in 0..IDS {
        let expected = model.get(&id(n)).map(|(_, payload)| payload);
        assert_eq!(index.stored(id(n)).map(|(_, payload)| payload), expected);
        assert_eq!(index.contains(id(n)), expected.is_some());
    }
}

fn check_selection(
    index: &CollectionIndex,
    model: &BTreeMap<PointId, Point>,
    filter: Option<&Filter>,
    page: usize,
) {
    let expected: Vec<_> = model
        .iter()
        .filter(|(id, (_, payload))| filter.is_none_or(|f| f.matches(**id, payload)))
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(index.select(filter), expected);
    assert_eq!(index.count(filter), expected.len() as u64);
    let (mut scrolled, mut from) = (Vec::new(), None);
    loop {
        let (ids, next) = index.scroll(filter, from, page);
        assert!(
            ids.len() == page || next.is_none(),
            "only the last page is short"
        );
        scrolled.extend(ids);
        from = next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(scrolled, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_index_equals_a_map_and_a_sort(
        dimension in prop::sample::select(DIMENSIONS.as_slice()),
        metric in prop::sample::select(EXACT.as_slice()),
        writes in writes(),
        asks in asks(),
        page in 1..50_usize,
    ) {
        let schema = schema(dimension, metric);
        let mut index = CollectionIndex::new(&schema);
        let empty = index.memory_bytes();
        let mut model = BTreeMap::new();
        for write in writes {
            match write {
                Write::Upsert { id: n, seed } => {
                    let (vectors, payload) = point(&schema, seed);
                    index.upsert(id(n), Stamp::at(seed), &vectors, payload.clone());
                    assert_eq!(index.stored(id(n)).map(|(version, _)| version), Some(Stamp::at(seed)));
                    model.insert(id(n), (vectors, payload));
                }
                Write::Remove { id: n } => {
                    let existed = model.remove(&id(n)).is_some();
                    prop_assert_eq!(index.remove(id(n)), existed);
                }
            }
        }
        check_points(&index, &model);
        for ask in &asks {
            check_selection(&index, &model, ask.filter.as_ref(), page);
        }
        let queries: Vec<_> = asks.iter().map(|ask| query(&schema, ask)).collect();
        let expected: Vec<_> =
            queries.iter().map(|query| naive_search(&schema, &model, query)).collect();
        prop_assert_eq!(index.search(&queries, &NoOriginals).expect("valid"), expected);

        for id in index.select(None) {
            prop_assert!(index.remove(id));
        }
        check_points(&index, &BTreeMap::new());
        let left = index.memory_bytes() - empty;
        prop_assert!(left < 4096, "{left} bytes are left of nothing");
    }
}
