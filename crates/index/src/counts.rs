//! What filling graphs has come to. Figures only; nothing is decided by them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Vectors brought into graphs, by how. Shared by all indexes that are opened with it.
#[derive(Debug, Default)]
pub struct IndexCounts {
    indexed: AtomicU64,
    reused: AtomicU64,
}

impl IndexCounts {
    /// Vectors put into a graph, one by one. Those that only moved from one segment into another are not counted.
    #[must_use]
    pub fn indexed(&self) -> u64 {
        self.indexed.load(Ordering::Relaxed)
    }

    /// Vectors whose place in a graph was taken from a checkpoint.
    #[must_use]
    pub fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    pub(crate) fn add_indexed(&self) {
        self.indexed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_reused(&self, count: u64) {
        self.reused.fetch_add(count, Ordering::Relaxed);
    }
}
