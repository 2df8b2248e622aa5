//! What was touched after a log index, found by the hints: the cost follows what was touched, not the tree.
//!
//! Hints may be too high (a wasted look) and, for removals, lost with a restart. So what comes out of here never proves
//! anything; whoever acts on it compares roots afterwards.

use std::sync::Arc;

use crate::digest::Digest;
use crate::key::Key;
use crate::node::{Body, Entry, Leaf, Node};
use crate::prefix::Prefix;

/// One bucket that was written to, or taken from, after an index.
#[derive(Clone, Copy, Debug)]
pub struct Touched<'a> {
    /// Where.
    pub prefix: Prefix,
    /// Whether leaves may have been removed here, the last of them included.
    pub thinned: bool,
    entries: &'a [Entry],
    index: u64,
}

impl<'a> Touched<'a> {
    /// The leaves written after the index, in key order.
    pub fn written(&self) -> impl Iterator<Item = (Key, Leaf)> + use<'a> {
        let index = self.index;
        self.entries
            .iter()
            .filter(move |(_, leaf)| leaf.index > index)
            .copied()
    }

    /// The digests of all leaves here, in key order.
    pub fn digests(&self) -> impl Iterator<Item = Digest> + use<'a> {
        self.entries.iter().map(|(_, leaf)| leaf.digest)
    }
}

/// Iterator over the touched buckets under a prefix, in key order; see [`Tree::since`](crate::Tree::since).
#[derive(Clone)]
pub struct Since<'a> {
    index: u64,
    /// Still to be looked at, the next one last. At most fifteen per level wait here.
    stack: Vec<(Prefix, Part<'a>)>,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Node(&'a Node),
    /// A part of a bucket, or a child that holds nothing. The second field is the removal hint.
    Entries(&'a [Entry], u64),
}

impl<'a> Since<'a> {
    pub(crate) fn new(root: &'a Arc<Node>, prefix: &Prefix, index: u64) -> Self {
        let mut part = Part::Node(root);
        for (depth, nibble) in (0..).zip(prefix.nibbles()) {
            part = part.child(depth, nibble);
        }
        let stack = vec![(*prefix, part)];
        Self { index, stack }
    }
}

impl<'a> Part<'a> {
    /// The part whose keys have `nibble` at `depth`, this one being at that depth.
    fn child(self, depth: u8, nibble: u8) -> Self {
        let (entries, removed) = match self {
            Self::Entries(entries, removed) => (entries, removed),
            Self::Node(node) => match node.body() {
                Body::Bucket(entries) => (entries.as_slice(), node.removed_index()),
                Body::Inner { children, .. } => {
                    let child = children.get(usize::from(nibble)).and_then(Option::as_ref);
                    // An empty child has no node: only the one above tells that something was removed.
                    return child.map_or(Self::Entries(&[], node.removed_index()), |child| {
                        Self::Node(child)
                    });
                }
            },
        };
        let start = entries.partition_point(|(key, _)| key.nibble(depth) < nibble);
        let end = entries.partition_point(|(key, _)| key.nibble(depth) <= nibble);
        Self::Entries(&entries[start..end], removed)
    }
}

impl<'a> Iterator for Since<'a> {
    type Item = Touched<'a>;

    fn next(&mut self) -> Option<Touched<'a>> {
        loop {
            let (prefix, part) = self.stack.pop()?;
            let (entries, removed) = match part {
                Part::Entries(entries, removed) => (entries, removed),
                Part::Node(node) if node.max_index() <= self.index => continue,
                Part::Node(node) => match node.body() {
                    Body::Bucket(entries) => (entries.as_slice(), node.removed_index()),
                    Body::Inner { .. } => {
                        let depth = prefix.len_u8();
                        for nibble in (0..16).rev() {
                            if let Some(below) = prefix.child(nibble) {
                                self.stack.push((below, part.child(depth, nibble)));
                            }
                        }
                        continue;
                    }
                },
            };
            let thinned = removed > self.index;
            if thinned || entries.iter().any(|(_, leaf)| leaf.index > self.index) {
                return Some(Touched {
                    prefix,
                    thinned,
                    entries,
                    index: self.index,
                });
            }
        }
    }
}

#[cfg(test)]
#[path = "since_tests.rs"]
mod tests;
