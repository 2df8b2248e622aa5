//! Segments by Microsoft's `DiskANN` crates: a Vamana graph over rows of half precision or of one bit a value, in
//! memory.
//!
//! Its futures are ready at once for this provider, so they are polled where they are made and no runtime is
//! needed. Its nodes are named by slots, which filters see; `rows` says which row a slot shows.

mod file;
mod index;
mod nodes;
mod sign;

use std::future::Future;
use std::io::{Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context as Polling, Poll, Waker};

use diskann::graph::ext::labeled::QueryLabelProvider;
use diskann::neighbor::Neighbor;
use half::f16;
use parking_lot::Mutex;

use self::index::Index;
use super::{Accept, Coding, Found, Graph, GraphError, GraphParams, Library, LoadError, VectorOf};

/// Edges of a node after pruning.
const DEGREE: usize = 32;
/// Edges a node may have until it is pruned again.
const DEGREE_MAX: usize = 41;
/// Nodes looked at to place a new one.
const BUILD_LIST: usize = 100;
/// Searches and insertions that may run at once; one more is an error, and the caller scans instead.
const CONCURRENT_MAX: std::num::NonZeroUsize = std::num::NonZeroUsize::new(1024).unwrap();
/// A slot that shows no row.
const HIDDEN: u64 = u64::MAX;
const CACHE_LINE: usize = 64;
/// What the maps of rows to slots and back take for a row, about.
const MAP_BYTES: usize = 48;

/// The library.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskAnn;

impl Library for DiskAnn {
    fn row_bytes(&self, dimension: usize, coding: Coding) -> usize {
        let row = match coding {
            Coding::Half => dimension * size_of::<f16>(),
            Coding::Signs => sign::bytes(dimension),
        };
        // A row has a tag of one byte, and starts on a cache line; a list of edges begins with its length.
        let row = (row + 1).next_multiple_of(CACHE_LINE);
        row + (DEGREE_MAX + 1) * size_of::<u32>() + size_of::<AtomicU64>() + MAP_BYTES
    }

    fn open(&self, params: &GraphParams) -> Result<Arc<dyn Graph>, GraphError> {
        Ok(Arc::new(Segment::new(params)?))
    }

    fn load(
        &self,
        expected: &GraphParams,
        from: &mut dyn Read,
        vectors: &mut VectorOf<'_>,
    ) -> Result<Arc<dyn Graph>, LoadError> {
        Ok(Arc::new(file::load(expected, from, vectors)?))
    }
}

/// One segment.
struct Segment {
    params: GraphParams,
    index: Index,
    /// The row each slot shows.
    rows: Box<[AtomicU64]>,
    used: AtomicUsize,
    visible: AtomicUsize,
    inserting: Mutex<()>,
}

/// Polls a future that never waits.
fn now<T, E: std::fmt::Display>(
    action: &'static str,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, GraphError> {
    let outcome = pin!(future).poll(&mut Polling::from_waker(Waker::noop()));
    match outcome {
        Poll::Ready(result) => result.map_err(|error| failed(action, &error)),
        Poll::Pending => Err(failed(action, &"it waits for something")),
    }
}

fn failed(action: &'static str, error: &dyn std::fmt::Display) -> GraphError {
    let detail = format!("{error:#}");
    GraphError::Library { action, detail }
}

fn told(found: &[Neighbor<u64>]) -> Vec<Found> {
    let found = found.iter().map(|neighbor| Found {
        row: *neighbor.id(),
        distance: *neighbor.distance(),
    });
    found.collect()
}

/// Which slots a filtered search may return.
struct Labels<'a> {
    rows: &'a [AtomicU64],
    accept: &'a Accept<'a>,
}

impl std::fmt::Debug for Labels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Labels")
    }
}

impl QueryLabelProvider<u32> for Labels<'_> {
    fn is_match(&self, slot: u32) -> bool {
        // The start point has a slot past all others, and shows no row.
        let row = (self.rows.get(slot as usize)).map_or(HIDDEN, |r| r.load(Ordering::Acquire));
        row != HIDDEN && (self.accept)(row)
    }
}

impl Segment {
    fn new(params: &GraphParams) -> Result<Self, GraphError> {
        let hidden = std::iter::repeat_with(|| AtomicU64::new(HIDDEN));
        Ok(Self {
            params: params.clone(),
            index: Index::open(params)?,
            rows: hidden.take(params.capacity).collect(),
            used: AtomicUsize::new(0),
            visible: AtomicUsize::new(0),
            inserting: Mutex::new(()),
        })
    }

    fn check(&self, vector: &[f16]) -> Result<(), GraphError> {
        let (expected, found) = (self.params.dimension, vector.len());
        match expected == found {
            true => Ok(()),
            false => Err(GraphError::Dimension { expected, found }),
        }
    }

    fn slot(&self, row: u64) -> Option<(u32, &AtomicU64)> {
        let slot = self.index.slot(row)?;
        Some((slot, self.rows.get(slot as usize)?))
    }

    /// Lets searches find a row whose node is complete.
    fn show(&self, row: u64) -> Result<(), GraphError> {
        let (_, shown) =
            (self.slot(row)).ok_or_else(|| failed("insert", &"the row has no slot"))?;
        shown.store(row, Ordering::Release);
        self.visible.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The list has to be longer by as many nodes as are hidden in it.
    fn list(&self, ef: usize) -> usize {
        let (used, visible) = (self.len(), self.visible());
        let longer = ef.saturating_mul(used.max(1)) / visible.max(1);
        longer.clamp(1, self.params.capacity.max(1))
    }
}

impl Graph for Segment {
    fn len(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn capacity(&self) -> usize {
        self.params.capacity
    }

    fn visible(&self) -> usize {
        self.visible.load(Ordering::Relaxed)
    }

    fn contains(&self, row: u64) -> bool {
        (self.slot(row)).is_some_and(|(_, shown)| shown.load(Ordering::Acquire) == row)
    }

    fn rows(&self) -> Vec<u64> {
        let rows = self.rows.iter().map(|row| row.load(Ordering::Acquire));
        rows.filter(|row| *row != HIDDEN).collect()
    }

    fn vector(&self, row: u64) -> Option<Box<[f16]>> {
        let (slot, shown) = self.slot(row)?;
        if shown.load(Ordering::Acquire) != row {
            return None;
        }
        self.index.vector(slot, self.params.dimension)
    }

    fn insert(&self, row: u64, vector: &[f16]) -> Result<(), GraphError> {
        self.check(vector)?;
        let _inserting = self.inserting.lock();
        let capacity = self.params.capacity;
        if self.len() >= capacity {
            return Err(GraphError::Full { capacity });
        }
        self.used.fetch_add(1, Ordering::Relaxed);
        self.index.insert(row, vector)?;
        self.show(row)
    }

    fn remove(&self, row: u64) -> bool {
        let Some((_, shown)) = self.slot(row) else {
            return false;
        };
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let hidden = shown
            .compare_exchange(row, HIDDEN, order.0, order.1)
            .is_ok();
        if hidden {
            self.visible.fetch_sub(1, Ordering::Relaxed);
        }
        hidden
    }

    fn search(
        &self,
        query: &[f16],
        ef: usize,
        accept: Option<&Accept<'_>>,
    ) -> Result<Vec<Found>, GraphError> {
        self.check(query)?;
        if self.visible() == 0 {
            return Ok(Vec::new());
        }
        let rows = &self.rows;
        let labels = accept.map(|accept| Labels { rows, accept });
        let found = (self.index).search(query, self.list(ef), labels.as_ref())?;
        Ok(told(&found))
    }

    fn resized(&self, capacity: usize) -> Result<Arc<dyn Graph>, GraphError> {
        let _inserting = self.inserting.lock();
        let rows = self.rows[..self.len()].iter();
        let rows: Vec<u64> = rows.map(|row| row.load(Ordering::Acquire)).collect();
        if self.visible() > capacity {
            return Err(GraphError::Full { capacity });
        }
        let params = GraphParams {
            capacity,
            ..self.params.clone()
        };
        let mut edges = nodes::edges_in(self)?;
        let resized = nodes::segment(&params, &rows, &mut edges, &mut |row| self.vector(row))?;
        Ok(Arc::new(resized))
    }

    fn memory_bytes(&self) -> usize {
        DiskAnn.row_bytes(self.params.dimension, self.params.coding) * self.params.capacity
    }

    fn save(&self, to: &mut dyn Write) -> Result<(), GraphError> {
        let _inserting = self.inserting.lock();
        file::save(self, to)
    }
}
