//! The best few of many: a bounded heap whose outcome does not depend on the order of arrival.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use pando_model::{Metric, PointId};

/// One hit of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The point.
    pub id: PointId,
    /// Similarity (cosine, dot) or distance (the others); always finite.
    pub score: f32,
}

/// A score turned so that higher is nearer whatever the metric. Never NaN.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    rank: f32,
    id: PointId,
}

impl Ord for Candidate {
    /// The worse one is the greater: the heap's top is the one to give up next.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .rank
            .total_cmp(&self.rank)
            .then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// The `keep` nearest points seen so far, none beyond the score threshold; equal scores go by id.
///
/// What is kept is decided by (score, id) alone, so tops of parts merge into the same top in any order.
#[derive(Debug)]
pub(crate) struct Top {
    higher_is_nearer: bool,
    keep: usize,
    /// No rank below this can enter.
    bar: f32,
    heap: BinaryHeap<Candidate>,
}

impl Top {
    /// An empty top.
    pub(crate) fn new(metric: Metric, keep: usize, threshold: Option<f32>) -> Self {
        let higher_is_nearer = metric.higher_is_nearer();
        let mut top = Self {
            higher_is_nearer,
            keep,
            bar: f32::NEG_INFINITY,
            heap: BinaryHeap::new(),
        };
        if let Some(score) = threshold {
            top.bar = top.rank(score);
        }
        top
    }

    fn rank(&self, score: f32) -> f32 {
        if self.higher_is_nearer { score } else { -score }
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether a further point must push another one out.
    pub(crate) fn is_full(&self) -> bool {
        self.heap.len() >= self.keep
    }

    /// Whether a point of this score might enter; decides without looking at its id.
    pub(crate) fn may_enter(&self, score: f32) -> bool {
        self.rank(score) >= self.bar
    }

    /// Whether the point would enter.
    pub(crate) fn would_enter(&self, score: f32, id: PointId) -> bool {
        let rank = self.rank(score);
        if !self.is_full() {
            return rank >= self.bar;
        }
        // Nothing enters a top that keeps nothing.
        (self.heap.peek()).is_some_and(|worst| Candidate { rank, id } < *worst)
    }

    /// Takes the point if it would enter.
    pub(crate) fn push(&mut self, score: f32, id: PointId) {
        if !self.would_enter(score, id) {
            return;
        }
        if self.is_full() {
            self.heap.pop();
        }
        let rank = self.rank(score);
        self.heap.push(Candidate { rank, id });
        if self.is_full()
            && let Some(worst) = self.heap.peek()
        {
            self.bar = worst.rank;
        }
    }

    /// Takes over what another top of the same query kept.
    pub(crate) fn merge(&mut self, other: Self) {
        for candidate in other.heap {
            let score = self.rank(candidate.rank);
            self.push(score, candidate.id);
        }
    }

    /// What was kept, nearest first, without the first `offset`.
    pub(crate) fn into_hits(self, offset: usize) -> Vec<Scored> {
        let higher_is_nearer = self.higher_is_nearer;
        self.heap
            .into_sorted_vec()
            .into_iter()
            .skip(offset)
            .map(|Candidate { rank, id }| Scored {
                id,
                score: if higher_is_nearer { rank } else { -rank },
            })
            .collect()
    }
}
