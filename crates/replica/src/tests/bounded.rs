//! What one entry may change is bounded, and the rest is done by the next ones.

use std::collections::BTreeMap;

use pando_model::limits::POINTS_PER_WRITE_MAX;
use pando_model::{
    CollectionSchema, Command, Effect, InvalidInput, Metric, Payload, Point, Selector, TreeId,
    VectorName, VectorParams, WriteError,
};

use super::apply::{drop_collection, everything, large, refused_whole};
use super::harness::{World, name, payload, point};

/// Goes on as long as the outcome says where; returns how many points each entry changed.
fn repeat(world: &World, mut command: Command) -> Vec<u64> {
    let mut counts = Vec::new();
    loop {
        let Ok(Effect::Points { affected, next }) = world.write(command.clone()) else {
            panic!("refused");
        };
        counts.push(affected);
        let Some(next) = next else { return counts };
        match &mut command {
            Command::Delete { selector, .. } | Command::SetPayload { selector, .. } => {
                let Selector::Filter { from, .. } = selector else {
                    panic!("by ids")
                };
                assert!(*from < Some(next), "goes forward");
                *from = Some(next);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_filtered_write_goes_on_over_entries() {
    let world = World::new();
    let tree = world.create("a");
    let most = POINTS_PER_WRITE_MAX as u64;
    world.upsert(tree, 0..most);
    world.upsert(tree, most..most + 500);
    let set = Command::SetPayload {
        tree,
        selector: everything(),
        payload: payload(3),
    };
    assert_eq!(repeat(&world, set), [most, 500]);
    let delete = Command::Delete {
        tree,
        selector: super::script::odd(),
    };
    assert_eq!(repeat(&world, delete), [most, 500], "all are odd now");
    assert_eq!(world.replica.stats().unwrap().points, 0);
    let delete = Command::Delete {
        tree,
        selector: everything(),
    };
    let root = world.replica.root();
    assert_eq!(repeat(&world, delete), [0]);
    assert_eq!(world.replica.root(), root, "nothing to do changes nothing");
}

#[test]
fn a_filtered_write_is_cut_by_bytes_too() {
    let world = World::new();
    let tree = world.create("a");
    for id in 0..80 {
        let points = vec![Point {
            payload: large(60_000),
            ..point(id, id)
        }];
        world.write(Command::Upsert { tree, points }).unwrap();
    }
    let set = Command::SetPayload {
        tree,
        selector: everything(),
        payload: payload(3),
    };
    let counts = repeat(&world, set);
    assert_eq!(counts.iter().sum::<u64>(), 80);
    assert!(counts.len() > 2, "{counts:?}");
}

/// What is left of the longer rows is deleted in the same batch, which has a limit.
#[test]
fn a_write_that_replaces_more_than_a_batch_holds_is_refused() {
    let world = World::new();
    let (wide, narrow) = (
        VectorName::parse("wide-vector").unwrap(),
        VectorName::parse("narrow").unwrap(),
    );
    let params = |dimension| VectorParams::new(dimension, Metric::Dot);
    let vectors = BTreeMap::from([(wide.clone(), params(16_384)), (narrow.clone(), params(1))]);
    let schema = CollectionSchema {
        vectors,
        sparse_vectors: [].into(),
    };
    let created = world.write(Command::CreateCollection {
        name: name("a"),
        schema,
        salt: [1; 16],
    });
    assert_eq!(created, Ok(Effect::Created { tree: TreeId(1) }));
    let tree = TreeId(1);
    // A little over the most that 1,024 replaced rows may have on average.
    let long = |id: u64| Point {
        id: id.into(),
        vectors: BTreeMap::from([
            (wide.clone(), vec![1.0; 16_384]),
            (narrow.clone(), vec![1.0]),
        ]),
        sparse_vectors: [].into(),
        payload: large(65_519),
    };
    let rows = POINTS_PER_WRITE_MAX as u64;
    for first in (0..rows).step_by(7) {
        let points = (first..rows.min(first + 7)).map(long).collect();
        world.write(Command::Upsert { tree, points }).unwrap();
        world.replica.make_durable().unwrap();
    }
    let replace = |ids: std::ops::Range<u64>| Command::Upsert {
        tree,
        points: ids
            .map(|id| Point {
                vectors: BTreeMap::from([(narrow.clone(), vec![2.0])]),
                ..Point::new(id, vec![], Payload::default())
            })
            .collect(),
    };
    let error = refused_whole(&world, replace(0..rows));
    assert!(
        matches!(
            error,
            WriteError::Invalid(InvalidInput::WriteTooLarge { .. })
        ),
        "{error}"
    );
    let all_but_one = Ok(Effect::Points {
        affected: rows - 1,
        next: None,
    });
    assert_eq!(world.write(replace(1..rows)), all_but_one);
}

/// What an entry costs does not grow with the collections dropped before it.
#[test]
fn a_large_collection_is_cleared_over_entries_and_starts() {
    let world = World::new();
    let tree = world.create("a");
    for first in (0..8_000).step_by(1_000) {
        world.upsert(tree, first..first + 1_000);
    }
    world.write(drop_collection("a")).unwrap();
    let left = world.keys_of_kind(2);
    assert!(left > 4_000, "{left}");
    let reopened = world.reopened();
    assert_eq!(
        reopened.keys_of_kind(2),
        left,
        "a start does not wait for it either"
    );
    reopened.create("b");
    assert!(reopened.keys_of_kind(2) < left);
    reopened.tidy();
    assert_eq!(
        reopened.keys_of_kind(2),
        2,
        "the counters and the collection"
    );
    super::harness::assert_sound(&reopened);
}
