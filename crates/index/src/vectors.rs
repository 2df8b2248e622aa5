//! The vectors of one name: the rows themselves, and the graph over them where there are enough.
//!
//! With a graph, rows are packed: it takes memory of its own, and makes searches look at few rows. Both stay until there
//! are no vectors: only whoever stores them has them whole, and a graph of packed rows would be a worse one.
//!
//! When vectors are to be quantized otherwise, another graph is made beside the one that answers searches, from what
//! whoever stores them gives again (`again`). It takes the other's place when it has all of them.

mod again;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use half::f16;
use pando_model::{Metric, PointId, VectorParams};

use crate::checkpoint::{Checkpoint, Fingerprint, Saving};
use crate::graph::live::LiveGraph;
use crate::graph::restore::SavedSegments;
use crate::graph::{self, Coding, GraphParams, GraphWork, WhenRestored};
use crate::half_form::HalfForm;
use crate::options::{IndexOptions, SlabForm};
use crate::packed::Form;
use crate::rows::Rows;
use crate::slab::Slab;
use again::Again;

/// Vectors from which scale and start point of a graph are taken.
const SAMPLE_MAX: usize = 1024;

/// Vectors of one name by slot.
pub(crate) struct Vectors {
    params: VectorParams,
    options: Arc<IndexOptions>,
    slab: Slab,
    count: usize,
    rows: Option<Rows>,
    /// What is to take the place of `rows`.
    again: Option<Again>,
    /// Whether vectors that nothing is kept of are to be given again.
    refilling: bool,
    /// Slots before this were given again, or had no vector when they were last looked at.
    given_to: AtomicUsize,
}

impl Vectors {
    pub(crate) fn new(params: VectorParams, options: Arc<IndexOptions>) -> Self {
        Self {
            params,
            options,
            slab: Slab::new(params.dimension as usize),
            count: 0,
            rows: None,
            again: None,
            refilling: false,
            given_to: AtomicUsize::new(0),
        }
    }

    pub(crate) fn slab(&self) -> &Slab {
        &self.slab
    }

    /// How many points have such a vector.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The graph, where there is one.
    pub(crate) fn rows(&self) -> Option<&Rows> {
        self.rows.as_ref()
    }

    /// Sets the vector of a slot, or takes it away. With the fingerprint of its point the vector takes the row that a
    /// checkpoint has for it; says whether there is nothing that the checkpoint does not have.
    pub(crate) fn set(
        &mut self,
        slot: usize,
        vector: Option<&[f32]>,
        fingerprint: Option<Fingerprint>,
    ) -> bool {
        let had = self.slab.has(slot);
        // What the slab keeps alike may be elsewhere in the graph, which tells more apart.
        if !self.slab.set(slot, vector) && self.is_placed(slot, vector) {
            return vector.is_none();
        }
        self.count -= usize::from(had);
        self.count += usize::from(vector.is_some());
        if let Some(again) = &mut self.again {
            again.set(slot, vector);
        }
        let known = match (&mut self.rows, vector) {
            (Some(rows), Some(vector)) => rows.put(slot, vector, fingerprint),
            (Some(rows), None) => {
                rows.forget(slot);
                false
            }
            (None, _) => false,
        };
        self.adapt();
        known
    }

    /// Whether the graph, if there is one, has this vector for the slot.
    fn is_placed(&self, slot: usize, vector: Option<&[f32]>) -> bool {
        let Some(vector) = vector else { return true };
        (self.rows.as_ref()).is_none_or(|rows| rows.has(slot, vector))
            && (self.again.as_ref()).is_none_or(|again| again.has(slot, vector))
    }

    /// Moves the vector of one slot, or its absence, into another.
    pub(crate) fn move_row(&mut self, from: usize, to: usize) {
        self.count -= usize::from(self.slab.has(to));
        self.slab.move_row(from, to);
        if let Some(rows) = &mut self.rows {
            rows.relocate(from, to);
        }
        if let Some(again) = &mut self.again {
            again.relocate(from, to);
        }
        // It may have moved there from where it was still to be given.
        let given_to = self.given_to.get_mut();
        *given_to = to.min(*given_to);
        self.adapt();
    }

    /// Begins a graph when there are many vectors, and gives it up when there are none: from what the slab keeps
    /// beside it, a worse one would come. Few are scanned, graph or not.
    fn adapt(&mut self) {
        let restoring = self.rows.as_ref().is_some_and(Rows::is_restoring);
        if restoring || !graph::knows(self.params.metric) {
            return;
        }
        let least = self.options.graph_rows_min;
        if self.rows.is_none() && self.count >= least {
            let rows = self.begin();
            self.slab.pack(self.form(rows.form));
            self.rows = Some(rows);
        } else if self.rows.is_some() && self.count == 0 {
            self.rows = None;
            self.again = None;
            self.refilling = false;
        }
        if self.rows.is_none() && self.count == 0 {
            self.slab.unpack_empty();
        }
    }

    /// How rows are packed beside a graph of this form, while it lacks many of them at the least.
    fn form(&self, half: HalfForm) -> Form {
        match self.options.slab_form {
            SlabForm::Half => Form::Half(half),
            SlabForm::Int8 => Form::Int8,
        }
    }

    /// A graph over what there is, while that is whole.
    fn begin(&self) -> Rows {
        let mut rows = self.empty_rows();
        let mut scratch = Vec::new();
        for slot in self.slab.slots() {
            if let Some((vector, _)) = self.slab.get(slot, &mut scratch) {
                rows.put(slot, vector, None);
            }
        }
        rows
    }

    /// A graph for vectors like those there are, without any of them yet.
    fn empty_rows(&self) -> Rows {
        let slots: Vec<usize> = self.slab.slots().collect();
        let stride = slots.len().div_ceil(SAMPLE_MAX).max(1);
        let mut scratch = Vec::new();
        let sample: Vec<Vec<f32>> = (slots.iter().step_by(stride))
            .filter_map(|slot| Some(self.slab.get(*slot, &mut scratch)?.0.to_vec()))
            .collect();
        let form = match self.params.metric {
            Metric::Cosine => HalfForm::UNIT,
            Metric::Dot | Metric::Euclidean | Metric::Manhattan | Metric::Poincare => {
                HalfForm::of(sample.iter().map(Vec::as_slice))
            }
        };
        Rows::new(self.graph(self.start(&sample, form), None), form)
    }

    fn graph(&self, start: Arc<[f16]>, saved: Option<SavedSegments>) -> LiveGraph {
        let params = GraphParams {
            dimension: self.slab.dimension(),
            metric: self.params.metric,
            coding: Coding::of(self.params),
            capacity: 0,
            start,
        };
        let options = &self.options;
        let (library, counts) = (Arc::clone(&options.library), Arc::clone(&options.counts));
        LiveGraph::new(library, params, options.sizes(), counts, saved)
    }

    /// Begins with a graph that was saved. There are no vectors yet.
    pub(crate) fn restore(&mut self, checkpoint: Checkpoint, when_restored: WhenRestored) {
        assert_eq!(self.count, 0, "a checkpoint comes before the vectors");
        let (form, start) = (checkpoint.form, Arc::clone(&checkpoint.start));
        let rows_end = checkpoint.rows_end;
        let (saved, known) = checkpoint.into_segments(when_restored);
        let graph = self.graph(start, Some(saved));
        self.slab.pack(self.form(form));
        self.rows = Some(Rows::restored(graph, form, known, rows_end));
    }

    /// All vectors are there that were there when the index was closed.
    pub(crate) fn loaded(&mut self) {
        if let Some(rows) = &mut self.rows {
            rows.forget_checkpoint();
        }
        self.adapt();
        if let Some(rows) = &self.rows {
            rows.graph.release();
        }
    }

    /// What background threads do for the graph, where there is one.
    pub(crate) fn work(&self) -> Option<GraphWork> {
        let rows = self.rows.as_ref()?;
        Some(match rows.graph.work() {
            GraphWork::None if self.again.is_some() || self.refilling => GraphWork::Indexing,
            work => work,
        })
    }

    /// Vectors that no graph holds that should.
    pub(crate) fn backlog(&self) -> usize {
        let backlog = self.rows.as_ref().map_or(0, |rows| rows.graph.backlog());
        let left = (self.again.as_ref()).map_or(0, |again| again.left(self.count));
        backlog + left + self.voids().count()
    }

    /// The graph, to be written down.
    pub(crate) fn saving(&self, ids: &[PointId]) -> Option<Saving> {
        // One that will be replaced is of no use to the next start.
        let rows = (self.rows.as_ref()).filter(|_| self.again.is_none() && !self.refilling)?;
        Some(Saving::new(self.params, rows, ids))
    }

    /// The mean of a sample, where it has a half form.
    fn start(&self, sample: &[Vec<f32>], form: HalfForm) -> Arc<[f16]> {
        let dimension = self.slab.dimension();
        let mut mean = vec![0.0_f32; dimension];
        let share = 1.0 / sample.len().max(1) as f32;
        for vector in sample {
            for (sum, value) in mean.iter_mut().zip(vector) {
                *sum += value * share;
            }
        }
        // Signs are of the way from the mean itself.
        if self.params.metric == Metric::Cosine && Coding::of(self.params) == Coding::Half {
            let length = mean.iter().map(|v| v * v).sum::<f32>().sqrt();
            if length > f32::EPSILON {
                mean.iter_mut().for_each(|value| *value /= length);
            }
        }
        form.convert(&mean)
            .unwrap_or_else(|| vec![f16::ZERO; dimension].into())
    }

    /// Bytes allocated.
    pub(crate) fn memory_bytes(&self) -> usize {
        let again = self.again.as_ref().map_or(0, Again::memory_bytes);
        self.slab.memory_bytes() + self.rows.as_ref().map_or(0, Rows::memory_bytes) + again
    }
}
