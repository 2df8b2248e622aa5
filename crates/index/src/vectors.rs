//! The vectors of one name: the rows themselves, and the graph over them where there are enough.

use std::sync::Arc;

use half::f16;
use pando_model::{Metric, VectorParams};

use crate::graph::GraphParams;
use crate::graph::live::LiveGraph;
use crate::half_form::HalfForm;
use crate::options::IndexOptions;
use crate::rows::Rows;
use crate::slab::Slab;

/// Vectors from which scale and start point of a graph are taken.
const SAMPLE_MAX: usize = 1024;

/// Vectors of one name by slot.
pub(crate) struct Vectors {
    params: VectorParams,
    options: Arc<IndexOptions>,
    slab: Slab,
    count: usize,
    rows: Option<Rows>,
}

impl Vectors {
    pub(crate) fn new(params: VectorParams, options: Arc<IndexOptions>) -> Self {
        Self {
            params,
            options,
            slab: Slab::new(params.dimension as usize),
            count: 0,
            rows: None,
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

    /// Sets the vector of a slot, or takes it away.
    pub(crate) fn set(&mut self, slot: usize, vector: Option<&[f32]>) {
        let old = self.slab.get(slot);
        if old == vector {
            return;
        }
        self.count -= usize::from(old.is_some());
        self.count += usize::from(vector.is_some());
        self.slab.set(slot, vector);
        if let Some(rows) = &mut self.rows {
            match vector {
                Some(vector) => rows.put(slot, vector),
                None => rows.forget(slot),
            }
        }
        self.adapt();
    }

    /// Moves the vector of one slot, or its absence, into another.
    pub(crate) fn move_row(&mut self, from: usize, to: usize) {
        self.count -= usize::from(self.slab.get(to).is_some());
        self.slab.move_row(from, to);
        if let Some(rows) = &mut self.rows {
            rows.relocate(from, to);
        }
        self.adapt();
    }

    /// Begins a graph when there are many vectors, and gives it up when there are few.
    fn adapt(&mut self) {
        let least = self.options.graph_rows_min;
        if self.rows.is_none() && self.count >= least {
            self.rows = Some(self.begin());
        } else if self.rows.is_some() && self.count < least / 2 {
            self.rows = None;
        }
    }

    fn begin(&self) -> Rows {
        let slots: Vec<usize> = self.slab.slots().collect();
        let stride = slots.len().div_ceil(SAMPLE_MAX).max(1);
        let sample: Vec<&[f32]> = (slots.iter().step_by(stride))
            .filter_map(|slot| self.slab.get(*slot))
            .collect();
        let form = match self.params.metric {
            Metric::Cosine => HalfForm::UNIT,
            Metric::Dot | Metric::Euclidean => HalfForm::of(sample.iter().copied()),
        };
        let params = GraphParams {
            dimension: self.slab.dimension(),
            metric: self.params.metric,
            capacity: 0,
            start: self.start(&sample, form),
        };
        let library = Arc::clone(&self.options.library);
        let graph = LiveGraph::new(library, params, self.options.sizes());
        let mut rows = Rows::new(graph, form);
        for slot in slots {
            if let Some(vector) = self.slab.get(slot) {
                rows.put(slot, vector);
            }
        }
        rows
    }

    /// The mean of a sample, where it has a half form.
    fn start(&self, sample: &[&[f32]], form: HalfForm) -> Arc<[f16]> {
        let dimension = self.slab.dimension();
        let mut mean = vec![0.0_f32; dimension];
        let share = 1.0 / sample.len().max(1) as f32;
        for vector in sample {
            for (sum, value) in mean.iter_mut().zip(*vector) {
                *sum += value * share;
            }
        }
        if self.params.metric == Metric::Cosine {
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
        self.slab.memory_bytes() + self.rows.as_ref().map_or(0, Rows::memory_bytes)
    }
}
