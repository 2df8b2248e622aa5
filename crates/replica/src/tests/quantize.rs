//! How vectors are quantized is part of the state; graphs follow it from what is stored.

use std::collections::BTreeMap;

use pando_model::{
    CollectionSchema, Command, Effect, Metric, Point, Quantization, RequestId, SearchQuery, TreeId,
    VectorName, WriteError,
};
use pando_storage::MemoryStore;
use uuid::Uuid;

use super::catch_up::catch_up;
use super::harness::{World, copy, name, options, payload, refused, stored_root};
use super::script::{as_int8, quantize};
use crate::ReplicaOptions;

/// Enough for a graph over signs.
const DIMENSION: u32 = 64;
const POINTS: u64 = 600;

fn with_graphs(graph_vectors_min: usize) -> ReplicaOptions {
    ReplicaOptions {
        graph_vectors_min,
        ..options()
    }
}

/// A point whose vector its value tells.
fn point(id: u64, value: u64) -> Point {
    let mut state = value.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f32::from(u8::try_from(state >> 56).unwrap()) / 128.0 - 1.0
    };
    Point::new(id, (0..DIMENSION).map(next).collect(), payload(value))
}

fn upsert(world: &World, tree: TreeId, ids: impl Iterator<Item = u64>, add: u64) {
    let points = ids.map(|id| point(id, id + add)).collect();
    world.write(Command::Upsert { tree, points }).unwrap();
}

fn world(graph_vectors_min: usize) -> (World, TreeId) {
    let options = with_graphs(graph_vectors_min);
    let world = World::open_with(MemoryStore::new(), options, None).unwrap();
    let created = world.write(Command::CreateCollection {
        name: name("c"),
        schema: CollectionSchema::single(DIMENSION, Metric::Dot)
            .with_sparse(VectorName::parse("terms").unwrap()),
        salt: [3; 16],
    });
    let Ok(Effect::Created { tree }) = created else {
        panic!("{created:?}")
    };
    upsert(&world, tree, 0..POINTS, 0);
    (world, tree)
}

/// That memory, disk and a fresh start have the same state.
fn assert_stored(world: &World) {
    let root = world.replica.root();
    assert_eq!(root, stored_root(world.store.as_ref()));
    assert_eq!(root, world.reopened().replica.root());
}

fn is_quantizing(world: &World) -> bool {
    let state = world.replica.state.read();
    state.collections.values().any(|c| c.index.is_quantizing())
}

fn search(world: &World, exact: bool) -> Vec<Vec<(u32, u64)>> {
    let queries = (0..8).map(|n| {
        let vector = point(0, 50 * n).vectors[&VectorName::default()].clone();
        SearchQuery {
            exact,
            ..SearchQuery::new(vector, 10)
        }
    });
    let queries: Vec<_> = queries.collect();
    let found = world.replica.search(&name("c"), queries).unwrap();
    let hit = |hit: &pando_model::Hit| match hit.point.id {
        pando_model::PointId::Num(n) => (hit.score.to_bits(), n),
        pando_model::PointId::Uuid(_) => unreachable!("all ids are numbers"),
    };
    let hits = found.iter().map(|hits| hits.iter().map(hit).collect());
    hits.collect()
}

fn index_bytes(world: &World) -> u64 {
    world.replica.stats().unwrap().index_bytes
}

#[test]
fn the_setting_is_part_of_the_state_and_taken_back_leaves_no_trace_in_it() {
    let (world, tree) = world(usize::MAX);
    let root = |world: &World| world.replica.collection(&name("c")).unwrap().root;
    let before = root(&world);
    assert_eq!(world.write(quantize(tree, true)), Ok(Effect::Done));
    let quantized = root(&world);
    assert_ne!(quantized, before);
    let info = world.replica.collection(&name("c")).unwrap();
    let params = info.definition.schema.vectors[&VectorName::default()];
    assert_eq!(params.quantization, Quantization::Int8);
    assert_stored(&world);
    assert_eq!(world.write(quantize(tree, true)), Ok(Effect::Done), "again");
    assert_eq!(root(&world), quantized);
    world.write(quantize(tree, false)).unwrap();
    assert_eq!(root(&world), before);
    assert_stored(&world);
}

#[test]
fn a_retry_is_not_a_second_change() {
    let (world, tree) = world(usize::MAX);
    let request = Some(RequestId(Uuid::from_u128(7)));
    assert_eq!(
        world.write_as(request, quantize(tree, true)),
        Ok(Effect::Done)
    );
    world.write(quantize(tree, false)).unwrap();
    let root = world.replica.root();
    assert_eq!(
        world.write_as(request, quantize(tree, true)),
        Ok(Effect::Done)
    );
    assert_eq!(
        world.replica.root(),
        root,
        "the first reply, and nothing else"
    );
    let other = refused(world.write_as(request, quantize(tree, false)));
    assert!(other.to_string().contains("request_id"), "{other}");
}

#[test]
fn what_cannot_be_is_refused() {
    let (world, tree) = world(usize::MAX);
    let of = |tree, vectors: BTreeMap<VectorName, Quantization>| {
        refused(world.write(Command::Quantize { tree, vectors }))
    };
    let named = |text: &str| {
        let name = VectorName::parse(text).unwrap();
        BTreeMap::from([(name, Quantization::Int8)])
    };
    let gone = of(TreeId(99), as_int8(true));
    assert!(
        matches!(gone, WriteError::CollectionNotFound { .. }),
        "{gone}"
    );
    let unknown = of(tree, named("title")).to_string();
    assert!(unknown.contains("(default), terms (sparse)"), "{unknown}");
    let sparse = of(tree, named("terms")).to_string();
    assert!(sparse.contains("terms is sparse"), "{sparse}");
    assert!(matches!(of(tree, BTreeMap::new()), WriteError::Invalid(_)));
    let scanned = world.write(Command::CreateCollection {
        name: name("m"),
        schema: CollectionSchema::single(DIMENSION, Metric::Manhattan),
        salt: [4; 16],
    });
    let Ok(Effect::Created { tree }) = scanned else {
        panic!("{scanned:?}")
    };
    let scanned = of(tree, as_int8(true)).to_string();
    assert!(scanned.contains("no graph"), "{scanned}");
}

#[test]
fn searches_and_writes_go_on_while_a_graph_is_made_anew() {
    let ((world, tree), (whole, _)) = (world(100), world(usize::MAX));
    world.settle();
    for to_int8 in [true, false] {
        let before = index_bytes(&world);
        world.write(quantize(tree, to_int8)).unwrap();
        whole.write(quantize(tree, to_int8)).unwrap();
        assert!(is_quantizing(&world) && !is_quantizing(&whole));
        let backlog = world.replica.stats().unwrap().index_backlog;
        assert!(backlog >= POINTS - 50, "{backlog} to be indexed");
        assert_eq!(search(&world, true), search(&whole, true));
        world.replica.reindex();
        for world in [&world, &whole] {
            upsert(world, tree, 50..250, 7 + u64::from(to_int8));
            world.delete(tree, 0..50);
            upsert(world, tree, 0..25, 1000);
        }
        assert_eq!(search(&world, true), search(&whole, true), "halfway");
        world.settle();
        assert!(!is_quantizing(&world));
        assert_eq!(world.replica.stats().unwrap().index_backlog, 0);
        assert_eq!(search(&world, true), search(&whole, true), "afterwards");
        let (found, truth) = (search(&world, false), search(&whole, true));
        let pairs = found.iter().zip(&truth);
        let hits =
            pairs.map(|(found, truth)| truth.iter().filter(|hit| found.contains(hit)).count());
        let hits: usize = hits.sum();
        assert!(hits >= 76, "{hits} of 80");
        let now = index_bytes(&world);
        assert_eq!(now < before, to_int8, "{now} bytes, {before} before");
        assert_stored(&world);
    }
}

#[test]
fn what_nothing_is_kept_of_is_read_and_given_again() {
    let ((world, tree), (whole, _)) = (world(100), world(usize::MAX));
    let to = |quantization| {
        let vectors = BTreeMap::from([(VectorName::default(), quantization)]);
        world.write(Command::Quantize { tree, vectors }).unwrap();
    };
    to(Quantization::Int8);
    world.settle();
    let packed = index_bytes(&world);
    to(Quantization::Binary);
    while is_quantizing(&world) {
        world.replica.reindex();
    }
    let thin = index_bytes(&world);
    let rows = POINTS * u64::from(DIMENSION);
    assert!(thin + rows / 2 < packed, "{thin} of {packed}");
    for world in [&world, &whole] {
        upsert(world, tree, 50..60, 7);
        world.delete(tree, 0..5);
    }
    assert_eq!(search(&world, true), search(&whole, true));
    for quantization in [Quantization::Int8, Quantization::Binary, Quantization::F16] {
        to(quantization);
        assert_eq!(
            search(&world, true),
            search(&whole, true),
            "to {quantization}"
        );
        world.settle();
        assert_eq!(search(&world, true), search(&whole, true), "{quantization}");
        while is_quantizing(&world) {
            world.replica.reindex();
        }
        assert_eq!(
            search(&world, true),
            search(&whole, true),
            "{quantization}, done"
        );
    }
    assert!(index_bytes(&world) > packed);
}

#[test]
fn a_restart_halfway_begins_with_the_new_form() {
    let (world, tree) = world(100);
    world.settle();
    let before = index_bytes(&world);
    world.write(quantize(tree, true)).unwrap();
    assert!(is_quantizing(&world));
    let store = copy(world.store.as_ref());
    let opened = World::open_with(store, with_graphs(100), None).unwrap();
    assert!(!is_quantizing(&opened), "there is nothing to be replaced");
    opened.settle();
    assert_eq!(opened.replica.root(), world.replica.root());
    assert_eq!(search(&opened, true), search(&world, true));
    world.settle();
    assert!(index_bytes(&opened) < before && index_bytes(&world) < before);
}

#[test]
fn a_follower_that_catches_up_makes_its_graph_anew() {
    let ((leader, tree), (follower, _)) = (world(100), world(100));
    assert_eq!(leader.replica.root(), follower.replica.root());
    follower.settle();
    let before = index_bytes(&follower);
    leader.write(quantize(tree, true)).unwrap();
    upsert(&leader, tree, 0..30, 5);
    catch_up(leader.replica.freeze().unwrap(), &follower);
    assert!(is_quantizing(&follower));
    assert_eq!(search(&follower, true), search(&leader, true));
    follower.settle();
    assert!(index_bytes(&follower) < before);
    assert_eq!(search(&follower, true), search(&leader, true));
    assert_stored(&follower);
}
