//! Figures of the scrubber: what was read again, what was found damaged, and what was mended.

use pando_proto::Scrub;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::node::{Level, set};

#[derive(Debug, Default)]
pub(super) struct ScrubMetrics {
    rows: Counter,
    bytes: Counter,
    passes: Counter,
    last_pass: Level,
    permille: Level,
    damaged: Level,
    found: Counter,
    mended: Counter,
    rebuilds: Counter,
    rebuilding: Level,
}

impl ScrubMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register("scrub_rows", "Stored rows read again", m.rows.clone());
        registry.register(
            "scrub_bytes",
            "Bytes of the rows read again",
            m.bytes.clone(),
        );
        registry.register(
            "scrub_passes",
            "Passes over the whole state that came to their end",
            m.passes.clone(),
        );
        registry.register(
            "scrub_last_pass_timestamp_seconds",
            "When the last pass came to its end, 0 for never",
            m.last_pass.clone(),
        );
        registry.register(
            "scrub_position_permille",
            "How much of the state lies before the scrubber, of 1,000",
            m.permille.clone(),
        );
        registry.register(
            "damaged_rows",
            "Rows damaged now: not served, and asked for from other members",
            m.damaged.clone(),
        );
        registry.register("damaged_rows_found", "Rows found damaged", m.found.clone());
        registry.register(
            "damaged_rows_mended",
            "Damaged rows mended from other members",
            m.mended.clone(),
        );
        registry.register(
            "store_rebuilds",
            "How often the store was rebuilt around what could not be read",
            m.rebuilds.clone(),
        );
        registry.register(
            "store_rebuilding",
            "1 while the store is being rebuilt",
            m.rebuilding.clone(),
        );
        m
    }

    pub(super) fn set(&self, s: &Scrub) {
        set(&self.rows, s.rows);
        set(&self.bytes, s.bytes);
        set(&self.passes, s.passes);
        self.last_pass.set(s.last_pass_ms / 1_000);
        self.permille.set(s.permille);
        self.damaged.set(s.damaged);
        set(&self.found, s.found);
        set(&self.mended, s.mended);
        set(&self.rebuilds, s.rebuilds);
        self.rebuilding.set(s.rebuilding.into());
    }
}
