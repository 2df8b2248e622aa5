//! Rot in storage: found by the scrubber, never served, mended from another replica.

use std::collections::BTreeSet;

use pando_model::{ReadError, SearchQuery, WithVectors};
use pando_storage::{Batch, KvStore as _, MemoryStore, RowAddress, StoredKey};
use pando_sync::Source as _;

use super::catch_up::catch_up;
use super::harness::*;
use crate::{Mended, Replica, ReplicaError, ScrubCursor, WantedRow};

const POINTS: u64 = 300;

fn world() -> World {
    let world = World::new();
    let tree = world.create("c");
    world.upsert(tree, 0..POINTS);
    world.upsert(tree, 0..POINTS / 3);
    world
}

/// One whole pass, in small steps.
fn pass(replica: &Replica) -> (u64, u64) {
    let (mut cursor, mut rows, mut steps) = (ScrubCursor::default(), 0, 0);
    let mut share = 0.0;
    loop {
        let step = replica.scrub_step(cursor, 512).unwrap();
        rows += step.rows;
        steps += 1;
        if step.wrapped {
            return (rows, steps);
        }
        cursor = step.cursor;
        let now = replica.scrubbed_share(&cursor);
        assert!((share..=1.0).contains(&now), "{share} then {now}");
        share = now;
    }
}

/// Every stored pair of one row, told by the address in its key.
fn pairs_of(world: &World, at: RowAddress) -> Vec<(Vec<u8>, Vec<u8>)> {
    let of_row = |key: &[u8]| {
        let (_, key) = StoredKey::decode(key).unwrap();
        key.address() == Some(at)
    };
    let pairs = world.dump().into_iter();
    pairs.filter(|(key, _)| of_row(key)).collect()
}

fn put(store: &MemoryStore, key: &[u8], value: Option<Vec<u8>>) {
    let mut batch = Batch::new();
    match value {
        Some(value) => batch.put(key, value),
        None => batch.delete(key),
    }
    store.apply(batch).unwrap();
}

/// Mends all that is damaged from another replica; returns how many rows.
fn mend(sick: &Replica, sound: &Replica) -> usize {
    let wanted = sick.wanted_rows(None, 1_000).unwrap();
    let rows = sound.rows_of(&wanted, usize::MAX).unwrap();
    for (wanted, row) in wanted.iter().zip(rows) {
        assert_eq!(sick.mend(*wanted, &row.unwrap()).unwrap(), Mended::Written);
    }
    wanted.len()
}

fn search(replica: &Replica) -> Result<Vec<(f32, pando_model::StoredPoint)>, ReadError> {
    let mut query = SearchQuery::new(vec![1.0, 0.5, -0.25], 5);
    query.with_vectors = WithVectors::All;
    let hits = replica.search(&name("c"), vec![query])?.remove(0);
    Ok(hits.into_iter().map(|hit| (hit.score, hit.point)).collect())
}

#[test]
fn a_pass_over_a_sound_state_finds_nothing_and_reads_every_row() {
    let world = world();
    let (rows, steps) = pass(&world.replica);
    let system = world.replica.state.read().system.len();
    assert_eq!(rows, POINTS + system);
    assert!(steps > 10, "{steps} steps of a few hundred bytes");
    assert_eq!(world.replica.damage(), Default::default());
    let half = world.replica.scrub_from(0.5);
    assert!((0.4..0.6).contains(&world.replica.scrubbed_share(&half)));
}

#[test]
fn whatever_becomes_of_a_stored_value_is_found_not_served_and_mended() {
    let (sick, sound) = (world(), world());
    let before = readings(&sick.replica);
    let answers = search(&sound.replica).unwrap();
    let ids: Vec<u64> = (0..POINTS).step_by(37).collect();
    for id in &ids {
        let at = address(&sick.replica, "c", *id);
        for (key, value) in pairs_of(&sick, at) {
            let flipped = |bit: usize| {
                let mut value = value.clone();
                let byte = bit / 8 % value.len();
                value[byte] ^= 1 << (bit % 8);
                Some(value)
            };
            let mutations = [
                None,
                Some(Vec::new()),
                flipped(0),
                flipped(9),
                flipped(8 * 20 + 3),
            ];
            for mutation in mutations {
                put(&sick.store, &key, mutation.clone());
                // Served it is right or not at all.
                match sick.replica.get(
                    &name("c"),
                    &[pando_model::PointId::Num(*id)],
                    true,
                    &WithVectors::All,
                ) {
                    Ok(points) => {
                        let right = sound.replica.get(
                            &name("c"),
                            &[pando_model::PointId::Num(*id)],
                            true,
                            &WithVectors::All,
                        );
                        assert_eq!(points, right.unwrap(), "{mutation:?}");
                    }
                    Err(error) => assert!(matches!(error, ReadError::Storage { .. }), "{error}"),
                }
                if let Ok(found) = search(&sick.replica) {
                    assert_eq!(found, answers);
                }
                pass(&sick.replica);
                let damaged = sick.replica.damage().rows;
                let sound_all_the_same = sick
                    .replica
                    .is_stored(at, &sick.replica.state.read().leaf(at).unwrap().digest)
                    .unwrap();
                assert_eq!(damaged == 0, sound_all_the_same, "{key:02x?} {mutation:?}");
                assert_eq!(mend(&sick.replica, &sound.replica) as u64, damaged);
                assert_eq!(sick.replica.damage().rows, 0);
            }
        }
    }
    assert!(sick.replica.damage().mended > ids.len() as u64);
    assert_eq!(readings(&sick.replica), before);
    assert_sound(&sick);
}

#[test]
fn every_damaged_row_has_its_turn_to_be_asked_for() {
    let sick = world();
    let damaged: Vec<RowAddress> = (0..7).map(|id| address(&sick.replica, "c", id)).collect();
    for at in &damaged {
        for (key, _) in pairs_of(&sick, *at) {
            put(&sick.store, &key, None);
        }
    }
    pass(&sick.replica);
    // Nobody gives any of them.
    let (mut after, mut asked) = (None, Vec::new());
    for _ in 0..3 {
        let wanted = sick.replica.wanted_rows(after, 3).unwrap();
        assert_eq!(wanted.len(), 3);
        after = wanted.last().map(|wanted| wanted.at);
        asked.extend(wanted.iter().map(|wanted| wanted.at));
    }
    let all: BTreeSet<RowAddress> = damaged.into_iter().collect();
    let first = asked[..7].iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(first, all, "each once ..");
    assert_eq!(asked[7..], asked[..2], ".. and from the beginning");
    assert_eq!(sick.replica.wanted_rows(after, 100).unwrap().len(), 7);
}

#[test]
fn rows_in_no_tree_are_removed() {
    let world = world();
    let before = world.dump();
    let at = address(&world.replica, "c", 3);
    let value = before
        .get(&StoredKey::Digest(at).encode(options().group))
        .unwrap();
    let ghost = address(&world.replica, "c", POINTS + 7);
    let ghost = StoredKey::Digest(ghost).encode(options().group);
    put(&world.store, &ghost, Some(value.clone()));
    pass(&world.replica);
    assert_eq!(world.dump(), before);
}

#[test]
fn only_the_row_that_is_wanted_mends() {
    let (sick, sound) = (world(), world());
    let at = address(&sick.replica, "c", 5);
    for (key, _) in pairs_of(&sick, at) {
        put(&sick.store, &key, None);
    }
    pass(&sick.replica);
    let wanted = sick.replica.wanted_rows(None, 10).unwrap();
    assert_eq!(wanted.iter().map(|w| w.at).collect::<Vec<_>>(), [at]);
    let other = address(&sick.replica, "c", 6);
    let digest = sound.replica.state.read().leaf(other).unwrap().digest;
    let other = sound
        .replica
        .rows_of(&[WantedRow { at: other, digest }], 1 << 20)
        .unwrap()
        .remove(0)
        .unwrap();
    assert_eq!(sick.replica.mend(wanted[0], &other).unwrap(), Mended::Wrong);
    assert_eq!(sick.replica.damage().rows, 1);

    // Written anew meanwhile: nothing is wanted any more, and an old row does not come back.
    let row = sound
        .replica
        .rows_of(&wanted, 1 << 20)
        .unwrap()
        .remove(0)
        .unwrap();
    sick.write(pando_model::Command::Upsert {
        tree: at.tree,
        points: vec![point(5, 77)],
    })
    .unwrap();
    assert_eq!(
        sick.replica.mend(wanted[0], &row).unwrap(),
        Mended::NotNeeded
    );
    assert_eq!(sick.replica.damage().rows, 0);
    assert_eq!(
        sound
            .replica
            .rows_of(&[WantedRow { at, digest }], 1 << 20)
            .unwrap(),
        [None],
        "of another digest"
    );
    assert_sound(&sick);
}

#[test]
fn a_view_never_sends_a_rotten_row_and_goes_on_once_it_is_mended() {
    let (sick, sound) = (world(), world());
    let at = address(&sick.replica, "c", 8);
    let (key, mut value) = pairs_of(&sick, at).pop().unwrap();
    *value.last_mut().unwrap() ^= 1;
    put(&sick.store, &key, Some(value));
    let view = sick.replica.freeze().unwrap();
    let keys: Vec<_> = view
        .tree(at.tree)
        .unwrap()
        .iter()
        .map(|(key, _)| key)
        .collect();
    view.rows(at.tree, &keys)
        .expect_err("one of them is rotten");
    assert_eq!(sick.replica.damage().rows, 1);
    assert_eq!(mend(&sick.replica, &sound.replica), 1);
    let rows = view.rows(at.tree, &keys).unwrap();
    let theirs = sound
        .replica
        .freeze()
        .unwrap()
        .rows(at.tree, &keys)
        .unwrap();
    assert_eq!(rows, theirs);
}

#[test]
fn a_write_over_a_rotten_row_heals_it_and_one_that_needs_it_is_refused() {
    let world = world();
    let at = address(&world.replica, "c", 9);
    for (key, mut value) in pairs_of(&world, at) {
        value.clear();
        put(&world.store, &key, Some(value));
    }
    let view = world.replica.freeze().unwrap();
    world.upsert(at.tree, [9]);
    view.rows(at.tree, &[at.key])
        .expect_err("its pre-image was not there");
    drop(view);
    world.tidy();
    assert_sound(&world);

    for (key, _) in pairs_of(&world, at) {
        put(&world.store, &key, None);
    }
    let command = pando_model::Command::SetPayload {
        tree: at.tree,
        selector: ids_of([9]),
        payload: payload(4),
    };
    let error = world
        .replica
        .apply(vec![entry(world.next_index(), None, command)]);
    assert!(
        matches!(error, Err(ReplicaError::Damaged { tree, key }) if (tree, key) == (at.tree, at.key))
    );
}

/// What a repair takes away can be damaged, too: the point goes from rows, trees and search all the same.
#[test]
fn an_install_replaces_and_deletes_rows_that_cannot_be_read() {
    let (sick, sound) = (world(), world());
    let (deleted, written) = (
        address(&sick.replica, "c", 11),
        address(&sick.replica, "c", 12),
    );
    sound.delete(deleted.tree, [11]);
    sound.upsert(written.tree, [12]);
    let rotten: [fn(Vec<u8>) -> Vec<u8>; 2] = [
        |_| Vec::new(),
        |mut value| {
            // Another id, if it still decodes.
            value[2] ^= 1;
            value
        },
    ];
    for rot in rotten {
        let sick = World::open(copy(sick.store.as_ref()), None).unwrap();
        for at in [deleted, written] {
            let key = StoredKey::Digest(at).encode(options().group);
            let value = sick.dump().remove(&key).unwrap();
            put(&sick.store, &key, Some(rot(value)));
        }
        pass(&sick.replica);
        catch_up(sound.replica.freeze().unwrap(), &sick);
        assert_eq!(readings(&sick.replica), readings(&sound.replica));
        pass(&sick.replica);
        assert_eq!(mend(&sick.replica, &sound.replica), 0);
        assert_eq!(sick.replica.damage().rows, 0);
        assert_sound(&sick);
    }
}

#[test]
fn the_whole_of_a_lost_tree_comes_back() {
    let (sick, sound) = (world(), world());
    let gone: BTreeSet<_> = sick.dump().into_keys().filter(|key| key[4] != 1).collect();
    for key in gone {
        put(&sick.store, &key, None);
    }
    pass(&sick.replica);
    assert!(mend(&sick.replica, &sound.replica) as u64 > POINTS);
    assert_sound(&sick);
}
