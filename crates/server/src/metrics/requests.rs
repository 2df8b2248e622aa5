//! Requests of the public API: how many, and how long they took, by method and outcome.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tonic::Code;

/// From 0.25 ms to 8 s, doubling.
const BUCKET_FIRST_SECONDS: f64 = 0.000_25;
const BUCKETS: u16 = 16;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: String,
    code: String,
}

/// Counters of the public API.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    total: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
}

impl RequestMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            total: Family::default(),
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(BUCKET_FIRST_SECONDS, 2.0, BUCKETS))
            }),
            in_flight: Gauge::default(),
        };
        registry.register("requests", "Requests answered", metrics.total.clone());
        registry.register(
            "request_duration_seconds",
            "Time from a request's arrival to its answer",
            metrics.seconds.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests in work",
            metrics.in_flight.clone(),
        );
        metrics
    }

    pub(crate) fn begun(&self) {
        self.in_flight.inc();
    }

    pub(crate) fn ended(&self) {
        self.in_flight.dec();
    }

    pub(crate) fn answered(&self, method: &str, code: Code, took: Duration) {
        let labels = Labels {
            method: method.to_owned(),
            code: format!("{code:?}"),
        };
        self.total.get_or_create(&labels).inc();
        self.seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }
}
