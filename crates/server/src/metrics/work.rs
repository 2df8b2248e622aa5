//! Where the replica's time goes: applying entries, and starting.

use std::sync::atomic::{AtomicU64, Ordering};

use pando_replica::Part;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
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
    apply: Family<PartOf, Counter<f64, AtomicU64>>,
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
            let apply = |part| {
                let counter = self.apply.get_or_create_owned(&PartOf { part });
                counter.inner().store(seconds.to_bits(), Ordering::Relaxed);
            };
            let start = |part| {
                self.start
                    .get_or_create_owned(&PartOf { part })
                    .set(*seconds);
            };
            match part {
                Part::Plan => apply("plan"),
                Part::Tree => apply("tree"),
                Part::Storage => apply("storage"),
                Part::Index => apply("index"),
                Part::StartTrees => start("trees"),
                Part::StartLoad => start("load"),
            }
        }
    }
}
