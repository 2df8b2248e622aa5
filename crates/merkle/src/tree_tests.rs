//! What the public surface cannot show: which nodes are hashed again, shared or copied; and the
//! hints.

use super::*;
use crate::digest::value_digest;
use crate::node::{BUCKET_MAX, Body};

fn key(n: u32) -> Key {
    Key::derive(&[7; 16], &n.to_be_bytes())
}

fn leaf(n: u32, bytes: u32, index: u64) -> Leaf {
    Leaf {
        digest: value_digest(&n.to_be_bytes()),
        bytes,
        index,
    }
}

fn tree(count: u32) -> Tree {
    (0..count)
        .map(|n| (key(n), leaf(n, 10, u64::from(n) + 1)))
        .collect()
}

fn nodes(root: &Arc<Node>) -> Vec<&Arc<Node>> {
    let mut nodes = vec![root];
    let mut next = 0;
    while let Some(node) = nodes.get(next).copied() {
        if let Body::Inner { children, .. } = node.body() {
            nodes.extend(children.iter().flatten());
        }
        next += 1;
    }
    nodes
}

fn dirty(tree: &Tree) -> usize {
    nodes(&tree.root)
        .iter()
        .filter(|node| node.cached().is_none())
        .count()
}

/// Number of nodes from the root to the one that holds `key`.
fn path_len(tree: &Tree, key: &Key) -> usize {
    let mut node = &tree.root;
    let mut len = 1;
    while let Body::Inner { children, .. } = node.body() {
        let nibble = key.nibble(u8::try_from(len - 1).expect("at most 32"));
        node = children[usize::from(nibble)]
            .as_ref()
            .expect("the key is there");
        len += 1;
    }
    len
}

#[test]
fn only_the_written_path_is_hashed_again() {
    let mut tree = tree(5_000);
    assert_eq!(dirty(&tree), nodes(&tree.root).len());
    tree.root();
    assert_eq!(dirty(&tree), 0);

    tree.insert(key(17), leaf(99_999, 10, 6_000));
    let path = path_len(&tree, &key(17));
    assert!(path >= 3, "the tree is deep enough to tell: {path}");
    assert_eq!(dirty(&tree), path);
    tree.root();
    assert_eq!(dirty(&tree), 0);

    tree.remove(&key(17), 6_001);
    assert!(dirty(&tree) >= path - 1 && dirty(&tree) <= path);
    tree.root();
    tree.remove(&key(17), 6_002);
    assert_eq!(dirty(&tree), 0, "nothing was there to remove");
    tree.insert(key(18), leaf(18, 500, 6_003));
    assert_eq!(dirty(&tree), 0, "hints are not hashed");
    assert_eq!(tree.get(&key(18)).map(|leaf| leaf.bytes), Some(500));
}

#[test]
fn a_write_after_a_freeze_copies_one_path() {
    let mut tree = tree(5_000);
    let frozen = tree.clone();
    assert!(
        Arc::ptr_eq(&tree.root, &frozen.root),
        "freezing copies nothing"
    );
    tree.insert(key(17), leaf(99_999, 10, 6_000));
    let before = nodes(&frozen.root);
    let copied = nodes(&tree.root)
        .iter()
        .filter(|node| !before.iter().any(|old| Arc::ptr_eq(old, node)))
        .count();
    assert_eq!(copied, path_len(&tree, &key(17)));

    let again = tree.clone();
    tree.remove(&key(70_000), 6_001);
    assert!(
        Arc::ptr_eq(&tree.root, &again.root),
        "removing nothing copies nothing"
    );
}

#[test]
fn the_bucket_limit_decides_the_shape_both_ways() {
    let limit = u32::try_from(BUCKET_MAX).expect("small");
    let mut tree = tree(limit);
    assert!(matches!(
        tree.node(&Prefix::ROOT),
        NodeView::Bucket { count: 32, .. }
    ));
    let root = tree.root();
    tree.insert(key(limit), leaf(limit, 10, 100));
    assert!(matches!(
        tree.node(&Prefix::ROOT),
        NodeView::Inner { count: 33, .. }
    ));
    tree.remove(&key(limit), 101);
    assert!(matches!(
        tree.node(&Prefix::ROOT),
        NodeView::Bucket { count: 32, .. }
    ));
    assert_eq!(tree.root(), root);
}

#[test]
fn the_empty_tree_has_a_root_and_no_nodes() {
    let mut tree = Tree::new();
    let empty = tree.root();
    assert_eq!(tree.node(&Prefix::ROOT), NodeView::Empty);
    assert!(tree.is_empty());
    tree.insert(key(1), leaf(1, 10, 1));
    assert_ne!(tree.root(), empty);
    tree.remove(&key(1), 2);
    assert_eq!(tree.root(), empty);
    assert_eq!(tree.node(&Prefix::ROOT), NodeView::Empty);
    assert_eq!(tree.iter().count(), 0);
}

#[test]
fn count_and_bytes_follow_every_write() {
    let mut tree = tree(100);
    assert_eq!((tree.len(), tree.bytes()), (100, 1_000));
    assert_eq!(
        tree.insert(key(5), leaf(5, 25, 200)).map(|old| old.bytes),
        Some(10)
    );
    assert_eq!((tree.len(), tree.bytes()), (100, 1_015));
    assert_eq!(tree.remove(&key(5), 201).map(|old| old.bytes), Some(25));
    assert_eq!(tree.remove(&key(5), 202), None);
    assert_eq!((tree.len(), tree.bytes()), (99, 990));
    let (count, bytes) = Prefix::ROOT
        .children()
        .fold((0, 0), |(count, bytes), child| {
            let view = tree.node(&child);
            (count + view.count(), bytes + view.bytes())
        });
    assert_eq!((count, bytes), (99, 990));
    for n in 0..100 {
        tree.remove(&key(n), 300);
    }
    assert_eq!((tree.len(), tree.bytes()), (0, 0));
}

#[test]
fn the_highest_index_is_known_where_the_write_was() {
    let mut tree = tree(1_000);
    assert_eq!(tree.max_index(), 1_000);
    for child in Prefix::ROOT.children().flat_map(|child| child.children()) {
        let newest = tree
            .leaves(&child)
            .map(|(_, leaf)| leaf.index)
            .max()
            .unwrap_or(0);
        assert_eq!(tree.node(&child).max_index(), newest, "{child}");
    }
    let written = Prefix::of(&key(3), 2);
    tree.insert(key(3), leaf(3, 10, 5_000));
    let removed = Prefix::of(&key(4), 2);
    assert_ne!(written, removed, "the keys were chosen apart");
    tree.remove(&key(4), 5_001);
    assert_eq!(tree.node(&written).max_index(), 5_000);
    assert_eq!(tree.node(&removed).max_index(), 5_001);
    assert_eq!(tree.max_index(), 5_001);
    let others = Prefix::ROOT
        .children()
        .flat_map(|child| child.children())
        .filter(|child| *child != written && *child != removed);
    assert!(
        others
            .into_iter()
            .all(|child| tree.node(&child).max_index() <= 1_000)
    );
}

#[test]
fn a_split_does_not_forget_a_removal() {
    let mut tree = tree(20);
    tree.remove(&key(7), 900);
    assert_eq!(tree.node(&Prefix::of(&key(7), 2)).max_index(), {
        let left = tree.leaves(&Prefix::of(&key(7), 2)).count();
        if left == 0 { 0 } else { 900 }
    });
    for n in 100..200 {
        tree.insert(key(n), leaf(n, 10, 30));
    }
    let around = Prefix::of(&key(7), 1);
    assert!(matches!(tree.node(&Prefix::ROOT), NodeView::Inner { .. }));
    assert_eq!(tree.node(&around).max_index(), 900);
}

#[test]
fn a_collapse_keeps_the_highest_index() {
    let mut tree = tree(33);
    tree.remove(&key(0), 700);
    assert!(matches!(
        tree.node(&Prefix::ROOT),
        NodeView::Bucket { max_index: 700, .. }
    ));
}
