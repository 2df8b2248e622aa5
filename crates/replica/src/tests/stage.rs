//! What the stage refuses, and what it forgets.

use std::sync::Arc;

use pando_model::{CollectionSchema, Metric, TreeId};
use pando_sync::{Op, SnapshotHeader, Source, Staged, header_root};

use super::catch_up::{Session, assert_caught_up, catch_up};
use super::harness::{INTENT_KIND, World, address, copy, name, readings};
use super::script::Act;
use crate::{ReplicaError, Stage, StagedDelta, decode_meta};

fn pair() -> (World, World) {
    let (leader, log) = World::populated();
    let follower = World::new();
    follower.replica.apply(log).unwrap();
    leader.act(&[
        Act::Upsert {
            collection: 0,
            ids: (0..20).collect(),
            value: 4,
        },
        Act::Delete {
            collection: 1,
            ids: (0..5).collect(),
        },
        Act::Create(2),
        Act::SetAlias {
            alias: 0,
            collection: 2,
        },
    ]);
    (leader, follower)
}

fn staged(leader: &World, follower: &World) -> Session {
    let mut session = Session::begin(leader.replica.freeze().unwrap(), &follower.replica);
    session.run(usize::MAX);
    session
}

fn assert_mismatch(result: Result<StagedDelta, ReplicaError>, follower: &World, before: &World) {
    let error = result.expect_err("tampered with");
    assert!(
        matches!(
            error,
            ReplicaError::StageMismatch { .. } | ReplicaError::BadApplied
        ),
        "{error}"
    );
    assert_eq!(follower.keys_of_kind(INTENT_KIND), 0);
    assert_eq!(readings(&follower.replica), readings(&before.replica));
    super::harness::assert_sound(follower);
}

#[test]
fn a_tampered_header_is_refused() {
    type Tamper = fn(&mut SnapshotHeader);
    let tampers: [(&str, Tamper); 8] = [
        ("root", |h| h.root.0[0] ^= 1),
        ("index", |h| h.index += 1),
        ("meta", |h| *h.meta.last_mut().unwrap() ^= 1),
        ("membership", |h| {
            let mut applied = decode_meta(&h.meta).unwrap();
            applied.root.0[3] ^= 1;
            h.meta = applied.encode_meta();
        }),
        ("id", |h| h.trees[2].id = TreeId(77)),
        ("salt", |h| h.trees[1].salt[0] ^= 1),
        ("definition", |h| {
            let mut definition = pando_model::Definition::decode(&h.trees[1].definition).unwrap();
            definition.schema = CollectionSchema::single(9, Metric::Dot);
            h.trees[1].definition = definition.encode();
            h.root = header_root(&h.trees);
            let mut applied = decode_meta(&h.meta).unwrap();
            applied.root = h.root;
            h.meta = applied.encode_meta();
        }),
        ("one tree less", |h| drop(h.trees.pop())),
    ];
    for (what, tamper) in tampers {
        let (leader, follower) = pair();
        let before = follower.reopened();
        let (stage, mut header, trees) = staged(&leader, &follower).verified();
        tamper(&mut header);
        println!("{what}");
        assert_mismatch(stage.finish(&header, trees), &follower, &before);
        // An honest session succeeds afterwards.
        catch_up(leader.replica.freeze().unwrap(), &follower);
        assert_caught_up(&follower, &leader);
    }
}

/// A row staged behind the session's back: another, none, or one too many.
#[test]
fn a_tampered_row_is_refused() {
    type Tamper = fn(&mut Stage, Staged);
    let tampers: [Tamper; 3] = [
        |stage, row| {
            let Op::Put(mut other) = row.op else { return };
            other.version[0] ^= 1;
            stage
                .put(vec![Staged {
                    op: Op::Put(other),
                    ..row
                }])
                .unwrap();
        },
        |stage, row| {
            stage
                .put(vec![Staged {
                    op: Op::Delete,
                    ..row
                }])
                .unwrap()
        },
        |stage, mut row| {
            row.key = pando_merkle::Key::derive(&[9; 16], b"other");
            stage.put(vec![row]).unwrap();
        },
    ];
    for tamper in tampers {
        let (leader, follower) = pair();
        let before = follower.reopened();
        let at = address(&leader.replica, "a", 3);
        let view = leader.replica.freeze().unwrap();
        let row = view.rows(at.tree, &[at.key]).unwrap().remove(0);
        let (mut stage, header, trees) = staged(&leader, &follower).verified();
        tamper(
            &mut stage,
            Staged {
                tree: at.tree,
                key: at.key,
                op: Op::Put(row),
            },
        );
        assert_mismatch(stage.finish(&header, trees), &follower, &before);
    }
}

#[test]
fn a_row_that_cannot_be_read_is_refused_as_it_comes() {
    let (leader, follower) = pair();
    let at = address(&leader.replica, "a", 3);
    let view = leader.replica.freeze().unwrap();
    let row = view.rows(at.tree, &[at.key]).unwrap().remove(0);
    let mut stage = follower.replica.begin_stage().unwrap();
    for tree in [at.tree, TreeId::SYSTEM] {
        let mut bad = row.clone();
        bad.content.truncate(9);
        let staged = Staged {
            tree,
            key: at.key,
            op: Op::Put(bad),
        };
        assert!(matches!(
            stage.put(vec![staged]),
            Err(ReplicaError::Row { .. })
        ));
    }
}

#[test]
fn only_one_stage_is_open() {
    let (leader, follower) = pair();
    let session = staged(&leader, &follower);
    assert!(matches!(
        follower.replica.begin_stage(),
        Err(ReplicaError::StageBusy)
    ));
    let delta = session.finish().unwrap();
    assert!(matches!(
        follower.replica.begin_stage(),
        Err(ReplicaError::StageBusy)
    ));
    follower.replica.install(delta).unwrap();
    follower.replica.begin_stage().unwrap();
    follower.replica.begin_stage().unwrap();
}

/// The log was faster than the install: nothing goes back.
#[test]
fn a_state_behind_the_one_here_is_not_installed() {
    let (leader, follower) = pair();
    let (first, last) = (follower.next_index(), leader.replica.applied().index());
    let session = staged(&leader, &follower);
    let delta = session.finish().unwrap();
    let ahead = World::open(copy(leader.store.as_ref()), None).unwrap();
    ahead.act(&[
        Act::Delete {
            collection: 0,
            ids: (30..50).collect(),
        },
        Act::Drop(1),
    ]);
    // The follower gets the same entries by its log, and two more.
    let log = World::populated().0.act(&[
        Act::Upsert {
            collection: 0,
            ids: (0..20).collect(),
            value: 4,
        },
        Act::Delete {
            collection: 1,
            ids: (0..5).collect(),
        },
        Act::Create(2),
        Act::SetAlias {
            alias: 0,
            collection: 2,
        },
        Act::Delete {
            collection: 0,
            ids: (30..50).collect(),
        },
        Act::Drop(1),
    ]);
    assert_eq!(log[0].position.index, first);
    follower.replica.apply(log).unwrap();
    let applied = follower.replica.applied();
    assert_eq!(applied, ahead.replica.applied());
    // Died before the install was refused, with the log purged past both: the intent is void.
    let dead = World::open(copy(follower.store.as_ref()), Some(last + 2)).unwrap();
    assert_eq!(dead.replica.applied(), applied);
    let refused = follower.replica.install(delta);
    assert!(matches!(refused, Err(ReplicaError::StageMismatch { .. })));
    assert_eq!(follower.replica.applied(), applied);
    assert_eq!(follower.keys_of_kind(INTENT_KIND), 0);
    let session = staged(&leader, &follower);
    assert!(matches!(
        session.finish(),
        Err(ReplicaError::StageMismatch { .. })
    ));
    ahead.act(&[Act::Blank]);
    catch_up(ahead.replica.freeze().unwrap(), &follower);
    assert_caught_up(&follower, &ahead);
}

/// What an earlier session left must not be rolled forward when the state turns out to be equal.
#[test]
fn an_equal_state_voids_an_old_stage() {
    let (leader, follower) = pair();
    let mut cut = Session::begin(leader.replica.freeze().unwrap(), &follower.replica);
    assert!(!cut.run(8));
    assert!(!cut.puts.is_empty());
    cut.stage.keep().unwrap();
    // Both states are made equal by other means.
    let twin = World::open(copy(follower.store.as_ref()), None).unwrap();
    let mut session = Session::begin(twin.replica.freeze().unwrap(), &follower.replica);
    session.run(usize::MAX);
    let delta = session.finish().unwrap();
    let dead = World::open(copy(follower.store.as_ref()), Some(1_000)).unwrap();
    assert_eq!(readings(&dead.replica), readings(&twin.replica));
    follower.replica.install(delta).unwrap();
    assert_eq!(readings(&follower.replica), readings(&twin.replica));
    super::harness::assert_sound(&follower);
}

/// A delta whose state came by the log meanwhile: neither a session nor a start goes on from it.
#[test]
fn a_discarded_delta_leaves_nothing() {
    let (leader, follower) = pair();
    let before = follower.dump();
    let delta = staged(&leader, &follower).finish().unwrap();
    assert_ne!(follower.dump(), before);
    follower.replica.discard(delta).unwrap();
    assert_eq!(follower.dump(), before);
    assert!(follower.replica.begin_stage().unwrap().base().clean);
}

/// A delta that was verified and never installed: the next session changes the stage it promised.
#[test]
fn a_new_stage_voids_an_intent() {
    let (leader, follower) = pair();
    let before = readings(&follower.replica);
    drop(staged(&leader, &follower).finish().unwrap());
    assert_eq!(follower.keys_of_kind(INTENT_KIND), 1);
    leader.act(&[Act::Upsert {
        collection: 0,
        ids: (0..50).collect(),
        value: 8,
    }]);
    let mut next = Session::begin(leader.replica.freeze().unwrap(), &follower.replica);
    next.run(8);
    let dead = World::open(copy(follower.store.as_ref()), Some(1_000)).unwrap();
    assert_eq!(readings(&dead.replica), before);
    catch_up(leader.replica.freeze().unwrap(), &dead);
    assert_caught_up(&dead, &leader);
}

#[test]
fn an_empty_follower_gets_everything() {
    let (leader, _) = pair();
    let empty = World::new();
    catch_up(leader.replica.freeze().unwrap(), &empty);
    assert_caught_up(&empty, &leader);
    assert!(
        Arc::strong_count(&empty.replica) == 1,
        "no stage is left open"
    );
    assert_eq!(empty.replica.resolve(&name("x")).unwrap().name, name("ccc"));
}
