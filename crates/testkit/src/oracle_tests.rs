//! The oracle against a store with bugs put in: it must find each of them, and nothing in a store without.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// Acknowledges before it writes, and crashes in between.
    LosesWrite,
    /// Forgets a tombstone in a catch-up.
    ResurrectsPoint,
    /// Writes are overtaken by older ones.
    GoesBack,
    /// A refused write happens all the same.
    DoesRefused,
    /// Reads from before the last acknowledged write.
    ReadsStale,
    /// Two requests in one log entry.
    SharesIndex,
}

#[derive(Default)]
struct Store {
    index: u64,
    points: BTreeMap<PointId, WriteNumber>,
    /// The state before the last write.
    before: BTreeMap<PointId, WriteNumber>,
    /// The last value that was replaced, and the last that was deleted.
    replaced: Option<(PointId, WriteNumber)>,
    deleted: Option<(PointId, WriteNumber)>,
}

impl Store {
    fn apply(&mut self, ids: &[PointId], ticket: &Ticket, delete: bool) -> u64 {
        self.before = self.points.clone();
        for (id, number) in ids.iter().zip(ticket.numbers()) {
            let old = self.points.remove(id);
            if delete {
                self.deleted = old.map(|old| (*id, old)).or(self.deleted);
            } else {
                self.points.insert(*id, *number);
                self.replaced = old.map(|old| (*id, old)).or(self.replaced);
            }
        }
        self.index += 1;
        self.index
    }
}

/// Runs random requests against a store with a bug, and lets the oracle judge.
fn run(bug: Bug, seed: u64) -> Result<Evidence, Vec<Violation>> {
    let mut random = StdRng::seed_from_u64(seed);
    let oracle = Oracle::default();
    let mut store = Store::default();
    for _ in 0..200 {
        let first = random.random_range(0..20_u64);
        let ids: Vec<PointId> = (first..first + 3).map(PointId::Num).collect();
        let delete = random.random_bool(0.3);
        let ticket = if delete {
            oracle.begin_delete(&ids)
        } else {
            oracle.begin_put(&ids)
        };
        match random.random_range(0..10) {
            // The reply is lost; the write may or may not have happened.
            0 => {
                if random.random_bool(0.5) {
                    store.apply(&ids, &ticket, delete);
                }
            }
            1 => {
                if bug == Bug::DoesRefused && !delete {
                    store.apply(&ids, &ticket, delete);
                }
                oracle.refused(ticket);
            }
            _ => {
                let index = store.apply(&ids, &ticket, delete);
                oracle.acknowledged(ticket, index);
            }
        }
        let id = PointId::Num(random.random_range(0..22));
        let from = if bug == Bug::ReadsStale {
            &store.before
        } else {
            &store.points
        };
        oracle.read(id, oracle.floor(), from.get(&id).copied());
    }
    // One more acknowledged write of every kind, so that the bug has something to bite.
    for (id, delete) in [
        (100, false),
        (101, false),
        (101, true),
        (102, false),
        (102, false),
    ] {
        let ids = [PointId::Num(id)];
        let ticket = if delete {
            oracle.begin_delete(&ids)
        } else {
            oracle.begin_put(&ids)
        };
        if bug == Bug::SharesIndex {
            store.index -= 1;
        }
        let index = store.apply(&ids, &ticket, delete);
        oracle.acknowledged(ticket, index);
    }
    match bug {
        Bug::LosesWrite => drop(store.points.remove(&PointId::Num(100))),
        Bug::ResurrectsPoint => store.points.extend(store.deleted),
        Bug::GoesBack => store.points.extend(store.replaced),
        Bug::None | Bug::DoesRefused | Bug::ReadsStale | Bug::SharesIndex => {}
    }
    oracle.check(&store.points)
}

#[test]
fn a_store_without_bugs_is_not_accused() {
    for seed in 0..50 {
        let evidence = run(Bug::None, seed).unwrap();
        assert!(evidence.acknowledged > 300, "{evidence:?}");
        assert!(
            evidence.deletes > 50 && evidence.unknown > 10,
            "{evidence:?}"
        );
        assert!(
            evidence.points > 20 && evidence.reads == 200,
            "{evidence:?}"
        );
    }
}

#[test]
fn every_bug_is_found() {
    let found = |bug, is: fn(&Violation) -> bool| {
        for seed in 0..20 {
            let Err(violations) = run(bug, seed) else {
                panic!("{bug:?} was put in and not found, seed {seed}");
            };
            assert!(
                violations.iter().any(is),
                "{bug:?}, seed {seed}: {violations:?}"
            );
        }
    };
    found(Bug::LosesWrite, |v| matches!(v, Violation::Lost { .. }));
    found(Bug::ResurrectsPoint, |v| {
        matches!(v, Violation::Resurrected { .. })
    });
    found(Bug::GoesBack, |v| matches!(v, Violation::Stale { .. }));
    found(Bug::DoesRefused, |v| matches!(v, Violation::Phantom { .. }));
    found(Bug::ReadsStale, |v| {
        matches!(v, Violation::StaleRead { .. })
    });
    found(Bug::SharesIndex, |v| {
        matches!(v, Violation::SharedIndex { .. })
    });
}

#[test]
fn a_point_from_nowhere_is_found() {
    let oracle = Oracle::default();
    let ids = [PointId::Num(1)];
    oracle.acknowledged(oracle.begin_put(&ids), 5);
    let now = BTreeMap::from([(PointId::Num(1), 0), (PointId::Num(2), 0)]);
    let violations = oracle.check(&now).unwrap_err();
    assert_eq!(
        violations,
        [Violation::Phantom {
            id: PointId::Num(2),
            seen: 0
        }]
    );
    let never_made = BTreeMap::from([(PointId::Num(1), 9)]);
    let violations = oracle.check(&never_made).unwrap_err();
    assert_eq!(
        violations,
        [Violation::Phantom {
            id: PointId::Num(1),
            seen: 9
        }]
    );
}

#[test]
fn an_unknown_outcome_excuses_what_it_may_have_done_and_no_more() {
    let oracle = Oracle::default();
    let ids = [PointId::Num(1)];
    let put = |index| {
        let ticket = oracle.begin_put(&ids);
        let number = ticket.numbers()[0];
        match index {
            Some(index) => oracle.acknowledged(ticket, index),
            None => drop(ticket),
        }
        number
    };
    let first = put(Some(1));
    let unknown = put(None);
    let last = put(Some(3));
    let check = |seen| oracle.check(&BTreeMap::from([(PointId::Num(1), seen)]));
    assert!(check(last).is_ok());
    assert!(check(unknown).is_ok(), "it may have come last");
    assert!(
        check(first).is_err(),
        "it is older than the last acknowledged one"
    );
    assert!(oracle.check(&BTreeMap::new()).is_err(), "nobody deleted it");
    drop(oracle.begin_delete(&ids));
    assert!(
        oracle.check(&BTreeMap::new()).is_ok(),
        "somebody may have deleted it"
    );
}
