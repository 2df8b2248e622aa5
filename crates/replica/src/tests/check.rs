//! What is kept of a consistency check, and how it is looked at.

use pando_merkle::{Look, Prefix};
use pando_model::{Command, Effect, GroupId, PointId, Proposal, Stamp, TreeId};

use pando_storage::{Batch, KvStore as _, StoredKey};

use super::harness::{World, address, assert_sound, point};
use crate::{FrozenNode, LookRefused, PREFIXES_PER_LOOK_MAX};

fn check(world: &World) -> u64 {
    match world.write(Command::ConsistencyCheck) {
        Ok(Effect::Checked(report)) => report.index,
        other => panic!("{other:?}"),
    }
}

fn proposal(command: Command) -> Proposal {
    Proposal {
        group: GroupId::CATALOGUE,
        stamp: Stamp::at(77),
        request: None,
        command,
    }
}

#[test]
fn a_check_keeps_the_trees_and_reports_a_root_for_each() {
    let world = World::new();
    let (a, b) = (world.create("a"), world.create("b"));
    world.upsert(a, 0..100);
    world.upsert(b, 0..3);
    let index = check(&world);
    let report = world.replica.last_check().unwrap();
    let roots: Vec<_> = report
        .collections
        .iter()
        .map(|c| (c.tree, c.points))
        .collect();
    assert_eq!(roots, [(a, 100), (b, 3)]);
    let checked = world.replica.checked(index).unwrap();
    let kept = checked.tree(a).unwrap().root();
    world.upsert(a, 50..150);
    assert_eq!(checked.tree(a).unwrap().root(), kept, "it stands still");
    let later = check(&world);
    let again = world.replica.checked(later).unwrap();
    assert_ne!(again.tree(a).unwrap().root(), kept);
    assert_eq!(again.report().collections[1], report.collections[1]);
}

#[test]
fn leaves_are_named_as_far_as_their_rows_are_still_there() {
    let world = World::new();
    let tree = world.create("a");
    world.upsert(tree, 0..3);
    let index = check(&world);
    world.upsert(tree, [1]);
    world.delete(tree, [2]);
    let nodes = world.replica.look(index, tree, &[Prefix::ROOT]).unwrap();
    let FrozenNode::Leaves(leaves) = &nodes[0] else {
        panic!("{nodes:?}")
    };
    let named = |id: u64| {
        let bytes = PointId::Num(id).to_bytes();
        leaves.iter().find(|leaf| leaf.id.as_ref() == Some(&bytes))
    };
    assert!(named(0).unwrap().version.is_some());
    assert!(named(1).unwrap().version.is_none(), "written again since");
    assert!(named(2).is_none(), "its row is gone");
    assert_eq!(leaves.len(), 3, "but its leaf is told");
    let Look::Leaves(looked) = nodes[0].look() else {
        panic!("leaves")
    };
    assert_eq!(looked.len(), 3);
}

#[test]
fn a_leaf_whose_row_cannot_be_read_is_told_and_said_to_be_so() {
    let world = World::new();
    let tree = world.create("a");
    world.upsert(tree, 0..3);
    let index = check(&world);
    let at = address(&world.replica, "a", 1);
    let mut batch = Batch::new();
    let key = StoredKey::Digest(at).encode(GroupId::CATALOGUE);
    batch.put(key, b"rot".to_vec());
    world.store.apply(batch).unwrap();
    let nodes = world.replica.look(index, tree, &[Prefix::ROOT]).unwrap();
    let FrozenNode::Leaves(leaves) = &nodes[0] else {
        panic!("{nodes:?}")
    };
    assert_eq!(leaves.len(), 3);
    for leaf in leaves {
        let rotten = leaf.key == at.key;
        assert_eq!(leaf.unreadable, rotten);
        assert_eq!(
            (leaf.id.is_none(), leaf.version.is_none()),
            (rotten, rotten)
        );
    }
    assert_eq!(world.replica.damage().rows, 1, "it is to be mended");
}

#[test]
fn only_the_last_few_are_kept_and_what_is_not_is_said() {
    let world = World::new();
    let tree = world.create("a");
    let checks: Vec<u64> = (0..6).map(|_| check(&world)).collect();
    assert_eq!(world.replica.checks(), checks[2..]);
    world.replica.forget_checks(|index| index == checks[5]);
    assert_eq!(world.replica.checks(), checks[5..]);
    let look = |index, tree, count| {
        let prefixes = vec![Prefix::ROOT; count];
        world.replica.look(index, tree, &prefixes).unwrap_err()
    };
    let index = checks[0];
    assert_eq!(look(index, tree, 1), LookRefused::NotKept { index });
    let (index, missing) = (checks[5], TreeId(99));
    let no_tree = LookRefused::NoTree {
        index,
        tree: missing,
    };
    assert_eq!(look(index, missing, 1), no_tree);
    let (count, max) = (PREFIXES_PER_LOOK_MAX + 1, PREFIXES_PER_LOOK_MAX);
    assert_eq!(
        look(index, tree, count),
        LookRefused::TooMany { count, max }
    );
}

#[test]
fn a_replica_made_to_differ_agrees_with_itself() {
    let world = World::new();
    let tree = world.create("a");
    world.upsert(tree, 0..10);
    let (index, root) = (world.replica.applied().index(), world.replica.root());
    let points = vec![point(4, 99)];
    world
        .replica
        .diverge(proposal(Command::Upsert { tree, points }))
        .unwrap();
    assert_ne!(world.replica.root(), root);
    assert_eq!(world.replica.applied().index(), index);
    assert_sound(&world);
}
