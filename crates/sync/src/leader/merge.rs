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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: u8, last: u8) -> Key {
        let mut bytes = [0; 16];
        (bytes[0], bytes[15]) = (first, last);
        Key::from_bytes(bytes)
    }

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    fn tree(leaves: &[(u8, u8, u8)]) -> Tree {
        let mut tree = Tree::new();
        for (first, last, value) in leaves {
            let leaf = Leaf {
                digest: digest(*value),
                bytes: 1,
                index: 1,
            };
            tree.insert(key(*first, *last), leaf);
        }
        tree
    }

    fn names<K: Listed + std::fmt::Debug>(merge: Merge<'_, K>) -> Vec<String> {
        merge
            .map(|op| match op {
                Op::Put(key, _) => format!("put {}.{}", key.as_bytes()[0], key.as_bytes()[15]),
                Op::Delete(key) => format!("delete {key:?}"),
            })
            .collect()
    }

    #[test]
    fn puts_and_deletes_come_in_key_order() {
        let tree = tree(&[(1, 0, 1), (2, 0, 2), (4, 0, 4), (5, 0, 5)]);
        let have = vec![
            (key(0, 0), digest(9)),
            (key(2, 0), digest(2)),
            (key(3, 0), digest(9)),
            (key(4, 0), digest(9)),
            (key(6, 0), digest(9)),
        ];
        let ops = names(Merge::<Key>::new(&tree, &Prefix::ROOT, have));
        let zero = "0".repeat(30);
        assert_eq!(
            ops,
            [
                format!("delete 00{zero}"),
                "put 1.0".into(),
                format!("delete 03{zero}"),
                "put 4.0".into(),
                "put 5.0".into(),
                format!("delete 06{zero}"),
            ]
        );
    }

    #[test]
    fn a_short_key_that_stands_for_two_rows_hides_only_the_one_that_looks_equal() {
        let tree = tree(&[(1, 1, 1), (1, 2, 2), (3, 0, 3)]);
        let listed = |value| vec![(key(1, 0).short(), digest(value).truncated())];
        let ops = |value| names(Merge::<u64>::new(&tree, &Prefix::ROOT, listed(value)));
        assert_eq!(ops(1), ["put 1.2", "put 3.0"]);
        assert_eq!(ops(2), ["put 1.1", "put 3.0"]);
        assert_eq!(ops(9), ["put 1.1", "put 1.2", "put 3.0"]);
    }
}
