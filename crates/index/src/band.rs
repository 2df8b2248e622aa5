//! The best few of many whose scores are not all known: what may belong to them, until the vectors themselves are
//! asked.
//!
//! Points are judged by the worst and the best their scores can be. The `keep` best by their worst scores set a bar, and
//! what cannot reach it at its best is left out: so many points are surely better. What is left is settled with exact
//! scores, the most promising first, until no other can enter. The outcome is that of a [`Top`] given all the exact
//! scores, in whatever order the points came.

use pando_model::{Metric, PointId};
use rayon::prelude::*;

use crate::spread::Spread;
use crate::top::Top;

/// Doubtful points that are kept before those the bar has passed by in the meantime are looked for, at least.
const DOUBTS_MIN: usize = 256;

/// Vectors that are asked for by many threads, not one after the other: each takes some microseconds.
const TOGETHER_MIN: usize = 64;

/// What may be among the `keep` nearest points.
#[derive(Debug)]
pub(crate) struct Band {
    higher_is_nearer: bool,
    keep: usize,
    /// All points by the worst that their scores can be: what cannot get in here at its best is out.
    bar: Top,
    /// Those whose scores are known.
    known: Top,
    doubts: Vec<Doubt>,
    /// How many of these there may be before some are looked for that are out by now.
    doubts_max: usize,
}

/// A point whose score is no better than this.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    best: f32,
    id: PointId,
    slot: usize,
}

impl Band {
    /// An empty one.
    pub(crate) fn new(metric: Metric, keep: usize, threshold: Option<f32>) -> Self {
        Self {
            higher_is_nearer: metric.higher_is_nearer(),
            keep,
            bar: Top::new(metric, keep, threshold),
            known: Top::new(metric, keep, threshold),
            doubts: Vec::new(),
            doubts_max: DOUBTS_MIN,
        }
    }

    /// Whether a further point must be better than one that is here.
    pub(crate) fn is_full(&self) -> bool {
        self.bar.is_full()
    }

    /// Whether a point with this spread might be among the nearest; decides without looking at its id.
    pub(crate) fn may_enter(&self, spread: Spread) -> bool {
        self.bar.may_enter(spread.best)
    }

    /// Whether the point may be among the nearest, as far as that is known.
    pub(crate) fn would_enter(&self, spread: Spread, id: PointId) -> bool {
        self.bar.would_enter(spread.best, id)
    }

    /// Takes the point of a slot if it may be among the nearest.
    pub(crate) fn push(&mut self, spread: Spread, id: PointId, slot: usize) {
        if !self.would_enter(spread, id) {
            return;
        }
        self.bar.push(spread.worst, id);
        if spread.is_exact() {
            self.known.push(spread.best, id);
        } else {
            let best = spread.best;
            self.doubts.push(Doubt { best, id, slot });
            self.prune();
        }
    }

    /// Takes a point whose vector is to be asked, whatever the others are.
    pub(crate) fn push_unscored(&mut self, id: PointId, slot: usize) {
        let best = match self.higher_is_nearer {
            true => f32::INFINITY,
            false => f32::NEG_INFINITY,
        };
        self.doubts.push(Doubt { best, id, slot });
    }

    /// Takes over what another band of the same query holds.
    pub(crate) fn merge(&mut self, other: Self) {
        self.bar.merge(other.bar);
        self.known.merge(other.known);
        self.doubts.extend(other.doubts);
        self.prune();
    }

    fn prune(&mut self) {
        if self.doubts.len() < self.doubts_max {
            return;
        }
        // Those that set the bar stay, too: at its best none is worse than at its worst.
        let bar = &self.bar;
        self.doubts.retain(|doubt| bar.may_enter(doubt.best));
        self.doubts_max = (self.doubts.len() * 2).max(DOUBTS_MIN);
    }

    /// The nearest points. `score` gives the exact scores of the slots that are asked for, by many threads if these are
    /// many.
    pub(crate) fn settle<E: Send>(
        mut self,
        score: impl Fn(usize) -> Result<f32, E> + Sync,
    ) -> Result<Top, E> {
        let mut top = self.known;
        let higher_is_nearer = self.higher_is_nearer;
        self.doubts.sort_unstable_by(|a, b| {
            let by_best = match higher_is_nearer {
                true => b.best.total_cmp(&a.best),
                false => a.best.total_cmp(&b.best),
            };
            by_best.then_with(|| a.id.cmp(&b.id))
        });
        // Until there are as many as are wanted, every one is.
        let wanted = self.keep.saturating_sub(top.len());
        let (wanted, perhaps) = self.doubts.split_at(wanted.min(self.doubts.len()));
        if wanted.len() < TOGETHER_MIN {
            for Doubt { id, slot, .. } in wanted {
                top.push(score(*slot)?, *id);
            }
        } else {
            let scores = wanted.par_iter().map(|doubt| score(doubt.slot));
            let scores: Vec<f32> = scores.collect::<Result<_, E>>()?;
            for (score, Doubt { id, .. }) in scores.into_iter().zip(wanted) {
                top.push(score, *id);
            }
        }
        let (few, many) = perhaps.split_at(TOGETHER_MIN.min(perhaps.len()));
        for Doubt { best, id, slot } in few.iter().copied() {
            if !top.may_enter(best) {
                // Nor may any that comes after it.
                return Ok(top);
            }
            if top.would_enter(best, id) {
                top.push(score(slot)?, id);
            }
        }
        // So little is known of their scores that there will be many more.
        let mut rest = many;
        let mut together = TOGETHER_MIN;
        while rest.first().is_some_and(|next| top.may_enter(next.best)) {
            let (asked, others) = rest.split_at(together.min(rest.len()));
            let scores = asked.par_iter().map(|doubt| score(doubt.slot));
            let scores: Vec<f32> = scores.collect::<Result<_, E>>()?;
            for (score, Doubt { id, .. }) in scores.into_iter().zip(asked) {
                top.push(score, *id);
            }
            (rest, together) = (others, together * 2);
        }
        Ok(top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn asked(band: Band, exact: &[f32]) -> (Vec<(PointId, f32)>, usize) {
        let asked = AtomicUsize::new(0);
        let top = band.settle(|slot| {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(exact[slot])
        });
        let hits = top.expect("it cannot fail").into_hits(0);
        let hits = hits.iter().map(|hit| (hit.id, hit.score)).collect();
        (hits, asked.into_inner())
    }

    fn spread(metric: Metric, score: f32, (below, above): (f32, f32)) -> Spread {
        let (low, high) = (score - below, score + above);
        let (worst, best) = match metric.higher_is_nearer() {
            true => (low, high),
            false => (high, low),
        };
        Spread { worst, best }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn a_band_is_a_top_of_the_exact_scores(
            // Few different scores and widths, so that all kinds of ties come up.
            points in prop::collection::vec((0..40_u8, 0..4_u8, 0..4_u8), 0..900),
            keep in prop_oneof![0..3_usize, 0..50_usize, 50..200_usize],
            threshold in prop::option::of(0..40_u8),
            metric in prop::sample::select(&[Metric::Dot, Metric::Euclidean][..]),
            cut in 0..900_usize,
        ) {
            let threshold = threshold.map(f32::from);
            let exact: Vec<f32> = points.iter().map(|(score, ..)| f32::from(*score)).collect();
            let mut top = Top::new(metric, keep, threshold);
            let mut bands = [(); 2].map(|()| Band::new(metric, keep, threshold));
            for (n, (score, below, above)) in points.iter().enumerate() {
                let id = PointId::Num(n as u64);
                top.push(f32::from(*score), id);
                let width = (f32::from(*below), f32::from(*above));
                let spread = spread(metric, f32::from(*score), width);
                bands[usize::from(n < cut)].push(spread, id, n);
            }
            let [mut band, other] = bands;
            band.merge(other);
            let expected: Vec<_> =
                top.into_hits(0).iter().map(|hit| (hit.id, hit.score)).collect();
            prop_assert_eq!(asked(band, &exact).0, expected);
        }
    }

    #[test]
    fn little_is_asked_for_and_little_is_kept() {
        let exact: Vec<f32> = (0..10_000_u16).map(|n| f32::from(n % 9973)).collect();
        let mut band = Band::new(Metric::Dot, 10, None);
        for (n, score) in exact.iter().enumerate() {
            let id = PointId::Num(n as u64);
            band.push(spread(Metric::Dot, *score, (1.5, 1.5)), id, n);
            assert!(band.doubts.len() <= DOUBTS_MIN);
        }
        let (hits, asked) = asked(band, &exact);
        assert_eq!(hits.len(), 10);
        assert!((10..=14).contains(&asked), "{asked}");
    }
}
