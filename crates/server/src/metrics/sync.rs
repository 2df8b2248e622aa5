//! Figures of syncs on both sides, and of the log that decides whether there is one.

use std::sync::atomic::AtomicU64;

use pando_consensus::PurgeCause;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::node::{Level, NodeFigures, Of, choose, set};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct End {
    side: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct SyncMetrics {
    phase: Family<Of, Level>,
    rows: Family<Of, Level>,
    ends: Family<End, Counter>,
    content_bytes: Family<Kind, Counter>,
    reruns: Counter,
    fallbacks: Counter,
    served_bytes: Counter,
    views: Level,
    waiting: Level,
    throttled_seconds: Counter<f64, AtomicU64>,
    purges: Family<Cause, Counter>,
    delta_bytes: Level,
    holding: Gauge,
}

const PHASES: [&str; 3] = ["idle", "pulling", "installing"];

impl SyncMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        m.register_sessions(registry);
        m.register_serving(registry);
        m.register_log(registry);
        m
    }

    fn register_sessions(&self, registry: &mut Registry) {
        let m = self;
        registry.register(
            "sync_phase",
            "1 for what its own sync is doing",
            m.phase.clone(),
        );
        registry.register(
            "sync_rows",
            "Rows of the sync under way: done, and in all, estimated",
            m.rows.clone(),
        );
        registry.register(
            "sync_ends",
            "Sessions as follower and streams as leader, by how they ended",
            m.ends.clone(),
        );
        registry.register(
            "sync_content_bytes",
            "Bytes of its sessions before compression, by kind",
            m.content_bytes.clone(),
        );
        registry.register(
            "sync_fallbacks",
            "Trees walked after what was written since was taken, because that was not all",
            m.fallbacks.clone(),
        );
        registry.register(
            "sync_reruns",
            "Walks repeated with whole hashes",
            m.reruns.clone(),
        );
    }

    fn register_serving(&self, registry: &mut Registry) {
        let m = self;
        registry.register(
            "sync_served_bytes",
            "Bytes of sync frames sent to followers",
            m.served_bytes.clone(),
        );
        registry.register(
            "sync_views",
            "Views served to followers now",
            m.views.clone(),
        );
        registry.register(
            "sync_waiting",
            "Followers that wait for their turn to be served",
            m.waiting.clone(),
        );
        registry.register(
            "sync_throttled_seconds",
            "How long frames waited for the rate limit, all streams together",
            m.throttled_seconds.clone(),
        );
    }

    fn register_log(&self, registry: &mut Registry) {
        let m = self;
        registry.register(
            "raft_log_purges",
            "Purges of the log by cause",
            m.purges.clone(),
        );
        registry.register(
            "raft_log_delta_bytes",
            "What a delta from the beginning of the kept log would move, when it was last looked at",
            m.delta_bytes.clone(),
        );
        registry.register(
            "raft_log_held",
            "1 while more of the log is kept than it should be, for a follower in a sync",
            m.holding.clone(),
        );
    }

    pub(super) fn set(&self, figures: &NodeFigures) {
        let (done, total, phase) = match figures.status.state.session() {
            Some(sync) if sync.installing => (sync.done, sync.total, "installing"),
            Some(sync) => (sync.done, sync.total, "pulling"),
            None => (0, 0, "idle"),
        };
        choose(&self.phase, PHASES.map(|name| (name, name == phase)));
        for (name, rows) in [("done", done), ("total", total)] {
            self.rows.get_or_create(&Of { name }).set(rows);
        }
        let s = &figures.sync;
        for (side, outcome, count) in [
            (
                "follower",
                "installed",
                figures.status.catch_up.delta_sessions,
            ),
            ("follower", "needless", s.needless),
            ("follower", "failed", s.failed),
            ("leader", "served", s.streams_served),
            ("leader", "cut", s.streams_cut),
        ] {
            set(&self.ends.get_or_create(&End { side, outcome }), count);
        }
        for (kind, bytes) in [("rows", s.row_bytes), ("metadata", s.metadata_bytes)] {
            set(&self.content_bytes.get_or_create(&Kind { kind }), bytes);
        }
        set(&self.reruns, s.reruns);
        set(&self.fallbacks, s.fallbacks);
        set(&self.served_bytes, s.served_bytes);
        self.views.set(figures.views_served);
        self.waiting.set(s.waiting as u64);
        self.throttled_seconds.inner().store(
            s.throttled.as_secs_f64().to_bits(),
            std::sync::atomic::Ordering::Relaxed,
        );
        for (cause, count) in PurgeCause::ALL.iter().zip(s.log.purges) {
            let cause = cause.code();
            set(&self.purges.get_or_create(&Cause { cause }), count);
        }
        self.delta_bytes.set(s.log.delta_bytes);
        self.holding.set(s.log.holding.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pando_proto::{NodeState, SyncProgress};

    use crate::http::tests::figures;
    use crate::metrics::Metrics;
    use crate::traffic::Traffic;

    #[test]
    fn the_repair_of_a_quarantined_node_is_a_sync_under_way() {
        let repair = Some(SyncProgress {
            done: 3,
            total: 9,
            ..SyncProgress::default()
        });
        let reason = "root differs".to_owned();
        let state = NodeState::Quarantined { reason, repair };
        let metrics = Metrics::new(Arc::new(Traffic::default()));
        let text = metrics.render(&figures(state, Some(2))).expect("text");
        for line in [
            "pando_sync_phase{name=\"pulling\"} 1",
            "pando_sync_phase{name=\"idle\"} 0",
            "pando_sync_rows{name=\"done\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}:\n{text}");
        }
    }
}
