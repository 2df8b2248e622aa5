//! The points that pass a filter: what the payload indexes know of them, and the payloads for the rest.

use pando_model::{EncodedPayload, Filter, PointId};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use crate::payload::Known;

/// Points of whose payloads the share is estimated that passes, where indexes do not tell.
const SAMPLE: u64 = 1024;
/// Points in doubt that are asked at once, so that no search has to ask them again.
const DOUBTS_SETTLED: u64 = 1024;
/// Where at most one point in so many may pass, these are looked at and nothing else.
const NARROW: usize = 2;
/// Points asked by one job.
const SLOTS_PER_JOB: usize = 2048;

/// The ids and payloads of points, by slot.
#[derive(Clone, Copy)]
pub(crate) struct Payloads<'a> {
    pub(crate) ids: &'a [PointId],
    pub(crate) payloads: &'a [EncodedPayload],
}

impl Payloads<'_> {
    fn pass(self, filter: &Filter, slot: usize) -> bool {
        filter.matches(self.ids[slot], &self.payloads[slot])
    }
}

/// The points that pass a filter.
pub(crate) struct Matching<'a> {
    filter: &'a Filter,
    points: Payloads<'a>,
    known: Known,
}

/// How many points pass a filter, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Passing {
    /// Which share of all points does; an estimate if some are in doubt.
    pub(crate) share: f64,
    /// How many may: a scan has to look at so many.
    pub(crate) candidates: usize,
    /// How many of these the indexes do not know.
    pub(crate) doubts: usize,
}

fn number(count: u64) -> usize {
    usize::try_from(count).expect("no more than there are points")
}

impl<'a> Matching<'a> {
    pub(crate) fn new(filter: &'a Filter, points: Payloads<'a>, known: Known) -> Self {
        let mut matching = Self {
            filter,
            points,
            known,
        };
        // Where most points are in doubt, a scan asks only those that are near.
        let doubts = matching.known.doubt.len();
        if doubts <= DOUBTS_SETTLED && doubts * 4 <= points.ids.len() as u64 {
            matching.settle();
        }
        matching
    }

    fn settle(&mut self) {
        let doubts = std::mem::take(&mut self.known.doubt);
        let (filter, points) = (self.filter, self.points);
        let settled = doubts
            .into_iter()
            .filter(|slot| points.pass(filter, *slot as usize));
        self.known.sure.extend(settled);
    }

    /// Whether a point passes.
    pub(crate) fn passes(&self, slot: usize) -> bool {
        let number = u32::try_from(slot).expect("a collection has fewer points than a u32 counts");
        self.known.sure.contains(number)
            || (self.known.doubt.contains(number) && self.points.pass(self.filter, slot))
    }

    /// The slots of all that may pass, in order.
    pub(crate) fn candidates(&self) -> Vec<usize> {
        let slots = |slots: &RoaringBitmap| slots.iter().map(|slot| slot as usize).collect();
        match self.known.is_exact() {
            true => slots(&self.known.sure),
            false => slots(&self.known.candidates()),
        }
    }

    /// How many pass, estimated from a sample where the indexes do not tell; `None` if none is known to.
    pub(crate) fn passing(&self) -> Option<Passing> {
        let (sure, doubts) = (self.known.sure.len(), self.known.doubt.len());
        let count = sure as f64 + self.share_of_doubts() * doubts as f64;
        (count > 0.0).then(|| Passing {
            share: count / self.points.ids.len() as f64,
            candidates: number(sure + doubts),
            doubts: number(doubts),
        })
    }

    /// How many may pass.
    pub(crate) fn candidates_len(&self) -> usize {
        number(self.known.sure.len() + self.known.doubt.len())
    }

    /// Whether looking at what may pass is clearly less work than looking at everything, in order and for all queries
    /// together.
    pub(crate) fn is_narrow(&self) -> bool {
        self.candidates_len() <= self.points.ids.len() / NARROW
    }

    /// How many pass, if that is known.
    pub(crate) fn exact_len(&self) -> Option<usize> {
        self.known.is_exact().then(|| number(self.known.sure.len()))
    }

    /// How many of these the indexes do not know.
    pub(crate) fn doubts(&self) -> usize {
        number(self.known.doubt.len())
    }

    fn share_of_doubts(&self) -> f64 {
        let doubts = self.known.doubt.len();
        let sample = doubts.min(SAMPLE);
        if sample == 0 {
            return 0.0;
        }
        let everything = doubts == self.points.ids.len() as u64;
        // Spread by multiplication: steps of equal length would see only every n-th of what is written in a pattern.
        let passes = |i: &u64| {
            let spread = u128::from(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * u128::from(doubts);
            let nth = u32::try_from(spread >> 64).expect("below the number of points");
            let slot = if everything {
                Some(nth)
            } else {
                self.known.doubt.select(nth)
            };
            slot.is_some_and(|slot| self.points.pass(self.filter, slot as usize))
        };
        (0..sample).filter(passes).count() as f64 / sample as f64
    }

    /// How many pass.
    pub(crate) fn count(&self) -> u64 {
        self.known.sure.len() + self.settled().len() as u64
    }

    /// All slots that pass, in no order.
    pub(crate) fn slots(&self) -> Vec<usize> {
        let mut slots: Vec<_> = self.known.sure.iter().map(|slot| slot as usize).collect();
        slots.extend(self.settled());
        slots
    }

    /// Those in doubt that pass.
    fn settled(&self) -> Vec<usize> {
        let doubts: Vec<_> = self.known.doubt.iter().map(|slot| slot as usize).collect();
        let passes = |slot: &usize| self.points.pass(self.filter, *slot);
        match doubts.len() <= SLOTS_PER_JOB {
            true => doubts.into_iter().filter(passes).collect(),
            false => doubts
                .into_par_iter()
                .with_min_len(SLOTS_PER_JOB)
                .filter(passes)
                .collect(),
        }
    }
}
