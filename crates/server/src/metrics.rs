//! The figures of one node: what is counted as it happens, and what is read off the node when asked.
//!
//! Owns the registry and every metric's name; each node has its own, so that several nodes in one process do
//! not mix. Labels are bounded: methods are those of the public API, codes those of gRPC.

mod catch_up;
#[cfg(test)]
mod docs_tests;
mod node;
mod requests;
mod scrub;
mod searches;
mod sync;
mod trust;
mod work;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::traffic::Traffic;

pub(crate) use node::NodeFigures;
pub(crate) use requests::RequestMetrics;
pub(crate) use searches::{Refusal, SearchMetrics};

/// Content type of [`Metrics::render`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one node.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: RequestMetrics,
    searches: SearchMetrics,
    node: node::NodeMetrics,
    trust: trust::TrustMetrics,
    traffic: Arc<Traffic>,
}

impl Metrics {
    /// Metrics at zero; `traffic` is that of the node API.
    #[must_use]
    pub(crate) fn new(traffic: Arc<Traffic>) -> Self {
        let mut registry = Registry::with_prefix("pando");
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that runs", version);
        let requests = RequestMetrics::register(&mut registry);
        let searches = SearchMetrics::register(&mut registry);
        let node = node::NodeMetrics::register(&mut registry);
        let trust = trust::TrustMetrics::register(&mut registry);
        Self {
            registry,
            requests,
            searches,
            node,
            trust,
            traffic,
        }
    }

    pub(crate) fn requests(&self) -> &RequestMetrics {
        &self.requests
    }

    pub(crate) fn searches(&self) -> &SearchMetrics {
        &self.searches
    }

    /// All metrics as text, in the OpenMetrics format that Prometheus reads.
    ///
    /// # Errors
    /// Never for a `String`; the format's own signature.
    pub(crate) fn render(&self, figures: &NodeFigures) -> Result<String, fmt::Error> {
        self.node.set(figures, &self.traffic);
        self.trust.set(&figures.trust);
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}
