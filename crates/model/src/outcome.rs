//! What applying a write came to.

use serde::{Deserialize, Serialize};

use crate::error::WriteError;
use crate::name::CollectionName;
use crate::point_id::PointId;
use crate::row::TreeId;

/// A write's outcome, the same on every replica.
pub type WriteResult = Result<Effect, WriteError>;

/// What a write did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Nothing to report (membership entries, aliases, drops).
    Done,
    /// A collection was created.
    Created {
        /// Its tree.
        tree: TreeId,
    },
    /// Points were written, changed or deleted.
    Points {
        /// How many.
        affected: u64,
        /// Where a filtered write goes on that would have changed more than one entry may; `None`: it is done.
        next: Option<PointId>,
    },
    /// The replica's root at this index.
    Checked(CheckReport),
}

/// A replica's root at one log index, for comparing replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Log index.
    pub index: u64,
    /// Replica root.
    pub root: [u8; 32],
    /// Points in all collections.
    pub points: u64,
    /// Their canonical bytes.
    pub bytes: u64,
    /// Root of the system tree.
    pub system: [u8; 32],
    /// Roots of the collections, by name.
    pub collections: Vec<CollectionRoot>,
}

/// A collection's root at one log index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionRoot {
    /// Its name.
    pub name: CollectionName,
    /// Its tree.
    pub tree: TreeId,
    /// Its root.
    pub root: [u8; 32],
    /// Its points.
    pub points: u64,
}
