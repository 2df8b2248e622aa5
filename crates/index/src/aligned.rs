//! Values that start on a cache line.

/// Rows start on a cache line if their length allows it: unaligned wide loads cost a second line each.
pub(crate) const CACHE_LINE: usize = 64;

/// Values that start on a cache line, found by leaving out what comes before the first one.
#[derive(Debug)]
pub(crate) struct Aligned {
    buffer: Box<[f32]>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(crate) fn zeros(len: usize) -> Self {
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

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.buffer[self.start..][..self.len]
    }

    /// Room for so many values; those that are more now are zeros, or what was there before.
    pub(crate) fn grow(&mut self, len: usize) {
        if self.len >= len {
            return;
        }
        let mut grown = Self::zeros(len);
        grown.as_mut_slice()[..self.len].copy_from_slice(self.as_slice());
        *self = grown;
    }

    /// Bytes allocated.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.buffer)
    }
}
