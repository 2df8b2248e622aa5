//! Rows and trees: the state of a replica as the Merkle tree and the sync session see it.
//!
//! A replica's state is a set of trees, each a set of rows. Neither the tree nor the session looks inside a
//! row; only the replica knows that a collection's row is a point and a system row a catalogue entry.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names one tree of a replica's state. Ids are handed out in order and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TreeId(pub u32);

impl TreeId {
    /// The system tree: collection definitions, aliases, remembered request ids.
    pub const SYSTEM: Self = Self(0);
}

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One row: what is hashed into a leaf, and what travels in a delta.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Canonical bytes of the row's id.
    pub id: Vec<u8>,
    /// Version stamp, big endian, so that byte order is version order.
    pub version: [u8; 16],
    /// Canonical bytes of the content.
    pub content: Vec<u8>,
}
