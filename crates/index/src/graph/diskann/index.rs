//! The library's index over rows in either form, of which the segment needs to know nothing.

use diskann::graph::ext::labeled::Filtered;
use diskann::graph::glue::{InplaceDeleteStrategy as _, PruneAccessor as _, PruneStrategy as _};
use diskann::graph::search::{InlineFilterSearch, Knn};
use diskann::graph::workingset::View as _;
use diskann::graph::{DiskANNIndex, config};
use diskann::neighbor::Neighbor;
use diskann::provider::{DataProvider as _, Guard as _, SetElement as _};
use diskann_inmem::num::{Capacity, MaxDegree};
use diskann_inmem::provider::PruneAccessor;
use diskann_inmem::repr::full::{Config as FullConfig, Full};
use diskann_inmem::repr::quantized::{Config as QuantizedConfig, Quantized, Rerank};
use diskann_inmem::{Context, Provider, Strategy, store};
use diskann_utils::views::rowmajor;
use diskann_vector::DistanceFunction as _;
use diskann_vector::distance::Metric as Distance;
use half::f16;
use pando_model::Metric;

use super::sign::{Signs, carried, told, widened};
use super::{BUILD_LIST, CONCURRENT_MAX, DEGREE, DEGREE_MAX, Labels, failed, now};
use crate::graph::{Coding, GraphError, GraphParams};

/// An index by the form of its rows.
pub(super) enum Index {
    Half(DiskANNIndex<Provider<Full<f16>, u64>>),
    Signs(DiskANNIndex<Provider<Quantized, u64>>),
}

/// The same for both forms, with a vector as the library takes it.
macro_rules! with {
    ($index:expr, $vector:expr, |$of:ident, $given:ident| $body:expr) => {
        match $index {
            Index::Half($of) => {
                let $given = $vector;
                $body
            }
            Index::Signs($of) => {
                let widened = widened($vector);
                let $given = &widened[..];
                $body
            }
        }
    };
}

fn distance(metric: Metric) -> Result<Distance, GraphError> {
    match metric {
        Metric::Cosine => Ok(Distance::CosineNormalized),
        Metric::Dot => Ok(Distance::InnerProduct),
        Metric::Euclidean => Ok(Distance::L2),
        Metric::Manhattan | Metric::Poincare => {
            let lacks = format!("it has no {metric} distance");
            Err(failed("open a segment", &lacks))
        }
    }
}

impl Index {
    pub(super) fn open(params: &GraphParams) -> Result<Self, GraphError> {
        let open = |error: &dyn std::fmt::Display| failed("open a segment", error);
        let distance = distance(params.metric)?;
        let mut store = store::Config::new();
        store.epoch_guard_slots(CONCURRENT_MAX);
        let (capacity, degree) = (Capacity::new(params.capacity), MaxDegree::new(DEGREE_MAX));
        let degree_max = config::MaxDegree::new(DEGREE_MAX);
        let config = config::Builder::new(DEGREE, degree_max, BUILD_LIST, distance.into());
        let config = config.build().map_err(|e| open(&e))?;
        let starts = params.start.len() / params.dimension.max(1);
        let dimension = params.dimension;
        match params.coding {
            Coding::Half => {
                let start = params.start.to_vec().into_boxed_slice();
                let start = rowmajor::Owned::try_from_data(start, starts, dimension)
                    .map_err(|e| open(&e.as_static()))?;
                let layout = FullConfig::new(capacity, degree, distance, start);
                let layout = layout.map_err(|e| open(&e))?.store(store);
                let provider = Provider::new(layout).map_err(|e| open(&e))?;
                Ok(Self::Half(DiskANNIndex::new(config, provider, None)))
            }
            Coding::Signs => {
                let signs = Signs::new(params.metric, &params.start);
                let start = widened(&params.start).into_boxed_slice();
                let start = rowmajor::Owned::try_from_data(start, starts, dimension)
                    .map_err(|e| open(&e.as_static()))?;
                let layout = QuantizedConfig::new(signs, capacity, degree, start, Rerank::None);
                let layout = layout.map_err(|e| open(&e))?.store(store);
                let provider = Provider::new(layout).map_err(|e| open(&e))?;
                Ok(Self::Signs(DiskANNIndex::new(config, provider, None)))
            }
        }
    }

    /// The slot of a row, if it has one.
    pub(super) fn slot(&self, row: u64) -> Option<u32> {
        match self {
            Self::Half(index) => index.provider().to_internal_id(&Context, &row),
            Self::Signs(index) => index.provider().to_internal_id(&Context, &row),
        }
        .ok()
    }

    /// What is in a slot, in a form that may be inserted.
    pub(super) fn vector(&self, slot: u32, dimension: usize) -> Option<Box<[f16]>> {
        if let Self::Half(index) = self {
            let vector = Strategy.get_delete_element(index.provider(), &Context, slot);
            return now("read a vector", vector).ok();
        }
        let mut edges = self.edges("read a vector").ok()?;
        let filled = edges.fill(std::iter::once(slot));
        let (view, distance) = now("read a vector", filled).ok()?;
        let element = view.get(slot)?;
        distance.evaluate_similarity(element, element);
        Some(carried(&told(), dimension))
    }

    pub(super) fn insert(&self, row: u64, vector: &[f16]) -> Result<(), GraphError> {
        with!(self, vector, |index, given| {
            now("insert", index.insert(&Strategy, &Context, &row, given))
        })
    }

    /// Puts a row into a slot, without edges; returns the slot.
    pub(super) fn set(&self, row: u64, vector: &[f16]) -> Result<u32, GraphError> {
        with!(self, vector, |index, given| {
            let guard = index.provider().set_element(&Context, &row, given);
            now("put a row", guard).map(|guard| guard.id())
        })
    }

    /// Access to the edges of nodes.
    pub(super) fn edges(&self, action: &'static str) -> Result<PruneAccessor<'_>, GraphError> {
        match self {
            Self::Half(index) => Strategy.prune_accessor(index.provider(), &Context, 0),
            Self::Signs(index) => Strategy.prune_accessor(index.provider(), &Context, 0),
        }
        .map_err(|e| failed(action, &e))
    }

    pub(super) fn search(
        &self,
        query: &[f16],
        list: usize,
        labels: Option<&Labels<'_>>,
    ) -> Result<Vec<Neighbor<u64>>, GraphError> {
        let knn = Knn::new(list, None).map_err(|e| failed("search", &e))?;
        let mut found: Vec<Neighbor<u64>> = Vec::new();
        let Some(labels) = labels else {
            with!(self, query, |index, given| {
                let search = index.search(knn, &Strategy, &Context, given, &mut found);
                now("search", search)?;
            });
            return Ok(found);
        };
        let strategy = Filtered::new(Strategy, labels);
        let filtered = InlineFilterSearch::new(knn, None);
        with!(self, query, |index, given| {
            let search = index.search(filtered, &strategy, &Context, given, &mut found);
            now("search", search)?;
        });
        Ok(found)
    }
}
