//! A set of segments that grows with what is in it, and shrinks with it.
//!
//! The last segment is the one that takes rows. When it is full, a copy with more room takes its place: nodes and edges
//! are copied, which costs about a hundredth of inserting them again. So does a smaller copy when much of the room is
//! not used, and neither has the rows that were removed. A segment of the largest size stays as it is, and another one
//! follows it; those most of whose rows are gone move the rest into the last one, row by row, and are dropped. So room
//! that is allocated and not used is an eighth of what there is, up to a quarter after removals, or the smallest segment.

use std::io::Read;
use std::sync::Arc;

use half::f16;
use parking_lot::{Mutex, RwLock};

use super::{Accept, Found, Graph, GraphError, GraphParams, Library, LoadError, VectorOf};

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
    /// While a segment is copied: what is removed meanwhile. Locked after `list`.
    removed: Mutex<Option<Vec<u64>>>,
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

/// Whether the last one should give its rows to a new one.
fn is_spent(last: &dyn Graph) -> bool {
    is_worn(last) && last.len() * 2 >= last.capacity()
}

/// Room for rows and those to come.
fn roomy(rows: usize) -> usize {
    rows + rows.div_ceil(8)
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
            removed: Mutex::new(None),
        }
    }

    /// Those there are now. What is visible in them is visible in what this returns.
    pub(crate) fn all(&self) -> Vec<Arc<dyn Graph>> {
        self.list.read().clone()
    }

    /// What they are opened with, but for the capacity.
    pub(crate) fn params(&self) -> &GraphParams {
        &self.params
    }

    /// Takes up a segment that was saved, as the last one; returns the rows visible in it. Not to be called while a
    /// row is inserted.
    pub(crate) fn load(
        &self,
        from: &mut dyn Read,
        vectors: &mut VectorOf<'_>,
    ) -> Result<Vec<u64>, LoadError> {
        let expected = GraphParams {
            capacity: self.capacity_max(),
            ..self.params.clone()
        };
        let loaded = self.library.load(&expected, from, vectors)?;
        let rows = loaded.rows();
        // One that lost all its rows would only cost memory.
        if !rows.is_empty() {
            self.list.write().push(loaded);
        }
        Ok(rows)
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
        let any = removed.fold(false, |any, removed| any | removed);
        // Told when it is done: a copy that began in between does not have the row.
        if let Some(removed) = &mut *self.removed.lock() {
            removed.push(row);
        }
        any
    }

    /// The segment that takes rows.
    fn last(&self, backlog: usize) -> Result<Arc<dyn Graph>, GraphError> {
        let last = self.list.read().last().cloned();
        if let Some(last) = last
            && !is_spent(last.as_ref())
        {
            if last.len() < last.capacity() {
                return Ok(last);
            }
            // One that is nearly of the largest size would soon be full again.
            if roomy(last.visible()) <= self.capacity_max()
                && let Ok(copy) = self.resize(&last, backlog)
            {
                return Ok(copy);
            }
        }
        let opened = (self.library).open(&GraphParams {
            capacity: self.room(backlog),
            ..self.params.clone()
        })?;
        self.list.write().push(Arc::clone(&opened));
        Ok(opened)
    }

    /// Room in the largest segment.
    fn capacity_max(&self) -> usize {
        let GraphParams {
            dimension, coding, ..
        } = self.params;
        let row_bytes = self.library.row_bytes(dimension, coding).max(1);
        (self.sizes.bytes_max / row_bytes).max(self.sizes.rows_min)
    }

    /// Room of a segment that these rows are to be in.
    fn room(&self, rows: usize) -> usize {
        roomy(rows).clamp(self.sizes.rows_min, self.capacity_max())
    }

    /// Puts a copy in a segment's place that has room for `more` rows.
    fn resize(&self, segment: &Arc<dyn Graph>, more: usize) -> Result<Arc<dyn Graph>, GraphError> {
        *self.removed.lock() = Some(Vec::new());
        let copy = segment.resized(self.room(segment.visible() + more));
        let mut list = self.list.write();
        let removed = self.removed.lock().take().unwrap_or_default();
        let copy = copy?;
        for row in removed {
            copy.remove(row);
        }
        for place in list.iter_mut().filter(|one| Arc::ptr_eq(one, segment)) {
            *place = Arc::clone(&copy);
        }
        Ok(copy)
    }

    /// One that has much more room than it needs.
    fn wide(&self) -> Option<Arc<dyn Graph>> {
        let list = self.list.read();
        let wide = list.iter().find(|segment| {
            let needed = self.room(segment.visible());
            !is_worn(segment.as_ref()) && segment.capacity() > roomy(needed)
        });
        wide.cloned()
    }

    /// Gives back room that is not used, or moves one row out of a segment most of whose rows are gone; says whether
    /// there was anything to do. Not to be called while a row is inserted.
    pub(crate) fn move_one(&self) -> Result<bool, GraphError> {
        let mut moving = self.moving.lock();
        if moving.is_none() {
            if let Some(wide) = self.wide() {
                return self.resize(&wide, 0).map(|_| true);
            }
            let last = self.list.read().last().cloned();
            if last.is_some_and(|last| is_spent(last.as_ref())) {
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

    /// The nearest rows of all segments, nearest first; a row that moves may be among them twice.
    pub(crate) fn search(
        &self,
        query: &[f16],
        ef: usize,
        accept: Option<&Accept<'_>>,
    ) -> Result<Vec<Found>, GraphError> {
        let (mut found, mut sorted) = (Vec::new(), true);
        for segment in self.all() {
            sorted &= found.is_empty();
            found.extend(segment.search(query, ef, accept)?);
        }
        if !sorted {
            found.sort_by(|a: &Found, b| a.distance.total_cmp(&b.distance));
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
