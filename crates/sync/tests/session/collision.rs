//! Short hashes that hide a difference are found out by the root and repaired by a second pass with whole ones.

use pando_merkle::{Digest, Leaf, Prefix, Tree};
use pando_model::TreeId;
use pando_sync::{
    Base, Children, FollowerOptions, Have, Leader, LeaderOptions, Op, Request, Response, SyncError,
    WireNode, header_root,
};

use crate::world::{
    View, assert_verified, base, by_key, difference, drive, drive_tampered, leader, row,
    small_options, state,
};

const TREE: TreeId = TreeId(1);

/// Makes some leaves of the follower wrong in a byte that tags do not carry.
fn collide(base: &mut Base, every: usize) -> usize {
    let tree = base.trees.get_mut(&TREE).unwrap();
    let leaves: Vec<_> = tree
        .iter()
        .step_by(every)
        .map(|(key, leaf)| (key, *leaf))
        .collect();
    for (key, leaf) in &leaves {
        let mut digest = leaf.digest;
        digest.0[31] ^= 1;
        tree.insert(*key, Leaf { digest, ..*leaf });
    }
    base.root = Digest([1; 32]);
    leaves.len()
}

#[test]
fn leaves_with_an_equal_tag_are_listed_again_in_full() {
    for rows in [20, 3_000] {
        let new = state((0..rows).map(|id| row(id, "same")));
        let mut wrong = base(&new);
        let count = collide(&mut wrong, 9);
        let ended = drive(&leader(&new, 3), wrong, small_options(), 5, None);
        assert_verified(&ended, &new);
        assert_eq!((ended.stats.reruns, ended.stats.fallbacks), (0, 0));
        assert!(ended.stats.relists > 0);
        assert_eq!(ended.stats.rows_put, count as u64);
        assert!(
            ended
                .staged
                .iter()
                .all(|staged| matches!(staged.op, Op::Put(_)))
        );
        let full = |request: &Request| match request {
            Request::Rows { wants, .. } => {
                wants.iter().any(|want| matches!(want.have, Have::Full(_)))
            }
            _ => false,
        };
        assert!(ended.requests.iter().any(full));
    }
}

#[test]
fn nodes_that_look_equal_in_short_are_repaired_by_the_second_pass() {
    let old = state((0..3_000).map(|id| row(id, "same")));
    let new = state((0..3_000).map(|id| row(id, if id % 500 == 0 { "new" } else { "same" })));
    let view = base(&old).trees.remove(&TREE).unwrap();
    // Every short hash below the root is replaced with the follower's own: as if all of them collided.
    let mut below = Prefix::ROOT.children();
    let mut hide = |response| match response {
        Response::Nodes { id, nodes } => {
            let nodes = nodes.into_iter().map(|node| match below.next() {
                Some(prefix) => disguise(&view, prefix, node),
                None => node,
            });
            let nodes = nodes.collect();
            vec![Response::Nodes { id, nodes }]
        }
        other => vec![other],
    };
    let ended = drive_tampered(
        &leader(&new, 3),
        base(&old),
        FollowerOptions {
            wide_start_min: 1_000,
            prefixes_per_request: 256,
            ..small_options()
        },
        5,
        &mut hide,
    );
    assert_verified(&ended, &new);
    assert_eq!(ended.stats.reruns, 1);
    let full = |request: &Request| matches!(request, Request::Nodes { full: true, .. });
    assert!(ended.requests.iter().any(full));
    assert_eq!(by_key(&ended.staged), difference(&old, &new));
}

fn disguise(own: &Tree, prefix: Prefix, node: WireNode) -> WireNode {
    let short = |children: &Children| {
        children
            .unpack()
            .unwrap()
            .iter()
            .flatten()
            .all(|hash| !hash.is_full())
    };
    match (node, own.node(&prefix)) {
        (WireNode::Inner { children }, pando_merkle::NodeView::Inner { children: own, .. })
            if short(&children) =>
        {
            WireNode::Inner {
                children: Children::of(&own, false),
            }
        }
        (node, _) => node,
    }
}

#[test]
fn a_tree_root_that_no_rows_make_is_refused_after_the_second_pass() {
    let old = state((0..300).map(|id| row(id, "old")));
    let mut view = View::of(&state((0..300).map(|id| row(id, "new"))), 3);
    view.header.trees[1].root = Digest([9; 32]);
    view.header.root = header_root(&view.header.trees);
    let leader = Leader::new(view, LeaderOptions::default());
    let ended = drive(&leader, base(&old), FollowerOptions::default(), 5, None);
    let expected = SyncError::RootMismatch {
        tree: TREE,
        expected: Digest([9; 32]),
        found: Digest([0; 32]),
    };
    match (ended.end, expected) {
        (
            Err(SyncError::RootMismatch {
                tree: a,
                expected: b,
                ..
            }),
            SyncError::RootMismatch {
                tree: c,
                expected: d,
                ..
            },
        ) => assert_eq!((a, b), (c, d)),
        (other, _) => panic!("{other:?}"),
    }
    assert_eq!(ended.stats.reruns, 1);
}

#[test]
fn a_header_root_that_its_trees_do_not_make_is_refused_at_once() {
    let old = state((0..300).map(|id| row(id, "old")));
    let mut view = View::of(&state([row(1, "new")]), 3);
    view.header.root = Digest([9; 32]);
    let leader = Leader::new(view, LeaderOptions::default());
    let ended = drive(&leader, base(&old), FollowerOptions::default(), 5, None);
    assert!(
        matches!(ended.end, Err(SyncError::HeaderRoot { .. })),
        "{:?}",
        ended.end
    );
    assert!(ended.staged.is_empty());
}

#[test]
fn a_count_that_the_tree_does_not_have_is_refused() {
    let new = state((0..300).map(|id| row(id, "new")));
    let mut view = View::of(&new, 3);
    view.header.trees[1].count += 1;
    view.header.root = header_root(&view.header.trees);
    let leader = Leader::new(view, LeaderOptions::default());
    let ended = drive(
        &leader,
        base(&state([])),
        FollowerOptions::default(),
        5,
        None,
    );
    assert!(
        matches!(
            ended.end,
            Err(SyncError::CountMismatch {
                expected: 301,
                found: 300,
                ..
            })
        ),
        "{:?}",
        ended.end
    );
}

#[test]
fn leaves_with_one_tag_are_listed_in_full() {
    let new = state((0..1_000).map(|id| row(id, "same")));
    let mut old = base(&new);
    let tree = old.trees.get_mut(&TREE).unwrap();
    let leaf = *tree.iter().next().unwrap().1;
    for last in [1, 2] {
        let mut bytes = [0xaa; 16];
        bytes[15] = last;
        tree.insert(pando_merkle::Key::from_bytes(bytes), leaf);
    }
    old.root = Digest([1; 32]);
    let ended = drive(&leader(&new, 3), old, small_options(), 5, None);
    assert_verified(&ended, &new);
    let stats = &ended.stats;
    assert_eq!((stats.reruns, stats.relists), (0, 0));
    assert_eq!((stats.rows_put, stats.rows_deleted), (0, 2));
}
