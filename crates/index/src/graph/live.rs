//! The graph over one vector name, kept up by background threads.
//!
//! A row is given once, and from then on it is either in the backlog, which the caller scans, or visible in a
//! segment; for a moment it is both. It leaves the backlog only after it has become visible. So whoever looks at
//! the backlog first and searches the segments then misses none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use half::f16;
use parking_lot::Mutex;

use super::segments::{Segments, Sizes};
use super::{Accept, GraphError, GraphParams, Library};
use crate::workers::{self, Work};

/// Rows indexed before another graph has its turn.
const ROWS_PER_SLICE: usize = 64;

/// What the graph can say about one query.
pub(crate) struct Candidates {
    /// Rows it knows nothing about: all of them have to be looked at.
    pub(crate) unindexed: Vec<u64>,
    /// The nearest of the others; some may be gone, and some may be there twice.
    pub(crate) found: Vec<u64>,
}

/// A graph that takes rows without making anyone wait for it.
pub(crate) struct LiveGraph {
    shared: Arc<Shared>,
}

struct Shared {
    segments: Segments,
    backlog: Mutex<Backlog>,
    /// Nobody needs the graph any more.
    closed: AtomicBool,
}

#[derive(Default)]
struct Backlog {
    /// Rows to be inserted, oldest first.
    pending: BTreeMap<u64, Arc<[f16]>>,
    /// Rows no graph takes.
    refused: BTreeSet<u64>,
    /// Whether a thread is at it, or will be.
    scheduled: bool,
    /// Whether something has happened since that thread last looked.
    changed: bool,
}

impl LiveGraph {
    pub(crate) fn new(library: Arc<dyn Library>, params: GraphParams, sizes: Sizes) -> Self {
        let shared = Shared {
            segments: Segments::new(library, params, sizes),
            backlog: Mutex::default(),
            closed: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Takes a row. A vector that has no form at half precision (`None`) stays in the backlog for good.
    pub(crate) fn insert(&self, row: u64, vector: Option<Arc<[f16]>>) {
        let mut backlog = self.shared.backlog.lock();
        match vector {
            Some(vector) => {
                backlog.pending.insert(row, vector);
                self.schedule(&mut backlog);
            }
            None => {
                backlog.refused.insert(row);
            }
        }
    }

    /// Takes a row away again.
    pub(crate) fn remove(&self, row: u64) {
        let mut backlog = self.shared.backlog.lock();
        if backlog.pending.remove(&row).is_some() || backlog.refused.remove(&row) {
            return;
        }
        drop(backlog);
        self.shared.segments.remove(row);
        let mut backlog = self.shared.backlog.lock();
        self.schedule(&mut backlog);
    }

    fn schedule(&self, backlog: &mut Backlog) {
        backlog.changed = true;
        if !backlog.scheduled {
            backlog.scheduled = true;
            workers::submit(Arc::clone(&self.shared) as Arc<dyn Work>);
        }
    }

    /// How many rows are not indexed.
    pub(crate) fn backlog(&self) -> usize {
        let backlog = self.shared.backlog.lock();
        backlog.pending.len() + backlog.refused.len()
    }

    /// Whether background work is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.shared.backlog.lock().scheduled
    }

    pub(crate) fn search(
        &self,
        query: &[f16],
        ef: usize,
        accept: Option<&Accept<'_>>,
    ) -> Result<Candidates, GraphError> {
        let unindexed = {
            let backlog = self.shared.backlog.lock();
            let pending = backlog.pending.keys().copied();
            pending.chain(backlog.refused.iter().copied()).collect()
        };
        let found = self.shared.segments.search(query, ef, accept)?;
        Ok(Candidates { unindexed, found })
    }

    /// Bytes allocated, less what the backlog takes for a moment.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.shared.segments.memory_bytes()
    }

    pub(crate) fn segments(&self) -> usize {
        self.shared.segments.count()
    }
}

impl Drop for LiveGraph {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// Indexes the oldest row; says whether there was one.
    fn index_one(&self) -> bool {
        let (row, vector, more) = {
            let backlog = self.backlog.lock();
            let Some((row, vector)) = backlog.pending.first_key_value() else {
                return false;
            };
            (*row, Arc::clone(vector), backlog.pending.len())
        };
        let inserted = self.segments.insert(row, &vector, more);
        let mut backlog = self.backlog.lock();
        let wanted = backlog.pending.remove(&row).is_some();
        match inserted {
            // Removed while it was being inserted, when no segment showed it.
            Ok(()) if !wanted => {
                drop(backlog);
                self.segments.remove(row);
            }
            Ok(()) => {}
            // Whatever the reason, the row is found all the same.
            Err(_) if wanted => {
                backlog.refused.insert(row);
            }
            Err(_) => {}
        }
        true
    }
}

impl Work for Shared {
    fn slice(&self) -> bool {
        for _ in 0..ROWS_PER_SLICE {
            if self.closed.load(Ordering::Relaxed) {
                return false;
            }
            // A segment that cannot give its rows away keeps them.
            if self.index_one() || self.segments.move_one().unwrap_or(false) {
                continue;
            }
            let mut backlog = self.backlog.lock();
            if !std::mem::take(&mut backlog.changed) {
                backlog.scheduled = false;
                return false;
            }
        }
        true
    }
}
