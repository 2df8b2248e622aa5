//! Frozen views: the bytes of their index, whatever is written since.

use std::collections::BTreeMap;
use std::sync::Arc;

use pando_merkle::Key;
use pando_model::{Row, TreeId};
use pando_storage::{MemoryStore, Rows};
use pando_sync::Source;
use proptest::prelude::*;

use super::catch_up::{assert_caught_up, catch_up};
use super::harness::{OVERLAY_KIND, World, copy, options};
use super::script::{Act, acts};
use crate::{FrozenView, Replica, ReplicaOptions, ViewError};

type Saved = BTreeMap<TreeId, BTreeMap<Key, Row>>;

/// All rows of the state, from its store.
fn saved(world: &World, view: &FrozenView) -> Saved {
    let rows = Rows::new(options().group);
    let trees = view.header().trees.iter().map(|tree| {
        let page = rows
            .page(world.store.as_ref(), tree.id, None, usize::MAX)
            .unwrap();
        let count = page.len() as u64;
        assert_eq!(count, tree.count);
        (
            tree.id,
            page.into_iter()
                .map(|(key, stored)| (key, stored.row))
                .collect(),
        )
    });
    trees.collect()
}

/// Reads all rows of a view in portions of this size.
fn served(view: &FrozenView, portion: usize) -> Result<Saved, ViewError> {
    let mut all = Saved::new();
    for header in &view.header().trees {
        let tree = view.tree(header.id).unwrap();
        assert_eq!((tree.root(), tree.len()), (header.root, header.count));
        let keys: Vec<Key> = tree.iter().map(|(key, _)| key).collect();
        let found = all.entry(header.id).or_default();
        for keys in keys.chunks(portion) {
            found.extend(keys.iter().copied().zip(view.rows(header.id, keys)?));
        }
    }
    Ok(all)
}

fn overlays(world: &World) -> usize {
    world.keys_of_kind(OVERLAY_KIND)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn views_never_change(parts in prop::collection::vec(acts(0..20), 1..5), portion in 1..40_usize) {
        let (world, _) = World::populated();
        let mut views = Vec::new();
        for part in &parts {
            let view = world.replica.freeze().unwrap();
            views.push((saved(&world, &view), view));
            world.act(part);
            for (saved, view) in &views {
                prop_assert_eq!(&served(view, portion).unwrap(), saved);
            }
        }
        // What the last of them reads is not what the first reads.
        let last = views.pop().unwrap();
        drop(views);
        world.act(&[Act::Blank]);
        prop_assert_eq!(&served(&last.1, portion).unwrap(), &last.0);
        let empty = World::new();
        catch_up(Arc::clone(&last.1), &empty);
        prop_assert_eq!(&empty.replica.applied(), last.1.applied());
        drop(last);
        world.act(&[Act::Blank]);
        world.assert_tidy();
        let views = world.replica.stats().unwrap().views;
        prop_assert_eq!(views, 0);
    }

    /// Over its limit a view serves nothing, or what is right.
    #[test]
    fn a_view_over_its_limit_is_given_up(acts in acts(10..60), limit in 0..4_000_u64) {
        let options = ReplicaOptions { overlay_bytes_max: limit, ..options() };
        let (populated, _) = World::populated();
        let store = Arc::new(copy(populated.store.as_ref()));
        let replica = Replica::open(Arc::<MemoryStore>::clone(&store), options, None).unwrap();
        let world = World { store, replica: Arc::new(replica) };
        let view = world.replica.freeze().unwrap();
        let saved = saved(&world, &view);
        for act in &acts {
            world.act(std::slice::from_ref(act));
            match served(&view, 9) {
                Ok(rows) => prop_assert_eq!(&rows, &saved),
                Err(ViewError::GivenUp { index, .. }) => prop_assert_eq!(index, view.applied().index()),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}

#[test]
fn the_limit_is_reached_and_said() {
    let (populated, _) = World::populated();
    let options = ReplicaOptions {
        overlay_bytes_max: 500,
        ..options()
    };
    let store = Arc::new(copy(populated.store.as_ref()));
    let replica = Replica::open(Arc::<MemoryStore>::clone(&store), options, None).unwrap();
    let world = World {
        store,
        replica: Arc::new(replica),
    };
    let view = world.replica.freeze().unwrap();
    world.act(&[Act::Delete {
        collection: 0,
        ids: (0..50).collect(),
    }]);
    assert!(matches!(served(&view, 9), Err(ViewError::GivenUp { .. })));
    drop(view);
    world.tidy();
    assert_eq!(overlays(&world), 0);
}

/// Neither do entries pay for what a view has left, nor does it grow while they go on.
#[test]
fn an_entry_clears_as_many_rows_as_it_changes() {
    let world = World::new();
    let tree = world.create("a");
    world.upsert(tree, 0..200);
    let view = world.replica.freeze().unwrap();
    for first in (0..200).step_by(20) {
        world.upsert(tree, first..first + 20);
    }
    // The counters of the system tree are laid down, too.
    let laid = overlays(&world);
    assert!(laid >= 200, "{laid}");
    drop(view);
    world.act(&[Act::Blank]);
    assert!(
        overlays(&world) >= laid - 1,
        "a blank entry changes next to nothing"
    );
    let mut left = overlays(&world);
    for id in 0..5 {
        world.upsert(tree, id * 20..(id + 1) * 20);
        let now = overlays(&world);
        assert!((20..30).contains(&(left - now)), "from {left} to {now}");
        left = now;
    }
    world.assert_tidy();
}

#[test]
fn a_dropped_collection_is_kept_for_its_views() {
    let (world, _) = World::populated();
    let view = world.replica.freeze().unwrap();
    let saved = saved(&world, &view);
    world.act(&[Act::Drop(0), Act::Create(0), Act::Blank]);
    assert_eq!(served(&view, 40).unwrap(), saved);
    world.tidy();
    let rows = world.keys_of_kind(2);
    drop(view);
    world.tidy();
    assert_eq!(world.keys_of_kind(2), rows - 100);
    assert_eq!(overlays(&world), 0);
}

#[test]
fn a_view_does_not_outlive_the_process_and_leaves_nothing() {
    let (world, _) = World::populated();
    let view = world.replica.freeze().unwrap();
    world.act(&[Act::Delete {
        collection: 0,
        ids: (0..50).collect(),
    }]);
    assert!(overlays(&world) > 0 && view.overlay_bytes() > 0);
    assert_eq!(overlays(&world.reopened()), 0);
}

#[test]
fn an_install_gives_views_up() {
    let (leader, _) = World::populated();
    let (follower, _) = World::populated();
    let view = follower.replica.freeze().unwrap();
    leader.act(&[Act::Upsert {
        collection: 0,
        ids: (0..50).collect(),
        value: 5,
    }]);
    catch_up(leader.replica.freeze().unwrap(), &follower);
    assert!(matches!(served(&view, 9), Err(ViewError::GivenUp { .. })));
    drop(view);
    follower.tidy();
    assert_caught_up(&follower, &leader);
}
