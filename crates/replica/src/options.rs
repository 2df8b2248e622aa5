//! What can be set about a replica.

use std::path::PathBuf;
use std::time::Duration;

use pando_index::GRAPH_VECTORS_MIN;
use pando_model::GroupId;

/// Room for the 80,000 vectors of 384 values that were last of use.
pub const VECTOR_CACHE_BYTES_MAX: u64 = 128 << 20;

/// Settings of a replica.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// The Raft group whose state this is.
    pub group: GroupId,
    /// Most bytes of pre-images one frozen view may collect; over it the view is given up and its sync starts anew.
    pub overlay_bytes_max: u64,
    /// A vector name that so many points of a collection have gets a graph; `usize::MAX`: none does.
    pub graph_vectors_min: usize,
    /// Most bytes of vectors that searches read from storage and that are kept in memory for the next ones.
    pub vector_cache_bytes_max: u64,
    /// Where graphs are kept for the next start, if they are.
    pub checkpoints: Option<CheckpointOptions>,
}

/// Settings of index checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointOptions {
    /// A directory of their own: whatever else is in it is deleted. It is made when the first is written.
    pub dir: PathBuf,
    /// How old one may become while there are changes it does not know.
    pub interval: Duration,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self {
            group: GroupId::CATALOGUE,
            overlay_bytes_max: 1 << 30,
            graph_vectors_min: GRAPH_VECTORS_MIN,
            vector_cache_bytes_max: VECTOR_CACHE_BYTES_MAX,
            checkpoints: None,
        }
    }
}
