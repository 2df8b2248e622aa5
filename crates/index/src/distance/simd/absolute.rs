//! Sums of absolute differences: one loop, compiled once for each set of instructions.
//!
//! The loop keeps as many independent sums as fill the widest registers, and the compiler puts them there.

const LANES: usize = 32;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
pub(super) fn avx512(query: &[f32], rows: &[f32], sums: &mut [f32]) {
    portable(query, rows, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) fn avx2(query: &[f32], rows: &[f32], sums: &mut [f32]) {
    portable(query, rows, sums);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
pub(super) fn neon(query: &[f32], rows: &[f32], sums: &mut [f32]) {
    portable(query, rows, sums);
}

/// Always inlined, for it is compiled with the features of its caller.
#[inline(always)]
pub(super) fn portable(query: &[f32], rows: &[f32], sums: &mut [f32]) {
    for (row, sum) in rows.chunks_exact(query.len()).zip(sums) {
        *sum = one(query, row);
    }
}

#[inline(always)]
fn one(query: &[f32], row: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (query_body, query_tail) = query.as_chunks::<LANES>();
    let (row_body, row_tail) = row.as_chunks::<LANES>();
    for (q, v) in query_body.iter().zip(row_body) {
        for i in 0..LANES {
            lanes[i] += (q[i] - v[i]).abs();
        }
    }
    for (lane, (q, v)) in lanes.iter_mut().zip(query_tail.iter().zip(row_tail)) {
        *lane += (q - v).abs();
    }
    // In halves: one after the other they would wait for each other longer than a short row takes.
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}
