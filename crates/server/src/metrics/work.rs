//! Where the replica's time goes: applying entries, and starting.

use std::sync::atomic::AtomicU64;

use pando_replica::Part;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartOf {
    part: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct WorkMetrics {
    apply: Family<PartOf, Seconds>,
    start: Family<PartOf, Seconds>,
}

/// Time by part of the replica's work.
pub(crate) type Work = [(Part, f64); Part::ALL.len()];

impl WorkMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register(
            "apply_seconds",
            "Time spent applying entries since the start: deciding, keeping the tree, storage, index",
            m.apply.clone(),
        );
        registry.register(
            "start_seconds",
            "Time the start took: trees rebuilt and the root checked, then points loaded",
            m.start.clone(),
        );
        m
    }

    pub(super) fn set(&self, work: &Work) {
        for (part, seconds) in work {
            let (family, part) = match part {
                Part::Plan => (&self.apply, "plan"),
                Part::Tree => (&self.apply, "tree"),
                Part::Storage => (&self.apply, "storage"),
                Part::Index => (&self.apply, "index"),
                Part::StartTrees => (&self.start, "trees"),
                Part::StartLoad => (&self.start, "load"),
            };
            family.get_or_create(&PartOf { part }).set(*seconds);
        }
    }
}
