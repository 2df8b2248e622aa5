//! What can be set about a node's part in consensus. Data only; what it needs to run comes as components.

use std::path::PathBuf;
use std::time::Duration;

use pando_model::{ClusterId, GroupId, NodeId};
use pando_sync::Compression;
use thiserror::Error;

/// Settings of a [`crate::Node`].
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// This node.
    pub id: NodeId,
    /// The Raft group.
    pub group: GroupId,
    /// The cluster, for logs.
    pub cluster: Option<ClusterId>,
    /// How often a leader shows that it lives. Also the deadline of one log replication call.
    pub heartbeat: Duration,
    /// A follower that hears no leader stands for election after at least this long, ..
    pub election_min: Duration,
    /// .. and at most this long. A leader's lease lasts as long.
    pub election_max: Duration,
    /// Most log entries in one replication call.
    pub entries_per_append_max: u64,
    /// A member at most this many entries behind counts as caught up.
    pub caught_up_entries: u64,
    /// When more entries than this are kept, the log is purged. Together with `log_bytes_max` it decides what a
    /// follower that was away gets: the entries it missed while they are kept, a delta once they are not.
    pub log_entries_max: u64,
    /// When the kept entries take more bytes than this, the log is purged.
    pub log_bytes_max: u64,
    /// A purge leaves this many entries (or half of `log_bytes_max` if they take more than that).
    pub log_entries_keep: u64,
    /// Entries are kept while replaying them takes at most this many times the bytes of the delta they make; with
    /// more, the log is cut. 0 keeps as little as it may.
    pub replay_cost_ratio: f64,
    /// A purge for that reason leaves at least this many entries.
    pub log_entries_keep_min: u64,
    /// Bytes per second sent to followers in syncs, all together; 0 is no limit.
    pub sync_bytes_per_second: u64,
    /// Followers served a sync at the same time; others wait for their turn.
    pub syncs_outgoing_max: usize,
    /// Most writes under way through this node; more are refused.
    pub writes_in_flight_max: usize,
    /// A sync stream on which nothing moves for this long is given up, and resumed.
    pub sync_idle: Duration,
    /// A follower opens a broken sync stream anew this often without any progress before it gives the offer back.
    pub sync_reconnects_max: u32,
    /// Frames under way in a sync stream within this node.
    pub sync_frames_queued_max: usize,
    /// As a follower of known lineage, take what was written since rather than compare trees.
    pub sync_lineage: bool,
    /// How sync frames are compressed; the less of both sides counts.
    pub sync_compression: Compression,
    /// Deadline of the small calls between nodes (a vote, an index to read at, a report).
    pub call_timeout: Duration,
    /// How many bytes of the stored state are read again per second; 0 reads none.
    pub scrub_bytes_per_second: u64,
    /// Deadline of a membership change, the wait for a learner to catch up included.
    pub change_timeout: Duration,
    /// How often the leader compares the roots of all members; zero: never by itself.
    pub check_interval: Duration,
    /// Where what differed is written down before a node is repaired; without it nothing is.
    pub evidence_dir: Option<PathBuf>,
}

impl NodeOptions {
    /// The defaults for a node of this id.
    #[must_use]
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            group: GroupId::CATALOGUE,
            cluster: None,
            heartbeat: Duration::from_millis(300),
            election_min: Duration::from_millis(1_500),
            election_max: Duration::from_millis(3_000),
            entries_per_append_max: 64,
            caught_up_entries: 64,
            log_entries_max: 20_000,
            log_bytes_max: 64 << 20,
            log_entries_keep: 5_000,
            replay_cost_ratio: 1.0,
            log_entries_keep_min: 64,
            sync_bytes_per_second: 0,
            syncs_outgoing_max: 2,
            writes_in_flight_max: 256,
            sync_idle: Duration::from_secs(10),
            sync_reconnects_max: 5,
            sync_frames_queued_max: 8,
            sync_lineage: true,
            sync_compression: Compression::default(),
            call_timeout: Duration::from_secs(2),
            scrub_bytes_per_second: 8 << 20,
            change_timeout: Duration::from_secs(60),
            check_interval: Duration::from_secs(600),
            evidence_dir: None,
        }
    }

    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// The first setting that is wrong, and what it must be.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let rules = [
            (self.id != 0, "id", "it must not be 0"),
            (
                self.heartbeat >= Duration::from_millis(10),
                "heartbeat",
                "it must be at least 10 ms",
            ),
            (
                self.election_min >= self.heartbeat * 3,
                "election_min",
                "it must be at least three heartbeats",
            ),
            (
                self.election_max > self.election_min,
                "election_max",
                "it must be greater than election_min",
            ),
            (
                self.election_max <= Duration::from_secs(600),
                "election_max",
                "it must be at most 600 s",
            ),
            (
                self.entries_per_append_max >= 1,
                "entries_per_append_max",
                "it must be at least 1",
            ),
            (
                self.log_entries_keep < self.log_entries_max,
                "log_entries_keep",
                "it must be less than log_entries_max",
            ),
            (
                self.log_bytes_max >= 1 << 20,
                "log_bytes_max",
                "it must be at least 1 MiB",
            ),
            (
                (1..=65_536).contains(&self.writes_in_flight_max),
                "writes_in_flight_max",
                "it must be 1 to 65536",
            ),
            (
                self.call_timeout >= Duration::from_millis(10),
                "call_timeout",
                "it must be at least 10 ms",
            ),
        ];
        let rules = rules.into_iter().chain(self.sync_rules());
        match rules.into_iter().find(|(holds, _, _)| !holds) {
            Some((_, setting, rule)) => Err(OptionsError { setting, rule }),
            None => Ok(()),
        }
    }

    /// What the settings of catch-ups must be, with their names.
    fn sync_rules(&self) -> [(bool, &'static str, &'static str); 6] {
        [
            (
                (0.0..=1_000.0).contains(&self.replay_cost_ratio),
                "replay_cost_ratio",
                "it must be 0 to 1000",
            ),
            (
                self.log_entries_keep_min >= self.caught_up_entries,
                "log_entries_keep_min",
                "it must be at least caught_up_entries: who counts as caught up needs no delta",
            ),
            (
                self.sync_bytes_per_second == 0
                    || self.sync_bytes_per_second >> 20 >= self.syncs_outgoing_max as u64,
                "sync_bytes_per_second",
                "it must be 0 for no limit, or at least 1 MiB for each of syncs_outgoing_max: a frame must not wait for \
                 longer than its stream may be idle",
            ),
            (
                (1..=64).contains(&self.syncs_outgoing_max),
                "syncs_outgoing_max",
                "it must be 1 to 64",
            ),
            (
                self.sync_idle >= Duration::from_millis(100),
                "sync_idle",
                "it must be at least 100 ms",
            ),
            (
                (1..=1_024).contains(&self.sync_frames_queued_max),
                "sync_frames_queued_max",
                "it must be 1 to 1024",
            ),
        ]
    }

    pub(crate) fn raft_config(&self) -> openraft::Config {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        openraft::Config {
            cluster_name: self
                .cluster
                .map_or_else(|| "pando".to_owned(), |id| id.to_string()),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            max_payload_entries: self.entries_per_append_max,
            replication_lag_threshold: self.caught_up_entries,
            // The log is bounded by entries and bytes (see `log_bound`), which openraft's own policy cannot do.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            ..openraft::Config::default()
        }
    }
}

/// A setting that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("bad setting {setting}: {rule}")]
pub struct OptionsError {
    /// Which.
    pub setting: &'static str,
    /// What it must be.
    pub rule: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_for_us_and_for_openraft() {
        let options = NodeOptions::new(1);
        options.validate().unwrap();
        options.raft_config().validate().unwrap();
    }

    #[test]
    fn what_cannot_work_is_named() {
        let bad = |change: fn(&mut NodeOptions)| {
            let mut options = NodeOptions::new(1);
            change(&mut options);
            options.validate().unwrap_err().setting
        };
        assert_eq!(bad(|o| o.id = 0), "id");
        assert_eq!(bad(|o| o.election_min = o.heartbeat), "election_min");
        assert_eq!(bad(|o| o.election_max = o.election_min), "election_max");
        assert_eq!(
            bad(|o| o.log_entries_keep = o.log_entries_max),
            "log_entries_keep"
        );
        assert_eq!(bad(|o| o.log_bytes_max = 1), "log_bytes_max");
        assert_eq!(bad(|o| o.replay_cost_ratio = f64::NAN), "replay_cost_ratio");
        assert_eq!(bad(|o| o.log_entries_keep_min = 1), "log_entries_keep_min");
        assert_eq!(
            bad(|o| o.sync_bytes_per_second = 1 << 20),
            "sync_bytes_per_second"
        );
        assert_eq!(bad(|o| o.syncs_outgoing_max = 0), "syncs_outgoing_max");
        assert_eq!(bad(|o| o.writes_in_flight_max = 0), "writes_in_flight_max");
    }
}
