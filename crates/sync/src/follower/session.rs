//! The session after its greeting: what is known of each tree, what is to be asked, and what waits for an answer.
//!
//! Invariants: the prefixes in the lists of one pass, outstanding or not, never overlap, so every prefix is resolved
//! once per pass; the newest work is done first, which keeps the lists in proportion to the window and the depth of
//! the tree rather than to the difference.

use std::collections::BTreeMap;

use pando_merkle::{NodeView, Prefix, Tree};
use pando_model::TreeId;

use super::cover::{self, Cover};
use super::pending::{Drop, Pending, Stream, Todo};
use super::verify::Pass;
use super::{Base, FollowerOptions};
use crate::message::{SnapshotHeader, WireHash};
use crate::stats::Stats;

pub(super) struct Session {
    pub(super) header: SnapshotHeader,
    pub(super) heads: BTreeMap<TreeId, Head>,
    pub(super) trees: BTreeMap<TreeId, Tree>,
    pub(super) options: FollowerOptions,
    pub(super) asks: Vec<Todo>,
    pub(super) wants: Vec<Todo>,
    /// Leaves the wants will list.
    pub(super) want_leaves: u64,
    pub(super) streams: Vec<Stream>,
    pub(super) drops: Vec<(TreeId, Drop)>,
    /// By the number of the request.
    pub(super) outstanding: BTreeMap<u64, Pending>,
    pub(super) next_request: u64,
}

/// What the header says of a tree, and how far it is.
pub(super) struct Head {
    pub(super) salt: [u8; 16],
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) root: pando_merkle::Digest,
    pub(super) pass: Pass,
    /// Rows received in this pass.
    pub(super) received: u64,
    pub(super) cover: Cover,
}

impl Session {
    /// The header is checked.
    pub(super) fn new(
        header: SnapshotHeader,
        base: Base,
        options: FollowerOptions,
        stats: &mut Stats,
    ) -> Self {
        let heads = header.trees.iter().map(|tree| {
            let head = Head {
                salt: tree.salt,
                count: tree.count,
                bytes: tree.bytes,
                root: tree.root,
                pass: Pass::Walk,
                received: 0,
                cover: Cover::default(),
            };
            (tree.id, head)
        });
        let mut session = Self {
            heads: heads.collect(),
            header,
            trees: base.trees,
            options,
            asks: Vec::new(),
            wants: Vec::new(),
            want_leaves: 0,
            streams: Vec::new(),
            drops: Vec::new(),
            outstanding: BTreeMap::new(),
            next_request: 0,
        };
        let gone = session
            .trees
            .keys()
            .filter(|id| !session.heads.contains_key(id));
        let everything = |id: &TreeId| (*id, Drop::Under(Prefix::ROOT, Vec::new()));
        session.drops = gone.map(everything).collect();
        session.begin_all(base.clean.then_some(base.index), stats);
        session
    }

    pub(super) fn into_parts(self) -> (SnapshotHeader, BTreeMap<TreeId, Tree>) {
        (self.header, self.trees)
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        self.heads.values().fold((0, 0), |(done, total), head| {
            (
                done.saturating_add(head.cover.of(head.count)),
                total.saturating_add(head.count),
            )
        })
    }

    /// Whether nothing is outstanding and nothing is left to do.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
            && self.asks.is_empty()
            && self.wants.is_empty()
            && self.streams.is_empty()
            && self.drops.is_empty()
    }

    /// Whether a tree is walked with whole hashes.
    pub(super) fn is_full(&self, tree: TreeId) -> bool {
        self.heads
            .get(&tree)
            .is_some_and(|head| head.pass == Pass::Full)
    }

    /// Goes on below a prefix of which only this is known: the leader has leaves there, with this digest.
    pub(super) fn compare(&mut self, tree: TreeId, prefix: Prefix, hash: WireHash, round: u64) {
        let node = self.node(tree, &prefix);
        if node.digest().is_some_and(|digest| hash.matches(&digest)) {
            self.cover(tree, cover::span(&prefix));
            return;
        }
        match node {
            NodeView::Inner { count, .. } => {
                self.asks.push(Todo {
                    tree,
                    prefix,
                    hash: Some(hash),
                    leaves: count,
                    relist: false,
                    round,
                });
            }
            NodeView::Empty | NodeView::Bucket { .. } => {
                self.want(tree, prefix, hash, node.count(), round);
            }
        }
    }

    /// Wants what the leader has under a prefix, against the `leaves` there.
    pub(super) fn want(
        &mut self,
        tree: TreeId,
        prefix: Prefix,
        hash: WireHash,
        leaves: u64,
        round: u64,
    ) {
        self.want_leaves += leaves;
        self.wants.push(Todo {
            tree,
            prefix,
            hash: Some(hash),
            leaves,
            relist: false,
            round,
        });
    }

    /// Asks for the sixteen nodes below a prefix.
    pub(super) fn ask_children(&mut self, tree: TreeId, prefix: &Prefix, round: u64) {
        let todo = |prefix| Todo {
            tree,
            prefix,
            hash: None,
            leaves: 0,
            relist: false,
            round,
        };
        let children: Vec<Prefix> = prefix.children().collect();
        self.asks.extend(children.into_iter().rev().map(todo));
    }

    pub(super) fn node(&self, tree: TreeId, prefix: &Prefix) -> NodeView {
        self.trees
            .get(&tree)
            .map_or(NodeView::Empty, |tree| tree.node(prefix))
    }

    pub(super) fn cover(&mut self, tree: TreeId, positions: u64) {
        if let Some(head) = self.heads.get_mut(&tree) {
            head.cover.add(positions);
        }
    }
}
