//! A prepared change against the same writes one by one.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::digest::value_digest;
use crate::tree::NodeView;

fn key(n: u16) -> Key {
    Key::derive(&[7; 16], &n.to_be_bytes())
}

fn leaf(n: u16, index: u64) -> Leaf {
    Leaf {
        digest: value_digest(&n.to_be_bytes()),
        bytes: u32::from(n % 50) + 1,
        index,
    }
}

/// One row's change: which, and its new content if it stays.
fn changes(rows: u16, most: usize) -> impl Strategy<Value = Vec<(u16, Option<u16>)>> {
    vec(
        (0..rows, proptest::option::weighted(0.6, any::<u16>())),
        0..most,
    )
}

/// Every prefix down to three nibbles.
fn prefixes() -> Vec<Prefix> {
    let mut all = vec![Prefix::ROOT];
    let mut level = all.clone();
    for _ in 0..3 {
        level = level.iter().flat_map(Prefix::children).collect();
        all.extend(&level);
    }
    all
}

/// The log index at which each key last changed, and whether it is gone since.
type Touched = BTreeMap<Key, (u64, bool)>;

fn check(tree: &Tree, one_by_one: &Tree, touched: &Touched) -> Result<(), TestCaseError> {
    prop_assert_eq!(tree.root(), one_by_one.root());
    prop_assert_eq!(
        (tree.len(), tree.bytes()),
        (one_by_one.len(), one_by_one.bytes())
    );
    prop_assert!(tree.iter().eq(one_by_one.iter()));
    for prefix in prefixes() {
        let (view, expected) = (tree.node(&prefix), one_by_one.node(&prefix));
        prop_assert_eq!(view.digest(), expected.digest(), "{}", prefix);
        prop_assert_eq!(
            (view.count(), view.bytes()),
            (expected.count(), expected.bytes())
        );
        let below = |key: &Key| Prefix::of(key, prefix.len_u8()) == prefix;
        let newest = touched.iter().filter(|(key, _)| below(key));
        let newest = newest.map(|(_, (index, _))| *index).max().unwrap_or(0);
        // Of a prefix that became empty only the nodes above it tell.
        prop_assert!(
            view == NodeView::Empty || view.max_index() >= newest,
            "{}: {:?}, touched at {}",
            prefix,
            view,
            newest
        );
    }
    for (key, (index, gone)) in touched {
        let mut since = tree.since(&Prefix::ROOT, index - 1);
        let found = since.any(|bucket| {
            Prefix::of(key, bucket.prefix.len_u8()) == bucket.prefix && (bucket.thinned || !gone)
        });
        prop_assert!(found, "{:?} changed at {}", key, index);
    }
    // Digests that were carried over are those of what is there.
    let anew: Tree = tree.iter().map(|(key, leaf)| (key, *leaf)).collect();
    prop_assert_eq!(tree.root(), anew.root());
    Ok(())
}

proptest! {
    #[test]
    fn it_is_what_the_same_writes_come_to(
        rows in prop_oneof![Just(20_u16), Just(40), Just(600), Just(3_000)],
        rounds in vec(changes(3_000, 60), 1..6),
        frozen in any::<bool>(),
    ) {
        let start = (0..rows / 2).map(|n| (key(n), leaf(n, 1)));
        let mut tree: Tree = start.collect();
        let mut one_by_one = tree.clone();
        let mut touched = Touched::new();
        let mut views = Vec::new();
        for (index, round) in (2..).zip(rounds) {
            let round = round.into_iter().map(|(n, to)| (key(n % rows), to.map(|n| leaf(n, index))));
            let round: Vec<To> = round.collect();
            for (key, to) in &round {
                match to {
                    Some(leaf) => one_by_one.insert(*key, *leaf),
                    None => one_by_one.remove(key, index),
                };
            }
            // Of several changes to one key only the last one counts.
            let last: BTreeMap<Key, bool> = round.iter().map(|(key, to)| (*key, to.is_none())).collect();
            for (key, gone) in last {
                if !gone || tree.get(&key).is_some() {
                    touched.insert(key, (index, gone));
                }
            }
            if frozen {
                views.push((tree.clone(), tree.root()));
            }
            let before = tree.root();
            let prepared = tree.prepare(round, index);
            prop_assert_eq!(tree.root(), before, "nothing has changed yet");
            let expected = (prepared.root(), prepared.len());
            tree.apply(prepared);
            prop_assert_eq!((tree.root(), tree.len()), expected);
            check(&tree, &one_by_one, &touched)?;
        }
        for (view, root) in views {
            let anew: Tree = view.iter().map(|(key, leaf)| (key, *leaf)).collect();
            prop_assert_eq!((view.root(), anew.root()), (root, root), "a frozen tree stays as it is");
        }
    }

    #[test]
    fn a_tree_can_be_emptied_and_filled_again(rows in 1_u16..200) {
        let mut tree: Tree = (0..rows).map(|n| (key(n), leaf(n, 1))).collect();
        tree.apply(tree.prepare((0..rows).map(|n| (key(n), None)), 5));
        prop_assert_eq!(tree.root(), Tree::new().root());
        prop_assert_eq!((tree.len(), tree.max_index()), (0, 5));
        tree.apply(tree.prepare((0..rows).map(|n| (key(n), Some(leaf(n, 6)))), 6));
        prop_assert_eq!(tree.len(), u64::from(rows));
        let one_by_one: Tree = (0..rows).map(|n| (key(n), leaf(n, 6))).collect();
        prop_assert_eq!(tree.root(), one_by_one.root());
    }
}

#[test]
fn nothing_is_copied_that_nobody_shares() {
    let mut tree: Tree = (0..5_000).map(|n| (key(n), leaf(n, 1))).collect();
    let top = std::ptr::from_ref(tree.top());
    tree.apply(tree.prepare([(key(17), Some(leaf(9_000, 2))), (key(18), None)], 2));
    assert_eq!(std::ptr::from_ref(tree.top()), top);
    assert!(tree.top().cached().is_some(), "the digest came along");
}

#[test]
fn the_last_change_of_a_key_counts_and_nothing_changes_nothing() {
    let mut tree: Tree = (0..100).map(|n| (key(n), leaf(n, 1))).collect();
    let root = tree.root();
    let nothing = tree.prepare([(key(500), None)], 2);
    assert_eq!((nothing.root(), nothing.len()), (root, 100));
    tree.apply(nothing);
    let changes = [
        (key(3), Some(leaf(8, 3))),
        (key(3), None),
        (key(3), Some(leaf(9, 3))),
    ];
    tree.apply(tree.prepare(changes, 3));
    assert_eq!(tree.get(&key(3)), Some(&leaf(9, 3)));
}

#[test]
#[should_panic(expected = "for another tree")]
fn it_is_refused_by_another_tree() {
    let tree: Tree = (0..100).map(|n| (key(n), leaf(n, 1))).collect();
    let prepared = tree.prepare([(key(3), None)], 2);
    Tree::new().apply(prepared);
}
