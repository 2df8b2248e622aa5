//! Searching the inverted index: every point that shares an index with the query is scored, and no other.
//!
//! Products are added up in `f64` in the order of the indices, list after list, which is what
//! [`SparseVector::dot`] does: a score has the same bits however the points lie and whoever computes it.

use std::collections::BTreeSet;

use pando_model::{Metric, PointId, SearchQuery, SparseVector};
use rayon::prelude::*;

use super::SparseIndex;
use super::postings::{BLOCK_SLOTS, Postings};
use crate::exact;
use crate::matching::Matching;
use crate::plan::Plan;
use crate::top::{Scored, Top};

/// Below this many postings, waking other threads costs more than it saves.
const PARALLEL_MIN: usize = 1 << 16;

const BITS: usize = u64::BITS as usize;

/// A search, made ready.
struct Search<'a> {
    ids: &'a [PointId],
    query: &'a SearchQuery,
    matching: Option<&'a Matching<'a>>,
    /// The lists of the query's indices, in their order, and the weight that it gives each.
    lists: Vec<(&'a Postings, f64)>,
}

/// Sums of the slots of one block.
struct Sums {
    sums: Box<[f64]>,
    /// Which slots share an index with the query: the sum may be zero all the same.
    touched: Box<[u64]>,
}

impl SparseIndex {
    /// The points with the highest dot product with a vector, among those that share an index with it.
    pub(crate) fn search(
        &self,
        ids: &[PointId],
        query: &SearchQuery,
        vector: &SparseVector,
        matching: Option<&Matching<'_>>,
    ) -> (Vec<Scored>, Plan) {
        let lists: Vec<_> = (vector.pairs())
            .filter_map(|(index, weight)| Some((self.lists.get(&index)?, f64::from(weight))))
            .collect();
        let postings = lists.iter().map(|(list, _)| list.len()).sum();
        let search = Search {
            ids,
            query,
            matching,
            lists,
        };
        let plan = Plan::Inverted {
            postings,
            filtered: matching.is_some(),
            matching: matching.and_then(Matching::exact_len),
        };
        (search.top(postings).into_hits(query.offset), plan)
    }
}

impl Search<'_> {
    fn empty(&self) -> Top {
        let keep = exact::keep(self.query);
        Top::new(Metric::Dot, keep, self.query.score_threshold)
    }

    fn top(&self, postings: usize) -> Top {
        let lists = self.lists.iter();
        let blocks: BTreeSet<u32> = lists.flat_map(|(list, _)| list.numbers()).collect();
        let begin = || (Sums::new(self.ids.len()), self.empty());
        let scan = |(mut sums, mut top): (Sums, Top), number: u32| {
            self.block(number, &mut sums, &mut top);
            (sums, top)
        };
        if blocks.len() < 2 || postings < PARALLEL_MIN {
            return blocks.into_iter().fold(begin(), scan).1;
        }
        (blocks.into_par_iter())
            .fold(begin, scan)
            .map(|(_, top)| top)
            .reduce(
                || self.empty(),
                |mut top, other| {
                    top.merge(other);
                    top
                },
            )
    }

    fn block(&self, number: u32, sums: &mut Sums, top: &mut Top) {
        for (list, of_query) in &self.lists {
            for (slot, weight) in list.block(number).into_iter().flat_map(|b| b.entries()) {
                sums.add(slot, of_query * f64::from(weight));
            }
        }
        let first = number as usize * BLOCK_SLOTS;
        sums.drain(|within, sum| {
            let (slot, score) = (first + within, SparseVector::score_of(sum));
            let id = self.ids[slot];
            // A filter may cost more than a score: it is asked only about points that would enter the top.
            if top.would_enter(score, id)
                && (self.matching).is_none_or(|matching| matching.passes(slot))
            {
                top.push(score, id);
            }
        });
    }
}

impl Sums {
    /// For any block of so many points.
    fn new(points: usize) -> Self {
        let slots = points.min(BLOCK_SLOTS);
        Self {
            sums: vec![0.0; slots].into(),
            touched: vec![0; slots.div_ceil(BITS)].into(),
        }
    }

    fn add(&mut self, slot: usize, product: f64) {
        self.sums[slot] += product;
        self.touched[slot / BITS] |= 1 << (slot % BITS);
    }

    /// Tells every sum and forgets it.
    fn drain(&mut self, mut tell: impl FnMut(usize, f64)) {
        for (i, word) in self.touched.iter_mut().enumerate() {
            let mut left = std::mem::take(word);
            while left != 0 {
                let slot = i * BITS + left.trailing_zeros() as usize;
                left &= left - 1;
                tell(slot, std::mem::take(&mut self.sums[slot]));
            }
        }
    }
}
