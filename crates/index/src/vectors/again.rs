//! Vectors that are to be kept otherwise: a graph that is made anew while another one answers searches, and what was
//! given up to save memory.
//!
//! Vectors that are written go into both graphs. The others are asked for, and given as they are stored: what is kept of
//! them here is not them, and may be all that the old form needs and less than the new one does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use half::f16;
use pando_model::{Metric, Quantization, VectorParams};

use super::Vectors;
use crate::graph::Coding;
use crate::packed::Form;
use crate::rows::Rows;

/// Vectors that wait to be indexed, as many as are asked for at most: each takes memory until it is.
const WAITING_MAX: usize = 1 << 12;
/// A graph is good enough when it lacks no more than this share of the vectors: one in so many.
const LACKING_SHARE: usize = 64;

pub(super) struct Again {
    rows: Rows,
}

impl Again {
    pub(super) fn set(&mut self, slot: usize, vector: Option<&[f32]>) {
        match vector {
            Some(vector) => {
                self.rows.put(slot, vector, None);
            }
            None => self.rows.forget(slot),
        }
    }

    fn lacks(&self, slot: usize) -> bool {
        self.rows.row(slot).is_none()
    }

    /// Whether it has this vector for the slot, or will be given it.
    pub(super) fn has(&self, slot: usize, vector: &[f32]) -> bool {
        self.lacks(slot) || self.rows.has(slot, vector)
    }

    pub(super) fn relocate(&mut self, from: usize, to: usize) {
        self.rows.relocate(from, to);
    }

    /// Vectors it does not hold yet, of so many.
    pub(super) fn left(&self, count: usize) -> usize {
        count.saturating_sub(self.rows.len()) + self.rows.graph.backlog()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes()
    }
}

/// Whether so little is missing in a graph over so many vectors that it may be relied on.
fn is_nearly_whole(rows: &Rows, count: usize) -> bool {
    rows.len() == count && rows.graph.backlog() * LACKING_SHARE <= count
}

impl Vectors {
    /// Vectors are to be kept like this from now on.
    pub(crate) fn quantize(&mut self, params: VectorParams) {
        self.params = params;
        let Some(rows) = &self.rows else { return };
        let (form, has) = (rows.form, rows.graph.params().coding);
        let wants = Coding::of(params);
        let goes_on =
            (self.again.as_ref()).is_some_and(|it| it.rows.graph.params().coding == wants);
        if has == wants {
            self.again = None;
        } else if !goes_on {
            let rows = match wants {
                Coding::Half => {
                    let start = self.lengthened(&rows.graph.params().start);
                    Rows::new(self.graph(start, None), form)
                }
                Coding::Signs => self.empty_rows(),
            };
            self.again = Some(Again { rows });
        }
        if self.is_thinned() {
            self.refilling = false;
        } else if self.slab.form() == Some(Form::Nothing) {
            self.slab.pack(self.form(form));
            self.refilling = true;
        }
        *self.given_to.get_mut() = 0;
    }

    /// Whether nothing of a vector is to be kept beside the graph, once that has nearly all.
    fn is_thinned(&self) -> bool {
        self.params.quantization == Quantization::Binary && Coding::of(self.params) == Coding::Signs
    }

    /// A start vector for halves, from one for signs.
    fn lengthened(&self, start: &[f16]) -> Arc<[f16]> {
        let start: Vec<f32> = start.iter().map(|value| value.to_f32()).collect();
        let length = start.iter().map(|value| value * value).sum::<f32>().sqrt();
        let by = match self.params.metric {
            Metric::Cosine if length > f32::EPSILON => length.recip(),
            _ => 1.0,
        };
        start
            .iter()
            .map(|value| f16::from_f32(value * by))
            .collect()
    }

    /// Slots of which nothing is kept, and more is to be.
    pub(super) fn voids(&self) -> impl Iterator<Item = usize> + '_ {
        let from = match self.refilling {
            true => self.given_to.load(Ordering::Relaxed),
            false => usize::MAX,
        };
        (self.slab.slots_from(from)).filter(|slot| self.slab.is_void(*slot))
    }

    /// Whether vectors are not yet kept as they are to be.
    pub(crate) fn is_quantizing(&self) -> bool {
        let is_thick = self.slab.form().is_some_and(|form| form != Form::Nothing);
        let thins = self.is_thinned() && is_thick && self.rows.is_some();
        self.again.is_some() || self.refilling || thins
    }

    /// Slots whose vectors are to be given again, no more than `most`: as many as there is room for.
    pub(crate) fn wanted(&self, most: usize) -> Vec<usize> {
        let again = self.again.as_ref();
        if again.is_none() && !self.refilling {
            return Vec::new();
        }
        let waiting = again.map_or(0, |again| again.rows.graph.backlog());
        let room = WAITING_MAX.saturating_sub(waiting);
        let is_wanted = |slot: &usize| {
            again.is_some_and(|again| again.lacks(*slot))
                || self.refilling && self.slab.is_void(*slot)
        };
        let from = self.given_to.load(Ordering::Relaxed);
        let wanted = self.slab.slots_from(from).filter(is_wanted);
        let wanted: Vec<usize> = wanted.take(most.min(room)).collect();
        if let Some(first) = wanted.first() {
            self.given_to.store(*first, Ordering::Relaxed);
        }
        wanted
    }

    /// A vector as it is stored, of a slot that has it.
    pub(crate) fn give(&mut self, slot: usize, vector: &[f32]) {
        if !self.slab.has(slot) {
            return;
        }
        if self.refilling && self.slab.is_void(slot) {
            self.slab.set(slot, Some(vector));
        }
        if let Some(again) = self.again.as_mut().filter(|again| again.lacks(slot)) {
            again.rows.put(slot, vector, None);
        }
    }

    /// Lets a graph that was made anew take over, if it is ready; returns the one it replaces. What need not be kept
    /// beside a graph goes then.
    pub(crate) fn take_over(&mut self) -> Option<Rows> {
        if self.refilling && self.voids().next().is_none() {
            self.refilling = false;
        }
        let count = self.count;
        let again = (self.again).take_if(|again| is_nearly_whole(&again.rows, count));
        let replaced = again.and_then(|again| self.rows.replace(again.rows));
        let is_whole = (self.rows.as_ref()).is_some_and(|rows| is_nearly_whole(rows, count));
        if self.is_thinned() && self.again.is_none() && is_whole {
            self.slab.pack(Form::Nothing);
        }
        replaced
    }
}
