//! What lies under a prefix, whether or not the tree has a node there.
//!
//! Two trees with different numbers of rows have different shapes, yet must be compared at equal
//! prefixes. Below a bucket there is no node; the part of the bucket under the prefix takes its
//! place, with the digest a tree holding just those keys there would have.

use std::sync::Arc;

use crate::digest::{Digest, bucket_digest};
use crate::leaves::Leaves;
use crate::node::{Body, Entry, Node, child_digests};
use crate::prefix::Prefix;
use crate::tree::NodeView;

#[derive(Clone, Copy)]
pub(crate) enum Subtree<'a> {
    Empty,
    /// A node of the tree.
    Node(&'a Arc<Node>),
    /// The part of a bucket that lies under a prefix longer than the bucket's own; never empty.
    Part {
        entries: &'a [Entry],
        removed_index: u64,
    },
}

impl<'a> Subtree<'a> {
    /// The whole tree below `root`.
    pub(crate) fn whole(root: &'a Arc<Node>) -> Self {
        if root.count() == 0 {
            Self::Empty
        } else {
            Self::Node(root)
        }
    }

    /// The part under `prefix` of the tree below `root`.
    pub(crate) fn at(root: &'a Arc<Node>, prefix: &Prefix) -> Self {
        (0..)
            .zip(prefix.nibbles())
            .fold(Self::whole(root), |subtree, (depth, nibble)| {
                subtree.child(depth, nibble)
            })
    }

    /// The part whose keys have `nibble` at `depth`, this subtree being at that depth.
    pub(crate) fn child(self, depth: u8, nibble: u8) -> Self {
        let (entries, removed_index) = match self {
            Self::Empty => return Self::Empty,
            Self::Part {
                entries,
                removed_index,
            } => (entries, removed_index),
            Self::Node(node) => match node.body() {
                Body::Bucket(entries) => (entries.as_slice(), node.removed_index()),
                Body::Inner { children, .. } => {
                    let child = children.get(usize::from(nibble)).and_then(Option::as_ref);
                    return child.map_or(Self::Empty, Self::Node);
                }
            },
        };
        let start = entries.partition_point(|(key, _)| key.nibble(depth) < nibble);
        let end = entries.partition_point(|(key, _)| key.nibble(depth) <= nibble);
        match &entries[start..end] {
            [] => Self::Empty,
            entries => Self::Part {
                entries,
                removed_index,
            },
        }
    }

    /// The entries, if they are few enough for a bucket.
    pub(crate) fn bucket(self) -> Option<&'a [Entry]> {
        match self {
            Self::Empty => Some(&[]),
            Self::Part { entries, .. } => Some(entries),
            Self::Node(node) => match node.body() {
                Body::Bucket(entries) => Some(entries),
                Body::Inner { .. } => None,
            },
        }
    }

    pub(crate) fn leaves(self) -> Leaves<'a> {
        match self {
            Self::Node(node) => Leaves::of_node(node),
            Self::Part { entries, .. } => Leaves::of_entries(entries),
            Self::Empty => Leaves::of_entries(&[]),
        }
    }

    /// This subtree as seen from outside, standing at `prefix`.
    pub(crate) fn view(self, prefix: &Prefix) -> NodeView {
        match self {
            Self::Empty => NodeView::Empty,
            Self::Part {
                entries,
                removed_index,
            } => NodeView::Bucket {
                digest: bucket_digest(prefix, entries),
                count: entries.len() as u64,
                bytes: entries.iter().map(|(_, leaf)| u64::from(leaf.bytes)).sum(),
                max_index: entries
                    .iter()
                    .fold(removed_index, |newest, (_, leaf)| newest.max(leaf.index)),
            },
            Self::Node(node) => {
                let digest = node.digest(prefix);
                let (count, bytes, max_index) = (node.count(), node.bytes(), node.max_index());
                match node.body() {
                    Body::Bucket(_) => NodeView::Bucket {
                        digest,
                        count,
                        bytes,
                        max_index,
                    },
                    Body::Inner { children, .. } => {
                        let mut digests = Box::<[Option<Digest>; 16]>::default();
                        for (slot, child) in digests.iter_mut().zip(child_digests(prefix, children))
                        {
                            *slot = child;
                        }
                        NodeView::Inner {
                            digest,
                            count,
                            bytes,
                            max_index,
                            children: digests,
                        }
                    }
                }
            }
        }
    }
}
