//! The process dies at each step of a catch-up, and the next one makes the state whole.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fail::FailScenario;
use pando_merkle::Digest;
use pando_model::{Command, Payload, Value};
use pando_storage::MemoryStore;

use super::catch_up::{Session, assert_caught_up, catch_up};
use super::harness::{INTENT_KIND, World, assert_sound, copy, name, point, readings};
use super::script::Act;
use crate::{ApplyEntry, FrozenView, StagedDelta};

thread_local! {
    /// How many more times this thread passes the fail point before it dies there. Fail points are the process's,
    /// and other tests pass them too.
    static PASSES_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

fn die_in_time() {
    let dies = PASSES_LEFT.with(|left| {
        let now = left.get();
        left.set(now.and_then(|n| n.checked_sub(1)));
        now == Some(0)
    });
    if dies {
        panic!("killed by the test");
    }
}

/// Runs something that dies when it passes the fail point after having passed it so many times. Whether it died.
fn killed_at(fail_point: &str, passes: usize, work: impl FnOnce()) -> bool {
    let scenario = FailScenario::setup();
    fail::cfg_callback(fail_point, die_in_time).unwrap();
    PASSES_LEFT.set(Some(passes));
    let died = catch_unwind(AssertUnwindSafe(work)).is_err();
    PASSES_LEFT.set(None);
    scenario.teardown();
    died
}

/// A leader ahead of a follower by enough to be installed in several batches.
struct Setting {
    leader: World,
    view: Arc<FrozenView>,
    /// The follower's store, all of it durable.
    behind: MemoryStore,
    missed: Vec<ApplyEntry>,
    /// The roots on the way, by log index.
    roots: BTreeMap<u64, Digest>,
}

/// Enough large points for an install of several batches.
const MANY: u64 = 80;
const FEW: u64 = 10;

impl Setting {
    fn new(large_points: u64) -> Self {
        let (leader, log) = World::populated();
        let follower = World::new();
        follower.replica.apply(log).unwrap();
        follower.replica.make_durable().unwrap();
        let behind = follower.store.crash();
        let ids = |from: u8, to: u8| (from..to).collect::<Vec<_>>();
        let mut missed = leader.act(&[
            Act::SetAlias {
                alias: 0,
                collection: 0,
            },
            Act::Upsert {
                collection: 0,
                ids: ids(40, 60),
                value: 9,
            },
            Act::Delete {
                collection: 0,
                ids: ids(55, 80),
            },
            Act::Drop(1),
            Act::Create(1),
            Act::Create(2),
            Act::Request {
                id: 1,
                collection: 1,
                point: 4,
            },
            Act::SetAlias {
                alias: 0,
                collection: 1,
            },
        ]);
        let large = leader.replica.resolve(&name("ccc")).unwrap().tree;
        for first in (0..large_points).step_by(10) {
            let points = (first..first + 10).map(|id| {
                let text = Value::Str("x".repeat(60_000));
                let payload = Payload(BTreeMap::from([("text".to_owned(), text)]));
                pando_model::Point {
                    payload,
                    ..point(id, id)
                }
            });
            let command = Command::Upsert {
                tree: large,
                points: points.collect(),
            };
            let entry = super::harness::entry(leader.next_index(), None, command);
            leader.replica.apply(vec![entry.clone()]).unwrap();
            missed.push(entry);
        }
        missed.extend(leader.act(&[Act::Membership(3), Act::Check]));
        let mut roots = BTreeMap::new();
        let replay = World::open(copy(&behind), None).unwrap();
        roots.insert(replay.replica.applied().index(), replay.replica.root());
        for entry in &missed {
            replay.replica.apply(vec![entry.clone()]).unwrap();
            roots.insert(replay.replica.applied().index(), replay.replica.root());
        }
        assert_eq!(replay.replica.applied(), leader.replica.applied());
        let view = leader.replica.freeze().unwrap();
        Self {
            leader,
            view,
            behind,
            missed,
            roots,
        }
    }

    fn follower(&self) -> World {
        World::open(copy(&self.behind), None).unwrap()
    }

    fn staged(&self, follower: &World) -> StagedDelta {
        let mut session = Session::begin(Arc::clone(&self.view), &follower.replica);
        session.run(usize::MAX);
        session.finish().unwrap()
    }

    /// Opens what a dead process left, with this much of the log purged, and goes on to the leader's state.
    fn check(&self, left: MemoryStore, purged: Option<u64>, rolls_forward: Rolls) -> Recovered {
        let snapshot = self.view.applied().index();
        let before = super::harness::applied_of(&left);
        let world = World::open(left, purged).unwrap();
        let index = world.replica.applied().index();
        assert_eq!(
            world.keys_of_kind(INTENT_KIND),
            0,
            "an intent is finished or forgotten"
        );
        assert_eq!(Some(&world.replica.root()), self.roots.get(&index));
        assert_sound(&world);
        let forward = match rolls_forward {
            Rolls::Always => true,
            Rolls::IfPurged => purged.is_some_and(|purged| purged > before),
            Rolls::Never => false,
        };
        assert_eq!(
            index,
            if forward { snapshot } else { before },
            "purged {purged:?}"
        );
        if forward {
            assert_eq!(readings(&world.replica), readings(&self.leader.replica));
            assert_caught_up(&world, &self.leader);
        } else {
            // The log goes on from here, and so does another session.
            let by_log = World::open(copy(world.store.as_ref()), None).unwrap();
            let rest = self
                .missed
                .iter()
                .filter(|entry| entry.position.index > index);
            by_log.replica.apply(rest.cloned().collect()).unwrap();
            assert_eq!(readings(&by_log.replica), readings(&self.leader.replica));
            catch_up(Arc::clone(&self.view), &world);
            assert_caught_up(&world, &self.leader);
        }
        if forward {
            Recovered::Snapshot
        } else {
            Recovered::Before
        }
    }

    /// All that may be found after a death: what was flushed, or all that was written.
    fn check_all(&self, dead: &World, rolls: Rolls) -> Vec<Recovered> {
        let (first, last) = (self.missed[0].position.index, self.view.applied().index());
        let mut found = Vec::new();
        for purged in [
            None,
            Some(first - 1),
            Some(last - 2),
            Some(last),
            Some(last + 5),
        ] {
            found.push(self.check(dead.store.crash(), purged, rolls));
            found.push(self.check(copy(dead.store.as_ref()), purged, rolls));
        }
        found
    }
}

/// What decides how an interrupted install ends.
#[derive(Clone, Copy)]
enum Rolls {
    Never,
    IfPurged,
    Always,
}

#[derive(Debug, PartialEq)]
enum Recovered {
    Before,
    Snapshot,
}

#[test]
fn killed_when_all_is_staged() {
    let setting = Setting::new(FEW);
    let follower = setting.follower();
    let died = killed_at("stage::staged", 0, || drop(setting.staged(&follower)));
    assert!(died);
    setting.check_all(&follower, Rolls::Never);
}

#[test]
fn killed_when_the_intent_is_written() {
    let setting = Setting::new(FEW);
    let follower = setting.follower();
    let died = killed_at("stage::intent", 0, || drop(setting.staged(&follower)));
    assert!(died);
    let found = setting.check_all(&follower, Rolls::IfPurged);
    assert!(found.contains(&Recovered::Before) && found.contains(&Recovered::Snapshot));
}

/// The intent is durable, the log goes on behind its back, and only then does the process die.
#[test]
fn killed_after_entries_applied_since_the_intent() {
    let setting = Setting::new(FEW);
    for count in 0..10 {
        let follower = setting.follower();
        let delta = setting.staged(&follower);
        follower
            .replica
            .apply(setting.missed[..count].to_vec())
            .unwrap();
        setting.check_all(&follower, Rolls::IfPurged);
        follower.replica.make_durable().unwrap();
        setting.check_all(&follower, Rolls::IfPurged);
        drop(delta);
    }
}

/// The same, with entries applied while the session ran.
#[test]
fn killed_after_entries_applied_during_the_session() {
    let setting = Setting::new(FEW);
    for count in 0..10 {
        let follower = setting.follower();
        let mut session = Session::begin(Arc::clone(&setting.view), &follower.replica);
        session.run(usize::MAX);
        follower
            .replica
            .apply(setting.missed[..count].to_vec())
            .unwrap();
        let delta = session.finish().unwrap();
        setting.check_all(&follower, Rolls::IfPurged);
        drop(delta);
    }
}

#[test]
fn killed_in_the_middle_of_an_install() {
    let setting = Setting::new(MANY);
    for fail_point in ["install::applying", "install::mid", "install::clear"] {
        let mut passes = 0;
        loop {
            let follower = setting.follower();
            let delta = setting.staged(&follower);
            // Something of the new state, and something that the new state does not have.
            follower
                .replica
                .apply(setting.missed[..2].to_vec())
                .unwrap();
            let died = killed_at(fail_point, passes, || {
                follower.replica.install(delta).unwrap();
            });
            if !died {
                assert_caught_up(&follower, &setting.leader);
                break;
            }
            assert!(
                follower.replica.collections().is_err(),
                "a mixture is not served"
            );
            assert!(follower.replica.apply(Vec::new()).is_err());
            setting.check_all(&follower, Rolls::Always);
            passes += 1;
        }
        let batches = if fail_point == "install::mid" { 5 } else { 1 };
        assert!(passes >= batches, "{fail_point} was passed {passes} times");
    }
}

/// Dies while it recovers, again and again.
#[test]
fn a_recovery_may_be_repeated() {
    let setting = Setting::new(FEW);
    let follower = setting.follower();
    let delta = setting.staged(&follower);
    killed_at("install::mid", 2, || drop(follower.replica.install(delta)));
    let first = World::open(follower.store.crash(), None).unwrap();
    assert_caught_up(&first, &setting.leader);
    // Its clearing of the stage was not flushed: what is left is void, and harmless to the next session.
    let second = World::open(first.store.crash(), None).unwrap();
    assert_eq!(second.replica.applied(), setting.leader.replica.applied());
    setting.leader.act(&[Act::Drop(2)]);
    catch_up(setting.leader.replica.freeze().unwrap(), &second);
    assert_caught_up(&second, &setting.leader);
}
