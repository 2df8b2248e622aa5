//! Searches of an index that keeps less of its vectors: hits are scored from the stored records.

use pando_model::{ReadError, SearchQuery};
use pando_storage::{Batch, KvStore as _, MemoryStore, StoredKey};

use super::harness::{World, address, name, options, point};
use crate::ReplicaOptions;

const POINTS: u64 = 400;

fn world(graph_vectors_min: usize, vector_cache_bytes_max: u64) -> World {
    let options = ReplicaOptions {
        graph_vectors_min,
        vector_cache_bytes_max,
        ..options()
    };
    let world = World::open_with(MemoryStore::new(), options, None).unwrap();
    let tree = world.create("c");
    world.upsert(tree, 0..POINTS);
    // So that there is something in it that its place does not tell.
    let points = (0..POINTS / 4).map(|id| point(id, id * 3 + 1)).collect();
    world
        .write(pando_model::Command::Upsert { tree, points })
        .unwrap();
    world
}

fn queries() -> Vec<SearchQuery> {
    let vectors = [[1.0, 0.5, -0.25], [-0.1, 3.0, 0.7], [0.001, -1.0, 0.0]];
    let query = |vector: [f32; 3]| SearchQuery {
        exact: true,
        ..SearchQuery::new(vector.to_vec(), 20)
    };
    vectors.map(query).into()
}

type Answer = Vec<Vec<(f32, pando_model::StoredPoint)>>;

fn search(world: &World) -> Result<Answer, ReadError> {
    let found = world.replica.search(&name("c"), queries())?;
    let hits = |hits: Vec<pando_model::Hit>| {
        let hits = hits.into_iter();
        hits.map(|hit| (hit.score, hit.point)).collect()
    };
    Ok(found.into_iter().map(hits).collect())
}

#[test]
fn answers_are_those_of_whole_vectors_with_a_cache_and_without() {
    let whole = world(usize::MAX, 0);
    let expected = search(&whole).unwrap();
    assert_eq!(whole.replica.stats().unwrap().vector_cache_bytes, 0);
    for cache in [0, 100_000, 1 << 20] {
        let packed = world(100, cache);
        packed.settle();
        // What is cached answers like what is read.
        for _ in 0..3 {
            assert_eq!(search(&packed).unwrap(), expected, "cache of {cache}");
        }
        let cached = packed.replica.stats().unwrap().vector_cache_bytes;
        assert!(cached <= cache, "{cached} of {cache}");
        assert_eq!(cached > 0, cache > 0, "{cached} of {cache}");
    }
}

#[test]
fn a_write_changes_scores_at_once_whatever_is_cached() {
    let (packed, whole) = (world(100, 1 << 20), world(usize::MAX, 0));
    packed.settle();
    let before = search(&packed).unwrap();
    for world in [&packed, &whole] {
        let tree = address(&world.replica, "c", 0).tree;
        let points = (0..POINTS).map(|id| point(id, id + 7)).collect();
        world
            .write(pando_model::Command::Upsert { tree, points })
            .unwrap();
    }
    let after = search(&packed).unwrap();
    assert_ne!(after, before);
    assert_eq!(after, search(&whole).unwrap());
}

#[test]
fn a_rotten_record_that_is_needed_is_an_error_and_is_to_be_mended() {
    let world = world(100, 0);
    world.settle();
    let answer = search(&world).unwrap();
    let pando_model::PointId::Num(needed) = answer[0][0].1.id else {
        unreachable!("all ids are numbers")
    };
    let at = address(&world.replica, "c", needed);
    for key in world.dump().into_keys() {
        let (_, decoded) = StoredKey::decode(&key).unwrap();
        if decoded.address() == Some(at) {
            let mut batch = Batch::new();
            batch.delete(&*key);
            world.store.apply(batch).unwrap();
        }
    }
    let error = search(&world).expect_err("its score is not known");
    assert!(matches!(error, ReadError::Storage { .. }), "{error}");
    assert_eq!(world.replica.damage().rows, 1);
}
