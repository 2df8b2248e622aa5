//! The vectors of one name, row by row in slot order.
//!
//! Rows live in chunks of about [`CHUNK_BYTES`], so that growth copies nothing but the first chunk while it is
//! small, and never holds twice the memory. A bitmap says which slots have the vector at all. A chunk exists only
//! while one of its slots does: a vector few points have, or that most have lost, costs little.

/// About how large a chunk is; its rows are a power of two, at least one.
const CHUNK_BYTES: usize = 1 << 20;
/// Most rows in a chunk, for short vectors.
const CHUNK_ROWS_MAX: usize = 1 << 14;
/// Rows the first chunk starts with; it doubles from there, so that small collections stay small.
const FIRST_ROWS: usize = 16;
/// Rows start on a cache line if their length allows it: unaligned wide loads cost a second line each.
const CACHE_LINE: usize = 64;

const BITS: usize = u64::BITS as usize;

/// Vectors of one name by slot.
#[derive(Debug)]
pub(crate) struct Slab {
    dimension: usize,
    chunk_rows: usize,
    chunks: Vec<Option<Chunk>>,
}

/// Consecutive rows. Those absent hold zeros or what was there before.
#[derive(Debug)]
pub(crate) struct Chunk {
    values: Aligned,
    present: Box<[u64]>,
    count: usize,
}

/// Values that start on a cache line, found by leaving out what comes before the first one.
#[derive(Debug)]
pub(crate) struct Aligned {
    buffer: Box<[f32]>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn zeros(len: usize) -> Self {
        let buffer = vec![0.0_f32; len + CACHE_LINE / size_of::<f32>()].into_boxed_slice();
        let start = buffer.as_ptr().align_offset(CACHE_LINE);
        // The address may be opaque (under an interpreter): then alignment is given up, nothing else.
        let start = start.min(buffer.len() - len);
        Self { buffer, start, len }
    }

    /// A copy of `values`.
    pub(crate) fn copy_of(values: &[f32]) -> Self {
        let mut copy = Self::zeros(values.len());
        copy.as_mut_slice().copy_from_slice(values);
        copy
    }

    /// The values.
    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.buffer[self.start..][..self.len]
    }

    fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.buffer[self.start..][..self.len]
    }

    fn grow(&mut self, len: usize) {
        let mut grown = Self::zeros(len);
        grown.as_mut_slice()[..self.len].copy_from_slice(self.as_slice());
        *self = grown;
    }
}

impl Chunk {
    fn new(values: usize, rows: usize) -> Self {
        Self {
            values: Aligned::zeros(values),
            present: vec![0; rows.div_ceil(BITS)].into(),
            count: 0,
        }
    }

    /// All rows there is memory for; a row counts only if [`Chunk::has`] says so.
    pub(crate) fn values(&self) -> &[f32] {
        self.values.as_slice()
    }

    /// Whether the row holds a vector.
    pub(crate) fn has(&self, row: usize) -> bool {
        self.present[row / BITS] >> (row % BITS) & 1 == 1
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
}

impl Slab {
    /// An empty slab of vectors of `dimension` values.
    pub(crate) fn new(dimension: usize) -> Self {
        let rows = (CHUNK_BYTES / size_of::<f32>() / dimension).clamp(1, CHUNK_ROWS_MAX);
        Self {
            dimension,
            chunk_rows: 1 << rows.ilog2(),
            chunks: Vec::new(),
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
        self.chunks().into_iter().flat_map(|(first, chunk)| {
            let rows = (0..self.chunk_rows).filter(|row| chunk.has(*row));
            rows.map(move |row| first + row)
        })
    }

    /// The vector of a slot.
    pub(crate) fn get(&self, slot: usize) -> Option<&[f32]> {
        let row = slot % self.chunk_rows;
        let chunk = self.chunks.get(slot / self.chunk_rows)?.as_ref()?;
        chunk
            .has(row)
            .then(|| &chunk.values()[row * self.dimension..][..self.dimension])
    }

    /// Sets the vector of a slot, or takes it away.
    pub(crate) fn set(&mut self, slot: usize, vector: Option<&[f32]>) {
        match vector {
            Some(vector) => self.put(slot, vector),
            None => self.clear(slot),
        }
    }

    fn put(&mut self, slot: usize, vector: &[f32]) {
        let (index, row) = (slot / self.chunk_rows, slot % self.chunk_rows);
        if self.chunks.len() <= index {
            self.chunks.resize_with(index + 1, || None);
        }
        // Only the first chunk grows: one that follows a full one is likely to fill up itself.
        let rows = match index {
            0 => (row + 1).next_power_of_two().max(FIRST_ROWS),
            _ => self.chunk_rows,
        };
        let values = rows.min(self.chunk_rows) * self.dimension;
        let chunk = self.chunks[index].get_or_insert_with(|| Chunk::new(values, self.chunk_rows));
        if chunk.values.len < values {
            chunk.values.grow(values);
        }
        chunk.values.as_mut_slice()[row * self.dimension..][..self.dimension]
            .copy_from_slice(vector);
        chunk.mark(row, true);
    }

    fn clear(&mut self, slot: usize) {
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
        let vector = self.get(from).map(<[f32]>::to_vec);
        self.set(to, vector.as_deref());
        self.clear(from);
    }

    /// Bytes allocated.
    pub(crate) fn memory_bytes(&self) -> usize {
        let chunks = self
            .chunks
            .iter()
            .flatten()
            .map(|chunk| size_of_val(&*chunk.values.buffer) + size_of_val(&*chunk.present));
        self.chunks.capacity() * size_of::<Option<Chunk>>() + chunks.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMENSION: usize = 1024;
    const CHUNK_ROWS: usize = 256;

    fn vector(n: u16) -> Vec<f32> {
        vec![n.into(); DIMENSION]
    }

    #[test]
    fn rows_are_told_apart_across_chunks_and_growth() {
        let mut slab = Slab::new(DIMENSION);
        let slots: Vec<_> = (0..600_u16).filter(|n| n % 7 != 0).collect();
        for n in &slots {
            slab.set(usize::from(*n), Some(&vector(*n)));
        }
        for n in 0..700_u16 {
            let expected = slots.contains(&n).then(|| vector(n));
            assert_eq!(slab.get(n.into()), expected.as_deref(), "slot {n}");
        }
        slab.move_row(599, 0);
        slab.move_row(595, 1);
        assert_eq!(slab.get(0), Some(&*vector(599)));
        assert_eq!(slab.get(1), None, "absence moves, too");
        assert_eq!(slab.get(599), None);
    }

    #[test]
    fn rows_start_on_a_cache_line() {
        let mut slab = Slab::new(DIMENSION);
        for n in 0..300_u16 {
            slab.set(n.into(), Some(&vector(n)));
            let row = slab.get(n.into()).expect("just set");
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
        let mut slab = Slab::new(DIMENSION);
        for n in 0..2000_u16 {
            slab.set(n.into(), Some(&vector(0)));
            let rows = (usize::from(n) + 1) * DIMENSION * size_of::<f32>();
            let bytes = slab.memory_bytes();
            assert!(
                bytes <= rows + CHUNK_BYTES + CHUNK_BYTES / 16,
                "{bytes} for {rows}"
            );
        }
    }
}
