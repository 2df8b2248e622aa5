//! What the Cluster service reports: plain types for both ends of the wire.

use std::collections::BTreeMap;

use pando_model::{ClusterId, NodeId};
use serde::Serialize;

/// How the members are, as seen by one of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterStatus {
    /// The cluster's identity; `None` before there is one.
    pub cluster: Option<ClusterId>,
    /// The node that answered.
    pub answered_by: NodeId,
    /// The leader as that node sees it.
    pub leader: Option<NodeId>,
    /// By node id.
    pub nodes: Vec<NodeReport>,
}

/// A member, and how it is if it could be reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeReport {
    /// Its id.
    pub node: NodeId,
    /// host:port of its node-to-node API.
    pub node_address: String,
    /// host:port of its public API.
    pub api_address: String,
    /// Whether it votes; a learner does not.
    pub voter: bool,
    /// Its own account, or why it gave none.
    pub status: Result<NodeStatus, String>,
}

/// A node's part in Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows and votes.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It follows without a vote.
    Learner,
}

/// What a node is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It answers everything.
    Serving,
    /// It is installing a delta.
    Syncing(SyncProgress),
    /// It is not part of a cluster yet, or sees no leader.
    Waiting,
    /// Its state cannot be trusted; it serves nothing until it is replaced.
    Quarantined {
        /// Why.
        reason: String,
        /// The session that repairs it, once there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        repair: Option<SyncProgress>,
    },
}

impl NodeState {
    /// The session under way, be it a catch-up or a repair.
    #[must_use]
    pub fn session(&self) -> Option<&SyncProgress> {
        match self {
            Self::Syncing(sync) => Some(sync),
            Self::Quarantined { repair, .. } => repair.as_ref(),
            Self::Serving | Self::Waiting => None,
        }
    }
}

/// How far a sync is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SyncProgress {
    /// Rows done.
    pub done: u64,
    /// Rows to do, estimated.
    pub total: u64,
    /// The node it is synced from; 0 if not known.
    pub leader: NodeId,
    /// The log index it will be at.
    pub index: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Seconds since it began.
    pub elapsed_seconds: u64,
    /// Seconds left at the rate so far; none before there is one.
    pub left_seconds: Option<u64>,
    /// Whether all is received and verified, and is being installed.
    pub installing: bool,
    /// Why there is a session, if that is known.
    pub why: Option<CatchUpWhy>,
}

/// A node, by its own account.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeStatus {
    /// Its part in Raft.
    pub role: Role,
    /// Raft term.
    pub term: u64,
    /// Last log index on its disk.
    pub last_log: u64,
    /// Last log index it knows to be committed.
    pub committed: u64,
    /// Last log index it has applied.
    pub applied: u64,
    /// Log entries it is behind the furthest member that answered.
    pub lag: u64,
    /// Replica root at `applied`.
    #[serde(serialize_with = "hex")]
    pub root: [u8; 32],
    /// What it is doing.
    pub state: NodeState,
    /// The log it keeps.
    pub log: LogKept,
    /// How it caught up since it started.
    pub catch_up: CatchUp,
    /// What re-reading its stored state has come to.
    pub scrub: Scrub,
    /// What the comparisons of all members it made as leader came to.
    pub verified: Verified,
    /// Points in all collections.
    pub points: u64,
    /// Canonical bytes of the points.
    pub point_bytes: u64,
    /// Bytes on disk, log included.
    pub disk_bytes: u64,
    /// Bytes of memory its indexes and trees hold, estimated.
    pub memory_bytes: u64,
    /// Vectors that no graph holds yet, where there is one: every search scans them, until they are in it.
    pub index_backlog: u64,
    /// Vectors put into graphs one by one since it started.
    pub index_indexed: u64,
    /// Vectors whose place in a graph was taken from an index checkpoint at its start instead.
    pub index_reused: u64,
    /// Version of the program.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: u64,
}

/// What re-reading its stored state has come to since a node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scrub {
    /// Rows read again.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Passes over the whole state that came to their end.
    pub passes: u64,
    /// When the last one did, in ms since 1970; 0 for never.
    pub last_pass_ms: u64,
    /// How much of the state lies before the scrubber, of 1,000.
    pub permille: u64,
    /// Rows damaged now: not served, and asked for from other members.
    pub damaged: u64,
    /// Rows found damaged.
    pub found: u64,
    /// Rows mended from other members.
    pub mended: u64,
    /// How often the store was rebuilt around what could not be read.
    pub rebuilds: u64,
    /// Whether it is being rebuilt now.
    pub rebuilding: bool,
}

/// What comparing the members has found since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Log index of the last comparison at which a majority agreed; 0 for none.
    pub log_index: u64,
    /// When it was, in ms since 1970; 0 for never.
    pub at_ms: u64,
    /// The last comparison found different roots and no majority: nothing is repaired.
    pub no_majority: bool,
    /// Members found to differ, and comparisons without a majority.
    pub divergences: u64,
    /// Log index of the last comparison, whatever it came to; 0 for none.
    pub compared_index: u64,
}

/// The log a node keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogKept {
    /// Entries kept.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Index of the last snapshot; 0 if there is none.
    pub snapshot: u64,
    /// Entries up to here are gone; 0 if none are.
    pub purged: u64,
}

/// How a node caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUpPath {
    /// By replaying the log.
    Log,
    /// By a sync session that found both states equal.
    Equal,
    /// By a sync session that looked only at what had changed since a state known to both sides.
    Lineage,
    /// By a sync session that compared the trees.
    Walk,
    /// By a sync session that streamed everything.
    Bulk,
    /// By a sync session; how it went is not known.
    Delta,
}

impl CatchUpPath {
    /// The name users read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Equal => "equal",
            Self::Lineage => "lineage",
            Self::Walk => "walk",
            Self::Bulk => "bulk",
            Self::Delta => "delta",
        }
    }
}

/// Why a node catches up the way it does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CatchUpWhy {
    /// A short name: `log_kept`, `new_node`, `purged_entries`, `purged_bytes`, `purged_cost`, `purged_operator`,
    /// `purged`.
    pub reason: String,
    /// The last log index it had; none if it had nothing.
    pub had_index: Option<u64>,
    /// First log index the leader still held; 0 for a replay.
    pub log_kept_from: u64,
    /// About what replaying the log would have taken; none if the leader does not know.
    pub replay_bytes: Option<u64>,
}

/// What one catch-up came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastCatchUp {
    /// Which way.
    pub path: CatchUpPath,
    /// Why that way.
    #[serde(flatten)]
    pub why: CatchUpWhy,
    /// The log index it ended at.
    pub index: u64,
    /// A session: from the offer's arrival until it was installed. A replay: from the first missed entry until
    /// everything committed by then was applied.
    pub seconds: f64,
    /// Of these the install, while which the old state is not served.
    pub install_seconds: f64,
    /// Rows written by the sessions.
    pub rows_put: u64,
    /// Rows deleted by the sessions.
    pub rows_deleted: u64,
    /// Bytes of the rows received: id, version and content.
    pub row_bytes: u64,
    /// Bytes of frames both ways that are not rows, before compression.
    pub metadata_bytes: u64,
    /// Bytes received: of sync frames, or of calls with missed entries.
    pub received_bytes: u64,
    /// Bytes sent: of sync frames, or of the answers to those calls.
    pub sent_bytes: u64,
    /// Waits for an answer, one after another; for a replay the calls that brought missed entries.
    pub round_trips: u64,
    /// Missed entries received from the log; after a session those written while it ran.
    pub entries: u64,
}

/// Catch-up counters since the node started.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CatchUp {
    /// Entries replayed from the leader's log.
    pub entries_replayed: u64,
    /// Delta sessions that ended in an install.
    pub delta_sessions: u64,
    /// Rows written by deltas.
    pub rows_put: u64,
    /// Rows deleted by deltas.
    pub rows_deleted: u64,
    /// Bytes received in sessions.
    pub sync_bytes_in: u64,
    /// Bytes sent in sessions.
    pub sync_bytes_out: u64,
    /// Sessions that went on from what an earlier one had staged.
    pub resumed: u64,
    /// Catch-ups finished, by log or by session.
    pub count: u64,
    /// The last of them.
    pub last: Option<LastCatchUp>,
}

/// The members' roots at one log index.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The log index at which the roots were taken.
    pub index: u64,
    /// Whether every member answered and all roots are equal.
    pub equal: bool,
    /// Each member's state, or why it gave none.
    pub nodes: BTreeMap<NodeId, Result<ReplicaRoot, String>>,
    /// What the roots come to.
    pub verdict: Verdict,
    /// The members whose root is not the majority's.
    pub minority: Vec<Quarantined>,
}

/// What comparing the members comes to. A majority is more than half of the voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All that answered have one root, and they are a majority.
    Equal {
        /// The root.
        #[serde(serialize_with = "hex")]
        root: [u8; 32],
    },
    /// Some members differ from the majority: they are quarantined and repaired from it.
    Minority {
        /// The majority's root.
        #[serde(serialize_with = "hex")]
        root: [u8; 32],
    },
    /// Members differ and none of their roots has a majority: nothing is repaired.
    NoMajority,
    /// Too few voters answered.
    Unknown,
}

/// A member that differs from the majority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// Which.
    pub node: NodeId,
    /// Why it was not told to stop serving, if it was not.
    pub error: Option<String>,
    /// It leads: it hands the lead to a member of the majority, which finds it again.
    pub resigning: bool,
}

/// A replica's state at one log index, for comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaRoot {
    /// Replica root.
    #[serde(serialize_with = "hex")]
    pub root: [u8; 32],
    /// Points in all collections.
    pub points: u64,
    /// Their canonical bytes.
    pub bytes: u64,
    /// Roots of the collections, by name.
    pub collections: Vec<CollectionRoot>,
}

/// A collection's root at one log index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CollectionRoot {
    /// The collection.
    pub name: String,
    /// Its root.
    #[serde(serialize_with = "hex")]
    pub root: [u8; 32],
    /// Its points.
    pub points: u64,
}

fn hex<S: serde::Serializer>(root: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Hex(root))
}

struct Hex<'a>(&'a [u8; 32]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
