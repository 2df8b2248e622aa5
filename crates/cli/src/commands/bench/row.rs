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

    /// The paths a node may say it took, after a change of `changed` among `points` records. Where most is
    /// different, nodes stream everything instead of looking for it.
    fn paths(self, changed: u64, points: u64) -> &'static [&'static str] {
        let most = changed * 2 >= points;
        match self {
            Self::Replay => &["log"],
            Self::FullCopy => &["bulk"],
            Self::Walk | Self::Lineage if changed == 0 => &["equal"],
            Self::Walk if most => &["walk", "bulk"],
            Self::Walk => &["walk"],
            Self::Lineage if most => &["lineage", "walk", "bulk"],
            Self::Lineage => &["lineage"],
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
    /// Why it is not what it claims; the run goes on, and fails at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<String>,
    #[serde(flatten)]
    pub(super) task: Task,
    #[serde(flatten)]
    pub(super) account: Account,
    /// Bytes at the follower's socket, everything between the nodes included.
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// From the start of the follower's process to its announcement, before it heard of the leader.
    pub(super) start_seconds: f64,
    /// `None`: it runs elsewhere.
    pub(super) leader: Option<Used>,
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

    /// What is wrong if the follower took another way than the row claims.
    pub(super) fn check(&self) -> Option<String> {
        let account = &self.account;
        let Task {
            method,
            changed,
            points,
            ..
        } = self.task;
        let rows = account.rows_put + account.rows_deleted;
        let moved = match method {
            Method::Replay => account.entries > 0 && rows == 0,
            Method::FullCopy | Method::Walk | Method::Lineage => rows >= changed,
        };
        let paths = method.paths(changed, points);
        let right = paths.contains(&account.path.as_str());
        (!right || !moved).then(|| {
            format!(
                "{} of {changed} changed records, expected by {paths:?}, went by {:?} ({}), {rows} rows and {} entries",
                method.name(),
                account.path,
                account.reason,
                account.entries
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(method: Method, changed: u64, path: &str, rows_put: u64, entries: u64) -> Row {
        Row {
            failed: None,
            task: Task {
                method,
                zstd: false,
                points: 1_000,
                changed,
                changed_bytes: changed * 100,
                times: 1,
            },
            account: Account {
                path: path.to_owned(),
                reason: String::new(),
                seconds: 1.0,
                install_seconds: 0.1,
                rows_put,
                rows_deleted: 0,
                row_bytes: rows_put * 100,
                metadata_bytes: 1,
                session_bytes: 1,
                round_trips: 1,
                entries,
            },
            bytes_in: changed * 100,
            bytes_out: 10,
            start_seconds: 0.1,
            leader: None,
            follower: Used {
                cpu_seconds: 0.1,
                peak_extra_bytes: 1,
            },
        }
    }

    #[test]
    fn a_row_that_went_another_way_is_found_out() {
        let check = |method, changed, path, rows, entries| {
            row(method, changed, path, rows, entries).check().is_none()
        };
        assert!(check(Method::Replay, 10, "log", 0, 3));
        assert!(
            !check(Method::Replay, 10, "log", 0, 0),
            "nothing was replayed"
        );
        assert!(!check(Method::Replay, 10, "walk", 10, 0));
        assert!(check(Method::Walk, 10, "walk", 10, 0));
        assert!(!check(Method::Walk, 10, "walk", 9, 0), "too few rows");
        assert!(!check(Method::Walk, 10, "log", 0, 3));
        assert!(!check(Method::Lineage, 10, "walk", 10, 0), "it fell back");
        assert!(!check(Method::Walk, 10, "bulk", 10, 0));
        assert!(
            check(Method::Walk, 500, "bulk", 500, 0),
            "most is different"
        );
        assert!(check(Method::Lineage, 0, "equal", 0, 0));
        assert!(check(Method::FullCopy, 1_000, "bulk", 1_000, 0));
        assert!(
            !check(Method::Walk, 10, "delta", 10, 0),
            "it is not known which"
        );
    }

    #[test]
    fn ratios_are_over_what_changed() {
        assert_eq!(row(Method::Walk, 10, "walk", 10, 0).ratio(), Some(1.01));
        assert_eq!(row(Method::Walk, 0, "equal", 0, 0).ratio(), None);
    }
}
