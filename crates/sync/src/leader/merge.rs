//! Comparing what a follower lists under a prefix with what the view has there, in one pass over both.

use std::iter::Peekable;

use pando_merkle::{Digest, Key, Leaf, Prefix, Tree};

/// What a follower must do to become equal.
pub(super) enum Op<K> {
    /// Take this row: it lacks it, or has another version.
    Put(Key, Leaf),
    /// Drop the row it listed under this key.
    Delete(K),
}

/// A key as a follower lists it.
pub(super) trait Listed: Copy + Ord {
    /// What it lists of the leaf digest.
    type Mark: Copy + Eq;
    fn key(key: &Key) -> Self;
    fn mark(digest: &Digest) -> Self::Mark;
}

impl Listed for u64 {
    type Mark = Self;

    fn key(key: &Key) -> Self {
        key.short()
    }

    fn mark(digest: &Digest) -> Self {
        digest.truncated()
    }
}

impl Listed for Key {
    type Mark = Digest;

    fn key(key: &Key) -> Self {
        *key
    }

    fn mark(digest: &Digest) -> Digest {
        *digest
    }
}

type Leaves<'a> = Peekable<Box<dyn Iterator<Item = (Key, &'a Leaf)> + Send + 'a>>;

/// The difference under one prefix, in key order.
pub(super) struct Merge<'a, K: Listed> {
    leaves: Leaves<'a>,
    have: Peekable<std::vec::IntoIter<(K, K::Mark)>>,
    /// Whether the view has a leaf for the listed key at the head of `have`. A listed key can stand for two of the
    /// view's when it is short, so it is passed only when the view's keys have passed it.
    met: bool,
}

impl<'a, K: Listed> Merge<'a, K> {
    pub(super) fn new(tree: &'a Tree, prefix: &Prefix, have: Vec<(K, K::Mark)>) -> Self {
        let leaves: Box<dyn Iterator<Item = _> + Send> = Box::new(tree.leaves(prefix));
        Self {
            leaves: leaves.peekable(),
            have: have.into_iter().peekable(),
            met: false,
        }
    }

    /// Whether there is nothing left to compare.
    pub(super) fn is_done(&mut self) -> bool {
        self.leaves.peek().is_none() && self.have.peek().is_none()
    }
}

impl<K: Listed> Iterator for Merge<'_, K> {
    type Item = Op<K>;

    fn next(&mut self) -> Option<Op<K>> {
        loop {
            let leaf = self.leaves.peek().map(|(key, leaf)| (*key, **leaf));
            let listed = self.have.peek().copied();
            match (leaf, listed) {
                (None, None) => return None,
                (Some((key, leaf)), None) => {
                    self.leaves.next();
                    return Some(Op::Put(key, leaf));
                }
                (Some((key, leaf)), Some((at, mark))) if K::key(&key) <= at => {
                    self.leaves.next();
                    if K::key(&key) == at {
                        self.met = true;
                        if K::mark(&leaf.digest) == mark {
                            continue;
                        }
                    }
                    return Some(Op::Put(key, leaf));
                }
                (_, Some((at, _))) => {
                    self.have.next();
                    if !std::mem::take(&mut self.met) {
                        return Some(Op::Delete(at));
                    }
                }
            }
        }
    }
}
