//! What a node's catch-up, the last or the one under way, comes to: a line for people.

use pando_client::{CatchUpPath, CatchUpWhy, LastCatchUp, SyncProgress};

use super::percent;
use crate::output::{bytes, plural};

/// `walk to 512 in 1.50 s: 10 rows put, ..; log kept from 300, this node was at 100; ..`.
pub(super) fn line(last: &LastCatchUp) -> String {
    let moved = last.received_bytes + last.sent_bytes;
    let (way, index, seconds) = (last.path.name(), last.index, last.seconds);
    let did = match last.path {
        CatchUpPath::Log => format!("{} entries, {}", last.entries, bytes(moved)),
        CatchUpPath::Equal
        | CatchUpPath::Lineage
        | CatchUpPath::Walk
        | CatchUpPath::Bulk
        | CatchUpPath::Delta => format!(
            "{} put, {} deleted, {} for {} of rows, {}, install {:.3} s",
            plural(last.rows_put, "row"),
            last.rows_deleted,
            bytes(moved),
            bytes(last.row_bytes),
            plural(last.round_trips, "round trip"),
            last.install_seconds,
        ),
    };
    let why = why(&last.why, Some(moved));
    format!("by {way} to {index} in {seconds:.2} s: {did}; {why}")
}

/// `with node 1 to 900: 43 of about 100 rows, 43 %, 1.20 MiB in 8 s, about 11 s left; ..`.
pub(super) fn running(sync: &SyncProgress) -> String {
    let mut text = format!(
        "with node {} to {}: {} of about {} rows, {} %, {} in {} s",
        sync.leader,
        sync.index,
        sync.done,
        sync.total,
        percent(sync.done, sync.total),
        bytes(sync.received_bytes),
        sync.elapsed_seconds,
    );
    if sync.installing {
        text.push_str(", installing");
    } else if let Some(left) = sync.left_seconds {
        text.push_str(&format!(", about {left} s left"));
    }
    if let Some(reason) = &sync.why {
        text.push_str("; ");
        text.push_str(&why(reason, None));
    }
    text
}

/// Why it went, or goes, that way.
fn why(why: &CatchUpWhy, moved: Option<u64>) -> String {
    let cut = match why.reason.as_str() {
        "log_kept" => return "the log held all it had missed".to_owned(),
        "repair" => return "its state was lost, or differed from the majority's".to_owned(),
        "purged_entries" => " (cut at its most entries)",
        "purged_bytes" => " (cut at its most bytes)",
        "purged_cost" => " (cut where a delta became cheaper)",
        "purged_operator" => " (cut by an operator)",
        _ => "",
    };
    let mut text = format!("log kept from {}{cut}", why.log_kept_from);
    match why.had_index {
        Some(had) => text.push_str(&format!(", this node was at {had}")),
        None => text.push_str(", this node had nothing"),
    }
    if let Some(replay) = why.replay_bytes {
        text.push_str(&format!(
            "; replaying would have moved about {}",
            bytes(replay)
        ));
        if let Some(moved) = moved {
            text.push_str(&format!(", this moved {}", bytes(moved)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(reason: &str) -> CatchUpWhy {
        CatchUpWhy {
            reason: reason.into(),
            had_index: Some(4_100),
            log_kept_from: 5_012,
            replay_bytes: Some(160 << 20),
        }
    }

    fn last(path: CatchUpPath, why: CatchUpWhy) -> LastCatchUp {
        LastCatchUp {
            path,
            why,
            index: 512,
            seconds: 1.504,
            install_seconds: 0.0621,
            rows_put: 1,
            rows_deleted: 3,
            row_bytes: 2048,
            metadata_bytes: 100,
            received_bytes: 2000,
            sent_bytes: 400,
            round_trips: 2,
            entries: 17,
        }
    }

    #[test]
    fn a_session_tells_its_rows_and_a_replay_its_entries() {
        assert_eq!(
            line(&last(CatchUpPath::Walk, reason("purged_cost"))),
            "by walk to 512 in 1.50 s: 1 row put, 3 deleted, 2.34 KiB for 2.00 KiB of rows, 2 round trips, \
             install 0.062 s; log kept from 5012 (cut where a delta became cheaper), this node was at 4100; \
             replaying would have moved about 160 MiB, this moved 2.34 KiB"
        );
        assert_eq!(
            line(&last(CatchUpPath::Log, reason("log_kept"))),
            "by log to 512 in 1.50 s: 17 entries, 2.34 KiB; the log held all it had missed"
        );
    }

    #[test]
    fn a_sync_under_way_tells_how_far_it_is_and_why_it_is() {
        let sync = SyncProgress {
            done: 43,
            total: 100,
            leader: 1,
            index: 900,
            received_bytes: 15 << 20,
            elapsed_seconds: 8,
            left_seconds: Some(11),
            installing: false,
            why: Some(CatchUpWhy {
                had_index: None,
                replay_bytes: None,
                ..reason("new_node")
            }),
        };
        assert_eq!(
            running(&sync),
            "with node 1 to 900: 43 of about 100 rows, 43 %, 15.0 MiB in 8 s, about 11 s left; log kept from 5012, \
             this node had nothing"
        );
        let installing = SyncProgress {
            installing: true,
            ..sync
        };
        assert!(running(&installing).contains("8 s, installing; log"));
    }
}
