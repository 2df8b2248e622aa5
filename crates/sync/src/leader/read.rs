//! Rows read from the source in batches, and held against the tree.

use pando_merkle::{Key, Leaf};
use pando_model::{Row, TreeId};

use super::{LeaderOptions, Source};
use crate::error::AnswerError;
use crate::row::{row_key, row_leaf};

/// Reads rows of one tree.
pub(super) struct Reader<'a, S> {
    pub(super) source: &'a S,
    pub(super) tree: TreeId,
    pub(super) salt: [u8; 16],
    pub(super) options: LeaderOptions,
}

/// Leaves whose rows go into one frame.
#[derive(Default)]
pub(super) struct Wanted {
    leaves: Vec<(Key, Leaf)>,
    bytes: usize,
}

impl Wanted {
    pub(super) fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether this leaf's row still fits. One always does, whatever the options say.
    pub(super) fn takes(&self, leaf: &Leaf, options: &LeaderOptions) -> bool {
        self.leaves.is_empty()
            || (self.leaves.len() < options.rows_per_read
                && self.bytes + leaf.bytes as usize <= options.frame_bytes)
    }

    pub(super) fn push(&mut self, key: Key, leaf: Leaf) {
        self.bytes += leaf.bytes as usize;
        self.leaves.push((key, leaf));
    }
}

impl<S: Source> Reader<'_, S> {
    pub(super) fn rows(&self, wanted: &Wanted) -> Result<Vec<Row>, AnswerError<S::Error>> {
        let tree = self.tree;
        if wanted.leaves.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<Key> = wanted.leaves.iter().map(|(key, _)| *key).collect();
        let rows = self.source.rows(tree, &keys).map_err(AnswerError::Source)?;
        if rows.len() != keys.len() {
            let (found, expected) = (rows.len(), keys.len());
            return Err(AnswerError::RowCount {
                tree,
                found,
                expected,
            });
        }
        for (row, (key, leaf)) in rows.iter().zip(&wanted.leaves) {
            if row_key(&self.salt, row) != *key || row_leaf(row, leaf.index).digest != leaf.digest {
                return Err(AnswerError::RowDamaged { tree, key: *key });
            }
        }
        Ok(rows)
    }
}
