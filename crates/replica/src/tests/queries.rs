//! Searches by examples, fused and grouped ones, facets and orders, against what a list of all points says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use pando_model::{
    CollectionSchema, Command, Condition, Example, Examples, Facet, FacetQuery, FieldValue, Filter,
    GroupQuery, HybridQuery, InvalidInput, Metric, OrderBy, OrderedScroll, Payload, Point, PointId,
    ReadError, SearchQuery, SortKey, TreeId, Value,
};
use proptest::prelude::*;

use super::harness::{World, ids_of, name};

type Points = Vec<Point>;

/// Small numbers, so that there are many ties.
fn coordinates() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-2_i8..3).prop_map(f32::from), 2)
}

fn fields() -> impl Strategy<Value = Option<Value>> {
    let one = || {
        prop_oneof![
            (0_i64..4).prop_map(Value::Int),
            "[ab]".prop_map(Value::Str),
            (0_i32..4).prop_map(|i| Value::Float(f64::from(i) / 2.0)),
            any::<bool>().prop_map(Value::Bool),
            Just(Value::Null),
        ]
    };
    prop_oneof![
        1 => Just(None),
        4 => one().prop_map(Some),
        1 => prop::collection::vec(one(), 0..3).prop_map(|items| Some(Value::List(items))),
    ]
}

fn points() -> impl Strategy<Value = Points> {
    let point = (coordinates(), fields(), any::<bool>());
    prop::collection::vec(point, 1..40).prop_map(|points| {
        let point = |(id, (vector, field, even)): (u64, (Vec<f32>, Option<Value>, bool))| {
            let mut payload = BTreeMap::from([("even".to_owned(), Value::Bool(even))]);
            payload.extend(field.map(|value| ("f".to_owned(), value)));
            Point::new(id, vector, Payload(payload))
        };
        (0..).zip(points).map(point).collect()
    })
}

fn filters() -> impl Strategy<Value = Option<Filter>> {
    prop::option::of(any::<bool>().prop_map(|even| Filter {
        must: vec![Condition::Match {
            key: "even".into(),
            value: Value::Bool(even),
        }],
        ..Filter::default()
    }))
}

fn world(points: &Points) -> World {
    let world = World::new();
    let create = Command::CreateCollection {
        name: name("plane"),
        schema: CollectionSchema::single(2, Metric::Euclidean),
        salt: [3; 16],
    };
    world.write(create).unwrap();
    upsert(&world, points.clone());
    world
}

fn upsert(world: &World, points: Points) {
    let tree = TreeId(1);
    world.write(Command::Upsert { tree, points }).unwrap();
}

fn passes(filter: Option<&Filter>, point: &Point) -> bool {
    filter.is_none_or(|filter| filter.matches(point.id, &point.payload.encode()))
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
    squares.sum::<f32>().sqrt()
}

/// Ids by distance, then id.
fn naive(points: &Points, query: &[f32], filter: Option<&Filter>) -> Vec<PointId> {
    let mut found: Vec<_> = (points.iter())
        .filter(|point| passes(filter, point))
        .map(|point| {
            let vector = point.vectors.values().next().unwrap();
            (distance(query, vector), point.id)
        })
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    found.into_iter().map(|(_, id)| id).collect()
}

fn values(points: &Points, id: PointId) -> BTreeSet<FieldValue> {
    let point = points.iter().find(|point| point.id == id).unwrap();
    FieldValue::all_at(&point.payload.encode(), "f")
}

fn naive_groups(
    points: &Points,
    ranking: &[PointId],
    limit: usize,
    size: usize,
) -> Vec<(FieldValue, Vec<PointId>)> {
    let mut groups: Vec<(FieldValue, Vec<PointId>)> = Vec::new();
    for id in ranking {
        for value in values(points, *id) {
            match groups.iter_mut().find(|(known, _)| *known == value) {
                Some((_, hits)) => hits.push(*id),
                None => groups.push((value, vec![*id])),
            }
        }
    }
    groups.truncate(limit);
    groups.iter_mut().for_each(|(_, hits)| hits.truncate(size));
    groups
}

fn vector(points: &Points, i: usize) -> Vec<f32> {
    points[i % points.len()]
        .vectors
        .values()
        .next()
        .unwrap()
        .clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn examples_are_averaged_and_left_out(
        points in points(),
        (a, b) in (0_usize..40, 0_usize..40),
        given in coordinates(),
        filter in filters(),
        (limit, offset) in (1_usize..10, 0_usize..4),
    ) {
        let world = world(&points);
        let id = |i: usize| points[i % points.len()].id;
        let examples = Examples::default()
            .like([Example::Id(id(a)), Example::Vector(given.clone())])
            .unlike([id(b)]);
        // Twice the mean, less the negative one.
        let (like, unlike) = (vector(&points, a), vector(&points, b));
        let mean: Vec<f32> = (0..2).map(|i| like[i] + given[i] - unlike[i]).collect();
        let expected: Vec<_> = naive(&points, &mean, filter.as_ref())
            .into_iter()
            .filter(|found| ![id(a), id(b)].contains(found))
            .skip(offset)
            .take(limit)
            .collect();
        let query = SearchQuery { filter, offset, ..SearchQuery::by_examples(examples, limit) };
        let hits = world.replica.search(&name("plane"), [query]).unwrap().remove(0);
        prop_assert_eq!(hits.iter().map(|hit| hit.point.id).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn fused_ranks_are_those_of_the_searches(
        points in points(),
        vectors in prop::collection::vec((coordinates(), filters(), 1_usize..20), 1..4),
        constant in 0_u32..70,
        (limit, offset) in (1_usize..20, 0_usize..4),
    ) {
        let world = world(&points);
        let mut scores: BTreeMap<PointId, f64> = BTreeMap::new();
        for (vector, filter, depth) in &vectors {
            let ranking = naive(&points, vector, filter.as_ref());
            for (id, rank) in ranking.into_iter().take(*depth).zip(1..) {
                *scores.entry(id).or_default() += 1.0 / (f64::from(constant) + f64::from(rank));
            }
        }
        let queries = vectors.into_iter().map(|(vector, filter, depth)| SearchQuery {
            filter,
            ..SearchQuery::new(vector, depth)
        });
        let all = HybridQuery { rank_constant: constant, ..HybridQuery::new(queries, 100) };
        let page = HybridQuery { limit, offset, ..all.clone() };
        let search = |query| world.replica.search_hybrid(&name("plane"), &query, &|| true).unwrap();
        let (fused, page) = (search(all), search(page));
        prop_assert_eq!(fused.hits.len(), scores.len());
        for hit in &fused.hits {
            let expected = scores[&hit.point.id];
            prop_assert!((f64::from(hit.score) - expected).abs() < 1e-6);
        }
        for pair in fused.hits.windows(2) {
            let in_order = pair[0].score > pair[1].score
                || (pair[0].score == pair[1].score && pair[0].point.id < pair[1].point.id)
                || (scores[&pair[0].point.id] - scores[&pair[1].point.id]).abs() < 1e-6;
            prop_assert!(in_order, "{:?}", pair);
        }
        let expected: Vec<_> = fused.hits.into_iter().skip(offset).take(limit).collect();
        prop_assert_eq!(page.hits, expected);
    }

    #[test]
    fn groups_hold_the_nearest_of_each_value(
        points in points(),
        query in coordinates(),
        filter in filters(),
        (limit, size) in (1_usize..5, 1_usize..5),
        without in prop::option::of(0_usize..40),
    ) {
        let world = world(&points);
        let left_out = without.map(|i| points[i % points.len()].id);
        let center = without.map_or(query, |i| vector(&points, i));
        let ranking: Vec<_> = naive(&points, &center, filter.as_ref())
            .into_iter()
            .filter(|id| Some(*id) != left_out)
            .collect();
        let search = match left_out {
            Some(id) => SearchQuery::by_id(id, limit),
            None => SearchQuery::new(center, limit),
        };
        let query = GroupQuery {
            query: SearchQuery { filter, ..search },
            group_by: "f".to_owned(),
            group_size: size,
        };
        let found = world.replica.search_groups(&name("plane"), &query, &|| true).unwrap();
        let found: Vec<_> = (found.groups.into_iter())
            .map(|group| {
                let ids = group.hits.iter().map(|hit| hit.point.id).collect::<Vec<_>>();
                (group.value, ids)
            })
            .collect();
        prop_assert_eq!(found, naive_groups(&points, &ranking, limit, size));
    }

    #[test]
    fn facets_count_every_value(points in points(), filter in filters(), limit in 1_usize..9) {
        let world = world(&points);
        let mut counts: BTreeMap<FieldValue, u64> = BTreeMap::new();
        for point in points.iter().filter(|point| passes(filter.as_ref(), point)) {
            for value in values(&points, point.id) {
                *counts.entry(value).or_default() += 1;
            }
        }
        let mut expected: Vec<_> = counts.into_iter().collect();
        expected.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        expected.truncate(limit);
        let query = FacetQuery { key: "f".to_owned(), filter, limit };
        let found = world.replica.facets(&name("plane"), &query, &|| true).unwrap();
        let found: Vec<_> = found.into_iter().map(|Facet { value, count }| (value, count)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn pages_in_an_order_neither_skip_nor_repeat_while_others_are_written(
        points in points(),
        filter in filters(),
        descending in any::<bool>(),
        limit in 1_usize..9,
        written in prop::collection::vec((0_u64..80, fields()), 0..12),
    ) {
        let world = world(&points);
        let order = OrderBy { key: "f".to_owned(), descending };
        let mut query = OrderedScroll { filter: filter.clone(), ..OrderedScroll::new(order.clone(), limit) };
        let (mut seen, mut writes) = (Vec::new(), written.clone().into_iter());
        loop {
            let page = world.replica.scroll_ordered(&name("plane"), &query, usize::MAX, &|| true).unwrap();
            prop_assert!(page.points.len() == limit || page.next.is_none());
            for point in page.points {
                seen.push((order.key_of(&point.payload.unwrap().encode()), point.id));
            }
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
            // Between two pages a point is written anew, elsewhere, or removed.
            match writes.next() {
                Some((id, Some(value))) => {
                    let payload = Payload([("f".to_owned(), value), ("even".to_owned(), Value::Bool(true))].into());
                    upsert(&world, vec![Point::new(id, vec![0.0, 0.0], payload)]);
                }
                Some((id, None)) => {
                    let (tree, selector) = (TreeId(1), ids_of([id]));
                    world.write(Command::Delete { tree, selector }).unwrap();
                }
                None => {}
            }
        }
        let in_order = |a: &(SortKey, PointId), b: &(SortKey, PointId)| {
            order.compare((&a.0, a.1), (&b.0, b.1)).is_lt()
        };
        prop_assert!(seen.windows(2).all(|pair| in_order(&pair[0], &pair[1])), "{:?}", seen);
        let touched: BTreeSet<_> = written.iter().map(|(id, _)| PointId::Num(*id)).collect();
        let stayed: BTreeSet<_> = (points.iter())
            .filter(|point| passes(filter.as_ref(), point) && !touched.contains(&point.id))
            .map(|point| point.id)
            .collect();
        let told: BTreeSet<_> = seen.iter().map(|(_, id)| *id).collect();
        prop_assert!(told.is_superset(&stayed), "skipped: {:?}", stayed.difference(&told));
    }
}

#[test]
fn who_does_not_wait_is_not_searched_for() {
    let world = world(&vec![Point::new(1, vec![0.0, 1.0], Payload::default())]);
    let plane = name("plane");
    let impatient = || false;
    let query = SearchQuery::new(vec![0.0, 0.0], 1);
    let searched = world
        .replica
        .search_planned(&plane, std::slice::from_ref(&query), &impatient);
    assert_eq!(searched.expect_err("too late"), ReadError::OutOfTime);
    // It gives up within a large batch: it asks before each of its four parts, and before and after each scan.
    for enough in 0..12 {
        let asked = AtomicUsize::new(0);
        let patience = || asked.fetch_add(1, Ordering::Relaxed) < enough;
        let searched = world
            .replica
            .search_planned(&plane, &vec![query.clone(); 100], &patience);
        assert_eq!(searched.expect_err("too late"), ReadError::OutOfTime);
        // The one after a scan that was left out is its second no.
        let asked = asked.into_inner();
        assert!((enough + 1..=enough + 2).contains(&asked), "{asked}");
    }
}

#[test]
fn examples_that_are_not_there_are_named() {
    let world = world(&vec![Point::new(1, vec![0.0, 1.0], Payload::default())]);
    let search = |query| world.replica.search(&name("plane"), [query]);
    let error = search(SearchQuery::by_id(7, 1)).expect_err("no such point");
    let id = PointId::Num(7);
    assert_eq!(error, ReadError::PointNotFound { id });
    let unknown = SearchQuery {
        vector_name: pando_model::VectorName::parse("title").unwrap(),
        ..SearchQuery::by_id(1, 1)
    };
    assert!(matches!(
        search(unknown),
        Err(ReadError::Invalid(InvalidInput::UnknownVector { .. }))
    ));
    assert_eq!(
        search(SearchQuery::by_id(1, 1)).unwrap(),
        [vec![]],
        "itself is no hit"
    );
}
