//! The tree as others see it: a persistent map from key to leaf with a root digest.

use std::fmt;
use std::sync::Arc;

use crate::digest::Digest;
use crate::key::Key;
use crate::leaves::Leaves;
use crate::node::{Leaf, Node};
use crate::prefix::Prefix;
use crate::since::Since;
use crate::subtree::Subtree;

/// A Merkle tree over the rows of one collection (or of the system's own rows).
///
/// Cloning is freezing: it costs one reference count, and neither copy sees later writes to the
/// other.
#[derive(Clone, Default)]
pub struct Tree {
    root: Arc<Node>,
}

/// What a tree holds under one prefix; see [`Tree::node`].
///
/// `count` is exact. `bytes` and `max_index` are hints that no digest covers. `max_index` is the
/// highest log index known to have written or removed anything here; it may be too high where
/// removals were, and it does not survive a rebuild for rows that are gone. A prefix that became
/// empty reports `Empty`: only the nodes above it still tell when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeView {
    /// No leaves.
    Empty,
    /// At most [`BUCKET_MAX`](crate::BUCKET_MAX) leaves.
    Bucket {
        /// Digest over the leaves and the prefix.
        digest: Digest,
        /// Number of leaves.
        count: u64,
        /// Sum of the leaves' sizes.
        bytes: u64,
        /// Highest log index that touched this node.
        max_index: u64,
    },
    /// More leaves than a bucket holds.
    Inner {
        /// Digest over the children and the prefix.
        digest: Digest,
        /// Number of leaves.
        count: u64,
        /// Sum of the leaves' sizes.
        bytes: u64,
        /// Highest log index that touched this node.
        max_index: u64,
        /// The children's digests in nibble order; `None` for a child without leaves.
        children: Box<[Option<Digest>; 16]>,
    },
}

impl NodeView {
    /// The digest, if there is any leaf.
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Empty => None,
            Self::Bucket { digest, .. } | Self::Inner { digest, .. } => Some(*digest),
        }
    }

    /// Number of leaves.
    pub fn count(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bucket { count, .. } | Self::Inner { count, .. } => *count,
        }
    }

    /// Sum of the leaves' sizes (a hint).
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bucket { bytes, .. } | Self::Inner { bytes, .. } => *bytes,
        }
    }

    /// Highest log index that touched this node (a hint); 0 if it is empty.
    pub fn max_index(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bucket { max_index, .. } | Self::Inner { max_index, .. } => *max_index,
        }
    }
}

impl Tree {
    /// The empty tree. It has a root digest like any other.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a leaf and returns the one it replaces.
    pub fn insert(&mut self, key: Key, leaf: Leaf) -> Option<Leaf> {
        Node::insert(&mut self.root, key, leaf, 0)
    }

    /// Removes the leaf at `key` and returns it. `index` is the log index of the removal, for the
    /// hint that something here changed.
    pub fn remove(&mut self, key: &Key, index: u64) -> Option<Leaf> {
        self.get(key)?;
        Node::remove(&mut self.root, key, index, 0)
    }

    /// The leaf at `key`.
    pub fn get(&self, key: &Key) -> Option<&Leaf> {
        self.root.get(key, 0)
    }

    /// Number of leaves.
    pub fn len(&self) -> u64 {
        self.root.count()
    }

    /// Whether there are no leaves.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sum of the leaves' sizes (a hint).
    pub fn bytes(&self) -> u64 {
        self.root.bytes()
    }

    /// Highest log index that touched the tree (a hint), removals included.
    pub fn max_index(&self) -> u64 {
        self.root.max_index()
    }

    /// The root digest. Digests are kept in the nodes: after a batch of writes only the paths those
    /// writes went down are hashed again.
    pub fn root(&self) -> Digest {
        self.root.digest(&Prefix::ROOT)
    }

    /// What lies under `prefix`.
    ///
    /// Also answers below a bucket, where the tree has no node: the view then has the digest that a
    /// tree with exactly these keys under `prefix` has there, so two trees of different shape
    /// compare at equal prefixes.
    pub fn node(&self, prefix: &Prefix) -> NodeView {
        Subtree::at(&self.root, prefix).view(prefix)
    }

    /// The leaves under `prefix`, in key order.
    pub fn leaves(&self, prefix: &Prefix) -> Leaves<'_> {
        Subtree::at(&self.root, prefix).leaves()
    }

    /// All leaves, in key order.
    pub fn iter(&self) -> Leaves<'_> {
        self.leaves(&Prefix::ROOT)
    }

    /// The buckets under `prefix` that the hints say were touched after the log index, in key order.
    pub fn since(&self, prefix: &Prefix, index: u64) -> Since<'_> {
        Since::new(&self.root, prefix, index)
    }

    pub(crate) fn top(&self) -> &Node {
        &self.root
    }

    pub(crate) fn top_mut(&mut self) -> &mut Arc<Node> {
        &mut self.root
    }

    /// A tree whose last leaf was removed at this log index.
    pub(crate) fn emptied(index: u64) -> Self {
        let root = Arc::new(Node::build(&[], 0, index));
        Self { root }
    }

    pub(crate) fn subtree(&self) -> Subtree<'_> {
        Subtree::whole(&self.root)
    }
}

impl Extend<(Key, Leaf)> for Tree {
    fn extend<I: IntoIterator<Item = (Key, Leaf)>>(&mut self, leaves: I) {
        for (key, leaf) in leaves {
            self.insert(key, leaf);
        }
    }
}

impl FromIterator<(Key, Leaf)> for Tree {
    fn from_iter<I: IntoIterator<Item = (Key, Leaf)>>(leaves: I) -> Self {
        let mut tree = Self::new();
        tree.extend(leaves);
        tree
    }
}

impl<'a> IntoIterator for &'a Tree {
    type Item = (Key, &'a Leaf);
    type IntoIter = Leaves<'a>;

    fn into_iter(self) -> Leaves<'a> {
        self.iter()
    }
}

impl fmt::Debug for Tree {
    // A tree of a million leaves in a log line helps nobody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("root", &self.root())
            .field("len", &self.len())
            .finish()
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
