//! Properties of the tree against an oracle that shares no code with it but the data types: a
//! sorted map, and digests recomputed from nothing by filtering all rows at every prefix.

use std::collections::{BTreeMap, BTreeSet};

use pando_merkle::{
    Change, Digest, Key, Leaf, NodeView, Prefix, Tree, diff, leaf_digest, value_digest,
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

type Rows = BTreeMap<Key, Leaf>;

/// Keys from a small world, so that writes meet and nodes at every depth split and collapse: half
/// of them crowd under one of three long prefixes, the last at the very bottom of the tree.
fn key() -> impl Strategy<Value = Key> {
    let crowded = (0..3_usize, 0..96_u16).prop_map(|(crowd, n)| {
        let mut bytes = [[0x00; 16], [0xab; 16], [0xff; 16]][crowd];
        let at = [2, 9, 14][crowd];
        bytes[at..at + 2].copy_from_slice(&(n * 0x55).to_be_bytes());
        Key::from_bytes(bytes)
    });
    let spread = (0..120_u32).prop_map(|n| Key::derive(&[1; 16], &n.to_be_bytes()));
    prop_oneof![crowded, spread]
}

fn leaf() -> impl Strategy<Value = Leaf> {
    (0..4_u8, 1..100_u32, 1..1_000_u64).prop_map(|(content, bytes, index)| Leaf {
        digest: value_digest(&[content]),
        bytes,
        index,
    })
}

#[derive(Clone, Debug)]
enum Op {
    Put(Key, Leaf),
    Remove(Key),
    /// Removes everything under the first nibble of the key: collapses whole levels at once.
    Sweep(Key),
}

fn ops(max: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        60 => (key(), leaf()).prop_map(|(key, leaf)| Op::Put(key, leaf)),
        20 => key().prop_map(Op::Remove),
        1 => key().prop_map(Op::Sweep),
    ];
    prop::collection::vec(op, 0..max)
}

fn apply(ops: &[Op], tree: &mut Tree, rows: &mut Rows) {
    for op in ops {
        match op {
            Op::Put(key, leaf) => assert_eq!(tree.insert(*key, *leaf), rows.insert(*key, *leaf)),
            Op::Remove(key) => assert_eq!(tree.remove(key, 1), rows.remove(key)),
            Op::Sweep(key) => {
                let swept = Prefix::of(key, 1);
                let keys: Vec<Key> = rows
                    .keys()
                    .filter(|key| swept.contains(key))
                    .copied()
                    .collect();
                for key in keys {
                    assert_eq!(tree.remove(&key, 1), rows.remove(&key));
                }
            }
        }
    }
}

fn grown(ops: &[Op]) -> (Tree, Rows) {
    let (mut tree, mut rows) = (Tree::new(), Rows::new());
    apply(ops, &mut tree, &mut rows);
    (tree, rows)
}

fn hex(key: &Key) -> String {
    key.as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The digest of the rows whose hexadecimal key starts with `prefix`, from the written layout.
fn naive(prefix: &str, rows: &Rows) -> [u8; 32] {
    let under: Vec<_> = rows
        .iter()
        .filter(|(key, _)| hex(key).starts_with(prefix))
        .collect();
    let mut packed = vec![u8::try_from(prefix.len()).expect("at most 32")];
    let padded = if prefix.len().is_multiple_of(2) {
        prefix.to_owned()
    } else {
        format!("{prefix}0")
    };
    for at in (0..padded.len()).step_by(2) {
        packed.push(u8::from_str_radix(&padded[at..at + 2], 16).expect("hexadecimal"));
    }
    let mut input = Vec::new();
    if under.len() <= 32 {
        input.push(2);
        input.extend(packed);
        input.extend((under.len() as u64).to_be_bytes());
        for (key, leaf) in under {
            input.extend(key.as_bytes());
            input.extend(leaf.digest.0);
        }
    } else {
        input.push(3);
        input.extend(packed);
        for digit in "0123456789abcdef".chars() {
            let child = format!("{prefix}{digit}");
            let empty = !under.iter().any(|(key, _)| hex(key).starts_with(&child));
            input.extend(if empty { [0; 32] } else { naive(&child, rows) });
        }
    }
    Sha256::digest(input).into()
}

fn text(prefix: &Prefix) -> String {
    prefix.to_string()[1..].to_owned()
}

proptest! {
    #[test]
    fn the_root_is_a_function_of_the_rows(ops in ops(500), order in any::<u64>()) {
        let (tree, rows) = grown(&ops);
        prop_assert_eq!(tree.root(), Digest(naive("", &rows)), "recomputed from nothing");

        let sorted: Tree = rows.iter().map(|(key, leaf)| (*key, *leaf)).collect();
        prop_assert_eq!(tree.root(), sorted.root(), "sorted");

        let mut shuffled: Vec<_> = rows.iter().map(|(key, leaf)| (*key, *leaf)).collect();
        shuffled.sort_by_key(|(key, _)| value_digest(&[&order.to_be_bytes()[..], key.as_bytes()].concat()));
        prop_assert_eq!(tree.root(), shuffled.into_iter().collect::<Tree>().root(), "shuffled");

        prop_assert!(tree.iter().map(|(key, leaf)| (key, *leaf)).eq(rows.clone()));
        prop_assert_eq!(tree.len(), rows.len() as u64);
        prop_assert_eq!(tree.bytes(), rows.values().map(|leaf| u64::from(leaf.bytes)).sum::<u64>());
        for op in &ops {
            let (Op::Put(key, _) | Op::Remove(key) | Op::Sweep(key)) = op;
            prop_assert_eq!(tree.get(key), rows.get(key));
        }
    }

    #[test]
    fn asking_for_the_root_between_writes_changes_nothing(ops in ops(300), step in 1..40_usize) {
        let (mut tree, mut rows) = (Tree::new(), Rows::new());
        for batch in ops.chunks(step) {
            apply(batch, &mut tree, &mut rows);
            tree.root();
        }
        prop_assert_eq!(tree.root(), grown(&ops).0.root());
    }

    #[test]
    fn diff_is_the_set_difference(first in ops(400), second in ops(400), shared in any::<bool>()) {
        let (a, a_rows) = grown(&first);
        let (mut b, mut b_rows) = if shared { (a.clone(), a_rows.clone()) } else { <_>::default() };
        apply(&second, &mut b, &mut b_rows);

        let keys: BTreeSet<Key> = a_rows.keys().chain(b_rows.keys()).copied().collect();
        let expected: Vec<Change> = keys
            .into_iter()
            .map(|key| Change { key, from: a_rows.get(&key).copied(), to: b_rows.get(&key).copied() })
            .filter(|change| change.from.map(|leaf| leaf.digest) != change.to.map(|leaf| leaf.digest))
            .collect();
        prop_assert_eq!(diff(&a, &b).collect::<Vec<_>>(), expected.clone());
        prop_assert_eq!(a.root() == b.root(), expected.is_empty());

        let mut patched = a.clone();
        for change in expected {
            match change.to {
                Some(leaf) => patched.insert(change.key, leaf),
                None => patched.remove(&change.key, 1),
            };
        }
        prop_assert_eq!(patched.root(), b.root());
        prop_assert_eq!(diff(&patched, &b).next(), None);
    }

    #[test]
    fn a_frozen_tree_never_changes(first in ops(300), second in ops(300), hashed in any::<bool>()) {
        let (mut live, mut rows) = grown(&first);
        if hashed {
            live.root();
        }
        let (frozen, frozen_rows) = (live.clone(), rows.clone());
        apply(&second, &mut live, &mut rows);
        prop_assert_eq!(live.root(), Digest(naive("", &rows)));
        prop_assert_eq!(frozen.root(), Digest(naive("", &frozen_rows)));
        prop_assert!(frozen.iter().map(|(key, leaf)| (key, *leaf)).eq(frozen_rows.clone()));
        prop_assert_eq!(frozen.len(), frozen_rows.len() as u64);

        // And the other way: writing to the frozen copy leaves the live tree alone.
        let (mut thawed, mut thawed_rows) = (frozen, frozen_rows);
        apply(&first, &mut thawed, &mut thawed_rows);
        prop_assert_eq!(live.root(), Digest(naive("", &rows)));
    }

    #[test]
    fn every_prefix_has_the_digest_of_its_rows(ops in ops(300), at in key(), len in 0..=32_u8) {
        let (tree, rows) = grown(&ops);
        let prefix = Prefix::of(&at, len);
        let under: Rows =
            rows.iter().filter(|(key, _)| prefix.contains(key)).map(|(key, leaf)| (*key, *leaf)).collect();
        let view = tree.node(&prefix);
        prop_assert_eq!(view.count(), under.len() as u64);
        prop_assert_eq!(view.bytes(), under.values().map(|leaf| u64::from(leaf.bytes)).sum::<u64>());
        prop_assert!(view.max_index() >= under.values().map(|leaf| leaf.index).max().unwrap_or(0));
        prop_assert!(tree.leaves(&prefix).map(|(key, leaf)| (key, *leaf)).eq(under.clone()));
        let digest = (!under.is_empty()).then(|| Digest(naive(&text(&prefix), &under)));
        prop_assert_eq!(view.digest(), digest);
        match view {
            NodeView::Inner { children, .. } => {
                prop_assert!(under.len() > 32);
                for (prefix, child) in prefix.children().zip(*children) {
                    prop_assert_eq!(tree.node(&prefix).digest(), child);
                }
            }
            NodeView::Bucket { .. } | NodeView::Empty => prop_assert!(under.len() <= 32),
        }
    }

    #[test]
    fn a_virtual_node_is_the_node_a_bigger_tree_has(
        leaves in prop::collection::vec((key(), leaf()), 1..=32),
        pick in any::<prop::sample::Index>(),
        len in 1..=30_u8,
    ) {
        // At most 32 leaves: one bucket at the root, so whatever lies deeper is virtual.
        let small: Tree = leaves.iter().copied().collect();
        prop_assert!(matches!(small.node(&Prefix::ROOT), NodeView::Bucket { .. }), "one bucket");
        let (at, filler) = leaves[pick.index(leaves.len())];
        let prefix = Prefix::of(&at, len);

        // Crowd the parent of the prefix without touching what is under it.
        let parent = Prefix::of(&at, len - 1);
        let crowd = (0..=u16::MAX).map(|n| crowding(&at, len - 1, n));
        let mut big = small.clone();
        let mut added = 0;
        for key in crowd.filter(|key| parent.contains(key) && !prefix.contains(key)) {
            added += u8::from(big.insert(key, filler).is_none());
            if added == 33 {
                break;
            }
        }
        prop_assert!(matches!(big.node(&parent), NodeView::Inner { .. }), "now a real node");
        let (virtual_node, real_node) = (small.node(&prefix), big.node(&prefix));
        prop_assert!(virtual_node.digest().is_some());
        prop_assert_eq!(virtual_node, real_node);
    }

    #[test]
    fn one_bit_anywhere_in_a_row_changes_the_root(
        ops in ops(100),
        id in prop::collection::vec(any::<u8>(), 1..24),
        version in any::<[u8; 16]>(),
        content in prop::collection::vec(any::<u8>(), 1..64),
        bit in any::<prop::sample::Index>(),
    ) {
        let (tree, _) = grown(&ops);
        let salt = [9; 16];
        let root = |key: Key, id: &[u8], version: &[u8; 16], content: &[u8]| {
            let digest = leaf_digest(id, version, &value_digest(content));
            let mut tree = tree.clone();
            tree.insert(key, Leaf { digest, bytes: 1, index: 1 });
            tree.root()
        };
        let key = Key::derive(&salt, &id);
        let base = root(key, &id, &version, &content);
        let flipped = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = bit.index(bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
            bytes
        };
        let other_id = flipped(&id);
        let other_version = flipped(&version).try_into().expect("still sixteen bytes");
        let other_key = Key::from_bytes(flipped(key.as_bytes()).try_into().expect("still sixteen bytes"));
        prop_assert_eq!(base, root(key, &id, &version, &content), "nothing changed");
        prop_assert_ne!(base, root(Key::derive(&salt, &other_id), &other_id, &version, &content), "id");
        prop_assert_ne!(base, root(key, &other_id, &version, &content), "id in the leaf alone");
        prop_assert_ne!(base, root(key, &id, &other_version, &content), "version");
        prop_assert_ne!(base, root(key, &id, &version, &flipped(&content)), "content");
        prop_assert_ne!(base, root(other_key, &id, &version, &content), "key");
    }

    #[test]
    fn hints_decide_nothing(ops in ops(200)) {
        let (tree, rows) = grown(&ops);
        let other: Tree = rows
            .iter()
            .map(|(key, leaf)| (*key, Leaf { digest: leaf.digest, bytes: 7, index: 7 }))
            .collect();
        prop_assert_eq!(tree.root(), other.root());
        prop_assert_eq!(diff(&tree, &other).next(), None);
    }
}

/// A key that shares `shared` nibbles with `at` and goes on with the digits of `n`, then zeros, as
/// far as there is room.
fn crowding(at: &Key, shared: u8, n: u16) -> Key {
    let digits = format!("{}{n:04x}{:032}", &hex(at)[..usize::from(shared)], 0);
    let mut bytes = [0; 16];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("hexadecimal");
    }
    Key::from_bytes(bytes)
}
