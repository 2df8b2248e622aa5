//! What a delta from an earlier log index would move, estimated from the trees' hints.
//!
//! The cost follows what was written since, not the size of the state: subtrees that nothing touched are not entered,
//! and counting ends at what the caller calls enough. Removals cost a delta next to nothing and are not counted.

use pando_merkle::{Prefix, Tree};

use crate::replica::Replica;

/// Rows written after a log index, and their bytes. A hint: it decides what is cheaper, never what is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeltaEstimate {
    /// Rows a delta would put.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Replica {
    /// What a delta for a follower at the log index `since` would move; counting stops beyond `enough` bytes.
    pub fn delta_estimate(&self, since: u64, enough: u64) -> DeltaEstimate {
        // Frozen, so that writers wait for a few clones and not for the count.
        let trees = self.state.read().trees();
        let mut found = DeltaEstimate::default();
        for tree in trees.values() {
            add(tree, since, enough, &mut found);
        }
        found
    }
}

fn add(tree: &Tree, since: u64, enough: u64, found: &mut DeltaEstimate) {
    for bucket in tree.since(&Prefix::ROOT, since) {
        if found.bytes > enough {
            return;
        }
        for (_, leaf) in bucket.written() {
            found.rows += 1;
            found.bytes += u64::from(leaf.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use pando_merkle::{Digest, Key, Leaf};

    use super::*;

    fn put(tree: &mut Tree, ids: std::ops::Range<u64>, index: u64) {
        for id in ids {
            let leaf = Leaf {
                digest: Digest([u8::try_from(index).unwrap(); 32]),
                bytes: 100,
                index,
            };
            tree.insert(Key::derive(&[1; 16], &id.to_be_bytes()), leaf);
        }
    }

    fn estimate(tree: &Tree, since: u64, enough: u64) -> DeltaEstimate {
        let mut found = DeltaEstimate::default();
        add(tree, since, enough, &mut found);
        found
    }

    #[test]
    fn each_row_counts_once_however_often_it_was_written() {
        let mut tree = Tree::new();
        put(&mut tree, 0..5_000, 1);
        for index in 2..=9 {
            put(&mut tree, 100..150, index);
        }
        put(&mut tree, 7_000..7_010, 10);
        let rows = |since| estimate(&tree, since, u64::MAX);
        assert_eq!((rows(0).rows, rows(0).bytes), (5_010, 501_000));
        assert_eq!((rows(1).rows, rows(1).bytes), (60, 6_000));
        assert_eq!((rows(9).rows, rows(10).rows), (10, 0));
    }

    #[test]
    fn counting_stops_when_it_is_enough() {
        let mut tree = Tree::new();
        put(&mut tree, 0..50_000, 1);
        let found = estimate(&tree, 0, 10_000);
        assert!((10_001..20_000).contains(&found.bytes), "{found:?}");
    }
}
