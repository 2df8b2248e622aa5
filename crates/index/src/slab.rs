//! The vectors of one name, row by row in slot order.
//!
//! Rows live in chunks of about [`CHUNK_BYTES`], so that growth copies nothing but the first chunk while it is
//! small, and never holds twice the memory. A bitmap says which slots have the vector at all. A chunk exists only
//! while one of its slots does: a vector few points have, or that most have lost, costs little.
//!
//! Rows are f32 as they were given, until the slab is packed: then they take half of that or less, and each has a
//! bound of what it lost ([`crate::packed`]). The few that do not fit are kept as they are, beside the chunks. A packed
//! slab stays packed, since what was lost is not here any more.

use std::collections::BTreeMap;

use crate::aligned::Aligned;
use crate::packed::{Form, PackedRow, PackedRows};

/// About how large a chunk of f32 is; its rows are a power of two, at least one.
const CHUNK_BYTES: usize = 1 << 20;
/// Most rows in a chunk, for short vectors.
const CHUNK_ROWS_MAX: usize = 1 << 14;
/// Rows the first chunk starts with; it doubles from there, so that small collections stay small.
const FIRST_ROWS: usize = 16;
/// What a B-tree takes for an entry besides what the entry points to, about.
const ENTRY_BYTES: usize = 48;

const BITS: usize = u64::BITS as usize;

/// Vectors of one name by slot.
#[derive(Debug)]
pub(crate) struct Slab {
    dimension: usize,
    chunk_rows: usize,
    chunks: Vec<Option<Chunk>>,
    /// How rows are packed, if they are.
    form: Option<Form>,
    /// Rows that cannot be packed, while the others are; in their chunks they are zeros.
    whole: BTreeMap<usize, Box<[f32]>>,
}

/// Consecutive rows. Those absent hold zeros or what was there before.
#[derive(Debug)]
pub(crate) struct Chunk {
    rows: Rows,
    present: Box<[u64]>,
    count: usize,
}

#[derive(Debug)]
enum Rows {
    Whole(Aligned),
    Packed(PackedRows),
}

/// A row on its way from one slot to another.
enum Row {
    /// With what it had lost before, when it was packed otherwise.
    Whole(Box<[f32]>, f32),
    Packed(PackedRow),
}

/// Rows to be scored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile<'a> {
    /// One after the other; those absent hold anything.
    pub(crate) values: &'a [f32],
    /// What each of them has lost; `None` if nothing.
    pub(crate) bounds: Option<&'a [f32]>,
}

impl Chunk {
    /// Whether the row holds a vector.
    pub(crate) fn has(&self, row: usize) -> bool {
        self.present[row / BITS] >> (row % BITS) & 1 == 1
    }

    /// Rows there is memory for; a row counts only if [`Chunk::has`] says so.
    pub(crate) fn rows(&self, dimension: usize) -> usize {
        match &self.rows {
            Rows::Whole(values) => values.as_slice().len() / dimension,
            Rows::Packed(rows) => rows.rows(),
        }
    }

    fn mark(&mut self, row: usize, present: bool) {
        let (word, bit) = (&mut self.present[row / BITS], 1 << (row % BITS));
        if present && *word & bit == 0 {
            *word |= bit;
            self.count += 1;
        } else if !present && *word & bit != 0 {
            *word &= !bit;
            self.count -= 1;
        }
    }

    fn memory_bytes(&self) -> usize {
        let rows = match &self.rows {
            Rows::Whole(values) => values.memory_bytes(),
            Rows::Packed(rows) => rows.memory_bytes(),
        };
        rows + size_of_val(&*self.present)
    }
}

impl Slab {
    /// An empty slab of vectors of `dimension` values.
    pub(crate) fn new(dimension: usize) -> Self {
        let rows = (CHUNK_BYTES / size_of::<f32>() / dimension).clamp(1, CHUNK_ROWS_MAX);
        Self {
            dimension,
            chunk_rows: 1 << rows.ilog2(),
            chunks: Vec::new(),
            form: None,
            whole: BTreeMap::new(),
        }
    }

    /// Values of one vector.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The chunks there are, each with the slot of its first row.
    pub(crate) fn chunks(&self) -> Vec<(usize, &Chunk)> {
        (self.chunks.iter().enumerate())
            .filter_map(|(i, chunk)| Some((i * self.chunk_rows, chunk.as_ref()?)))
            .collect()
    }

    /// The slots that have a vector.
    pub(crate) fn slots(&self) -> impl Iterator<Item = usize> + '_ {
        self.slots_from(0)
    }

    /// Those of them from one on.
    pub(crate) fn slots_from(&self, from: usize) -> impl Iterator<Item = usize> + '_ {
        let chunks = self.chunks.iter().enumerate().skip(from / self.chunk_rows);
        let chunks = chunks.filter_map(|(i, chunk)| Some((i * self.chunk_rows, chunk.as_ref()?)));
        let slots = chunks.flat_map(|(first, chunk)| {
            let rows = (0..self.chunk_rows).filter(|row| chunk.has(*row));
            rows.map(move |row| first + row)
        });
        slots.skip_while(move |slot| *slot < from)
    }

    fn chunk(&self, slot: usize) -> Option<(&Chunk, usize)> {
        let row = slot % self.chunk_rows;
        let chunk = self.chunks.get(slot / self.chunk_rows)?.as_ref()?;
        chunk.has(row).then_some((chunk, row))
    }

    /// Whether rows are packed, so that vectors themselves are elsewhere.
    pub(crate) fn is_packed(&self) -> bool {
        self.form.is_some()
    }

    /// Whether a slot has a vector.
    pub(crate) fn has(&self, slot: usize) -> bool {
        self.chunk(slot).is_some()
    }

    /// Whether nothing is kept of the vector of a slot: only storage has it.
    pub(crate) fn is_void(&self, slot: usize) -> bool {
        (self.chunk(slot)).is_some_and(|(chunk, row)| match &chunk.rows {
            Rows::Packed(rows) => !self.whole.contains_key(&slot) && rows.is_void(row),
            Rows::Whole(_) => false,
        })
    }

    /// How rows are packed, if they are.
    pub(crate) fn form(&self) -> Option<Form> {
        self.form
    }

    /// The vector of a slot as it is kept, and what it has lost. `scratch` may be used for it.
    pub(crate) fn get<'a>(
        &'a self,
        slot: usize,
        scratch: &'a mut Vec<f32>,
    ) -> Option<(&'a [f32], f32)> {
        let (chunk, row) = self.chunk(slot)?;
        match &chunk.rows {
            Rows::Whole(values) => {
                let values = values.as_slice();
                Some((&values[row * self.dimension..][..self.dimension], 0.0))
            }
            Rows::Packed(rows) => {
                let bound = rows.bounds()[row];
                if let Some(whole) = self.whole.get(&slot) {
                    return Some((whole, bound));
                }
                scratch.resize(self.dimension, 0.0);
                rows.unpack(row, scratch);
                Some((scratch, bound))
            }
        }
    }

    /// Rows of a chunk whose first slot is `first`. `scratch` may be used for it.
    pub(crate) fn tile<'a>(
        &'a self,
        (first, chunk): (usize, &'a Chunk),
        row: usize,
        count: usize,
        scratch: &'a mut Aligned,
    ) -> Tile<'a> {
        let len = count * self.dimension;
        let rows = match &chunk.rows {
            Rows::Whole(values) => {
                let values = &values.as_slice()[row * self.dimension..][..len];
                let bounds = None;
                return Tile { values, bounds };
            }
            Rows::Packed(rows) => rows,
        };
        scratch.grow(len);
        let values = &mut scratch.as_mut_slice()[..len];
        rows.unpack(row, values);
        let from = first + row;
        for (slot, whole) in self.whole.range(from..from + count) {
            values[(slot - from) * self.dimension..][..self.dimension].copy_from_slice(whole);
        }
        Tile {
            values,
            bounds: Some(&rows.bounds()[row..][..count]),
        }
    }

    /// Sets the vector of a slot, or takes it away. Says whether it is kept in another way than before: vectors that
    /// differ in what is lost are kept alike, each with a bound of its own.
    pub(crate) fn set(&mut self, slot: usize, vector: Option<&[f32]>) -> bool {
        let Some(vector) = vector else {
            let had = self.has(slot);
            self.clear(slot);
            return had;
        };
        let Some(form) = self.form else {
            let same = self.get(slot, &mut Vec::new()) == Some((vector, 0.0));
            if !same {
                self.put_whole(slot, vector);
            }
            return !same;
        };
        let packed = form.pack(vector, 0.0);
        let same = match (self.chunk(slot), &packed) {
            (None, _) => false,
            (Some(_), None) => self.get(slot, &mut Vec::new()) == Some((vector, 0.0)),
            (Some((chunk, row)), Some(packed)) => match &chunk.rows {
                Rows::Packed(rows) => !self.whole.contains_key(&slot) && rows.is_like(row, packed),
                Rows::Whole(_) => false,
            },
        };
        // What is kept alike may have lost something else.
        self.put(
            slot,
            packed.map_or_else(|| Row::Whole(vector.into(), 0.0), Row::Packed),
        );
        !same
    }

    /// The chunk of a slot with room for it, which is marked as present, and its row there.
    fn place(&mut self, slot: usize) -> (&mut Chunk, usize) {
        let (index, row) = (slot / self.chunk_rows, slot % self.chunk_rows);
        if self.chunks.len() <= index {
            self.chunks.resize_with(index + 1, || None);
        }
        // Only the first chunk grows: one that follows a full one is likely to fill up itself.
        let rows = match index {
            0 => (row + 1).next_power_of_two().max(FIRST_ROWS),
            _ => self.chunk_rows,
        };
        let (rows, dimension, form) = (rows.min(self.chunk_rows), self.dimension, self.form);
        let present = self.chunk_rows.div_ceil(BITS);
        let chunk = self.chunks[index].get_or_insert_with(|| Chunk {
            rows: match form {
                None => Rows::Whole(Aligned::zeros(rows * dimension)),
                Some(form) => Rows::Packed(PackedRows::zeros(form, dimension, rows)),
            },
            present: vec![0; present].into(),
            count: 0,
        });
        match &mut chunk.rows {
            Rows::Whole(values) => values.grow(rows * dimension),
            Rows::Packed(packed) => packed.grow(rows),
        }
        chunk.mark(row, true);
        (chunk, row)
    }

    fn put_whole(&mut self, slot: usize, vector: &[f32]) {
        let dimension = self.dimension;
        let (chunk, row) = self.place(slot);
        if let Rows::Whole(values) = &mut chunk.rows {
            values.as_mut_slice()[row * dimension..][..dimension].copy_from_slice(vector);
        }
    }

    fn put(&mut self, slot: usize, new: Row) {
        if self.form.is_none()
            && let Row::Whole(vector, _) = &new
        {
            return self.put_whole(slot, vector);
        }
        let (chunk, row) = self.place(slot);
        if let Rows::Packed(rows) = &mut chunk.rows {
            match &new {
                Row::Packed(packed) => rows.put(row, packed),
                Row::Whole(_, lost) => rows.put_zeros(row, *lost),
            }
        }
        match new {
            Row::Whole(vector, _) => self.whole.insert(slot, vector),
            Row::Packed(_) => self.whole.remove(&slot),
        };
    }

    fn clear(&mut self, slot: usize) {
        self.whole.remove(&slot);
        let Some(place) = self.chunks.get_mut(slot / self.chunk_rows) else {
            return;
        };
        if let Some(chunk) = place {
            chunk.mark(slot % self.chunk_rows, false);
            if chunk.count == 0 {
                *place = None;
            }
        }
        while let Some(None) = self.chunks.last() {
            self.chunks.pop();
        }
    }

    /// Moves the vector of one slot, or its absence, into another.
    pub(crate) fn move_row(&mut self, from: usize, to: usize) {
        match self.take(from) {
            Some(row) => self.put(to, row),
            None => self.clear(to),
        }
        self.clear(from);
    }

    /// A row as it is kept; its slot is left to be cleared.
    fn take(&mut self, slot: usize) -> Option<Row> {
        let whole = self.whole.remove(&slot);
        let (chunk, row) = self.chunk(slot)?;
        Some(match (&chunk.rows, whole) {
            (Rows::Whole(values), _) => {
                let values = &values.as_slice()[row * self.dimension..][..self.dimension];
                Row::Whole(values.into(), 0.0)
            }
            (Rows::Packed(rows), Some(whole)) => Row::Whole(whole, rows.bounds()[row]),
            (Rows::Packed(rows), None) => Row::Packed(rows.get(row)),
        })
    }

    /// Packs all rows there are and those to come, chunk by chunk, so that no more than one is there twice. Rows that
    /// were packed before lose once more.
    pub(crate) fn pack(&mut self, form: Form) {
        if self.form == Some(form) {
            return;
        }
        for index in 0..self.chunks.len() {
            let Some(chunk) = &self.chunks[index] else {
                continue;
            };
            let first = index * self.chunk_rows;
            let mut packed = PackedRows::zeros(form, self.dimension, chunk.rows(self.dimension));
            let (mut scratch, mut whole) = (Vec::new(), Vec::new());
            for row in (0..self.chunk_rows).filter(|row| chunk.has(*row)) {
                let slot = first + row;
                let Some((vector, lost)) = self.get(slot, &mut scratch) else {
                    continue;
                };
                match form.pack(vector, lost) {
                    Some(new) => packed.put(row, &new),
                    None => {
                        packed.put_zeros(row, lost);
                        whole.push((slot, Box::from(vector)));
                    }
                }
            }
            self.whole
                .retain(|slot, _| *slot / self.chunk_rows != index);
            self.whole.extend(whole);
            if let Some(chunk) = &mut self.chunks[index] {
                chunk.rows = Rows::Packed(packed);
            }
        }
        self.form = Some(form);
    }

    /// Keeps rows as they are given again. Not to be called unless there are none.
    pub(crate) fn unpack_empty(&mut self) {
        debug_assert!(self.chunks.is_empty(), "what was lost cannot be had back");
        self.form = None;
    }

    /// Bytes allocated.
    pub(crate) fn memory_bytes(&self) -> usize {
        let chunks = self.chunks.iter().flatten().map(Chunk::memory_bytes);
        let whole = self.whole.len() * (self.dimension * size_of::<f32>() + ENTRY_BYTES);
        self.chunks.capacity() * size_of::<Option<Chunk>>() + chunks.sum::<usize>() + whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligned::CACHE_LINE;
    use crate::half_form::HalfForm;

    const DIMENSION: usize = 1024;
    const CHUNK_ROWS: usize = 256;
    const HALF: Form = Form::Half(HalfForm::UNIT);

    fn vector(n: u16) -> Vec<f32> {
        vec![n.into(); DIMENSION]
    }

    fn kept(slab: &Slab, slot: usize) -> Option<Vec<f32>> {
        let mut scratch = Vec::new();
        let kept = slab.get(slot, &mut scratch);
        kept.map(|(values, _)| values.to_vec())
    }

    fn bound(slab: &Slab, slot: usize) -> f32 {
        slab.get(slot, &mut Vec::new()).expect("it is there").1
    }

    #[test]
    fn rows_are_told_apart_across_chunks_and_growth() {
        // When the slab is packed, and before or after which row.
        for packed_at in [None, Some(0), Some(10), Some(400), Some(600)] {
            let mut slab = Slab::new(DIMENSION);
            let slots: Vec<_> = (0..600_u16).filter(|n| n % 7 != 0).collect();
            for n in 0..=600_u16 {
                if packed_at == Some(n) {
                    slab.pack(HALF);
                }
                if slots.contains(&n) {
                    assert!(slab.set(n.into(), Some(&vector(n))));
                    assert!(!slab.set(n.into(), Some(&vector(n))), "nothing new");
                }
            }
            for n in 0..700_u16 {
                let expected = slots.contains(&n).then(|| vector(n));
                assert_eq!(kept(&slab, n.into()), expected, "slot {n}, {packed_at:?}");
            }
            slab.move_row(599, 0);
            slab.move_row(595, 1);
            assert_eq!(kept(&slab, 0), Some(vector(599)));
            assert_eq!(kept(&slab, 1), None, "absence moves, too");
            assert_eq!(kept(&slab, 599), None);
        }
    }

    #[test]
    fn rows_start_on_a_cache_line() {
        let mut slab = Slab::new(DIMENSION);
        for n in 0..300_u16 {
            slab.set(n.into(), Some(&vector(n)));
            let mut scratch = Vec::new();
            let (row, _) = slab.get(n.into(), &mut scratch).expect("just set");
            assert_eq!(row.as_ptr().addr() % CACHE_LINE, 0);
        }
    }

    #[test]
    fn chunks_are_allocated_only_where_there_are_vectors() {
        let mut slab = Slab::new(DIMENSION);
        assert_eq!(slab.chunk_rows, CHUNK_ROWS);
        let empty = slab.memory_bytes();
        slab.set(3, Some(&vector(3)));
        assert!(
            slab.memory_bytes() < CHUNK_BYTES / 8,
            "the first chunk starts small"
        );
        slab.set(3, None);
        slab.set(10 * CHUNK_ROWS, Some(&vector(1)));
        let one = slab.memory_bytes();
        assert!((CHUNK_BYTES..CHUNK_BYTES * 5 / 4).contains(&one), "{one}");
        assert_eq!(slab.chunks().len(), 1);
        slab.set(10 * CHUNK_ROWS, None);
        slab.set(10 * CHUNK_ROWS, None);
        assert_eq!(slab.chunks().len(), 0);
        assert!(slab.memory_bytes() < empty + 4096);
    }

    #[test]
    fn growth_never_holds_much_more_than_the_rows() {
        for (form, bytes_of) in [(None, 4), (Some(HALF), 2), (Some(Form::Int8), 1)] {
            let mut slab = Slab::new(DIMENSION);
            form.into_iter().for_each(|form| slab.pack(form));
            for n in 0..2000_u16 {
                slab.set(n.into(), Some(&vector(1)));
                let rows = (usize::from(n) + 1) * DIMENSION * bytes_of;
                let bytes = slab.memory_bytes();
                assert!(
                    bytes <= rows * 65 / 64 + CHUNK_BYTES + CHUNK_BYTES / 16,
                    "{bytes} for {rows}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_packed_is_kept_whole() {
        let mut slab = Slab::new(DIMENSION);
        let huge = vec![1e9_f32; DIMENSION];
        slab.set(0, Some(&huge));
        slab.set(1, Some(&vector(1)));
        slab.pack(HALF);
        slab.set(300, Some(&huge));
        for slot in [0, 300] {
            assert_eq!(slab.get(slot, &mut Vec::new()), Some((&*huge, 0.0)));
        }
        assert!(!slab.set(300, Some(&huge)), "nothing new");
        let mut scratch = Aligned::zeros(0);
        let tile = slab.tile(slab.chunks()[0], 0, 2, &mut scratch);
        assert_eq!(tile.values, [huge.clone(), vector(1)].concat());
        slab.move_row(300, 1);
        assert_eq!(kept(&slab, 1), Some(huge.clone()));
        slab.set(0, Some(&vector(2)));
        assert_eq!(kept(&slab, 0), Some(vector(2)));
        slab.set(1, None);
        assert!(slab.whole.is_empty());
    }

    #[test]
    fn vectors_that_are_kept_alike_have_bounds_of_their_own() {
        let mut slab = Slab::new(DIMENSION);
        slab.pack(HALF);
        slab.set(0, Some(&vector(1)));
        assert_eq!(bound(&slab, 0), 0.0);
        let mut near = vector(1);
        near[5] += 1e-4;
        assert!(!slab.set(0, Some(&near)), "it is kept alike");
        assert!(bound(&slab, 0) >= 9e-5, "it has lost something else");
        assert_eq!(kept(&slab, 0), Some(vector(1)));
        slab.move_row(0, 7);
        assert!(bound(&slab, 7) >= 9e-5);
        slab.set(7, Some(&vector(1)));
        assert_eq!(bound(&slab, 7), 0.0);
    }

    #[test]
    fn packing_twice_loses_twice() {
        let mut slab = Slab::new(DIMENSION);
        let original: Vec<f32> = (0..DIMENSION).map(|n| (n as f32).sin()).collect();
        slab.set(0, Some(&original));
        let tiny = vec![1e-43_f32; DIMENSION];
        slab.set(1, Some(&tiny));
        slab.pack(HALF);
        let (once, of_tiny) = (bound(&slab, 0), bound(&slab, 1));
        slab.pack(Form::Int8);
        let now = kept(&slab, 0).expect("it is there");
        let squares = original
            .iter()
            .zip(&now)
            .map(|(a, b)| f64::from(a - b).powi(2));
        let error = squares.sum::<f64>().sqrt();
        let twice = bound(&slab, 0);
        assert!(
            once < twice && error <= f64::from(twice),
            "{once} {error} {twice}"
        );
        assert!(of_tiny > 0.0 && bound(&slab, 1) >= of_tiny);
    }
}
