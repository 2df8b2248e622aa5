//! What a follower lists, held against the leaves of the view.

use std::collections::BTreeMap;

use pando_merkle::{Digest, Key, Leaf, Leaves, Prefix, Tree};

use crate::message::{Have, Tag};

/// A follower's list, to be looked up.
enum Listed {
    /// Positions by tag.
    Tags(BTreeMap<Tag, usize>),
    /// In key order.
    Full(Vec<(Key, Digest)>),
}

impl Listed {
    fn new(have: Have) -> Self {
        match have {
            Have::Tags(tags) => Self::Tags(tags.into_iter().zip(0..).collect()),
            Have::Full(pairs) => Self::Full(pairs),
        }
    }

    /// Where in the list this leaf is, if it is there.
    fn find(&self, key: &Key, leaf: &Leaf) -> Option<usize> {
        match self {
            Self::Tags(tags) => tags.get(&Tag::of(&leaf.digest)).copied(),
            Self::Full(pairs) => {
                let at = pairs.binary_search_by(|(listed, _)| listed.cmp(key)).ok()?;
                pairs.get(at).filter(|(_, digest)| *digest == leaf.digest)?;
                Some(at)
            }
        }
    }
}

/// The leaves under a prefix that a follower did not list, in key order.
pub(super) struct Unlisted<'a> {
    leaves: Leaves<'a>,
    listed: Listed,
}

impl<'a> Unlisted<'a> {
    /// Also returns the positions in the list of what is not there.
    pub(super) fn new(tree: &'a Tree, prefix: &Prefix, have: Have) -> (Self, Vec<u32>) {
        let mut gone = vec![true; have.len()];
        let unlisted = Self {
            leaves: tree.leaves(prefix),
            listed: Listed::new(have),
        };
        if !gone.is_empty() {
            for (key, leaf) in unlisted.leaves.clone() {
                if let Some(slot) = unlisted
                    .listed
                    .find(&key, leaf)
                    .and_then(|at| gone.get_mut(at))
                {
                    *slot = false;
                }
            }
        }
        let gone = (0..).zip(gone).filter_map(|(at, gone)| gone.then_some(at));
        (unlisted, gone.collect())
    }
}

impl Iterator for Unlisted<'_> {
    type Item = (Key, Leaf);

    fn next(&mut self) -> Option<(Key, Leaf)> {
        let listed = &self.listed;
        self.leaves
            .find(|(key, leaf)| listed.find(key, leaf).is_none())
            .map(|(key, leaf)| (key, *leaf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Key {
        Key::from_bytes([n; 16])
    }

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    fn view() -> Tree {
        let leaf = |n| Leaf {
            digest: digest(n),
            bytes: 1,
            index: 1,
        };
        [1, 2, 4, 5]
            .into_iter()
            .map(|n| (key(n), leaf(n)))
            .collect()
    }

    fn compare(have: Have) -> (Vec<u8>, Vec<u32>) {
        let tree = view();
        let (unlisted, gone) = Unlisted::new(&tree, &Prefix::ROOT, have);
        (unlisted.map(|(key, _)| key.as_bytes()[0]).collect(), gone)
    }

    #[test]
    fn rows_not_listed_and_positions_of_what_is_gone() {
        // Another row at 0, the row at 2, another at 3, an old one at 4.
        let digests = [9, 2, 8, 7];
        let tags = digests.map(|n| Tag::of(&digest(n))).to_vec();
        let expected = (vec![1, 4, 5], vec![0, 2, 3]);
        assert_eq!(compare(Have::Tags(tags)), expected);
        let pairs = [0, 2, 3, 4].into_iter().map(key).zip(digests.map(digest));
        assert_eq!(compare(Have::Full(pairs.collect())), expected);
        assert_eq!(compare(Have::NOTHING), (vec![1, 2, 4, 5], vec![]));
    }

    #[test]
    fn a_row_at_another_key_is_another_row_when_listed_in_full() {
        let pairs = vec![(key(3), digest(2))];
        assert_eq!(compare(Have::Full(pairs)), (vec![1, 2, 4, 5], vec![0]));
    }
}
