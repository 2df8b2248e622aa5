//! What a node says about itself.

use std::time::Duration;

use pando_merkle::Digest;
use pando_model::{CheckReport, NodeId};
use serde::{Deserialize, Serialize};

use crate::address::NodeAddress;
use crate::catch_up::{CatchUpWhy, LastCatchUp};
use crate::log_book::LogFigures;
use crate::verdict::Verdict;

/// A node's part in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has the group's writes.
    Leader,
    /// It votes and follows.
    Follower,
    /// It stands for election.
    Candidate,
    /// It follows without a vote; a node without a cluster is one too.
    Learner,
    /// It has stopped.
    Stopped,
}

impl Role {
    /// The name users read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
            Self::Stopped => "stopped",
        }
    }
}

/// Whether a node is of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It answers reads.
    Serving,
    /// It catches up by delta; local reads see its old state until the end.
    Syncing(SyncStatus),
    /// It belongs to no cluster yet, or knows no leader.
    Waiting {
        /// For what.
        reason: String,
    },
    /// It must not be used.
    Quarantined {
        /// Why.
        reason: String,
        /// The session that repairs it, once there is one.
        repair: Option<SyncStatus>,
    },
}

/// A sync session under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncStatus {
    /// The node synced from.
    pub leader: NodeId,
    /// The log index it ends at.
    pub index: u64,
    /// Why there is a session; none while a state is installed that an earlier process had verified.
    pub why: Option<CatchUpWhy>,
    /// Rows known to be equal.
    pub done: u64,
    /// Rows in all; an estimate.
    pub total: u64,
    /// Rows received.
    pub rows_put: u64,
    /// Rows deleted.
    pub rows_deleted: u64,
    /// Bytes of frames received.
    pub received_bytes: u64,
    /// Time since the offer arrived.
    pub elapsed: Duration,
    /// Time left at the rate so far, once there is one.
    pub left: Option<Duration>,
    /// Whether all is received and verified, and is being installed.
    pub installing: bool,
}

/// What catching up has cost a node since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatchUpCounters {
    /// Log entries received that a majority had committed before.
    pub log_entries_replayed: u64,
    /// Sync sessions that ended in an install.
    pub delta_sessions: u64,
    /// Sync streams opened anew after a break.
    pub resumed: u64,
    /// Rows received in sessions.
    pub rows_put: u64,
    /// Rows deleted in sessions.
    pub rows_deleted: u64,
    /// Bytes of sync frames received.
    pub sync_bytes_in: u64,
    /// Bytes of sync frames sent to leaders.
    pub sync_bytes_out: u64,
    /// Catch-ups finished, by log or by session.
    pub count: u64,
    /// The last of them.
    pub last: Option<LastCatchUp>,
}

/// What syncs cost a node beside what [`CatchUpCounters`] tells, on both sides, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncFigures {
    /// Bytes of rows received, before compression.
    pub row_bytes: u64,
    /// Bytes of frames both ways that are not rows, before compression.
    pub metadata_bytes: u64,
    /// Bytes of sync frames sent to followers.
    pub served_bytes: u64,
    /// Walks repeated with whole hashes.
    pub reruns: u64,
    /// Trees walked after what was written since had been taken, because that was not all.
    pub fallbacks: u64,
    /// Offers that were for nothing: the state was here already.
    pub needless: u64,
    /// Sessions that failed; the next goes on from what was staged.
    pub failed: u64,
    /// Streams served to followers to their end.
    pub streams_served: u64,
    /// Streams served to followers that ended early.
    pub streams_cut: u64,
    /// Followers that wait for their turn to be served.
    pub waiting: usize,
    /// How long frames have waited for the rate limit, all streams together.
    pub throttled: Duration,
    /// The bounded log.
    pub log: LogFigures,
}

/// One member as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its id.
    pub id: NodeId,
    /// Where it is.
    pub address: NodeAddress,
    /// Whether it votes.
    pub voter: bool,
    /// The last log index known to be there; only the leader knows.
    pub matched: Option<u64>,
}

/// A node's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its id.
    pub id: NodeId,
    /// Its part.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// The leader it knows.
    pub leader: Option<(NodeId, NodeAddress)>,
    /// Last index in its log.
    pub last_log: Option<u64>,
    /// Last index it knows to be committed.
    pub committed: Option<u64>,
    /// Last index applied.
    pub applied: Option<u64>,
    /// Last index the log may be purged up to.
    pub snapshot: Option<u64>,
    /// Last index purged from the log.
    pub purged: Option<u64>,
    /// Entries kept in the log.
    pub log_entries: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// Replica root at `applied`.
    pub root: Digest,
    /// Whether it is of use.
    pub state: NodeState,
    /// The members it knows.
    pub members: Vec<MemberStatus>,
    /// What catching up has cost.
    pub catch_up: CatchUpCounters,
    /// Views it serves to followers right now.
    pub views_served: usize,
    /// What comparing members has found.
    pub trust: TrustStatus,
    /// What re-reading the stored state has come to.
    pub scrub: ScrubStatus,
    /// What syncs cost.
    pub sync: SyncFigures,
}

/// What re-reading the stored state has come to since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubStatus {
    /// Rows read again.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Passes over the whole state that came to their end.
    pub passes: u64,
    /// When the last one did, in ms since 1970.
    pub last_pass_ms: Option<u64>,
    /// How much of the state lies before the scrubber, of 1,000.
    pub permille: u64,
    /// Rows that are damaged now: not served, and asked for from other members.
    pub damaged: u64,
    /// Rows found damaged.
    pub found: u64,
    /// Rows mended.
    pub mended: u64,
    /// How often the store was rebuilt around what could not be read.
    pub rebuilds: u64,
    /// Whether it is being rebuilt now.
    pub rebuilding: bool,
}

/// What comparing members has found, as far as this node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustStatus {
    /// Whether this node's own state was found wrong and is not mended yet.
    pub quarantined: bool,
    /// Members this node found to differ as leader, and comparisons without a majority, since it started.
    pub divergences: u64,
    /// The last comparison this node made as leader, whatever it came to.
    pub compared: Option<Verified>,
    /// The last of them at which a majority agreed.
    pub verified: Option<Verified>,
}

/// A comparison of all members that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The log index compared at.
    pub index: u64,
    /// When, in ms since the Unix epoch.
    pub at_ms: u64,
    /// What it came to.
    pub verdict: Verdict,
}

/// The outcome of a comparison of all members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// The log index compared at.
    pub index: u64,
    /// Each member's report, or why there is none.
    pub nodes: Vec<(NodeId, Result<CheckReport, String>)>,
    /// Whether every member reported, and all reports are the same.
    pub equal: bool,
    /// What the reports come to.
    pub verdict: Verdict,
    /// The members in the minority that were told to stop serving, or why one was not told.
    pub quarantined: Vec<(NodeId, Result<(), String>)>,
    /// Whether the leader itself is in the minority: it hands the lead to a member of the majority first.
    pub resigning: bool,
}
