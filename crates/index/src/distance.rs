//! Scores: what the metrics make of the sums the kernels compute.
//!
//! A score depends on the two vectors and the machine's kernel alone, not on where a row lies or who asks with it:
//! equal vectors score equal, so ties are broken by id and results do not depend on history.

mod poincare;
mod simd;

use std::sync::LazyLock;

use pando_model::Metric;

use simd::Kernels;

static BEST: LazyLock<Kernels> = LazyLock::new(Kernels::best);

/// Scores consecutive rows of the query's length: `scores[i]` is that of row `i`. All finite, none negative zero.
pub(crate) fn score_rows(metric: Metric, query: &[f32], rows: &[f32], scores: &mut [f32]) {
    match metric {
        Metric::Cosine | Metric::Dot => BEST.dot(query, rows, scores),
        Metric::Euclidean => {
            BEST.squared(query, rows, scores);
            scores.iter_mut().for_each(|score| *score = score.sqrt());
        }
        Metric::Manhattan => BEST.absolute(query, rows, scores),
        Metric::Poincare => {
            BEST.squared(query, rows, scores);
            poincare::distances(query, rows, scores);
        }
    }
    if scores.iter().any(|score| !score.is_finite()) {
        repair(metric, query, rows, scores);
    }
    // Negative zero orders before zero, yet is the same score.
    scores.iter_mut().for_each(|score| *score += 0.0);
}

/// Sums of very large values overflow `f32` (and may become NaN): computes those scores again in `f64`, which
/// they cannot overflow, and cuts them at the largest `f32`.
fn repair(metric: Metric, query: &[f32], rows: &[f32], scores: &mut [f32]) {
    for (row, score) in rows.chunks_exact(query.len()).zip(scores) {
        if score.is_finite() {
            continue;
        }
        let pairs = (query.iter().zip(row)).map(|(q, v)| (f64::from(*q), f64::from(*v)));
        let exact: f64 = match metric {
            Metric::Cosine | Metric::Dot => pairs.map(|(q, v)| q * v).sum(),
            Metric::Euclidean => pairs.map(|(q, v)| (q - v) * (q - v)).sum::<f64>().sqrt(),
            Metric::Manhattan => pairs.map(|(q, v)| (q - v).abs()).sum(),
            // Of vectors within the unit ball, where nothing overflows.
            Metric::Poincare => continue,
        };
        let max = f64::from(f32::MAX);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding to f32 is the point"
        )]
        let rounded = exact.clamp(-max, max) as f32;
        *score = rounded;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(metric: Metric, query: &[f32], row: &[f32]) -> f32 {
        let mut scores = [f32::NAN];
        score_rows(metric, query, row, &mut scores);
        scores[0]
    }

    #[test]
    fn metrics_mean_what_they_say() {
        assert_eq!(score(Metric::Dot, &[1.0, 2.0], &[3.0, -4.0]), -5.0);
        assert_eq!(score(Metric::Cosine, &[0.6, 0.8], &[0.0, 1.0]), 0.8);
        assert_eq!(score(Metric::Euclidean, &[1.0, 2.0], &[4.0, 6.0]), 5.0);
        assert_eq!(score(Metric::Manhattan, &[1.0, 2.0], &[4.0, -6.0]), 11.0);
        // From the centre it is ln((1 + r) / (1 - r)).
        let ln3 = 3.0_f32.ln();
        assert!((score(Metric::Poincare, &[0.0, 0.0], &[0.3, 0.4]) - ln3).abs() < 1e-6);
        // Products that underflow in every lane of every sum.
        let zero = score(Metric::Dot, &[-1e-30; 64], &[1e-30; 64]);
        assert!(zero == 0.0 && zero.is_sign_positive());
    }

    #[test]
    fn scores_stay_finite_and_ordered_where_f32_overflows() {
        let (big, less) = ([2e30, 2e30], [1e30, 1e30]);
        assert_eq!(score(Metric::Dot, &big, &big), f32::MAX);
        assert_eq!(score(Metric::Dot, &big, &[-2e30, -2e30]), f32::MIN);
        assert_eq!(score(Metric::Dot, &big, &[2e30, -2e30]), 0.0, "inf - inf");
        let far = score(Metric::Euclidean, &[0.0, 0.0], &big);
        let near = score(Metric::Euclidean, &[0.0, 0.0], &less);
        assert!(near < far && far < f32::MAX, "{near} {far}");
        assert_eq!(score(Metric::Euclidean, &[f32::MAX], &[f32::MIN]), f32::MAX);
        assert_eq!(score(Metric::Manhattan, &[f32::MAX], &[f32::MIN]), f32::MAX);
    }
}
