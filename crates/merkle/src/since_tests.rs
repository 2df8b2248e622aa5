use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::tree::Tree;

fn key(n: u16) -> Key {
    Key::derive(&[7; 16], &n.to_be_bytes())
}

fn leaf(n: u16, index: u64) -> Leaf {
    let mut digest = [0; 32];
    digest[..2].copy_from_slice(&n.to_be_bytes());
    digest[8..16].copy_from_slice(&index.to_be_bytes());
    Leaf {
        digest: Digest(digest),
        bytes: 1,
        index,
    }
}

/// What a copy of the tree at `index` becomes when it does what the touched buckets say.
fn follow(old: &Tree, touched: Since<'_>) -> Tree {
    let mut copy = old.clone();
    for bucket in touched {
        for (key, leaf) in bucket.written() {
            copy.insert(key, leaf);
        }
        if bucket.thinned {
            let there: BTreeSet<Digest> = bucket.digests().collect();
            let gone: Vec<Key> = copy
                .leaves(&bucket.prefix)
                .filter(|(_, leaf)| !there.contains(&leaf.digest))
                .map(|(key, _)| key)
                .collect();
            for key in gone {
                copy.remove(&key, 0);
            }
        }
    }
    copy
}

#[derive(Clone, Debug)]
enum Write {
    Put(u16),
    Remove(u16),
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let id = prop_oneof![3 => 0..900_u16, 1 => 0..40_u16];
    let write = prop_oneof![
        2 => id.clone().prop_map(Write::Put),
        1 => id.prop_map(Write::Remove),
    ];
    proptest::collection::vec(write, 0..900)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_copy_that_does_what_the_hints_say_becomes_equal(
        before in writes(),
        after in writes(),
        depth in 0..3_u8,
    ) {
        let (mut tree, mut index) = (Tree::new(), 0);
        let mut write = |tree: &mut Tree, write: &Write| {
            index += 1;
            match write {
                Write::Put(n) => drop(tree.insert(key(*n), leaf(*n, index))),
                Write::Remove(n) => drop(tree.remove(&key(*n), index)),
            }
        };
        before.iter().for_each(|w| write(&mut tree, w));
        let old = tree.clone();
        after.iter().for_each(|w| write(&mut tree, w));
        let at = before.len() as u64;
        // By parts as well as whole: parts may lie below a bucket, or where nothing is left.
        let mut parts = vec![Prefix::ROOT];
        for _ in 0..depth {
            parts = parts.iter().flat_map(Prefix::children).collect();
        }
        let mut copy = old;
        for part in &parts {
            copy = follow(&copy, tree.since(part, at));
        }
        prop_assert_eq!(copy.root(), tree.root());
        // And no more is written than was: the last write of each id after `at`.
        let mut last = BTreeMap::new();
        for w in &after {
            match w {
                Write::Put(n) => last.insert(*n, true),
                Write::Remove(n) => last.insert(*n, false),
            };
        }
        let written: usize = tree.since(&Prefix::ROOT, at).map(|b| b.written().count()).sum();
        prop_assert_eq!(written, last.values().filter(|put| **put).count());
    }
}

#[test]
fn the_cost_follows_what_was_touched() {
    let mut tree = Tree::new();
    for n in 0..20_000 {
        tree.insert(key(n), leaf(n, 1));
    }
    assert_eq!(tree.since(&Prefix::ROOT, 1).count(), 0);
    tree.insert(key(5), leaf(5, 2));
    tree.remove(&key(9), 3);
    let touched: Vec<_> = tree.since(&Prefix::ROOT, 1).collect();
    assert_eq!(touched.len(), 2);
    assert_eq!(touched.iter().filter(|bucket| bucket.thinned).count(), 1);
    assert_eq!(tree.since(&Prefix::ROOT, 2).count(), 1);
    assert_eq!(tree.since(&Prefix::ROOT, 3).count(), 0);
}
