//! A start takes graphs up from their files for all that is as it was, and indexes the rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pando_model::{Command, Effect, TreeId};

use super::catch_up::catch_up;
use super::harness::{World, copy, create, ids_of, name, options, payload, point, readings};
use crate::{CheckpointOptions, ReplicaOptions, SaveWhich};

const POINTS: u64 = 400;
/// Far longer than it takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A replica that keeps its graphs in a directory of its own.
struct Kept {
    world: World,
    dir: tempfile::TempDir,
}

fn kept_in(dir: &Path, interval: Duration) -> ReplicaOptions {
    let checkpoints = CheckpointOptions {
        dir: dir.join("index"),
        interval,
    };
    ReplicaOptions {
        graph_vectors_min: 100,
        checkpoints: Some(checkpoints),
        ..options()
    }
}

impl Kept {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = kept_in(dir.path(), Duration::from_secs(3600));
        let world = World::open_with(pando_storage::MemoryStore::new(), options, None).unwrap();
        Self { world, dir }
    }

    /// With one collection, whose graph is saved.
    fn saved() -> (Self, TreeId) {
        let kept = Self::new();
        let tree = kept.world.create("a");
        kept.world.upsert(tree, 0..POINTS);
        kept.settle();
        assert_eq!(kept.save(SaveWhich::Due), 1);
        (kept, tree)
    }

    /// The same state, from its store and its files alone.
    fn reopen(&mut self) {
        let store = copy(self.world.store.as_ref());
        let options = kept_in(self.dir.path(), Duration::from_secs(3600));
        self.world = World::open_with(store, options, None).unwrap();
        self.settle();
    }

    fn save(&self, which: SaveWhich) -> u64 {
        self.world.replica.save_checkpoints(which)
    }

    /// Waits until everything is indexed; says how many vectors were taken from files, and how many were not.
    fn settle(&self) -> (u64, u64) {
        let since = Instant::now();
        loop {
            let busy = {
                let state = self.world.replica.state.read();
                state.collections.values().any(|c| c.index.is_indexing())
            };
            let stats = self.world.replica.stats().unwrap();
            if !busy {
                assert_eq!(stats.index_backlog, 0);
                return (stats.index_reused, stats.index_indexed);
            }
            assert!(since.elapsed() < DEADLINE, "{stats:?}");
            std::thread::yield_now();
        }
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("index"))
            .into_iter()
            .flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn path(&self, tree: TreeId) -> PathBuf {
        self.dir
            .path()
            .join("index")
            .join(format!("{}-.graph", tree.0))
    }

    /// Answers are those of a replica that never had a file.
    fn assert_equal_to_fresh(&self) {
        let fresh = self.world.reopened();
        assert_eq!(readings(&self.world.replica), readings(&fresh.replica));
    }
}

#[test]
fn a_restart_indexes_nothing_that_was_indexed() {
    let (mut kept, _) = Kept::saved();
    assert_eq!(kept.settle(), (0, POINTS));
    kept.reopen();
    assert_eq!(kept.settle(), (POINTS, 0));
    kept.assert_equal_to_fresh();
    for which in [SaveWhich::Due, SaveWhich::Changed] {
        assert_eq!(kept.save(which), 0, "nothing has changed");
    }
}

#[test]
fn what_changed_since_the_file_is_indexed_and_nothing_else() {
    let (mut kept, tree) = Kept::saved();
    let anew = (0..10).map(|id| point(id, id + 500)).collect();
    kept.world
        .write(Command::Upsert { tree, points: anew })
        .unwrap();
    kept.world.delete(tree, 20..25);
    kept.world.upsert(tree, POINTS..POINTS + 3);
    // The vectors stay, the leaves do not: that is all that a file can go by.
    let (selector, payload) = (ids_of(30..37), payload(9));
    kept.world
        .write(Command::SetPayload {
            tree,
            selector,
            payload,
        })
        .unwrap();
    kept.reopen();
    assert_eq!(kept.settle(), (POINTS - 10 - 5 - 7, 10 + 3 + 7));
    kept.assert_equal_to_fresh();

    // The next file knows them.
    assert_eq!(kept.save(SaveWhich::Due), 0, "neither much nor long ago");
    assert_eq!(kept.save(SaveWhich::Changed), 1);
    kept.reopen();
    assert_eq!(kept.settle(), (POINTS - 5 + 3, 0));
    kept.assert_equal_to_fresh();
}

#[test]
fn a_file_that_is_old_is_written_anew_if_anything_has_changed() {
    let (mut kept, tree) = Kept::saved();
    let store = copy(kept.world.store.as_ref());
    let options = kept_in(kept.dir.path(), Duration::from_millis(100));
    kept.world = World::open_with(store, options, None).unwrap();
    kept.settle();
    kept.world.upsert(tree, 0..1);
    kept.settle();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(kept.save(SaveWhich::Due), 1, "one point, but long ago");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(kept.save(SaveWhich::Due), 0, "nothing since");
}

#[test]
fn a_delta_indexes_only_what_it_changes() {
    let (mut kept, tree) = Kept::saved();
    let leader = World::new();
    assert_eq!(leader.create("a"), tree);
    leader.upsert(tree, 0..POINTS);
    assert_eq!(leader.replica.root(), kept.world.replica.root());
    let anew = (0..4).map(|id| point(id, id + 700)).collect();
    leader
        .write(Command::Upsert { tree, points: anew })
        .unwrap();
    leader.delete(tree, 100..103);
    let view = leader.replica.freeze().unwrap();

    // While the node runs: the four of 400.
    catch_up(view, &kept.world);
    assert_eq!(kept.settle(), (0, POINTS + 4));
    assert_eq!(kept.save(SaveWhich::Changed), 1);

    // After a restart with a file from before: those between the file and the start, and those of the delta.
    let anew = (4..6).map(|id| point(id, id + 700)).collect();
    leader
        .write(Command::Upsert { tree, points: anew })
        .unwrap();
    kept.reopen();
    assert_eq!(kept.settle(), (POINTS - 3, 0));
    catch_up(leader.replica.freeze().unwrap(), &kept.world);
    assert_eq!(kept.settle(), (POINTS - 3, 2));
    kept.assert_equal_to_fresh();
}

#[test]
fn a_collection_created_anew_under_a_name_takes_nothing_of_the_old_one() {
    let (mut kept, tree) = Kept::saved();
    let old = fs::read(kept.path(tree)).unwrap();
    kept.world
        .write(Command::DropCollection { name: name("a") })
        .unwrap();
    let Ok(Effect::Created { tree: next }) = kept.world.write(create("a")) else {
        panic!("it is created")
    };
    assert_ne!(next, tree);
    kept.world.upsert(next, 0..POINTS);
    kept.settle();
    assert_eq!(kept.save(SaveWhich::Due), 1);
    assert_eq!(
        kept.files(),
        [format!("{}-.graph", next.0)],
        "the old one is gone"
    );

    // Not even under its name: its owner is another.
    fs::write(kept.path(next), old).unwrap();
    kept.reopen();
    assert_eq!(kept.settle(), (0, POINTS));
    assert_eq!(kept.files(), [""; 0], "it is deleted");
    kept.assert_equal_to_fresh();
}

#[test]
fn files_that_cannot_be_used_are_deleted_and_written_anew() {
    let (mut kept, tree) = Kept::saved();
    let whole = fs::read(kept.path(tree)).unwrap();
    let cuts = (0..whole.len()).step_by(whole.len() / 12);
    let torn = cuts.map(|end| whole[..end].to_vec());
    let flipped = (0..whole.len()).step_by(whole.len() / 12).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    });
    for bytes in torn.chain(flipped).collect::<Vec<_>>() {
        fs::write(kept.path(tree), bytes).unwrap();
        kept.reopen();
        assert_eq!(
            kept.settle(),
            (0, POINTS),
            "one segment, taken up whole or not"
        );
        // By the thread that has found it so, just afterwards.
        let since = Instant::now();
        while kept.path(tree).exists() {
            assert!(since.elapsed() < DEADLINE);
            std::thread::yield_now();
        }
        assert_eq!(kept.save(SaveWhich::Due), 1);
        assert_eq!(kept.files().len(), 1);
    }
    kept.reopen();
    assert_eq!(kept.settle(), (POINTS, 0));
    kept.assert_equal_to_fresh();
}

#[test]
fn what_nobody_asks_for_is_deleted_at_the_start() {
    let (mut kept, tree) = Kept::saved();
    for name in ["7-.graph", "1-.unfinished", "notes.txt"] {
        fs::write(kept.dir.path().join("index").join(name), "x").unwrap();
    }
    kept.reopen();
    assert_eq!(kept.files(), [format!("{}-.graph", tree.0)]);

    // A graph that has no vectors any more is given up, and takes its file along.
    kept.world.delete(tree, 0..POINTS);
    kept.settle();
    assert_eq!(kept.save(SaveWhich::Due), 0);
    assert_eq!(kept.files(), [""; 0]);
}

#[test]
fn where_nothing_can_be_written_the_replica_goes_on() {
    let kept = Kept::new();
    fs::write(kept.dir.path().join("index"), "no directory").unwrap();
    let tree = kept.world.create("a");
    kept.world.upsert(tree, 0..POINTS);
    kept.settle();
    for which in [SaveWhich::Due, SaveWhich::Due, SaveWhich::Changed] {
        assert_eq!(kept.save(which), 0);
    }
    kept.assert_equal_to_fresh();
}
