#![expect(
    unsafe_code,
    reason = "vector loads take pointers, and code for a CPU feature may run only where it was detected"
)]

//! The kernels: sums over two vectors, in the widest instructions the CPU has.
//!
//! Each kernel adds in an order fixed by the length alone. Different kernels round differently in the last bits.

mod absolute;

/// Sums the products (or squared, or absolute, differences) of the query and each row.
type Rows = fn(query: &[f32], rows: &[f32], sums: &mut [f32]);

/// One set of kernels; there is none but for features this CPU has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernels {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests name the kernel that is wrong")
    )]
    name: &'static str,
    dot: Rows,
    squared: Rows,
    absolute: Rows,
}

impl Kernels {
    /// The fastest there are here.
    pub(super) fn best() -> Self {
        Self::available()[0]
    }

    /// All that can run here, fastest first; the portable one always can.
    fn available() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                all.push(Self {
                    name: "avx512f",
                    // SAFETY: the feature was detected just above.
                    dot: |q, r, s| unsafe { avx512::rows::<false>(q, r, s) },
                    // SAFETY: as above.
                    squared: |q, r, s| unsafe { avx512::rows::<true>(q, r, s) },
                    // SAFETY: as above.
                    absolute: |q, r, s| unsafe { absolute::avx512(q, r, s) },
                });
            }
            if std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma")
            {
                all.push(Self {
                    name: "avx2+fma",
                    // SAFETY: both features were detected just above.
                    dot: |q, r, s| unsafe { avx2::rows::<false>(q, r, s) },
                    // SAFETY: as above.
                    squared: |q, r, s| unsafe { avx2::rows::<true>(q, r, s) },
                    // SAFETY: as above.
                    absolute: |q, r, s| unsafe { absolute::avx2(q, r, s) },
                });
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            all.push(Self {
                name: "neon",
                // SAFETY: the feature was detected just above.
                dot: |q, r, s| unsafe { neon::rows::<false>(q, r, s) },
                // SAFETY: as above.
                squared: |q, r, s| unsafe { neon::rows::<true>(q, r, s) },
                // SAFETY: as above.
                absolute: |q, r, s| unsafe { absolute::neon(q, r, s) },
            });
        }
        all.push(Self {
            name: "portable",
            dot: portable::rows::<false>,
            squared: portable::rows::<true>,
            absolute: absolute::portable,
        });
        all
    }

    /// Dot products of the query with rows of its length.
    pub(super) fn dot(self, query: &[f32], rows: &[f32], sums: &mut [f32]) {
        assert_eq!(query.len() * sums.len(), rows.len(), "one sum per row");
        (self.dot)(query, rows, sums);
    }

    /// Squared euclidean distances of the query from rows of its length.
    pub(super) fn squared(self, query: &[f32], rows: &[f32], sums: &mut [f32]) {
        assert_eq!(query.len() * sums.len(), rows.len(), "one sum per row");
        (self.squared)(query, rows, sums);
    }

    /// Manhattan distances of the query from rows of its length.
    pub(super) fn absolute(self, query: &[f32], rows: &[f32], sums: &mut [f32]) {
        assert_eq!(query.len() * sums.len(), rows.len(), "one sum per row");
        (self.absolute)(query, rows, sums);
    }
}

mod portable {
    const LANES: usize = 16;

    pub(super) fn rows<const SQUARED: bool>(query: &[f32], rows: &[f32], sums: &mut [f32]) {
        for (row, sum) in rows.chunks_exact(query.len()).zip(sums) {
            *sum = one::<SQUARED>(query, row);
        }
    }

    fn term<const SQUARED: bool>(q: f32, v: f32) -> f32 {
        if SQUARED { (q - v) * (q - v) } else { q * v }
    }

    fn one<const SQUARED: bool>(query: &[f32], row: &[f32]) -> f32 {
        // As many sums as the compiler can put into any baseline's registers.
        let mut lanes = [0.0_f32; LANES];
        let (query_body, query_tail) = query.as_chunks::<LANES>();
        let (row_body, row_tail) = row.as_chunks::<LANES>();
        for (q, v) in query_body.iter().zip(row_body) {
            for i in 0..LANES {
                lanes[i] += term::<SQUARED>(q[i], v[i]);
            }
        }
        let tail = query_tail.iter().zip(row_tail);
        lanes.iter().sum::<f32>() + tail.map(|(q, v)| term::<SQUARED>(*q, *v)).sum::<f32>()
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps,
        _mm512_reduce_add_ps, _mm512_setzero_ps, _mm512_sub_ps,
    };

    const LANES: usize = 16;
    /// Independent sums, to hide the latency of the additions.
    const SUMS: usize = 4;

    #[target_feature(enable = "avx512f")]
    pub(super) fn rows<const SQUARED: bool>(query: &[f32], rows: &[f32], sums: &mut [f32]) {
        for (row, sum) in rows.chunks_exact(query.len()).zip(sums) {
            *sum = one::<SQUARED>(query, row);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add<const SQUARED: bool>(sum: __m512, q: __m512, v: __m512) -> __m512 {
        if SQUARED {
            let d = _mm512_sub_ps(q, v);
            _mm512_fmadd_ps(d, d, sum)
        } else {
            _mm512_fmadd_ps(q, v, sum)
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(values: &[f32; LANES]) -> __m512 {
        // SAFETY: the reference is to 16 values, which is what is read; the load needs no alignment.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load_tail(values: &[f32]) -> __m512 {
        let mask = (1_u16 << values.len()) - 1;
        // SAFETY: the mask has a bit for each value of the slice, fewer than 16; no others are read.
        unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn one<const SQUARED: bool>(query: &[f32], row: &[f32]) -> f32 {
        let mut sums = [_mm512_setzero_ps(); SUMS];
        let (query, query_tail) = query.as_chunks::<LANES>();
        let (row, row_tail) = row.as_chunks::<LANES>();
        let (query_body, query_rest) = query.as_chunks::<SUMS>();
        let (row_body, row_rest) = row.as_chunks::<SUMS>();
        for (q, v) in query_body.iter().zip(row_body) {
            for i in 0..SUMS {
                sums[i] = add::<SQUARED>(sums[i], load(&q[i]), load(&v[i]));
            }
        }
        for (i, (q, v)) in query_rest.iter().zip(row_rest).enumerate() {
            sums[i] = add::<SQUARED>(sums[i], load(q), load(v));
        }
        if !query_tail.is_empty() {
            let last = SUMS - 1;
            sums[last] = add::<SQUARED>(sums[last], load_tail(query_tail), load_tail(row_tail));
        }
        let [a, b, c, d] = sums;
        _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps,
        _mm256_add_ps, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps,
        _mm256_loadu_ps, _mm256_setzero_ps, _mm256_sub_ps,
    };

    const LANES: usize = 8;
    /// Independent sums, to hide the latency of the additions.
    const SUMS: usize = 4;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn rows<const SQUARED: bool>(query: &[f32], rows: &[f32], sums: &mut [f32]) {
        for (row, sum) in rows.chunks_exact(query.len()).zip(sums) {
            *sum = one::<SQUARED>(query, row);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add<const SQUARED: bool>(sum: __m256, q: __m256, v: __m256) -> __m256 {
        if SQUARED {
            let d = _mm256_sub_ps(q, v);
            _mm256_fmadd_ps(d, d, sum)
        } else {
            _mm256_fmadd_ps(q, v, sum)
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load(values: &[f32; LANES]) -> __m256 {
        // SAFETY: the reference is to 8 values, which is what is read; the load needs no alignment.
        unsafe { _mm256_loadu_ps(values.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load_tail(values: &[f32]) -> __m256 {
        let mut padded = [0.0; LANES];
        padded[..values.len()].copy_from_slice(values);
        load(&padded)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn total(sum: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn one<const SQUARED: bool>(query: &[f32], row: &[f32]) -> f32 {
        let mut sums = [_mm256_setzero_ps(); SUMS];
        let (query, query_tail) = query.as_chunks::<LANES>();
        let (row, row_tail) = row.as_chunks::<LANES>();
        let (query_body, query_rest) = query.as_chunks::<SUMS>();
        let (row_body, row_rest) = row.as_chunks::<SUMS>();
        for (q, v) in query_body.iter().zip(row_body) {
            for i in 0..SUMS {
                sums[i] = add::<SQUARED>(sums[i], load(&q[i]), load(&v[i]));
            }
        }
        for (i, (q, v)) in query_rest.iter().zip(row_rest).enumerate() {
            sums[i] = add::<SQUARED>(sums[i], load(q), load(v));
        }
        if !query_tail.is_empty() {
            let last = SUMS - 1;
            sums[last] = add::<SQUARED>(sums[last], load_tail(query_tail), load_tail(row_tail));
        }
        let [a, b, c, d] = sums;
        total(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)))
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::{
        float32x4_t, vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vsubq_f32,
    };

    const LANES: usize = 4;
    /// Independent sums, to hide the latency of the additions.
    const SUMS: usize = 4;

    #[target_feature(enable = "neon")]
    pub(super) fn rows<const SQUARED: bool>(query: &[f32], rows: &[f32], sums: &mut [f32]) {
        for (row, sum) in rows.chunks_exact(query.len()).zip(sums) {
            *sum = one::<SQUARED>(query, row);
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn add<const SQUARED: bool>(sum: float32x4_t, q: float32x4_t, v: float32x4_t) -> float32x4_t {
        if SQUARED {
            let d = vsubq_f32(q, v);
            vfmaq_f32(sum, d, d)
        } else {
            vfmaq_f32(sum, q, v)
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn load(values: &[f32; LANES]) -> float32x4_t {
        // SAFETY: the reference is to 4 values, which is what is read.
        unsafe { vld1q_f32(values.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn load_tail(values: &[f32]) -> float32x4_t {
        let mut padded = [0.0; LANES];
        padded[..values.len()].copy_from_slice(values);
        load(&padded)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn one<const SQUARED: bool>(query: &[f32], row: &[f32]) -> f32 {
        let mut sums = [vdupq_n_f32(0.0); SUMS];
        let (query, query_tail) = query.as_chunks::<LANES>();
        let (row, row_tail) = row.as_chunks::<LANES>();
        let (query_body, query_rest) = query.as_chunks::<SUMS>();
        let (row_body, row_rest) = row.as_chunks::<SUMS>();
        for (q, v) in query_body.iter().zip(row_body) {
            for i in 0..SUMS {
                sums[i] = add::<SQUARED>(sums[i], load(&q[i]), load(&v[i]));
            }
        }
        for (i, (q, v)) in query_rest.iter().zip(row_rest).enumerate() {
            sums[i] = add::<SQUARED>(sums[i], load(q), load(v));
        }
        if !query_tail.is_empty() {
            let last = SUMS - 1;
            sums[last] = add::<SQUARED>(sums[last], load_tail(query_tail), load_tail(row_tail));
        }
        let [a, b, c, d] = sums;
        vaddvq_f32(vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values in [-1, 1), the same on every run.
    fn values(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// Rounding errors grow with the terms' sizes, at most one half unit for each addition: the bound is the
    /// textbook one, n * epsilon * sum of |terms|.
    fn check(name: &str, sum: f32, terms: &[f64]) {
        let exact: f64 = terms.iter().sum();
        let size: f64 = terms.iter().map(|t| t.abs()).sum();
        let bound = (terms.len() + 2) as f64 * f64::from(f32::EPSILON) * size;
        let error = (f64::from(sum) - exact).abs();
        assert!(
            error <= bound,
            "{name}, length {}: {sum} is not {exact} (off by {error}, bound {bound})",
            terms.len()
        );
    }

    #[test]
    fn all_kernels_agree_with_f64_at_every_length() {
        const ROWS: usize = 3;
        for kernels in Kernels::available() {
            for length in 1..200 {
                let query = values(length, 1);
                let rows = values(length * ROWS, length as u64);
                let [mut dots, mut squares, mut absolutes] = [[0.0; ROWS]; 3];
                kernels.dot(&query, &rows, &mut dots);
                kernels.squared(&query, &rows, &mut squares);
                kernels.absolute(&query, &rows, &mut absolutes);
                for (i, row) in rows.chunks_exact(length).enumerate() {
                    let pairs = || {
                        let pairs = query.iter().zip(row);
                        pairs.map(|(q, v)| (f64::from(*q), f64::from(*v)))
                    };
                    let products: Vec<_> = pairs().map(|(q, v)| q * v).collect();
                    let squared: Vec<_> = pairs().map(|(q, v)| (q - v).powi(2)).collect();
                    check(kernels.name, dots[i], &products);
                    check(kernels.name, squares[i], &squared);
                    let absolute: Vec<_> = pairs().map(|(q, v)| (q - v).abs()).collect();
                    check(kernels.name, absolutes[i], &absolute);
                }
            }
        }
    }

    #[test]
    fn a_sum_does_not_depend_on_where_the_row_lies() {
        for kernels in Kernels::available() {
            for length in [1, 7, 16, 65, 384] {
                let (query, row) = (values(length, 3), values(length, 4));
                let mut sums = [0.0; 5];
                kernels.dot(&query, &row.repeat(sums.len()), &mut sums);
                assert!(sums.iter().all(|s| s.to_bits() == sums[0].to_bits()));
            }
        }
    }
}
