//! How a node caught up and what that cost: the facts that people, scripts and benchmarks read.

use std::time::Duration;

use pando_sync::Mode;

use crate::log_policy::PurgeCause;

/// Which way a node caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUpPath {
    /// With the log entries it had missed.
    Log,
    /// With a session that found both states equal.
    Equal,
    /// With a session that looked only at what had changed since a state known to both sides.
    Lineage,
    /// With a session that compared the trees.
    Walk,
    /// With a session that streamed everything.
    Bulk,
    /// With a session; how it went is not known.
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

impl From<Mode> for CatchUpPath {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Equal => Self::Equal,
            Mode::Lineage => Self::Lineage,
            Mode::Walk => Self::Walk,
            Mode::Bulk => Self::Bulk,
        }
    }
}

/// Why a node caught up that way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUpReason {
    /// The leader's log held all it had missed.
    LogKept,
    /// It had nothing to go on from, and the log does not reach back to the beginning.
    NewNode,
    /// Its state was lost, or differed from the majority's.
    Repair,
    /// The leader's log began behind what it had missed.
    LogPurged(PurgeCause),
}

impl CatchUpReason {
    /// A short name, for labels.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::LogKept => "log_kept",
            Self::NewNode => "new_node",
            Self::Repair => "repair",
            Self::LogPurged(PurgeCause::Entries) => "purged_entries",
            Self::LogPurged(PurgeCause::Bytes) => "purged_bytes",
            Self::LogPurged(PurgeCause::Cost) => "purged_cost",
            Self::LogPurged(PurgeCause::Operator) => "purged_operator",
            Self::LogPurged(PurgeCause::Unknown) => "purged",
        }
    }
}

/// Why a node caught up the way it did, with the figures behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchUpWhy {
    /// The reason.
    pub reason: CatchUpReason,
    /// The last log index this node had; none if it had nothing.
    pub had: Option<u64>,
    /// First log index the leader still held; 0 for a replay.
    pub kept_from: u64,
    /// About what replaying the log would have taken, if the leader knows.
    pub replay_bytes: Option<u64>,
}

/// One finished catch-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCatchUp {
    /// Which way.
    pub path: CatchUpPath,
    /// Why that way.
    pub why: CatchUpWhy,
    /// The log index it ended at.
    pub index: u64,
    /// A session: from the offer's arrival until it was installed, failed attempts included. A replay: from the first
    /// missed entry until everything committed by then was applied.
    pub took: Duration,
    /// How long the install took. The old state is not served meanwhile; zero for a replay.
    pub install: Duration,
    /// Rows received in sessions.
    pub rows_put: u64,
    /// Rows deleted by sessions.
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
