//! The walk: what is still to ask, what is outstanding, and what is known.
//!
//! Invariants: the prefixes in `asks`, `wants` and `drops`, outstanding or not, never overlap, so every prefix is
//! resolved once per pass; the newest work is done first, which keeps the lists in proportion to the window and the
//! depth of the tree rather than to the difference.

use std::collections::BTreeMap;

use pando_merkle::{Key, NodeView, Prefix, Tree};
use pando_model::TreeId;

use super::cover::{self, Cover};
use super::{FollowerOptions, Op, Staged, Stats};
use crate::error::SyncError;
use crate::limits::{PAIRS_PER_REQUEST_MAX, PREFIXES_PER_REQUEST_MAX, WANTS_PER_REQUEST_MAX};
use crate::message::{Have, Request, SnapshotHeader, Want, WireHash};

pub(super) struct Session {
    pub(super) header: SnapshotHeader,
    pub(super) heads: BTreeMap<TreeId, Head>,
    pub(super) trees: BTreeMap<TreeId, Tree>,
    /// Whether this is the second pass, with whole hashes.
    pub(super) full: bool,
    pub(super) options: FollowerOptions,
    pub(super) asked: BTreeMap<(TreeId, Prefix), Asked>,
    pub(super) wanted: BTreeMap<(TreeId, Prefix), Wanted>,
    asks: Vec<Todo>,
    wants: Vec<Todo>,
    /// Leaves the wants will list.
    want_pairs: u64,
    drops: Vec<(TreeId, Prefix)>,
    /// Items not yet answered, by request.
    outstanding: BTreeMap<u64, usize>,
    next_request: u64,
}

/// What the header says of a tree, and how far it is.
pub(super) struct Head {
    pub(super) salt: [u8; 16],
    pub(super) count: u64,
    root: pando_merkle::Digest,
    /// Rows received in this pass.
    pub(super) received: u64,
    pub(super) cover: Cover,
}

/// A prefix to be asked for.
struct Todo {
    tree: TreeId,
    prefix: Prefix,
    /// What the leader said of it, if it has spoken.
    hash: Option<WireHash>,
    /// Leaves here.
    pairs: u64,
    round: u64,
}

/// A prefix of a `Nodes` request that is not answered.
pub(super) struct Asked {
    pub(super) request: u64,
    pub(super) hash: Option<WireHash>,
    pub(super) round: u64,
}

/// A want whose answer is not complete.
pub(super) struct Wanted {
    pub(super) request: u64,
    pub(super) hash: Option<WireHash>,
    /// Whether the leaves were listed, and in short: then an equal pair may hide a difference.
    pub(super) short: bool,
    /// The keys listed.
    pub(super) keys: Vec<Key>,
    pub(super) last_put: Option<Key>,
    pub(super) last_delete: Option<Key>,
    /// Positions already counted as done.
    pub(super) covered: u64,
}

impl Session {
    /// The header is checked.
    pub(super) fn new(
        header: SnapshotHeader,
        trees: BTreeMap<TreeId, Tree>,
        options: FollowerOptions,
    ) -> Self {
        let heads = header.trees.iter().map(|tree| {
            let (salt, count, root) = (tree.salt, tree.count, tree.root);
            (
                tree.id,
                Head {
                    salt,
                    count,
                    root,
                    received: 0,
                    cover: Cover::default(),
                },
            )
        });
        let mut session = Self {
            heads: heads.collect(),
            header,
            trees,
            full: false,
            options,
            asked: BTreeMap::new(),
            wanted: BTreeMap::new(),
            asks: Vec::new(),
            wants: Vec::new(),
            want_pairs: 0,
            drops: Vec::new(),
            outstanding: BTreeMap::new(),
            next_request: 0,
        };
        let gone: Vec<TreeId> = session
            .trees
            .keys()
            .filter(|id| !session.heads.contains_key(id))
            .copied()
            .collect();
        session
            .drops
            .extend(gone.into_iter().map(|id| (id, Prefix::ROOT)));
        let ids: Vec<TreeId> = session.heads.keys().copied().collect();
        for id in ids {
            session.begin(id, 2);
        }
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
            && self.drops.is_empty()
    }

    /// Begins the walk of one tree.
    fn begin(&mut self, id: TreeId, round: u64) {
        let local = self.trees.entry(id).or_default();
        let Some(head) = self.heads.get(&id) else {
            return;
        };
        let wide = self.options.wide_start_min;
        if head.count == 0 {
            self.drop_under(id, Prefix::ROOT);
        } else if local.len().min(head.count) >= wide && local.root() != head.root {
            self.ask_children(id, &Prefix::ROOT, round);
        } else {
            self.compare(id, Prefix::ROOT, WireHash::Full(head.root), round);
        }
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
                    pairs: count,
                    round,
                });
            }
            NodeView::Empty | NodeView::Bucket { .. } => {
                self.want(tree, prefix, hash, node.count(), round);
            }
        }
    }

    /// Wants what the leader has under a prefix, against the `pairs` leaves there.
    pub(super) fn want(
        &mut self,
        tree: TreeId,
        prefix: Prefix,
        hash: WireHash,
        pairs: u64,
        round: u64,
    ) {
        self.want_pairs += pairs;
        self.wants.push(Todo {
            tree,
            prefix,
            hash: Some(hash),
            pairs,
            round,
        });
    }

    /// Asks for the sixteen nodes below a prefix.
    pub(super) fn ask_children(&mut self, tree: TreeId, prefix: &Prefix, round: u64) {
        let todo = |prefix| Todo {
            tree,
            prefix,
            hash: None,
            pairs: 0,
            round,
        };
        self.asks.extend(prefix.children().map(todo));
    }

    /// The leader has nothing under a prefix.
    pub(super) fn drop_under(&mut self, tree: TreeId, prefix: Prefix) {
        self.cover(tree, cover::span(&prefix));
        if self
            .trees
            .get(&tree)
            .is_some_and(|tree| tree.leaves(&prefix).next().is_some())
        {
            self.drops.push((tree, prefix));
        }
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

    /// Stages deletes of what the leader does not have, at most a step's worth. Whether there are more.
    pub(super) fn drop_some(&mut self, stage: &mut Vec<Staged>, stats: &mut Stats) -> bool {
        let mut left = self.options.deletes_per_step.max(1);
        while let Some((id, prefix)) = self.drops.last().copied() {
            let Some(tree) = self.trees.get_mut(&id) else {
                self.drops.pop();
                continue;
            };
            let keys: Vec<Key> = tree
                .leaves(&prefix)
                .take(left)
                .map(|(key, _)| key)
                .collect();
            for key in &keys {
                tree.remove(key, self.header.index);
            }
            stats.rows_deleted += keys.len() as u64;
            left -= keys.len();
            stage.extend(keys.into_iter().map(|key| Staged {
                tree: id,
                key,
                op: Op::Delete,
            }));
            if left == 0 {
                return true;
            }
            self.drops.pop();
            if !self.heads.contains_key(&id) {
                self.trees.remove(&id);
            }
        }
        false
    }

    /// Fills the window.
    pub(super) fn ask(&mut self, send: &mut Vec<Request>, stats: &mut Stats) {
        while self.outstanding.len() < self.options.window.max(1) {
            // Rows move as soon as they fill a request; until then the walk goes on.
            let full = self.want_pairs >= self.options.pairs_per_request as u64
                || self.wants.len() >= self.options.prefixes_per_request;
            let (request, round) = if !self.wants.is_empty() && (full || self.asks.is_empty()) {
                self.rows_request()
            } else if let Some(last) = self.asks.last() {
                self.nodes_request(last.tree)
            } else {
                break;
            };
            stats.sent(&request);
            stats.round_trips = stats.round_trips.max(round);
            send.push(request);
        }
    }

    fn nodes_request(&mut self, tree: TreeId) -> (Request, u64) {
        let (mut prefixes, mut last_round) = (Vec::new(), 0);
        let request = self.next_request;
        let max = self
            .options
            .prefixes_per_request
            .clamp(1, PREFIXES_PER_REQUEST_MAX);
        while prefixes.len() < max
            && let Some(todo) = self.asks.pop_if(|todo| todo.tree == tree)
        {
            let Todo {
                prefix,
                hash,
                round,
                ..
            } = todo;
            last_round = last_round.max(round);
            self.asked.insert(
                (tree, prefix),
                Asked {
                    request,
                    hash,
                    round,
                },
            );
            prefixes.push(prefix);
        }
        prefixes.sort_unstable();
        self.outstanding.insert(request, prefixes.len());
        self.next_request += 1;
        (
            Request::Nodes {
                tree,
                full: self.full,
                prefixes,
            },
            last_round,
        )
    }

    fn rows_request(&mut self) -> (Request, u64) {
        let tree = self.wants.last().map_or(TreeId::SYSTEM, |todo| todo.tree);
        let (mut wants, mut pairs, mut last_round) = (Vec::new(), 0, 0);
        let request = self.next_request;
        let pairs_max = self.options.pairs_per_request.min(PAIRS_PER_REQUEST_MAX) as u64;
        let wants_max = self
            .options
            .prefixes_per_request
            .clamp(1, WANTS_PER_REQUEST_MAX);
        while wants.len() < wants_max
            && let Some(todo) = self.wants.pop_if(|todo| {
                todo.tree == tree && (wants.is_empty() || pairs + todo.pairs <= pairs_max)
            })
        {
            let Todo {
                prefix,
                hash,
                round,
                ..
            } = todo;
            last_round = last_round.max(round);
            pairs += todo.pairs;
            self.want_pairs -= todo.pairs;
            let (have, keys) = self.have(tree, &prefix);
            let wanted = Wanted {
                request,
                hash,
                short: matches!(&have, Have::Short(pairs) if !pairs.is_empty()),
                keys,
                last_put: None,
                last_delete: None,
                covered: 0,
            };
            self.wanted.insert((tree, prefix), wanted);
            wants.push(Want { prefix, have });
        }
        wants.sort_unstable_by_key(|want| want.prefix);
        self.outstanding.insert(request, wants.len());
        self.next_request += 1;
        (Request::Rows { tree, wants }, last_round)
    }

    /// The leaves under a prefix as they are listed to the leader, and their keys.
    fn have(&self, tree: TreeId, prefix: &Prefix) -> (Have, Vec<Key>) {
        let leaves: Vec<_> = self
            .trees
            .get(&tree)
            .into_iter()
            .flat_map(|tree| tree.leaves(prefix))
            .map(|(key, leaf)| (key, leaf.digest))
            .collect();
        let keys: Vec<Key> = leaves.iter().map(|(key, _)| *key).collect();
        // Two keys that begin alike cannot be told apart in short: list them whole.
        let distinct = keys.is_sorted_by(|a, b| a.short() < b.short());
        let have = if self.full || !distinct {
            Have::Full(leaves)
        } else {
            let short =
                |(key, digest): (Key, pando_merkle::Digest)| (key.short(), digest.truncated());
            Have::Short(leaves.into_iter().map(short).collect())
        };
        (have, keys)
    }

    /// One item of a request is answered.
    pub(super) fn answered(&mut self, request: u64) {
        if let Some(left) = self.outstanding.get_mut(&request) {
            *left -= 1;
            if *left == 0 {
                self.outstanding.remove(&request);
            }
        }
    }

    /// Whether every tree is the leader's. If not, and the hashes were short, the walk of those that are not begins
    /// again with whole ones.
    pub(super) fn verify(&mut self, stats: &mut Stats) -> Result<bool, SyncError> {
        let mut unequal = Vec::new();
        for (id, head) in &self.heads {
            let local = self.trees.get(id).cloned().unwrap_or_default();
            let (expected, found) = (head.root, local.root());
            if expected != found {
                if self.full {
                    return Err(SyncError::RootMismatch {
                        tree: *id,
                        expected,
                        found,
                    });
                }
                unequal.push(*id);
            } else if head.count != local.len() {
                let (expected, found) = (head.count, local.len());
                return Err(SyncError::CountMismatch {
                    tree: *id,
                    expected,
                    found,
                });
            }
        }
        // With every root and count equal so is the replica root: the header's was checked against them.
        if unequal.is_empty() {
            return Ok(true);
        }
        self.full = true;
        stats.reruns += 1;
        for id in unequal {
            if let Some(head) = self.heads.get_mut(&id) {
                head.received = 0;
                head.cover = Cover::default();
            }
            self.begin(id, stats.round_trips + 1);
        }
        Ok(false)
    }
}
