//! The graph over one vector name, kept up by background threads.
//!
//! A row is given once, and from then on it is either in the backlog, which the caller scans, or visible in a
//! segment; for a moment it is both. It leaves the backlog only after it has become visible. So whoever looks at
//! the backlog first and searches the segments then misses none.
//!
//! A graph may begin with segments that were saved. Its rows are given to it like any others; once all are, those
//! that the segments hold leave the backlog segment by segment, and the rest is indexed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use half::f16;
use parking_lot::Mutex;

use super::restore::SavedSegments;
use super::segments::{Segments, Sizes};
use super::{Accept, Found, Graph, GraphError, GraphParams, Library, LoadError};
use crate::counts::IndexCounts;
use crate::workers::{self, Work};

/// Rows indexed before another graph has its turn.
const ROWS_PER_SLICE: usize = 64;
/// Rows of a restored segment taken out of the backlog at once: searches wait that long.
const ROWS_PER_LOOK: usize = 1024;

/// What the graph can say about one query.
pub(crate) struct Candidates {
    /// Rows it knows nothing about: all of them have to be looked at.
    pub(crate) unindexed: Vec<u64>,
    /// The nearest of the others, nearest first; some may be gone, and some may be there twice.
    pub(crate) found: Vec<Found>,
}

/// A graph that takes rows without making anyone wait for it.
pub(crate) struct LiveGraph {
    shared: Arc<Shared>,
}

struct Shared {
    segments: Segments,
    counts: Arc<IndexCounts>,
    backlog: Mutex<Backlog>,
    /// Segments that were saved and are not taken up yet.
    restoring: Mutex<Option<SavedSegments>>,
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
    /// Whether all of that waits for [`LiveGraph::release`].
    held: bool,
    /// Whether saved segments are not all taken up yet.
    restoring: bool,
}

/// What is done in the background for a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphWork {
    /// Nothing: all rows are in it.
    None,
    /// Rows are brought in or moved.
    Indexing,
    /// It waits for what was saved of it, or takes that up.
    Restoring,
}

impl LiveGraph {
    /// With saved segments nothing happens before [`LiveGraph::release`]: by then it has been given its rows, under
    /// the numbers they were saved with if they are the same.
    pub(crate) fn new(
        library: Arc<dyn Library>,
        params: GraphParams,
        sizes: Sizes,
        counts: Arc<IndexCounts>,
        saved: Option<SavedSegments>,
    ) -> Self {
        let backlog = Backlog {
            held: saved.is_some(),
            restoring: saved.is_some(),
            ..Backlog::default()
        };
        let shared = Shared {
            segments: Segments::new(library, params, sizes),
            counts,
            backlog: Mutex::new(backlog),
            restoring: Mutex::new(saved),
            closed: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Begins with what was saved, if that was waited for.
    pub(crate) fn release(&self) {
        let mut backlog = self.shared.backlog.lock();
        if std::mem::take(&mut backlog.held) {
            self.schedule(&mut backlog);
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

    /// Whether a row is of this vector, as far as can be told: one that is moved or taken up right now may be said not to
    /// be.
    pub(crate) fn is_of(&self, row: u64, vector: Option<&[f16]>) -> bool {
        let backlog = self.shared.backlog.lock();
        let Some(vector) = vector else {
            return backlog.refused.contains(&row);
        };
        if let Some(pending) = backlog.pending.get(&row) {
            return **pending == *vector;
        }
        drop(backlog);
        let mut kept =
            (self.shared.segments.all().into_iter()).filter_map(|segment| segment.vector(row));
        kept.next().is_some_and(|kept| *kept == *vector)
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
        if !backlog.scheduled && !backlog.held {
            backlog.scheduled = true;
            workers::submit(Arc::clone(&self.shared) as Arc<dyn Work>);
        }
    }

    /// How many rows are not indexed.
    pub(crate) fn backlog(&self) -> usize {
        let backlog = self.shared.backlog.lock();
        backlog.pending.len() + backlog.refused.len()
    }

    /// What background work is under way, or is waited for.
    pub(crate) fn work(&self) -> GraphWork {
        let backlog = self.shared.backlog.lock();
        match (backlog.restoring, backlog.scheduled) {
            (true, _) => GraphWork::Restoring,
            (false, true) => GraphWork::Indexing,
            (false, false) => GraphWork::None,
        }
    }

    /// What it is opened with.
    pub(crate) fn params(&self) -> &GraphParams {
        self.shared.segments.params()
    }

    /// The segments as they are. All that is visible in them now is in these.
    pub(crate) fn all_segments(&self) -> Vec<Arc<dyn Graph>> {
        self.shared.segments.all()
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
        if inserted.is_ok() {
            self.counts.add_indexed();
        }
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

impl Shared {
    /// Takes up one saved segment; says whether there was one, or the end of them.
    fn restore_one(&self) -> bool {
        let Some(mut saved) = self.restoring.lock().take() else {
            return false;
        };
        // What is in a segment that fails and in those after it is in the backlog, and stays there to be indexed.
        let failed = match self.restore(&mut saved) {
            Ok(()) if saved.left > 0 => {
                *self.restoring.lock() = Some(saved);
                return true;
            }
            Ok(()) => None,
            Err(error) => Some(error),
        };
        self.backlog.lock().restoring = false;
        saved.end(failed);
        true
    }

    fn restore(&self, saved: &mut SavedSegments) -> Result<(), LoadError> {
        let Some(left) = saved.left.checked_sub(1) else {
            return Ok(());
        };
        saved.left = left;
        let rows_end = saved.rows_end;
        let mut vector_of = |row: u64| {
            let backlog = self.backlog.lock();
            let vector = backlog.pending.get(&row).filter(|_| row < rows_end);
            vector.map(|vector| Box::from(&vector[..]))
        };
        let rows = self.segments.load(&mut *saved.from, &mut vector_of)?;
        for rows in rows.chunks(ROWS_PER_LOOK) {
            let reused = self.settle(rows);
            saved.reused += reused;
            self.counts.add_reused(reused);
        }
        Ok(())
    }

    /// Takes rows out of the backlog that are visible now; returns how many. Those removed in the meantime, when the
    /// backlog was all that knew them, are hidden.
    fn settle(&self, rows: &[u64]) -> u64 {
        let mut backlog = self.backlog.lock();
        let (kept, gone): (Vec<u64>, Vec<u64>) =
            (rows.iter().copied()).partition(|row| backlog.pending.remove(row).is_some());
        drop(backlog);
        for row in gone {
            self.segments.remove(row);
        }
        kept.len() as u64
    }
}

impl Work for Shared {
    fn slice(&self) -> bool {
        if !self.closed.load(Ordering::Relaxed) && self.restore_one() {
            return true;
        }
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
