//! What comparing the members has found, as figures.

use std::sync::atomic::{AtomicU64, Ordering};

use pando_consensus::TrustStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Level = Gauge<u64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    name: &'static str,
}

const VERDICTS: [&str; 4] = ["equal", "minority", "no_majority", "unknown"];

#[derive(Debug, Default)]
pub(super) struct TrustMetrics {
    found: Counter,
    quarantined: Level,
    index: Level,
    at: Gauge<f64, AtomicU64>,
    verdict: Family<Of, Level>,
}

impl TrustMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register(
            "divergence_found",
            "Members this node found to differ as leader, and comparisons without a majority",
            m.found.clone(),
        );
        registry.register(
            "quarantined",
            "1 while this node's state was found wrong and is not mended",
            m.quarantined.clone(),
        );
        registry.register(
            "last_verified_index",
            "Log index of the last comparison this node made as leader at which a majority agreed, 0 for none",
            m.index.clone(),
        );
        registry.register(
            "last_verified_timestamp_seconds",
            "When that was, 0 for never",
            m.at.clone(),
        );
        registry.register(
            "last_verdict",
            "1 for what the last comparison this node made as leader came to",
            m.verdict.clone(),
        );
        m
    }

    pub(super) fn set(&self, trust: &TrustStatus) {
        self.found
            .inner()
            .store(trust.divergences, Ordering::Relaxed);
        self.quarantined.set(trust.quarantined.into());
        let verified = trust.verified.as_ref();
        self.index.set(verified.map_or(0, |last| last.index));
        self.at
            .set(verified.map_or(0.0, |last| last.at_ms as f64 / 1_000.0));
        let last = trust.compared.as_ref().map(|last| last.verdict.name());
        for name in VERDICTS {
            let chosen = last == Some(name);
            self.verdict.get_or_create(&Of { name }).set(chosen.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use pando_consensus::{Verdict, Verified};
    use prometheus_client::encoding::text;

    use super::*;

    fn rendered(trust: &TrustStatus) -> String {
        let mut registry = Registry::with_prefix("pando");
        TrustMetrics::register(&mut registry).set(trust);
        let mut out = String::new();
        text::encode(&mut out, &registry).expect("text");
        out
    }

    #[test]
    fn what_was_found_can_be_alerted_on() {
        let never = rendered(&TrustStatus::default());
        assert!(never.contains("pando_last_verified_index 0\n"), "{never}");
        assert!(never.contains("pando_quarantined 0\n"), "{never}");
        let text = rendered(&TrustStatus {
            quarantined: true,
            divergences: 2,
            compared: Some(Verified {
                index: 19,
                at_ms: 2_500,
                verdict: Verdict::NoMajority { roots: 2 },
            }),
            verified: Some(Verified {
                index: 17,
                at_ms: 1_500,
                verdict: Verdict::Equal { root: [1; 32] },
            }),
        });
        for line in [
            "pando_divergence_found_total 2",
            "pando_quarantined 1",
            "pando_last_verified_index 17",
            "pando_last_verified_timestamp_seconds 1.5",
            "pando_last_verdict{name=\"no_majority\"} 1",
            "pando_last_verdict{name=\"equal\"} 0",
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line} is missing in\n{text}"
            );
        }
    }
}
