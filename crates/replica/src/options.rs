//! What can be set about a replica.

use pando_index::GRAPH_VECTORS_MIN;
use pando_model::GroupId;

/// Settings of a replica.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaOptions {
    /// The Raft group whose state this is.
    pub group: GroupId,
    /// Most bytes of pre-images one frozen view may collect; over it the view is given up and its sync starts anew.
    pub overlay_bytes_max: u64,
    /// A vector name that so many points of a collection have gets a graph; `usize::MAX`: none does.
    pub graph_vectors_min: usize,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self {
            group: GroupId::CATALOGUE,
            overlay_bytes_max: 1 << 30,
            graph_vectors_min: GRAPH_VECTORS_MIN,
        }
    }
}
