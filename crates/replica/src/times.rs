//! Where the time goes: what applying and starting have cost so far, by part. Figures only; nothing is decided by them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A part of the work whose time is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Deciding what entries change: reading, checking, encoding points.
    Plan,
    /// Keeping the tree: hashing points, changing trees, hashing their paths.
    Tree,
    /// Writing to storage.
    Storage,
    /// Bringing changes into the indexes.
    Index,
    /// Start: the trees rebuilt and the root checked.
    StartTrees,
    /// Start: vectors and payloads loaded.
    StartLoad,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 6] = [
        Self::Plan,
        Self::Tree,
        Self::Storage,
        Self::Index,
        Self::StartTrees,
        Self::StartLoad,
    ];
}

/// Time taken by each part since the replica was opened.
#[derive(Debug, Default)]
pub(crate) struct Times([AtomicU64; Part::ALL.len()]);

impl Times {
    pub(crate) fn add(&self, part: Part, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0[part as usize].fetch_add(nanos, Ordering::Relaxed);
    }

    /// Runs something and counts its time.
    pub(crate) fn of<T>(&self, part: Part, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = work();
        self.add(part, begun.elapsed());
        result
    }

    pub(crate) fn get(&self, part: Part) -> Duration {
        Duration::from_nanos(self.0[part as usize].load(Ordering::Relaxed))
    }
}
