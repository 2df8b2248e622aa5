//! A set of segments that grows with what is in it, and shrinks with it.
//!
//! The last segment is the one that takes rows. When it is full, a larger one takes its place, and small segments
//! as well as those most of whose rows are gone move their rows into it, one by one, and are dropped. So the number
//! of segments grows with the logarithm of the rows until segments have reached their largest size, every row is
//! inserted a bounded number of times on average, and room that is allocated and not used is at most about a third of
//! what there is, or one segment.

use std::sync::Arc;

use half::f16;
use parking_lot::{Mutex, RwLock};

use super::{Accept, Graph, GraphError, GraphParams, Library};

/// How large segments are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Rows of the smallest.
    pub(crate) rows_min: usize,
    /// Bytes of the largest; it bounds what a merge needs on top, too.
    pub(crate) bytes_max: usize,
}

/// The segments of one vector name.
pub(crate) struct Segments {
    library: Arc<dyn Library>,
    params: GraphParams,
    sizes: Sizes,
    /// Those to be searched; the last one takes rows.
    list: RwLock<Vec<Arc<dyn Graph>>>,
    moving: Mutex<Option<Move>>,
}

/// Rows on their way into the last segment.
struct Move {
    from: Arc<dyn Graph>,
    rows: Vec<u64>,
}

/// Whether most rows are gone.
fn is_worn(segment: &dyn Graph) -> bool {
    segment.visible() < segment.len() / 2
}

/// Whether much of the room was used: one that is not will take the next rows as it is.
fn is_used(segment: &dyn Graph) -> bool {
    segment.len() * 2 >= segment.capacity()
}

impl Segments {
    /// None yet. The capacity in `params` is not used.
    pub(crate) fn new(library: Arc<dyn Library>, params: GraphParams, sizes: Sizes) -> Self {
        Self {
            library,
            params,
            sizes,
            list: RwLock::new(Vec::new()),
            moving: Mutex::new(None),
        }
    }

    /// Those there are now. What is visible in them is visible in what this returns.
    fn all(&self) -> Vec<Arc<dyn Graph>> {
        self.list.read().clone()
    }

    /// Inserts a row; `backlog` is how many more are to come. Not to be called twice at once.
    pub(crate) fn insert(
        &self,
        row: u64,
        vector: &[f16],
        backlog: usize,
    ) -> Result<(), GraphError> {
        self.last(backlog)?.insert(row, vector)
    }

    /// Hides a row; says whether there was one.
    pub(crate) fn remove(&self, row: u64) -> bool {
        // A row that moves may be in two segments, in the order of the list. The lock is held, so that a segment
        // opened meanwhile cannot get the row without `move_row` noticing that it is gone.
        let list = self.list.read();
        let removed = list.iter().map(|segment| segment.remove(row));
        removed.fold(false, |any, removed| any | removed)
    }

    /// The segment that takes rows.
    fn last(&self, backlog: usize) -> Result<Arc<dyn Graph>, GraphError> {
        let last = self.list.read().last().cloned();
        if let Some(last) = last
            && last.len() < last.capacity()
            && !(is_used(last.as_ref()) && is_worn(last.as_ref()))
        {
            return Ok(last);
        }
        let opened = (self.library).open(&GraphParams {
            capacity: self.capacity(backlog),
            ..self.params.clone()
        })?;
        self.list.write().push(Arc::clone(&opened));
        Ok(opened)
    }

    /// Room for what is to go into a new segment, and some more.
    fn capacity(&self, backlog: usize) -> usize {
        let row_bytes = self.library.row_bytes(self.params.dimension).max(1);
        let most = (self.sizes.bytes_max / row_bytes).max(self.sizes.rows_min);
        let merged: usize = (self.all().iter())
            .map(|segment| segment.visible())
            .filter(|visible| visible * 3 / 2 <= most)
            .sum();
        (merged * 3 / 2 + backlog * 5 / 4).clamp(self.sizes.rows_min, most)
    }

    /// Moves one row out of a segment that is small or mostly empty; says whether there was anything to do. Not to
    /// be called while a row is inserted.
    pub(crate) fn move_one(&self) -> Result<bool, GraphError> {
        let mut moving = self.moving.lock();
        if moving.is_none() {
            let last = self.list.read().last().cloned();
            if last.is_some_and(|last| is_used(last.as_ref()) && is_worn(last.as_ref())) {
                self.last(0)?;
            }
            *moving = self.next_move();
        }
        let Some(Move { from, rows }) = moving.as_mut() else {
            return Ok(false);
        };
        let Some(row) = rows.pop() else {
            // All its rows are visible elsewhere, or gone.
            let from = Arc::clone(from);
            *moving = None;
            self.list
                .write()
                .retain(|segment| !Arc::ptr_eq(segment, &from));
            return Ok(true);
        };
        let moved = self.move_row(from.as_ref(), row, rows.len());
        if moved.is_err() {
            rows.push(row);
        }
        moved.map(|()| true)
    }

    fn move_row(&self, from: &dyn Graph, row: u64, more: usize) -> Result<(), GraphError> {
        let Some(vector) = from.vector(row) else {
            return match from.contains(row) {
                false => Ok(()),
                true => Err(GraphError::Library {
                    action: "read a vector",
                    detail: "the row is visible and has none".into(),
                }),
            };
        };
        let last = self.last(more)?;
        last.insert(row, &vector)?;
        // It may have been removed in between, when it was not visible here yet.
        if !from.contains(row) {
            last.remove(row);
        }
        Ok(())
    }

    fn next_move(&self) -> Option<Move> {
        let list = self.list.read();
        let (last, others) = list.split_last()?;
        let small = |segment: &dyn Graph| segment.capacity() * 4 <= last.capacity() * 3;
        let from =
            (others.iter()).find(|segment| small(segment.as_ref()) || is_worn(segment.as_ref()))?;
        let from = Arc::clone(from);
        drop(list);
        let rows = from.rows();
        Some(Move { from, rows })
    }

    /// The nearest rows of every segment; a row that moves may be among them twice.
    pub(crate) fn search(
        &self,
        query: &[f16],
        ef: usize,
        accept: Option<&Accept<'_>>,
    ) -> Result<Vec<u64>, GraphError> {
        let mut found = Vec::new();
        for segment in self.all() {
            found.extend(segment.search(query, ef, accept)?);
        }
        Ok(found)
    }

    /// Bytes allocated.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.all()
            .iter()
            .map(|segment| segment.memory_bytes())
            .sum()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.list.read().len()
    }
}
