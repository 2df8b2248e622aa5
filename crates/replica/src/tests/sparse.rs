//! Sparse vectors through everything that a replica does with points.

use std::collections::BTreeMap;

use pando_model::{
    CollectionSchema, Command, Effect, Examples, HybridQuery, InvalidInput, Metric, PlanKind,
    Point, PointId, ReadError, SearchQuery, Selector, SparseVector, TreeId, VectorName,
    WithVectors, WriteError,
};

use super::catch_up::catch_up;
use super::harness::{World, assert_sound, copy, name, payload, refused};

const TREE: TreeId = TreeId(1);

fn terms() -> VectorName {
    VectorName::parse("terms").unwrap()
}

fn vector(pairs: &[(u32, f32)]) -> SparseVector {
    SparseVector::from_pairs(pairs.iter().copied()).unwrap()
}

/// Point n has its own index, and shares one with every second, one with every third.
fn sparse(n: u32) -> SparseVector {
    let weight = f32::from(u16::try_from(n).unwrap()) + 1.0;
    let mut pairs = vec![(1_000 + n, weight)];
    pairs.extend(n.is_multiple_of(2).then_some((2, weight)));
    pairs.extend(n.is_multiple_of(3).then_some((3, -weight)));
    SparseVector::from_pairs(pairs).unwrap()
}

fn point(id: u64) -> Point {
    let n = u32::try_from(id).unwrap();
    let x = f32::from(u16::try_from(n).unwrap());
    let dense = Point::new(id, vec![x, 1.0, -x], payload(id));
    dense.with_sparse(terms(), sparse(n))
}

fn upsert(world: &World, points: Vec<Point>) -> Result<Effect, WriteError> {
    world.write(Command::Upsert { tree: TREE, points })
}

fn world() -> World {
    let world = World::new();
    let created = world.write(Command::CreateCollection {
        name: name("a"),
        schema: CollectionSchema::single(3, Metric::Dot).with_sparse(terms()),
        salt: [1; 16],
    });
    assert_eq!(created, Ok(Effect::Created { tree: TREE }));
    upsert(&world, (0..20).map(point).collect()).unwrap();
    world
}

fn found(world: &World, query: SearchQuery) -> Result<Vec<(u64, f32)>, ReadError> {
    let hits = world.replica.search(&name("a"), [query])?.remove(0);
    let hit = |hit: pando_model::Hit| match hit.point.id {
        PointId::Num(n) => (n, hit.score),
        PointId::Uuid(_) => unreachable!("all ids are numbers"),
    };
    Ok(hits.into_iter().map(hit).collect())
}

fn by(pairs: &[(u32, f32)], limit: usize) -> SearchQuery {
    SearchQuery::by_sparse(terms(), vector(pairs), limit)
}

fn by_id(id: u64, limit: usize) -> SearchQuery {
    SearchQuery {
        vector_name: terms(),
        ..SearchQuery::by_id(id, limit)
    }
}

#[test]
fn searches_find_points_that_share_an_index() {
    let world = world();
    let two = found(&world, by(&[(2, 2.0), (1_007, 0.5)], 3)).unwrap();
    assert_eq!(two, [(18, 38.0), (16, 34.0), (14, 30.0)]);
    let one = found(&world, by(&[(1_007, 0.5)], 3)).unwrap();
    assert_eq!(one, [(7, 4.0)], "others share nothing with it");
    assert!(found(&world, by(&[(9, 1.0)], 3)).unwrap().is_empty());
    // Negative scores are scores, too.
    let least = found(&world, by(&[(3, 1.0)], 2)).unwrap();
    assert_eq!(least, [(0, -1.0), (3, -4.0)]);
    // Point 6 by its own vector is like those with 2 and 3, and itself no hit.
    let like = found(&world, by_id(6, 20)).unwrap();
    assert!(
        like.iter()
            .all(|(id, _)| *id != 6 && (id % 2 == 0 || id % 3 == 0))
    );
    assert_eq!(like[0], (18, 7.0 * 19.0 * 2.0));
    let explained = world
        .replica
        .search_planned(&name("a"), &[by(&[(2, 1.0), (3, 1.0)], 1)], &|| true)
        .unwrap();
    assert_eq!(explained[0].plan.kind, PlanKind::Inverted);
    assert_eq!(explained[0].plan.text, "inverted index, 17 postings");
}

#[test]
fn a_hybrid_search_takes_both_kinds() {
    let world = world();
    let query = HybridQuery::new(
        [SearchQuery::new(vec![1.0, 0.0, 0.0], 3), by(&[(2, 1.0)], 3)],
        4,
    );
    let fused = world
        .replica
        .search_hybrid(&name("a"), &query, &|| true)
        .unwrap();
    let ids: Vec<_> = fused.hits.iter().map(|hit| hit.point.id).collect();
    // 19, 18, 17 by the one, 18, 16, 14 by the other.
    assert_eq!(ids, [18, 19, 16, 14].map(PointId::Num));
    let kinds: Vec<_> = fused.plans.iter().map(|plan| plan.kind).collect();
    assert_eq!(kinds, [PlanKind::Exact, PlanKind::Inverted]);
}

#[test]
fn what_does_not_fit_is_refused_by_what_it_is() {
    let world = world();
    let root = world.replica.root();
    let refuse = |query| match found(&world, query) {
        Err(ReadError::Invalid(error)) => error,
        other => unreachable!("{other:?}"),
    };
    let dense = SearchQuery {
        vector_name: terms(),
        ..SearchQuery::new(vec![1.0, 0.0, 0.0], 1)
    };
    assert!(matches!(refuse(dense), InvalidInput::IsSparse { .. }));
    let default = SearchQuery {
        vector_name: VectorName::default(),
        ..by(&[(2, 1.0)], 1)
    };
    assert!(matches!(refuse(default), InvalidInput::IsDense { .. }));
    let unknown = SearchQuery {
        vector_name: VectorName::parse("title").unwrap(),
        ..by(&[(2, 1.0)], 1)
    };
    assert!(matches!(
        refuse(unknown),
        InvalidInput::UnknownVector { .. }
    ));
    for examples in [
        Examples::default().like([1, 2]),
        Examples::point(1).unlike([2]),
        Examples::default().like([vec![1.0]]),
    ] {
        let averaged = SearchQuery {
            vector_name: terms(),
            ..SearchQuery::by_examples(examples, 1)
        };
        assert!(matches!(
            refuse(averaged),
            InvalidInput::SparseExamples { .. }
        ));
    }
    let id = PointId::Num(99);
    assert_eq!(
        found(&world, by_id(99, 1)),
        Err(ReadError::PointNotFound { id })
    );

    let wrong = Point {
        sparse_vectors: BTreeMap::from([(VectorName::default(), vector(&[(1, 1.0)]))]),
        vectors: BTreeMap::new(),
        ..point(5)
    };
    let error = refused(upsert(&world, vec![point(4), wrong]));
    assert!(matches!(
        error,
        WriteError::Invalid(InvalidInput::IsDense { .. })
    ));
    let wrong = Point {
        vectors: BTreeMap::from([(terms(), vec![1.0])]),
        sparse_vectors: BTreeMap::new(),
        ..point(5)
    };
    let error = refused(upsert(&world, vec![wrong]));
    assert!(matches!(
        error,
        WriteError::Invalid(InvalidInput::IsSparse { .. })
    ));
    assert_eq!(world.replica.root(), root, "nothing was changed");
}

#[test]
fn writes_restarts_and_catch_ups_keep_them() {
    let world = world();
    let follower = World::open(copy(world.store.as_ref()), None).unwrap();
    // One loses its dense vector, one its sparse one, one changes, one goes.
    let sparse_only = Point {
        vectors: BTreeMap::new(),
        ..point(1)
    };
    let dense_only = Point {
        sparse_vectors: BTreeMap::new(),
        ..point(2)
    };
    let changed = point(4).with_sparse(terms(), vector(&[(2, 100.0)]));
    upsert(&world, vec![sparse_only, dense_only, changed]).unwrap();
    world.delete(TREE, [0]);
    let set = Command::SetPayload {
        tree: TREE,
        selector: Selector::Ids([PointId::Num(4)].into()),
        payload: payload(77),
    };
    world.write(set).unwrap();

    let check = |world: &World| {
        let two = found(world, by(&[(2, 1.0)], 2)).unwrap();
        assert_eq!(two, [(4, 100.0), (18, 19.0)]);
        let all = found(world, by(&[(2, 1.0)], 20)).unwrap();
        assert!(all.iter().all(|(id, _)| *id != 2 && *id != 0));
        let lacking = found(world, by_id(2, 1));
        assert!(matches!(
            lacking,
            Err(ReadError::Invalid(
                InvalidInput::ExampleWithoutVector { .. }
            ))
        ));
        let ids = [1, 2, 4].map(PointId::Num);
        let points = world.replica.get(&name("a"), &ids, true, &WithVectors::All);
        let points = points.unwrap();
        let counts = points
            .iter()
            .map(|p| (p.vectors.len(), p.sparse_vectors.len()));
        assert_eq!(counts.collect::<Vec<_>>(), [(0, 1), (1, 0), (1, 1)]);
        assert_eq!(points[2].sparse_vectors[&terms()], vector(&[(2, 100.0)]));
        assert_eq!(points[2].payload, Some(payload(77)));
    };
    check(&world);
    assert_sound(&world);
    check(&world.reopened());
    catch_up(world.replica.freeze().unwrap(), &follower);
    check(&follower);
    assert_eq!(follower.replica.root(), world.replica.root());
}
