//! Which of a graph's candidates are looked at.
//!
//! A graph tells how far half forms are from each other, and scores lie within a bound of that. So a candidate that is
//! farther than the last of those that make a full answer, by more than the bound, cannot be among them, and its vector
//! is not fetched: of a long list those are most, and each would be a cache miss.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use half::f16;
use pando_model::Metric;

use crate::graph::{Coding, Found};
use crate::rows::RowHasher;

/// Rounding to half precision changes a value by at most this share of it.
const HALF: f32 = 1.0 / 2048.0;
/// Of values too small for that share, at most this is lost.
const SMALLEST: f32 = 1.0 / 33_554_432.0;
/// Room for what sums of `f32` lose.
const ROOM: f32 = 1.25;

/// How far a query's distances may be off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    metric: Metric,
    coding: Coding,
    /// The length of the query's half form, under euclidean.
    length: f32,
    /// The root of its dimension.
    width: f32,
}

impl Reach {
    pub(crate) fn new(metric: Metric, coding: Coding, query: &[f16]) -> Self {
        // Asked for only where vectors are not all of length 1.
        let length = match metric {
            Metric::Euclidean => query.iter().map(|value| value.to_f32().powi(2)).sum(),
            Metric::Cosine | Metric::Dot | Metric::Manhattan | Metric::Poincare => 1.0_f32,
        };
        Self {
            metric,
            coding,
            length: length.sqrt(),
            width: (query.len() as f32).sqrt(),
        }
    }

    /// The largest distance that a candidate may show which is nearer, in truth, than one at `distance`. `None`: it
    /// cannot be told.
    fn end(self, distance: f32) -> Option<f32> {
        // What signs tell may be off by more than neighbours are apart.
        if self.coding == Coding::Signs {
            return None;
        }
        match self.metric {
            // Both vectors of a product are of length 1, and both were rounded; so were the other candidate's.
            Metric::Cosine => Some(distance + 4.0 * HALF * ROOM),
            Metric::Euclidean => {
                // A vector is no longer than the query and the way to it.
                let way = distance.max(0.0).sqrt();
                let lost = HALF * (2.0 * self.length + way) + 2.0 * SMALLEST * self.width;
                Some((way + 2.0 * ROOM * lost).powi(2))
            }
            // How long the vectors are is not known.
            Metric::Dot | Metric::Manhattan | Metric::Poincare => None,
        }
    }

    /// The slots of the candidates that may be among the `keep` nearest, nearest first and each once: at least `enough`,
    /// if there are as many. Those in `known`, which is in order, are left out.
    pub(crate) fn slots(
        self,
        found: &[Found],
        slot_of: impl Fn(u64) -> Option<usize>,
        known: &[usize],
        (keep, enough): (usize, usize),
    ) -> Vec<usize> {
        let mut slots = Vec::new();
        // A row that moves is in two segments.
        let mut taken: HashSet<u64, BuildHasherDefault<RowHasher>> = HashSet::default();
        let mut end = None;
        for Found { row, distance } in found.iter().copied() {
            if slots.len() >= enough && end.is_some_and(|end| distance > end) {
                break;
            }
            let Some(slot) = slot_of(row) else {
                continue;
            };
            if known.binary_search(&slot).is_ok() || !taken.insert(slot as u64) {
                continue;
            }
            slots.push(slot);
            if slots.len() == keep {
                end = self.end(distance);
            }
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(distances: &[(u64, f32)]) -> Vec<Found> {
        let found = |(row, distance): &(u64, f32)| Found {
            row: *row,
            distance: *distance,
        };
        distances.iter().map(found).collect()
    }

    fn reach(metric: Metric) -> Reach {
        Reach::new(metric, Coding::Half, &[f16::ONE, f16::ZERO])
    }

    fn slots(metric: Metric, keep: usize, enough: usize) -> Vec<usize> {
        // Row 5 is gone, row 3 is there twice, and slot 40 is known.
        let found = found(&[
            (5, 0.1),
            (1, 0.1),
            (3, 0.2),
            (3, 0.2),
            (4, 0.2),
            (6, 0.2005),
            (7, 0.5),
            (8, 0.6),
        ]);
        let slot_of = |row: u64| (row != 5).then_some(usize::try_from(row).expect("small") * 10);
        reach(metric).slots(&found, slot_of, &[40], (keep, enough))
    }

    #[test]
    fn what_cannot_be_a_hit_is_not_looked_at() {
        assert_eq!(slots(Metric::Cosine, 2, 2), [10, 30, 60]);
        assert_eq!(slots(Metric::Euclidean, 1, 1), [10]);
        assert_eq!(slots(Metric::Cosine, 2, 4), [10, 30, 60, 70]);
        assert_eq!(slots(Metric::Dot, 2, 2), [10, 30, 60, 70, 80]);
        assert_eq!(slots(Metric::Cosine, 9, 9), [10, 30, 60, 70, 80]);
    }

    #[test]
    fn whatever_rounds_nearer_is_within_reach() {
        // Two candidates at all but one distance: the half forms of either may be off in either direction.
        let query = [0.6_f32, 0.8];
        let half = |v: &[f32]| v.iter().map(|v| f16::from_f32(*v)).collect::<Vec<_>>();
        let product = |a: &[f32], b: &[f32]| a[0] * b[0] + a[1] * b[1];
        let wide = |v: &[f16]| v.iter().map(|v| v.to_f32()).collect::<Vec<_>>();
        let reach = Reach::new(Metric::Cosine, Coding::Half, &half(&query));
        let unit = |turn: f32| [turn.cos(), turn.sin()];
        let told = |v: &[f32]| 1.0 - product(&wide(&half(&query)), &wide(&half(v)));
        for step in 0..20_000_u16 {
            let near = unit(f32::from(step) / 5000.0);
            let far = unit(f32::from(step) / 5000.0 + 0.0001);
            let (first, second) = match product(&query, &near) >= product(&query, &far) {
                true => (near, far),
                false => (far, near),
            };
            let end = reach.end(told(&second)).expect("under cosine");
            assert!(told(&first) <= end, "step {step}");
        }
    }
}
