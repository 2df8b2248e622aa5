//! How far a score can be from the one of the vector itself, where a packed row was scored in its place.
//!
//! Three things come together: what the row has lost, what the kernel rounds for the packed row, and what it would
//! round for the vector itself, whose score is the one that counts. All are bounded from above; a spread that is too
//! wide costs a look at the vector, one that is too narrow would cost a hit.

use pando_model::Metric;

use crate::packed::{round_up, rounding};

/// A score, and what is known of the one that counts: it is no worse and no better than these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The worst it can be.
    pub(crate) worst: f32,
    /// The best it can be.
    pub(crate) best: f32,
}

impl Spread {
    /// Of a score that is known.
    pub(crate) fn exact(score: f32) -> Self {
        Self {
            worst: score,
            best: score,
        }
    }

    pub(crate) fn is_exact(self) -> bool {
        self.worst.total_cmp(&self.best).is_eq()
    }
}

/// What turns scores by one query into spreads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spreader {
    metric: Metric,
    /// What a row's bound is multiplied by: no less than the length of the query for products, 1 for distances.
    by_bound: f32,
    /// What the size of a score adds, relative to it.
    by_score: f32,
    /// What products and squares lose that are too small for an f32.
    always: f32,
}

impl Spreader {
    /// For scores by this query.
    pub(crate) fn new(metric: Metric, query: &[f32]) -> Self {
        let squares = query.iter().map(|value| f64::from(*value).powi(2));
        let length = squares.sum::<f64>().sqrt();
        let terms = query.len() as f64;
        let up = |value: f64| round_up(value).unwrap_or(f32::INFINITY);
        let (by_bound, by_score, always) = match metric {
            // |q * v - q * k| <= |q| |v - k|, and the sums are off by a share of |q| |v|, which is in the bound. A
            // product loses at most half of the smallest f32, once for each of the two scores.
            Metric::Cosine | Metric::Dot => (length * (1.0 + 1e-6), 0.0, terms * SMALLEST),
            // ||q - v| - |q - k|| <= |v - k|. Squares add up to no less than each, so that the root of their sum is off
            // by a share of itself; and the root of what they lose is what it loses at most.
            Metric::Euclidean | Metric::Manhattan | Metric::Poincare => {
                let share = 4.0 * rounding(query.len());
                (1.0 + 1e-6, share, 2.0 * (terms * SMALLEST).sqrt())
            }
        };
        Self {
            metric,
            by_bound: up(by_bound),
            by_score: up(by_score),
            always: up(always),
        }
    }

    /// What is known of the score that counts, if a row of this bound has this one.
    pub(crate) fn spread(self, score: f32, bound: f32) -> Spread {
        if bound == 0.0 {
            return Spread::exact(score);
        }
        let off = self.by_bound * bound + self.by_score * score.abs() + self.always;
        // Sums of f32 are rounded to the nearest: a few steps further is surely beyond. Scores are finite, whatever the
        // bounds of them are.
        let off = (off * (1.0 + 4.0 * f32::EPSILON)).next_up();
        let (low, high) = ((score - off).next_down(), (score + off).next_up());
        let (low, high) = (low.max(f32::MIN), high.min(f32::MAX));
        match self.metric.higher_is_nearer() {
            true => Spread {
                worst: low,
                best: high,
            },
            false => Spread {
                worst: high,
                best: low,
            },
        }
    }
}

/// The smallest f32 above zero.
const SMALLEST: f64 = 1.401_298_464_324_817e-45;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::score_rows;
    use crate::half_form::HalfForm;
    use crate::packed::Form;
    use proptest::prelude::*;

    fn score(metric: Metric, query: &[f32], row: &[f32]) -> f32 {
        let mut scores = [f32::NAN];
        score_rows(metric, query, row, &mut scores);
        scores[0]
    }

    /// Times a power of two.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding is what is wanted"
    )]
    fn scaled(values: &[f32], by: i32) -> Vec<f32> {
        let by = f64::from(by).exp2();
        let scaled = values.iter().map(|value| (f64::from(*value) * by) as f32);
        scaled.collect()
    }

    fn values() -> impl Strategy<Value = Vec<f32>> {
        let value = prop_oneof![8 => -1.0_f32..1.0, 1 => -1e-4_f32..1e-4, 1 => Just(0.0)];
        prop::collection::vec(value, 1..300)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_score_of_the_vector_is_within_the_spread(
            query in values(),
            vector in values(),
            metric in prop::sample::select(&[Metric::Cosine, Metric::Dot, Metric::Euclidean][..]),
            (scale, other) in (-140_i32..120, -20_i32..20),
            near in any::<bool>(),
        ) {
            let len = query.len().min(vector.len());
            let vector = scaled(&vector[..len], scale);
            // A query right beside the vector has the smallest distances, and the largest share of rounding.
            let query = match near {
                true => vector.iter().map(|v| v * 1.0001).collect(),
                false => scaled(&query[..len], (scale + other).min(126)),
            };
            for form in [Form::Half(HalfForm::of(std::iter::once(&vector[..]))), Form::Int8] {
                let Some(packed) = form.pack(&vector, 0.0) else { continue };
                let mut rows = crate::packed::PackedRows::zeros(form, len, 1);
                rows.put(0, &packed);
                let mut kept = vec![0.0; len];
                rows.unpack(0, &mut kept);
                let spreader = Spreader::new(metric, &query);
                let spread = spreader.spread(score(metric, &query, &kept), packed.bound);
                let exact = score(metric, &query, &vector);
                let (low, high) = (spread.worst.min(spread.best), spread.worst.max(spread.best));
                prop_assert!(low <= exact && exact <= high, "{} <= {} <= {}", low, exact, high);
            }
        }
    }
}
