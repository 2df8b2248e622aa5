//! Readers at work while entries are applied and a state is installed: one state or another, never a mixture.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pando_model::{
    Command, CountQuery, PointId, ReadError, ScrollQuery, SearchQuery, StoredPoint, TreeId, Value,
    WithVectors,
};

use super::catch_up::Session;
use super::harness::{World, name, point};
use crate::Replica;

const POINTS: u64 = 40;

/// Writes every point with one value.
fn round(tree: TreeId, value: u64) -> Command {
    Command::Upsert {
        tree,
        points: (0..POINTS).map(|id| point(id, value)).collect(),
    }
}

/// The one value all points have, by version, payload and vector alike.
fn one_value(points: &[StoredPoint]) -> Option<Value> {
    let first = points.first()?;
    let value = first.payload.as_ref().unwrap().0["n"].clone();
    assert_eq!(points.len() as u64, POINTS);
    for point in points {
        assert_eq!(point.version, first.version);
        assert_eq!(point.payload, first.payload);
        assert_eq!(point.vectors, first.vectors);
        if let (Some(vector), Value::Int(n)) = (point.vectors.values().next(), &value) {
            assert_eq!(vector[0], f32::from(i16::try_from(*n % 1_000).unwrap()));
        }
    }
    Some(value)
}

fn read(replica: &Replica, with: u64) -> Result<(), ReadError> {
    let with_vectors = if with.is_multiple_of(2) {
        WithVectors::All
    } else {
        WithVectors::None
    };
    let points = match with % 3 {
        0 => {
            let query = ScrollQuery {
                filter: None,
                from: None,
                limit: 1_000,
                with_payload: true,
                with_vectors,
            };
            replica.scroll(&name("a"), &query)?.points
        }
        1 => {
            let ids: Vec<PointId> = (0..POINTS).map(PointId::Num).collect();
            replica.get(&name("a"), &ids, true, &with_vectors)?
        }
        _ => {
            let query = SearchQuery {
                with_vectors,
                ..SearchQuery::new(vec![1.0, 1.0, 0.0], 1_000)
            };
            let hits = replica.search(&name("a"), vec![query])?.remove(0);
            assert!(hits.iter().all(|hit| hit.score == hits[0].score));
            hits.into_iter().map(|hit| hit.point).collect()
        }
    };
    one_value(&points);
    let count = replica.count(&name("a"), &CountQuery::default())?;
    assert!(count == POINTS || count == 0);
    Ok(())
}

/// Reads on several threads while `write` runs; returns how many reads were answered and refused.
fn reading(replica: &Arc<Replica>, write: impl FnOnce(&dyn Fn())) -> (u64, u64) {
    let over = AtomicBool::new(false);
    let (answered, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (over, answered, refused) = (&over, &answered, &refused);
            scope.spawn(move || {
                let mut n = thread;
                while !over.load(Ordering::Relaxed) {
                    match read(replica, n) {
                        Ok(()) => answered.fetch_add(1, Ordering::Relaxed),
                        Err(ReadError::NotServing { .. }) => {
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(other) => panic!("{other}"),
                    };
                    n += 1;
                }
            });
        }
        // Ends the readers also when the writer panics.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _over = Over(&over);
        let wait = || {
            let seen = answered.load(Ordering::Relaxed) + refused.load(Ordering::Relaxed);
            while answered.load(Ordering::Relaxed) + refused.load(Ordering::Relaxed) == seen {
                std::thread::yield_now();
            }
        };
        write(&wait);
    });
    (answered.into_inner(), refused.into_inner())
}

#[test]
fn readers_during_apply_see_whole_entries() {
    let world = World::new();
    let tree = world.create("a");
    world.write(round(tree, 0)).unwrap();
    let (answered, refused) = reading(&world.replica, |wait| {
        for value in 1..300 {
            world.write(round(tree, value)).unwrap();
            if value % 10 == 0 {
                wait();
            }
        }
    });
    assert!(answered > 0);
    assert_eq!(refused, 0);
}

#[test]
fn readers_during_installs_see_one_state_or_are_refused() {
    let leader = World::new();
    let tree = leader.create("a");
    leader.write(round(tree, 0)).unwrap();
    let follower = World::new();
    super::catch_up::catch_up(leader.replica.freeze().unwrap(), &follower);
    let (answered, _) = reading(&follower.replica, |wait| {
        for value in 1..60 {
            leader.write(round(tree, value)).unwrap();
            let mut session = Session::begin(leader.replica.freeze().unwrap(), &follower.replica);
            session.run(usize::MAX);
            wait();
            follower.replica.install(session.finish().unwrap()).unwrap();
        }
    });
    assert!(answered > 0);
}

/// Views are read while entries change their rows.
#[test]
fn a_view_is_read_while_entries_are_applied() {
    use pando_sync::Source;
    let world = World::new();
    let tree = world.create("a");
    world.write(round(tree, 0)).unwrap();
    for start in 1..8 {
        let view = world.replica.freeze().unwrap();
        let keys: Vec<_> = view
            .tree(tree)
            .unwrap()
            .iter()
            .map(|(key, _)| key)
            .collect();
        let expected = view.rows(tree, &keys).unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                for _ in 0..60 {
                    assert_eq!(view.rows(tree, &keys).unwrap(), expected);
                }
            });
            for value in 0..20 {
                world.write(round(tree, start * 20 + value)).unwrap();
            }
            reader.join().unwrap();
        });
    }
}
