//! One catch-up that was executed, and what it cost. The columns of the report.

use serde::Serialize;

use super::usage::Used;
use crate::http::Figures;

/// The four ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Method {
    /// An empty follower gets everything.
    FullCopy,
    /// The follower gets the log entries it has missed.
    Replay,
    /// A follower of which nothing is known: both trees are walked.
    Walk,
    /// A follower that says at which index it stopped.
    Lineage,
}

impl Method {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FullCopy => "full copy",
            Self::Replay => "log replay",
            Self::Walk => "Merkle delta, unknown lineage",
            Self::Lineage => "Merkle delta, known lineage",
        }
    }

    /// The path a node must say it took.
    fn path(self) -> &'static str {
        match self {
            Self::Replay => "log",
            Self::FullCopy | Self::Walk | Self::Lineage => "delta",
        }
    }
}

/// What was to be caught up with, and how.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Task {
    pub(super) method: Method,
    /// Whether frames are compressed; the log never is.
    pub(super) zstd: bool,
    /// Points in the collection.
    pub(super) points: u64,
    /// Records that changed while the follower was away; for a full copy, all of them.
    pub(super) changed: u64,
    /// Their bytes.
    pub(super) changed_bytes: u64,
    /// How often each was written.
    pub(super) times: u32,
}

/// What the follower's own counters say, from the start of its process.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Account {
    /// Which way it went, by its own word.
    pub(super) path: String,
    /// Why.
    pub(super) reason: String,
    /// From the first message to the state being served.
    pub(super) seconds: f64,
    /// Of these, the installation.
    pub(super) install_seconds: f64,
    pub(super) rows_put: u64,
    pub(super) rows_deleted: u64,
    /// Bytes of these rows.
    pub(super) row_bytes: u64,
    /// Bytes of hashes, keys and framing.
    pub(super) metadata_bytes: u64,
    /// Bytes of all frames.
    pub(super) session_bytes: u64,
    pub(super) round_trips: u64,
    /// Log entries.
    pub(super) entries: u64,
}

impl Account {
    /// The last catch-up of a node.
    pub(super) fn read(figures: &Figures) -> anyhow::Result<Self> {
        let count = |name: &str| figures.count(&format!("pando_catch_up_last_{name}"));
        let value = |name: &str| figures.value(&format!("pando_catch_up_last_{name}"));
        let label = |label: &str| {
            let values = figures.by_label("pando_catch_up_last_info", label);
            let current = values.into_iter().find(|(_, value)| *value > 0.0);
            current.map_or_else(String::new, |(text, _)| text)
        };
        Ok(Self {
            path: label("path"),
            reason: label("reason"),
            seconds: value("seconds")?,
            install_seconds: value("install_seconds")?,
            rows_put: count("rows{op=\"put\"}")?,
            rows_deleted: count("rows{op=\"delete\"}")?,
            row_bytes: count("row_bytes")?,
            metadata_bytes: count("metadata_bytes")?,
            session_bytes: count("bytes{direction=\"received\"}")?
                + count("bytes{direction=\"sent\"}")?,
            round_trips: count("round_trips")?,
            entries: count("entries")?,
        })
    }
}

/// One catch-up.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) task: Task,
    #[serde(flatten)]
    pub(super) account: Account,
    /// Bytes at the follower's socket, everything between the nodes included.
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// From the start of the follower's process to its announcement, before it heard of the leader.
    pub(super) start_seconds: f64,
    pub(super) leader: Used,
    pub(super) follower: Used,
}

impl Row {
    /// Bytes both ways.
    pub(super) fn wire(&self) -> u64 {
        self.bytes_in + self.bytes_out
    }

    /// Bytes both ways over the changed records' bytes.
    pub(super) fn ratio(&self) -> Option<f64> {
        let changed = self.task.changed_bytes;
        (changed > 0).then(|| self.wire() as f64 / changed as f64)
    }

    pub(super) fn records_per_second(&self) -> Option<f64> {
        let (changed, seconds) = (self.task.changed, self.account.seconds);
        (changed > 0 && seconds > 0.0).then(|| changed as f64 / seconds)
    }

    /// Fails if the follower took another way than the row claims.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let Account {
            path,
            reason,
            rows_put,
            rows_deleted,
            entries,
            ..
        } = &self.account;
        let Task {
            method, changed, ..
        } = self.task;
        let name = method.name();
        let expected = method.path();
        anyhow::ensure!(
            path == expected,
            "{name} of {changed} changed records went the way {path:?} ({reason}) instead of {expected:?}"
        );
        let rows = rows_put + rows_deleted;
        let moved = match method {
            Method::Replay => *entries > 0 && rows == 0,
            Method::FullCopy | Method::Walk | Method::Lineage => rows >= changed,
        };
        anyhow::ensure!(
            moved,
            "{name} of {changed} changed records moved {rows} rows and {entries} log entries"
        );
        Ok(())
    }
}
