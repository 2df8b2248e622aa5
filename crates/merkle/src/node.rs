//! Nodes of the tree and the two writes. Owns the shape rule, the cached digests and the hints.
//!
//! Invariants, at every node after every write:
//! - it is a bucket if and only if it holds at most [`BUCKET_MAX`] leaves;
//! - a bucket's entries are in key order; a child that holds nothing is `None`;
//! - a cached digest is the digest of what is below now.
//!
//! Writes go through [`Arc::make_mut`]: a node that a frozen tree shares is copied first, one path
//! per write, and a node nobody shares is changed in place.

use std::sync::{Arc, OnceLock};

use crate::digest::{Digest, bucket_digest, node_digest};
use crate::key::Key;
use crate::prefix::Prefix;

/// The most leaves a bucket holds; a node with one more is an inner node.
pub const BUCKET_MAX: usize = 32;

/// Free slots a growing bucket takes at a time. Doubling would leave a third of the tree's memory
/// unused: buckets are small and many.
const BUCKET_GROWTH: usize = 4;

/// What the tree keeps of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The leaf digest: id, version and content.
    pub digest: Digest,
    /// Size of the stored row in bytes. A hint: not hashed.
    pub bytes: u32,
    /// Log index of the write that put the row here. A hint: not hashed.
    pub index: u64,
}

/// A leaf and its place.
pub(crate) type Entry = (Key, Leaf);

// A million leaves are a million of these: a field more is megabytes more.
const _: () = assert!(size_of::<Entry>() == 64);

pub(crate) type Children = [Option<Arc<Node>>; 16];

#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    digest: OnceLock<Digest>,
    bytes: u64,
    max_index: u64,
    /// Highest index of a removal here. Leaves that are left cannot tell of it, so a split hands
    /// it to every child: too high is a wasted look, too low would hide a removal.
    removed_index: u64,
    body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Bucket(Vec<Entry>),
    Inner { count: u64, children: Box<Children> },
}

impl Default for Body {
    fn default() -> Self {
        Self::Bucket(Vec::new())
    }
}

impl Node {
    /// The node that holds exactly `entries` (in key order) at `depth`.
    pub(crate) fn build(entries: &[Entry], depth: u8, removed_index: u64) -> Self {
        let newest = entries
            .iter()
            .map(|(_, leaf)| leaf.index)
            .max()
            .unwrap_or(0);
        Self {
            digest: OnceLock::new(),
            bytes: entries.iter().map(|(_, leaf)| u64::from(leaf.bytes)).sum(),
            max_index: newest.max(removed_index),
            removed_index,
            body: Body::build(entries, depth, removed_index),
        }
    }

    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    pub(crate) fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    pub(crate) fn count(&self) -> u64 {
        match &self.body {
            Body::Bucket(entries) => entries.len() as u64,
            Body::Inner { count, .. } => *count,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn max_index(&self) -> u64 {
        self.max_index
    }

    pub(crate) fn removed_index(&self) -> u64 {
        self.removed_index
    }

    /// The digest of this node, which stands at `prefix`. Computed once until the next write below.
    pub(crate) fn digest(&self, prefix: &Prefix) -> Digest {
        *self.digest.get_or_init(|| match &self.body {
            Body::Bucket(entries) => bucket_digest(prefix, entries),
            Body::Inner { children, .. } => node_digest(prefix, child_digests(prefix, children)),
        })
    }

    /// The leaf at `key`, this node being at `depth`.
    pub(crate) fn get(&self, key: &Key, depth: u8) -> Option<&Leaf> {
        match &self.body {
            Body::Bucket(entries) => find(entries, key)
                .ok()
                .and_then(|at| entries.get(at))
                .map(|(_, leaf)| leaf),
            Body::Inner { children, .. } => {
                children[slot(key, depth)].as_ref()?.get(key, depth + 1)
            }
        }
    }

    /// Puts a leaf and returns the one it replaces.
    pub(crate) fn insert(this: &mut Arc<Self>, key: Key, leaf: Leaf, depth: u8) -> Option<Leaf> {
        let node = Arc::make_mut(this);
        let old = match &mut node.body {
            Body::Bucket(entries) => insert_sorted(entries, key, leaf),
            Body::Inner { count, children } => {
                let old = match &mut children[slot(&key, depth)] {
                    Some(child) => Self::insert(child, key, leaf, depth + 1),
                    empty => {
                        let child = Self::build(&[(key, leaf)], depth + 1, node.removed_index);
                        *empty = Some(Arc::new(child));
                        None
                    }
                };
                *count += u64::from(old.is_none());
                old
            }
        };
        node.bytes += u64::from(leaf.bytes);
        node.bytes -= old.map_or(0, |old| u64::from(old.bytes));
        node.max_index = node.max_index.max(leaf.index);
        if old.is_none_or(|old| old.digest != leaf.digest) {
            node.digest.take();
        }
        if let Body::Bucket(entries) = &node.body
            && entries.len() > BUCKET_MAX
        {
            node.body = Body::build(entries, depth, node.removed_index);
        }
        old
    }

    /// Takes the leaf at `key` out. The caller has checked that it is there: a miss would copy the
    /// path for nothing.
    pub(crate) fn remove(this: &mut Arc<Self>, key: &Key, index: u64, depth: u8) -> Option<Leaf> {
        let node = Arc::make_mut(this);
        let old = match &mut node.body {
            Body::Bucket(entries) => remove_sorted(entries, key)?,
            Body::Inner { count, children } => {
                let child = &mut children[slot(key, depth)];
                let old = Self::remove(child.as_mut()?, key, index, depth + 1)?;
                child.take_if(|child| child.count() == 0);
                *count -= 1;
                old
            }
        };
        node.bytes -= u64::from(old.bytes);
        node.max_index = node.max_index.max(index);
        node.removed_index = node.removed_index.max(index);
        node.digest.take();
        if let Body::Inner { count, children } = &node.body
            && *count <= BUCKET_MAX as u64
        {
            node.body = Body::Bucket(gather(children));
        }
        Some(old)
    }

    /// Puts a leaf into a bucket or takes it out; digest and hints but the size are left to [`Self::settle`].
    pub(crate) fn change_bucket(&mut self, key: Key, to: Option<Leaf>) {
        let Body::Bucket(entries) = &mut self.body else {
            return;
        };
        let old = match to {
            Some(leaf) => insert_sorted(entries, key, leaf),
            None => remove_sorted(entries, &key),
        };
        self.bytes += to.map_or(0, |leaf| u64::from(leaf.bytes));
        self.bytes -= old.map_or(0, |old| u64::from(old.bytes));
    }

    /// Changes a child; digest and hints but the size are left to [`Self::settle`].
    pub(crate) fn change_child(
        &mut self,
        slot: usize,
        change: impl FnOnce(&mut Option<Arc<Self>>),
    ) {
        let Body::Inner { count, children } = &mut self.body else {
            return;
        };
        let child = &mut children[slot];
        let size = |child: &Option<Arc<Self>>| {
            (child.as_ref()).map_or((0, 0), |child| (child.count(), child.bytes))
        };
        let before = size(child);
        change(child);
        let after = size(child);
        *count = *count + after.0 - before.0;
        self.bytes = self.bytes + after.1 - before.1;
    }

    /// After changes: the digest of what is here now, and the highest indexes of what was written and removed.
    pub(crate) fn settle(&mut self, digest: Digest, written: Option<u64>, removed: Option<u64>) {
        self.digest = OnceLock::from(digest);
        self.max_index = self.max_index.max(written.max(removed).unwrap_or(0));
        self.removed_index = self.removed_index.max(removed.unwrap_or(0));
    }

    #[cfg(test)]
    pub(crate) fn cached(&self) -> Option<&Digest> {
        self.digest.get()
    }
}

impl Body {
    fn build(entries: &[Entry], depth: u8, removed_index: u64) -> Self {
        if entries.len() <= BUCKET_MAX {
            return Self::Bucket(entries.to_vec());
        }
        let mut children = Box::<Children>::default();
        for group in entries.chunk_by(|(a, _), (b, _)| a.nibble(depth) == b.nibble(depth)) {
            if let Some((key, _)) = group.first() {
                let child = Node::build(group, depth + 1, removed_index);
                children[slot(key, depth)] = Some(Arc::new(child));
            }
        }
        Self::Inner {
            count: entries.len() as u64,
            children,
        }
    }
}

/// The digests of an inner node's children, the node being at `prefix`.
pub(crate) fn child_digests<'a>(
    prefix: &Prefix,
    children: &'a Children,
) -> impl Iterator<Item = Option<Digest>> + use<'a> {
    prefix
        .children()
        .zip(children)
        .map(|(prefix, child)| child.as_ref().map(|child| child.digest(&prefix)))
}

fn slot(key: &Key, depth: u8) -> usize {
    usize::from(key.nibble(depth))
}

fn find(entries: &[Entry], key: &Key) -> Result<usize, usize> {
    entries.binary_search_by(|(other, _)| other.cmp(key))
}

fn insert_sorted(entries: &mut Vec<Entry>, key: Key, leaf: Leaf) -> Option<Leaf> {
    match find(entries, &key) {
        Ok(at) => Some(std::mem::replace(&mut entries[at].1, leaf)),
        Err(at) => {
            if entries.len() == entries.capacity() {
                entries.reserve_exact(BUCKET_GROWTH);
            }
            entries.insert(at, (key, leaf));
            None
        }
    }
}

fn remove_sorted(entries: &mut Vec<Entry>, key: &Key) -> Option<Leaf> {
    let (_, leaf) = entries.remove(find(entries, key).ok()?);
    if entries.capacity() - entries.len() > 2 * BUCKET_GROWTH {
        entries.shrink_to(entries.len() + BUCKET_GROWTH);
    }
    Some(leaf)
}

/// All entries below an inner node that has become small enough to be a bucket. Its children hold
/// no more than it does, so each of them is a bucket.
fn gather(children: &Children) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(BUCKET_MAX);
    for child in children.iter().flatten() {
        if let Body::Bucket(part) = &child.body {
            entries.extend_from_slice(part);
        }
    }
    entries
}
