//! Figures of catch-ups: sums since the node started, and the facts of the last one.
//!
//! `catch_up_count` is set after the facts it counts and rises with each catch-up, so that a watcher who sees it rise
//! reads the facts of the new one.

use std::sync::atomic::AtomicU64;

use pando_proto::{CatchUp, LastCatchUp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::node::{Direction, Level, set, set_direction};

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Op {
    op: &'static str,
}

/// How and why; the one series of the family that is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
    path: &'static str,
    reason: String,
}

#[derive(Debug, Default)]
pub(super) struct CatchUpMetrics {
    entries_replayed: Counter,
    delta_sessions: Counter,
    sessions_resumed: Counter,
    rows_put: Counter,
    rows_deleted: Counter,
    sync_bytes: Family<Direction, Counter>,
    count: Level,
    info: Family<Way, Level>,
    seconds: Seconds,
    install_seconds: Seconds,
    rows: Family<Op, Level>,
    row_bytes: Level,
    metadata_bytes: Level,
    bytes: Family<Direction, Level>,
    round_trips: Level,
    entries: Level,
    log_index: Level,
}

impl CatchUpMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        m.register_sums(registry);
        m.register_last(registry);
        m
    }

    fn register_sums(&self, registry: &mut Registry) {
        let m = self;
        registry.register(
            "catch_up_log_entries",
            "Entries replayed from a leader's log",
            m.entries_replayed.clone(),
        );
        registry.register(
            "catch_up_sessions",
            "Sync sessions that ended in an install",
            m.delta_sessions.clone(),
        );
        registry.register(
            "catch_up_sessions_resumed",
            "Sessions that went on from what was staged",
            m.sessions_resumed.clone(),
        );
        registry.register(
            "catch_up_rows_put",
            "Rows written by deltas",
            m.rows_put.clone(),
        );
        registry.register(
            "catch_up_rows_deleted",
            "Rows deleted by deltas",
            m.rows_deleted.clone(),
        );
        registry.register("sync_bytes", "Bytes of sync frames", m.sync_bytes.clone());
    }

    fn register_last(&self, registry: &mut Registry) {
        let m = self;
        registry.register(
            "catch_up_count",
            "Catch-ups finished since it started, by log or by session",
            m.count.clone(),
        );
        registry.register(
            "catch_up_last_info",
            "1 for the way of the last catch-up and why it went that way",
            m.info.clone(),
        );
        registry.register(
            "catch_up_last_seconds",
            "How long the last catch-up took",
            m.seconds.clone(),
        );
        registry.register(
            "catch_up_last_install_seconds",
            "How long its install took, while which the old state is not served",
            m.install_seconds.clone(),
        );
        registry.register(
            "catch_up_last_rows",
            "Rows its sessions put and deleted",
            m.rows.clone(),
        );
        registry.register(
            "catch_up_last_row_bytes",
            "Bytes of the rows it received: id, version and content",
            m.row_bytes.clone(),
        );
        registry.register(
            "catch_up_last_metadata_bytes",
            "Bytes of its frames both ways that are not rows, before compression",
            m.metadata_bytes.clone(),
        );
        registry.register(
            "catch_up_last_bytes",
            "Bytes of its sync frames, or of the calls that brought missed entries and their answers",
            m.bytes.clone(),
        );
        registry.register(
            "catch_up_last_round_trips",
            "Waits for an answer, one after another",
            m.round_trips.clone(),
        );
        registry.register(
            "catch_up_last_entries",
            "Missed log entries it received",
            m.entries.clone(),
        );
        registry.register(
            "catch_up_last_log_index",
            "Log index it ended at",
            m.log_index.clone(),
        );
    }

    pub(super) fn set(&self, c: &CatchUp) {
        set(&self.entries_replayed, c.entries_replayed);
        set(&self.delta_sessions, c.delta_sessions);
        set(&self.sessions_resumed, c.resumed);
        set(&self.rows_put, c.rows_put);
        set(&self.rows_deleted, c.rows_deleted);
        set_direction(&self.sync_bytes, c.sync_bytes_in, c.sync_bytes_out);
        if let Some(last) = &c.last {
            self.set_last(last);
        }
        self.count.set(c.count);
    }

    fn set_last(&self, last: &LastCatchUp) {
        self.info.clear();
        let way = Way {
            path: last.path.name(),
            reason: last.why.reason.clone(),
        };
        self.info.get_or_create(&way).set(1);
        self.seconds.set(last.seconds);
        self.install_seconds.set(last.install_seconds);
        for (op, rows) in [("put", last.rows_put), ("delete", last.rows_deleted)] {
            self.rows.get_or_create(&Op { op }).set(rows);
        }
        self.row_bytes.set(last.row_bytes);
        self.metadata_bytes.set(last.metadata_bytes);
        for (direction, bytes) in [("received", last.received_bytes), ("sent", last.sent_bytes)] {
            self.bytes
                .get_or_create(&Direction { direction })
                .set(bytes);
        }
        self.round_trips.set(last.round_trips);
        self.entries.set(last.entries);
        self.log_index.set(last.index);
    }
}
