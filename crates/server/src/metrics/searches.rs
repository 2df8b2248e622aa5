//! Searches: how many run, wait, and are refused.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why a search was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// Too many waited.
    Overload,
    /// Its deadline had passed.
    Deadline,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        let reason = match refusal {
            Refusal::Overload => "overload",
            Refusal::Deadline => "deadline",
        };
        Self { reason }
    }
}

/// Figures of the gate that searches pass.
#[derive(Debug, Default)]
pub(crate) struct SearchMetrics {
    running: Gauge,
    waiting: Gauge,
    refused: Family<Reason, Counter>,
}

impl SearchMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register(
            "searches_running",
            "Searches, counts and facets that run",
            m.running.clone(),
        );
        registry.register(
            "searches_waiting",
            "Searches, counts and facets that wait for their turn",
            m.waiting.clone(),
        );
        registry.register(
            "searches_refused",
            "Searches, counts and facets not begun: too many waited, or the deadline had passed",
            m.refused.clone(),
        );
        // So that both are told before the first one.
        for reason in [Refusal::Overload, Refusal::Deadline] {
            drop(m.refused.get_or_create(&reason.into()));
        }
        m
    }

    pub(crate) fn running(&self, by: i64) {
        self.running.inc_by(by);
    }

    pub(crate) fn waiting(&self, by: i64) {
        self.waiting.inc_by(by);
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        self.refused.get_or_create(&reason.into()).inc();
    }

    /// How many run, and how many wait.
    #[cfg(test)]
    pub(crate) fn now(&self) -> (i64, i64) {
        (self.running.get(), self.waiting.get())
    }
}
