//! Distances in the Poincare ball, the unit ball as a model of hyperbolic space:
//! arcosh(1 + 2 |x - y|^2 / ((1 - |x|^2) (1 - |y|^2))).
//!
//! Near the boundary, where hierarchies keep their leaves, 1 - |x|^2 is a small difference of large numbers: in `f32` it
//! would be mostly rounding error, so norms are summed in `f64`.

const LANES: usize = 8;

/// Makes distances of squared euclidean ones; the vectors are within the unit ball.
pub(super) fn distances(query: &[f32], rows: &[f32], squared: &mut [f32]) {
    let query_room = room(query);
    for (row, score) in rows.chunks_exact(query.len()).zip(squared) {
        let excess = 2.0 * f64::from(*score) / (query_room * room(row));
        // arcosh(1 + t), without losing a small t beside the 1.
        let distance = (excess + (excess * (excess + 2.0)).sqrt()).ln_1p();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding to f32 is the point"
        )]
        let rounded = distance as f32;
        *score = rounded;
    }
}

/// 1 - |x|^2, never zero: summing in another order may round the squared norm of a vector within the ball to 1.
fn room(vector: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (body, tail) = vector.as_chunks::<LANES>();
    for values in body {
        for i in 0..LANES {
            lanes[i] += f64::from(values[i]) * f64::from(values[i]);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(tail) {
        *lane += f64::from(*value) * f64::from(*value);
    }
    (1.0 - lanes.iter().sum::<f64>()).max(f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(x: &[f32], y: &[f32]) -> f64 {
        let squared: f32 = x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum();
        let mut scores = [squared];
        distances(x, y, &mut scores);
        f64::from(scores[0])
    }

    fn textbook(x: &[f32], y: &[f32]) -> f64 {
        let norm = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let gap = x
            .iter()
            .zip(y)
            .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2));
        (1.0 + 2.0 * gap.sum::<f64>() / ((1.0 - norm(x)) * (1.0 - norm(y)))).acosh()
    }

    #[test]
    fn distances_are_those_of_the_textbook_up_to_the_boundary() {
        for length in 1..40_usize {
            // From the middle to a millionth from the boundary.
            for radius in [0.0, 0.1, 0.9, 0.999, 0.999_999] {
                let share = radius / (length as f32).sqrt();
                let far = vec![share; length];
                let near: Vec<f32> = (0..length)
                    .map(|i| if i % 2 == 0 { 0.3 * share } else { -share })
                    .collect();
                for (x, y) in [(&far, &near), (&near, &far), (&far, &vec![0.0; length])] {
                    let (found, expected) = (distance(x, y), textbook(x, y));
                    assert!(
                        (found - expected).abs() <= 1e-6 * (1.0 + expected),
                        "{length} {radius}: {found} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn neighbours_are_told_apart() {
        let x = [0.5_f32, 0.5];
        assert_eq!(distance(&x, &x), 0.0);
        let close = [0.5_f32, 0.500_000_1];
        let expected = 2.0 * f64::from(close[1] - 0.5) / 0.5;
        assert!((distance(&x, &close) / expected - 1.0).abs() < 1e-5);
        let edge = [1.0 - f32::EPSILON, 0.0];
        assert!(distance(&edge, &[-edge[0], 0.0]).is_finite());
    }
}
