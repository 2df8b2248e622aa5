//! Segments that were saved, on their way back into a graph.

use std::io::Read;

use super::LoadError;

/// What taking up saved segments came to.
#[derive(Debug)]
pub struct Restored {
    /// Rows that are visible in them again.
    pub reused: u64,
    /// Why they were not taken up to the end.
    pub failed: Option<LoadError>,
}

/// Told when the last segment was taken up, or the first that could not be.
pub type WhenRestored = Box<dyn FnOnce(Restored) + Send>;

/// Saved segments, one after the other.
pub(crate) struct SavedSegments {
    pub(crate) from: Box<dyn Read + Send>,
    /// How many are left.
    pub(crate) left: u32,
    /// Rows from here on are others than those that were saved under these numbers.
    pub(crate) rows_end: u64,
    pub(crate) reused: u64,
    pub(crate) when_restored: WhenRestored,
}

impl SavedSegments {
    pub(crate) fn end(self, failed: Option<LoadError>) {
        let reused = self.reused;
        (self.when_restored)(Restored { reused, failed });
    }
}
