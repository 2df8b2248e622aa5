//! What a node's last catch-up came to, as a line for people.

use pando_client::{CatchUpPath, LastCatchUp};

use crate::output::{bytes, plural};

/// `log to 512 in 0.84 s: 300 entries, 1.20 MiB (log_kept)`.
pub(super) fn line(last: &LastCatchUp) -> String {
    let moved = match last.path {
        CatchUpPath::Log => format!(
            "{} entries, {}",
            last.entries,
            bytes(last.received_bytes + last.sent_bytes)
        ),
        CatchUpPath::Equal
        | CatchUpPath::Lineage
        | CatchUpPath::Walk
        | CatchUpPath::Bulk
        | CatchUpPath::Delta => format!(
            "{} put, {} deleted, {} for {} of rows, {}, install {:.3} s",
            plural(last.rows_put, "row"),
            last.rows_deleted,
            bytes(last.received_bytes + last.sent_bytes),
            bytes(last.row_bytes),
            plural(last.round_trips, "round trip"),
            last.install_seconds,
        ),
    };
    format!(
        "{} to {} in {:.2} s: {moved} ({})",
        last.path.name(),
        last.index,
        last.seconds,
        last.reason
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(path: CatchUpPath) -> LastCatchUp {
        LastCatchUp {
            path,
            reason: "log_purged".into(),
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
            line(&last(CatchUpPath::Walk)),
            "walk to 512 in 1.50 s: 1 row put, 3 deleted, 2.34 KiB for 2.00 KiB of rows, 2 round trips, \
             install 0.062 s (log_purged)"
        );
        assert_eq!(
            line(&last(CatchUpPath::Log)),
            "log to 512 in 1.50 s: 17 entries, 2.34 KiB (log_purged)"
        );
    }
}
