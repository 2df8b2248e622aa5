//! Reads of one small collection whose answers can be worked out by hand.

use std::collections::BTreeMap;

use pando_model::{
    CollectionSchema, Command, Condition, CountQuery, Effect, Filter, InvalidInput, Metric,
    Payload, Point, PointId, ReadError, ScrollQuery, SearchQuery, TreeId, Value, WithVectors,
};

use super::harness::{World, ids_of, name};

/// Points 0 to 9 on a line, `even` or not.
fn line() -> World {
    let world = World::new();
    let created = world.write(Command::CreateCollection {
        name: name("line"),
        schema: CollectionSchema::single(1, Metric::Euclidean),
        salt: [3; 16],
    });
    assert_eq!(created, Ok(Effect::Created { tree: TreeId(1) }));
    let point = |id: u8| {
        let payload = BTreeMap::from([("even".to_owned(), Value::Bool(id.is_multiple_of(2)))]);
        Point::new(u64::from(id), vec![f32::from(id)], Payload(payload))
    };
    world
        .write(Command::Upsert {
            tree: TreeId(1),
            points: (0..10).map(point).collect(),
        })
        .unwrap();
    let alias = Command::SetAlias {
        alias: name("alias"),
        collection: name("line"),
    };
    world.write(alias).unwrap();
    world
}

fn even() -> Option<Filter> {
    let condition = Condition::Match {
        key: "even".into(),
        value: Value::Bool(true),
    };
    Some(Filter {
        must: vec![condition],
        ..Filter::default()
    })
}

fn search(world: &World, query: SearchQuery) -> Vec<(u64, f32)> {
    let hits = world
        .replica
        .search(&name("alias"), vec![query])
        .unwrap()
        .remove(0);
    hits.iter()
        .map(|hit| match hit.point.id {
            PointId::Num(id) => (id, hit.score),
            PointId::Uuid(_) => panic!("no such id"),
        })
        .collect()
}

#[test]
fn search_filters_cuts_and_skips() {
    let world = line();
    let query = SearchQuery::new(vec![2.2], 3);
    let ids = |hits: Vec<(u64, f32)>| hits.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(search(&world, query.clone())), [2, 3, 1]);
    assert_eq!(
        ids(search(
            &world,
            SearchQuery {
                offset: 2,
                ..query.clone()
            }
        )),
        [1, 4, 0]
    );
    assert_eq!(
        ids(search(
            &world,
            SearchQuery {
                filter: even(),
                ..query.clone()
            }
        )),
        [2, 4, 0]
    );
    let near = SearchQuery {
        score_threshold: Some(1.0),
        ..query.clone()
    };
    let hits = search(&world, near);
    assert_eq!(ids(hits.clone()), [2, 3]);
    assert!((hits[0].1 - 0.2).abs() < 1e-6 && (hits[1].1 - 0.8).abs() < 1e-6);
    let both = SearchQuery {
        with_vectors: WithVectors::All,
        with_payload: false,
        limit: 1,
        ..query
    };
    let hit = world
        .replica
        .search(&name("line"), vec![both])
        .unwrap()
        .remove(0)
        .remove(0);
    assert_eq!(hit.point.vectors.values().next().unwrap(), &[2.0]);
    assert_eq!(hit.point.payload, None);
}

#[test]
fn bad_searches_are_refused() {
    let world = line();
    let refuse = |collection: &str, query| {
        world
            .replica
            .search(&name(collection), vec![query])
            .expect_err("bad")
    };
    let query = SearchQuery::new(vec![1.0], 3);
    assert_eq!(
        refuse("none", query.clone()),
        ReadError::CollectionNotFound { name: name("none") }
    );
    let wide = SearchQuery::new(vec![1.0, 2.0], 3);
    assert!(matches!(
        refuse("line", wide),
        ReadError::Invalid(InvalidInput::DimensionMismatch {
            expected: 1,
            actual: 2,
            ..
        })
    ));
    let nothing = SearchQuery { limit: 0, ..query };
    assert!(matches!(
        refuse("line", nothing),
        ReadError::Invalid(InvalidInput::BadField { .. })
    ));
}

#[test]
fn get_returns_what_exists_in_the_order_asked_for() {
    let world = line();
    world
        .write(Command::Delete {
            tree: TreeId(1),
            selector: ids_of([4]),
        })
        .unwrap();
    let ids = [7, 4, 11, 1].map(PointId::Num);
    let points = world
        .replica
        .get(&name("line"), &ids, true, &WithVectors::All)
        .unwrap();
    assert_eq!(
        points.iter().map(|p| p.id).collect::<Vec<_>>(),
        [7, 1].map(PointId::Num)
    );
    assert_eq!(points[0].vectors.values().next().unwrap(), &[7.0]);
    assert_eq!(
        points[0].payload.as_ref().unwrap().0["even"],
        Value::Bool(false)
    );
    let bare = world
        .replica
        .get(&name("line"), &ids, false, &WithVectors::None)
        .unwrap();
    assert_eq!(
        (bare[0].version, &bare[0].payload),
        (points[0].version, &None)
    );
    assert!(bare[0].vectors.is_empty());
}

#[test]
fn scroll_pages_through_all() {
    let world = line();
    let mut query = ScrollQuery {
        filter: even(),
        from: None,
        limit: 2,
        with_payload: false,
        with_vectors: WithVectors::None,
    };
    let mut pages = Vec::new();
    loop {
        let page = world.replica.scroll(&name("alias"), &query).unwrap();
        pages.push(page.points.iter().map(|p| p.id).collect::<Vec<_>>());
        query.from = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(
        pages,
        [vec![0, 2], vec![4, 6], vec![8]]
            .map(|p| p.into_iter().map(PointId::Num).collect::<Vec<_>>())
    );
}

#[test]
fn count_and_describe() {
    let world = line();
    let count = |filter| {
        world
            .replica
            .count(&name("alias"), &CountQuery { filter })
            .unwrap()
    };
    assert_eq!((count(None), count(even())), (10, 5));
    let info = world.replica.collection(&name("alias")).unwrap();
    assert_eq!((info.points, info.aliases), (10, vec![name("alias")]));
    assert_eq!(world.replica.collections().unwrap().len(), 1);
    assert_eq!(
        world.replica.resolve(&name("alias")).unwrap().name,
        name("line")
    );
    assert!(world.replica.resolve(&name("none")).is_err());
}
