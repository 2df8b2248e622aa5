//! Changes to a tree that are worked out before they are made.
//!
//! A commit has to know the root before it may change anything. A clone that is written to would tell it, at the price
//! of a copy of every node on the way, and each copy of an inner node touches all its children to count their owners.
//! So the new digests are computed from the nodes as they are, and kept; the change is then made in place, and nodes
//! are copied only where a frozen tree shares them.

use std::sync::Arc;

use crate::digest::{Digest, bucket_digest, node_digest};
use crate::key::Key;
use crate::leaves::Leaves;
use crate::node::{BUCKET_MAX, Body, Entry, Leaf, Node};
use crate::prefix::Prefix;
use crate::tree::Tree;

/// A row's new leaf; `None` where it goes.
type To = (Key, Option<Leaf>);

/// Changes to one tree, and what it will be with them; see [`Tree::prepare`].
#[derive(Debug)]
pub struct Prepared {
    before: Digest,
    root: Digest,
    len: u64,
    index: u64,
    /// In key order, each key once, and none that changes nothing.
    changes: Vec<To>,
    /// `None`: there are no changes.
    patch: Option<Patch>,
}

/// What becomes of a node.
#[derive(Debug)]
enum Patch {
    /// A bucket stays one, with this digest.
    Bucket(Digest),
    /// An inner node stays one, with this digest; what becomes of the children that change, in nibble order.
    Inner(Digest, Vec<Patch>),
    /// This one takes its place.
    Replace(Arc<Node>),
    /// Nothing is left of it.
    Gone,
}

/// A node with its changes, worked out.
struct Worked {
    patch: Patch,
    digest: Option<Digest>,
    count: u64,
}

impl Prepared {
    /// The root of the tree with the changes.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// Number of leaves with the changes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "of the tree to come, not of the changes"
    )]
    pub fn len(&self) -> u64 {
        self.len
    }
}

impl Tree {
    /// Works out what this tree is with some changes, made at log index `index`, without changing it. Of several
    /// changes to one key the last one counts; taking away what is not there changes nothing.
    pub fn prepare(&self, changes: impl IntoIterator<Item = To>, index: u64) -> Prepared {
        let mut changes: Vec<To> = changes.into_iter().collect();
        // Stable, so that the last one of each key comes first now.
        changes.reverse();
        changes.sort_by_key(|(key, _)| *key);
        changes.dedup_by_key(|(key, _)| *key);
        changes.retain(|(key, to)| to.is_some() || self.get(key).is_some());
        let before = self.root();
        let mut prepared = Prepared {
            before,
            root: before,
            len: self.len(),
            index,
            changes,
            patch: None,
        };
        if !prepared.changes.is_empty() {
            let at = At {
                prefix: Prefix::ROOT,
                depth: 0,
                index,
            };
            let worked = at.work(Some(self.top()), &prepared.changes, 0);
            let empty = || bucket_digest(&Prefix::ROOT, &[]);
            prepared.root = worked.digest.unwrap_or_else(empty);
            prepared.len = worked.count;
            prepared.patch = Some(worked.patch);
        }
        prepared
    }

    /// Makes changes that were prepared for this very tree.
    ///
    /// # Panics
    /// If the tree is not what it was then.
    pub fn apply(&mut self, prepared: Prepared) {
        let Prepared {
            before,
            index,
            changes,
            patch,
            ..
        } = prepared;
        assert_eq!(self.root(), before, "the changes are for another tree");
        match patch {
            None => {}
            Some(Patch::Gone) => *self = Self::emptied(index),
            Some(Patch::Replace(node)) => *self.top_mut() = node,
            Some(patch) => make(self.top_mut(), &changes, patch, 0, index),
        }
    }
}

/// Changes of one key's first nibbles each, in order.
fn by_child(changes: &[To], depth: u8) -> impl Iterator<Item = (usize, &[To])> {
    changes
        .chunk_by(move |(a, _), (b, _)| a.nibble(depth) == b.nibble(depth))
        .filter_map(move |group| {
            let (key, _) = group.first()?;
            Some((usize::from(key.nibble(depth)), group))
        })
}

/// Where in the tree a node is worked out.
struct At {
    prefix: Prefix,
    depth: u8,
    index: u64,
}

impl At {
    /// `removed_index` is what a node gets that is new here.
    fn work(&self, node: Option<&Node>, changes: &[To], removed_index: u64) -> Worked {
        let removed_index = node.map_or(removed_index, Node::removed_index);
        let removes = changes.iter().any(|(_, to)| to.is_none());
        let removed_index = if removes {
            removed_index.max(self.index)
        } else {
            removed_index
        };
        match node.map(Node::body) {
            None => self.anew(&merged(std::iter::empty(), changes), removed_index),
            Some(Body::Bucket(entries)) => {
                let merged = merged(entries.iter().copied(), changes);
                if merged.is_empty() || merged.len() > BUCKET_MAX {
                    return self.anew(&merged, removed_index);
                }
                let digest = bucket_digest(&self.prefix, &merged);
                Worked {
                    patch: Patch::Bucket(digest),
                    digest: Some(digest),
                    count: merged.len() as u64,
                }
            }
            Some(Body::Inner { count, children }) => {
                let mut digests: Vec<Option<Digest>> =
                    crate::node::child_digests(&self.prefix, children).collect();
                let prefixes: Vec<Prefix> = self.prefix.children().collect();
                let (mut count, mut patches) = (*count, Vec::new());
                for (slot, changes) in by_child(changes, self.depth) {
                    let child = children[slot].as_deref();
                    let at = Self {
                        prefix: prefixes[slot],
                        depth: self.depth + 1,
                        index: self.index,
                    };
                    let worked = at.work(child, changes, removed_index);
                    count = count + worked.count - child.map_or(0, Node::count);
                    digests[slot] = worked.digest;
                    patches.push(worked.patch);
                }
                if count <= BUCKET_MAX as u64 {
                    let leaves = children.iter().flatten().flat_map(|c| Leaves::of_node(c));
                    let leaves = leaves.map(|(key, leaf)| (key, *leaf));
                    return self.anew(&merged(leaves, changes), removed_index);
                }
                let digest = node_digest(&self.prefix, digests);
                Worked {
                    patch: Patch::Inner(digest, patches),
                    digest: Some(digest),
                    count,
                }
            }
        }
    }

    fn anew(&self, entries: &[Entry], removed_index: u64) -> Worked {
        if entries.is_empty() {
            return Worked {
                patch: Patch::Gone,
                digest: None,
                count: 0,
            };
        }
        let node = Node::build(entries, self.depth, removed_index);
        Worked {
            digest: Some(node.digest(&self.prefix)),
            count: node.count(),
            patch: Patch::Replace(Arc::new(node)),
        }
    }
}

/// Entries with changes, both in key order.
fn merged(entries: impl Iterator<Item = Entry>, changes: &[To]) -> Vec<Entry> {
    let mut merged = Vec::with_capacity(BUCKET_MAX + changes.len());
    let mut changes = changes.iter().peekable();
    for entry in entries {
        while let Some((key, to)) = changes.next_if(|(key, _)| *key < entry.0) {
            merged.extend(to.map(|leaf| (*key, leaf)));
        }
        match changes.next_if(|(key, _)| *key == entry.0) {
            Some((key, to)) => merged.extend(to.map(|leaf| (*key, leaf))),
            None => merged.push(entry),
        }
    }
    merged.extend(changes.filter_map(|(key, to)| Some((*key, (*to)?))));
    merged
}

/// Changes a node as was worked out.
fn make(this: &mut Arc<Node>, changes: &[To], patch: Patch, depth: u8, index: u64) {
    let node = Arc::make_mut(this);
    let digest = match (patch, node.body_mut()) {
        (Patch::Bucket(digest), Body::Bucket(_)) => {
            for (key, to) in changes {
                node.change_bucket(*key, *to);
            }
            digest
        }
        (Patch::Inner(digest, patches), Body::Inner { .. }) => {
            for ((slot, changes), patch) in by_child(changes, depth).zip(patches) {
                node.change_child(slot, |child| match patch {
                    Patch::Gone => *child = None,
                    Patch::Replace(node) => *child = Some(node),
                    patch => {
                        if let Some(child) = child {
                            make(child, changes, patch, depth + 1, index);
                        }
                    }
                });
            }
            digest
        }
        _ => unreachable!("equal roots have equal shapes"),
    };
    let written = changes
        .iter()
        .filter_map(|(_, to)| Some(to.as_ref()?.index));
    let removes = changes.iter().any(|(_, to)| to.is_none());
    node.settle(digest, written.max(), removes.then_some(index));
}

#[cfg(test)]
#[path = "prepared_tests.rs"]
mod tests;
