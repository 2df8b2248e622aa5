//! Whatever payload indexes there are, and however much of the collection they cover: every read answers what asking
//! [`Filter::matches`] about each point answers.

use std::collections::{BTreeMap, BTreeSet};

use pando_index::{CollectionIndex, IndexOptions, NoOriginals, Plan, Why};
use pando_model::{
    CollectionSchema, Condition, DatetimeRange, Filter, GeoBox, GeoCircle, GeoPoint, Metric,
    Moment, Payload, PointId, Range, SearchQuery, Stamp, Value, VectorName,
};
use proptest::prelude::*;

const IDS: u64 = 120;
/// More than there are points.
const ALL: usize = 200;

/// Values that are equal in some ways and not in others.
fn scalars() -> impl Strategy<Value = Value> {
    let exact = 1_i64 << 53;
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-2..4_i64).prop_map(Value::Int),
        prop::sample::select(vec![exact - 1, exact, exact + 1, i64::MAX, i64::MIN])
            .prop_map(Value::Int),
        prop::sample::select(vec![
            -0.0,
            0.0,
            1.0,
            2.0,
            2.5,
            -1.5,
            exact as f64,
            1e300,
            i64::MAX as f64
        ])
        .prop_map(Value::Float),
        prop::sample::select(vec!["", "a", "b", "1", "A"]).prop_map(|s| Value::Str(s.into())),
        "[xy]".prop_map(|s| Value::Str(s.repeat(300))),
        dates().prop_map(|s| Value::Str(s.into())),
        texts().prop_map(|s| Value::Str(s.into())),
    ]
}

fn dates() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "2024-01-01",
        "2024-01-01T00:00:00Z",
        "2024-01-01T01:00:00.5+01:00",
        "2024-06-30T23:59:60Z",
        "1999-12-31",
        "2024-02-30",
    ])
}

fn texts() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "red fox",
        "Fox, RED!",
        "red",
        "brown dog",
        "red dog",
        "...",
    ])
}

fn places() -> impl Strategy<Value = GeoPoint> {
    let lat = prop::sample::select(vec![-90.0, -0.05, 0.0, 0.06, 45.0, 89.9, 90.0]);
    let lon = prop::sample::select(vec![-180.0, -179.95, -0.01, 0.0, 0.07, 10.0, 179.95, 180.0]);
    (lat, lon).prop_map(|(lat, lon)| GeoPoint { lat, lon })
}

fn place_values() -> impl Strategy<Value = Value> {
    let place = |place: GeoPoint| {
        let fields = [("lat", place.lat), ("lon", place.lon)];
        let fields = fields.map(|(key, degrees)| (key.to_owned(), Value::Float(degrees)));
        Value::Map(fields.into())
    };
    prop_oneof![
        3 => places().prop_map(place),
        1 => Just(place(GeoPoint { lat: 100.0, lon: 0.0 })),
        1 => prop::collection::vec(places().prop_map(place), 0..4).prop_map(Value::List),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let item = prop_oneof![
        6 => scalars(),
        1 => prop::collection::vec(scalars(), 0..2).prop_map(Value::List),
        1 => Just(Value::Map(BTreeMap::new())),
    ];
    prop_oneof![
        4 => scalars(),
        2 => prop::collection::vec(item, 0..4).prop_map(Value::List),
        1 => prop::collection::btree_map("[ab]", scalars(), 0..3).prop_map(Value::Map),
        2 => place_values(),
    ]
}

fn payloads() -> impl Strategy<Value = Payload> {
    prop::collection::btree_map("[abc]", values(), 0..4).prop_map(Payload)
}

fn keys() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[abc]", 1 => "[abc]\\.[ab]"]
}

fn ranges() -> impl Strategy<Value = Range> {
    let number = prop::sample::select(vec![
        -2.0,
        -0.0,
        0.0,
        1.0,
        2.5,
        9_007_199_254_740_992.0,
        f64::INFINITY,
    ]);
    let bound = || prop::option::weighted(0.5, number.clone());
    (bound(), bound(), bound(), bound()).prop_map(|(gt, gte, lt, lte)| Range { gt, gte, lt, lte })
}

fn datetimes() -> impl Strategy<Value = DatetimeRange> {
    let bound =
        || prop::option::weighted(0.5, dates().prop_map(Moment::parse)).prop_map(Option::flatten);
    (bound(), bound(), bound(), bound()).prop_map(|(gt, gte, lt, lte)| DatetimeRange {
        gt,
        gte,
        lt,
        lte,
    })
}

fn circles() -> impl Strategy<Value = GeoCircle> {
    let radius = prop::sample::select(vec![1.0, 6_000.0, 12_000.0, 5e6, 3e7]);
    (places(), radius).prop_map(|(center, radius)| GeoCircle { center, radius })
}

fn boxes() -> impl Strategy<Value = GeoBox> {
    (places(), places()).prop_map(|(a, b)| GeoBox {
        south: a.lat.min(b.lat),
        west: a.lon,
        north: a.lat.max(b.lat),
        east: b.lon,
    })
}

fn conditions() -> impl Strategy<Value = Condition> {
    let scalar = || scalars().prop_filter("null has a condition of its own", |v| *v != Value::Null);
    let leaf = prop_oneof![
        4 => (keys(), scalar()).prop_map(|(key, value)| Condition::Match { key, value }),
        2 => (keys(), prop::collection::vec(scalar(), 1..4))
            .prop_map(|(key, values)| Condition::AnyOf { key, values }),
        3 => (keys(), ranges()).prop_map(|(key, range)| Condition::Range { key, range }),
        1 => keys().prop_map(|key| Condition::IsNull { key }),
        1 => keys().prop_map(|key| Condition::IsEmpty { key }),
        1 => (keys(), datetimes()).prop_map(|(key, range)| Condition::DatetimeRange { key, range }),
        2 => (keys(), texts()).prop_map(|(key, text)| Condition::Text { key, text: text.into() }),
        1 => (keys(), circles()).prop_map(|(key, circle)| Condition::GeoRadius { key, circle }),
        1 => (keys(), boxes()).prop_map(|(key, area)| Condition::GeoBox { key, area }),
        1 => prop::collection::btree_set((0..IDS).prop_map(PointId::Num), 1..30)
            .prop_map(Condition::HasId),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| combined(inner).prop_map(Condition::Nested))
}

fn combined(condition: impl Strategy<Value = Condition> + Clone) -> impl Strategy<Value = Filter> {
    let some = |most| prop::collection::vec(condition.clone(), 0..most);
    (some(3), some(3), some(2)).prop_map(|(must, should, must_not)| Filter {
        must,
        should,
        must_not,
    })
}

#[derive(Clone, Debug)]
enum Step {
    Upsert(u64, Payload),
    Remove(u64),
    Read(Filter),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..IDS, payloads()).prop_map(|(id, payload)| Step::Upsert(id, payload)),
        3 => (0..IDS).prop_map(Step::Remove),
        2 => combined(conditions().boxed()).prop_map(Step::Read),
    ];
    prop::collection::vec(step, 0..200)
}

fn index(options: IndexOptions) -> CollectionIndex {
    CollectionIndex::with_options(&CollectionSchema::single(1, Metric::Euclidean), options)
}

fn upsert(index: &mut CollectionIndex, id: u64, payload: &Payload) {
    let vectors = BTreeMap::from([(VectorName::default(), vec![id as f32])]);
    index.upsert(PointId::Num(id), Stamp::at(1), &vectors, payload.encode());
}

/// Reads in every way there is, and compares with what the payloads say.
fn check(index: &CollectionIndex, model: &BTreeMap<u64, Payload>, filter: &Filter) {
    let passing: Vec<PointId> = (model.iter())
        .filter(|(id, payload)| filter.matches(PointId::Num(**id), &payload.encode()))
        .map(|(id, _)| PointId::Num(*id))
        .collect();
    assert_eq!(index.select(Some(filter)), passing, "{filter:?}");
    assert_eq!(
        index.count(Some(filter)),
        passing.len() as u64,
        "{filter:?}"
    );
    let half = passing.len() / 2;
    for (from, limit) in [(0, 1), (half, 3), (half, ALL)] {
        let start = passing.get(from).copied();
        let (page, next) = index.scroll(Some(filter), start, limit);
        let rest = if start.is_some() {
            &passing[from..]
        } else {
            &passing
        };
        assert_eq!(page, rest[..limit.min(rest.len())], "{filter:?}");
        assert_eq!(next, rest.get(limit).copied(), "{filter:?}");
    }
    let query = SearchQuery {
        filter: Some(filter.clone()),
        ..SearchQuery::new(vec![0.0], ALL)
    };
    let hits = index
        .search(&[query], &NoOriginals)
        .expect("valid")
        .remove(0);
    // The distance of a point is its id.
    assert_eq!(
        hits.iter().map(|hit| hit.id).collect::<Vec<_>>(),
        passing,
        "{filter:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn reads_under_a_filter_say_what_the_payloads_say(
        steps in steps(),
        payload_points_min in 1..40_usize,
        payload_points_per_filter in 1..60_usize,
    ) {
        let options = IndexOptions {
            payload_points_min,
            payload_points_per_filter,
            ..IndexOptions::default()
        };
        let mut index = index(options);
        let mut model = BTreeMap::new();
        let mut asked = Vec::new();
        for step in steps {
            match step {
                Step::Upsert(id, payload) => {
                    upsert(&mut index, id, &payload);
                    model.insert(id, payload);
                }
                Step::Remove(id) => {
                    prop_assert_eq!(index.remove(PointId::Num(id)), model.remove(&id).is_some());
                }
                Step::Read(filter) => {
                    check(&index, &model, &filter);
                    asked.push(filter);
                }
            }
        }
        // Again, with indexes that have seen more writes, and are complete.
        for filter in &asked {
            check(&index, &model, filter);
        }
    }
}

fn matching(key: &str, value: impl Into<serde_json::Value>) -> Filter {
    let json = serde_json::json!({ "must": [{ "key": key, "match": { "value": value.into() } }] });
    Filter::from_json(&json.to_string()).expect("a filter")
}

fn tagged(n: u64) -> Payload {
    let json = serde_json::json!({ "hundredth": n % 100, "n": n, "word": format!("w{n}") });
    Payload::from_json(json).expect("an object")
}

fn plan(index: &CollectionIndex, filter: &Filter, exact: bool) -> Plan {
    let query = SearchQuery {
        filter: Some(filter.clone()),
        exact,
        ..SearchQuery::new(vec![0.0], 10)
    };
    index.search_planned(&[query], &NoOriginals).expect("valid")[0].plan
}

#[test]
fn an_index_comes_with_the_filters_that_ask_for_it_and_goes_with_the_points() {
    let mut index = index(IndexOptions {
        payload_points_min: 1000,
        payload_points_per_filter: 1100,
        ..IndexOptions::default()
    });
    let filter = matching("hundredth", 7);
    for n in 0..999 {
        upsert(&mut index, n, &tagged(n));
    }
    assert_eq!(plan(&index, &filter, true), Plan::Exact(Why::Requested));
    assert_eq!(index.payload_indexes(), 0, "few points need none");
    for n in 999..4000 {
        upsert(&mut index, n, &tagged(n));
    }
    let before = index.memory_bytes();
    let looked_at: Vec<_> = (0..4)
        .map(|_| match plan(&index, &filter, true) {
            Plan::Matching { points, doubts, .. } => (points, doubts),
            Plan::Exact(_) => (4000, 4000),
            other @ (Plan::Graph { .. } | Plan::Inverted { .. }) => panic!("{other}"),
        })
        .collect();
    // 1,100 points more with each filter; the last ones are asked at once.
    assert_eq!(looked_at, [(4000, 4000), (1822, 1800), (40, 0), (40, 0)]);
    assert_eq!(index.payload_indexes(), 1);
    assert!(index.memory_bytes() > before);
    for n in 0..3501 {
        index.remove(PointId::Num(n));
    }
    assert_eq!(
        index.payload_indexes(),
        0,
        "half as many as it takes do without"
    );
    assert_eq!(index.count(Some(&filter)), 5);
}

#[test]
fn there_are_only_so_many_indexes_and_those_in_use_stay() {
    let mut index = index(IndexOptions {
        payload_points_min: 10,
        ..IndexOptions::default()
    });
    let fields: Vec<_> = (0..70).map(|n| format!("field{n}")).collect();
    for id in 0..50 {
        let values = fields
            .iter()
            .map(|field| (field.clone(), Value::Int(i64::try_from(id % 5).unwrap())));
        upsert(&mut index, id, &Payload(values.collect()));
    }
    let ask = |field: &String| assert_eq!(index.count(Some(&matching(field, 1))), 10);
    fields.iter().for_each(ask);
    assert_eq!(index.payload_indexes(), 64);
    let is_indexed =
        |field: &String| plan(&index, &matching(field, 1), true) != Plan::Exact(Why::Requested);
    assert!(is_indexed(&fields[0]) && !is_indexed(&fields[69]));
    // The first ones stay in use; of the others, one makes room.
    for _ in 0..150 {
        ask(&fields[0]);
        ask(&fields[1]);
    }
    ask(&fields[69]);
    assert_eq!(index.payload_indexes(), 64);
    assert!(is_indexed(&fields[69]) && is_indexed(&fields[0]) && is_indexed(&fields[1]));
}

#[test]
fn an_index_takes_a_fraction_of_what_it_is_of_and_gives_it_back() {
    let mut index = index(IndexOptions {
        payload_points_min: 1,
        payload_points_per_filter: 1 << 20,
        // None is built in the background while memory is measured.
        graph_rows_min: usize::MAX,
        ..IndexOptions::default()
    });
    for n in 0..20_000 {
        upsert(&mut index, n, &tagged(n));
    }
    let bytes = |index: &CollectionIndex, key: &str, value: serde_json::Value| {
        let before = index.memory_bytes();
        assert!(index.count(Some(&matching(key, value))) > 0);
        index.memory_bytes() - before
    };
    let few = bytes(&index, "hundredth", 7.into());
    let (numbers, words) = (
        bytes(&index, "n", 7.into()),
        bytes(&index, "word", "w7".into()),
    );
    assert!(few < 20_000 * 10, "a hundred values: {few} bytes");
    assert!(
        numbers < 20_000 * 60,
        "every value another one: {numbers} bytes"
    );
    assert!(
        words < 20_000 * 100,
        "every string another one: {words} bytes"
    );
    let ids: BTreeSet<_> = (0..20_000).filter(|n| n % 20 > 0).collect();
    let before = index.memory_bytes();
    ids.into_iter()
        .for_each(|n| assert!(index.remove(PointId::Num(n))));
    assert!(index.memory_bytes() < before / 8);
    assert_eq!(index.payload_indexes(), 3);
}
