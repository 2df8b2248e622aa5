//! A row as a leaf of a tree.

use pando_merkle::{Key, Leaf, leaf_digest, value_digest};
use pando_model::Row;

/// The key of a row in a tree with this salt.
#[must_use]
pub fn row_key(salt: &[u8; 16], row: &Row) -> Key {
    Key::derive(salt, &row.id)
}

/// The leaf of a row that the log wrote at `index`.
#[must_use]
pub fn row_leaf(row: &Row, index: u64) -> Leaf {
    let digest = leaf_digest(&row.id, &row.version, &value_digest(&row.content));
    let bytes = u32::try_from(row_bytes(row)).unwrap_or(u32::MAX);
    Leaf {
        digest,
        bytes,
        index,
    }
}

/// The size of a row: what [`Leaf::bytes`] counts.
#[must_use]
pub fn row_bytes(row: &Row) -> u64 {
    (row.id.len() + row.version.len() + row.content.len()) as u64
}
