//! Rows known to be damaged: what is in storage is not what the tree names.
//!
//! The tree in memory is the authority: it was rebuilt from all digests at start and its root was checked. Whoever
//! comes upon a row that storage cannot give marks it here; it is not served until it is mended. Holds addresses and
//! figures only; lost when the process ends, and found again.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use pando_storage::RowAddress;
use parking_lot::{Condvar, Mutex};

/// Most addresses remembered. What goes beyond it is found again once these are mended.
pub(crate) const DAMAGED_ROWS_MAX: usize = 65_536;

/// What a replica knows of its own damage. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rows: Mutex<BTreeSet<RowAddress>>,
    /// Told when one is no longer damaged.
    fewer: Condvar,
    found: AtomicU64,
    mended: AtomicU64,
}

impl Damage {
    /// Remembers a row that cannot be read.
    pub(crate) fn mark(&self, at: RowAddress) {
        let mut rows = self.0.rows.lock();
        if rows.len() < DAMAGED_ROWS_MAX && rows.insert(at) {
            self.0.found.fetch_add(1, Ordering::Relaxed);
            drop(rows);
            tracing::warn!(tree = at.tree.0, key = ?at.key, "a stored row is damaged");
        }
    }

    /// Forgets a row that was mended.
    pub(crate) fn mended(&self, at: RowAddress) {
        if self.0.rows.lock().remove(&at) {
            self.0.mended.fetch_add(1, Ordering::Relaxed);
            self.0.fewer.notify_all();
        }
    }

    /// Forgets a row that is not needed any more, or was sound all the time.
    pub(crate) fn forget(&self, at: RowAddress) {
        self.0.rows.lock().remove(&at);
        self.0.fewer.notify_all();
    }

    /// Whether a row is known to be damaged.
    pub(crate) fn contains(&self, at: RowAddress) -> bool {
        self.0.rows.lock().contains(&at)
    }

    /// Waits until a row is no longer damaged; `false` if it still is at `until`.
    pub(crate) fn wait_for(&self, at: RowAddress, until: Instant) -> bool {
        let mut rows = self.0.rows.lock();
        while rows.contains(&at) {
            if self.0.fewer.wait_until(&mut rows, until).timed_out() {
                return !rows.contains(&at);
            }
        }
        true
    }

    /// The first rows behind an address, in their order; then, from the beginning, those up to it.
    pub(crate) fn behind(&self, after: Option<RowAddress>, limit: usize) -> Vec<RowAddress> {
        let rows = self.0.rows.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = rows.range((from, Bound::Unbounded));
        let rest = after.map(|after| rows.range(..=after));
        let rest = rest.into_iter().flatten();
        behind.chain(rest).take(limit).copied().collect()
    }

    /// Whether no more rows are remembered.
    pub(crate) fn is_full(&self) -> bool {
        self.rows() >= DAMAGED_ROWS_MAX
    }

    /// How many rows are damaged now.
    pub(crate) fn rows(&self) -> usize {
        self.0.rows.lock().len()
    }

    /// How many were found since the start.
    pub(crate) fn found(&self) -> u64 {
        self.0.found.load(Ordering::Relaxed)
    }

    /// How many were mended since the start.
    pub(crate) fn mended_total(&self) -> u64 {
        self.0.mended.load(Ordering::Relaxed)
    }
}
