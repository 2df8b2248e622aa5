//! What a session costs, on either side. Counters only; who carries the frames counts those.

use crate::frame::{FRAME_HEADER_BYTES, raw_bytes};
use crate::message::{Request, Response};
use crate::row::row_bytes;

/// How a follower finds out what it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Nothing: its root is the leader's.
    Equal,
    /// It has the leader's state of an earlier log index, and takes what was written since.
    Lineage,
    /// It walks the leader's trees down to where they differ from its own.
    Walk,
    /// It has little or nothing, and takes everything.
    Bulk,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Equal, Self::Lineage, Self::Walk, Self::Bulk];

    /// A name for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Lineage => "lineage",
            Self::Walk => "walk",
            Self::Bulk => "bulk",
        }
    }
}

/// Frames in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// How many.
    pub frames: u64,
    /// Their bytes as they travelled.
    pub wire_bytes: u64,
    /// Their bytes as they would have travelled without compression.
    pub raw_bytes: u64,
}

impl Traffic {
    /// Counts a frame.
    pub fn count(&mut self, frame: &[u8]) {
        self.frames += 1;
        self.wire_bytes += frame.len() as u64;
        self.raw_bytes += FRAME_HEADER_BYTES as u64 + raw_bytes(frame);
    }

    /// Bytes that compression kept off the wire.
    #[must_use]
    pub fn saved_bytes(&self) -> u64 {
        self.raw_bytes.saturating_sub(self.wire_bytes)
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.wire_bytes += other.wire_bytes;
        self.raw_bytes += other.raw_bytes;
    }
}

/// Counters of one session, on the follower's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How it began, for the tree with the most rows to compare; none before the leader has said what it has.
    pub mode: Option<Mode>,
    /// Trees that were not equal after what was written since was taken, and so had to be walked.
    pub fallbacks: u64,
    /// Trees walked once more with whole hashes, because short ones hid a difference.
    pub reruns: u64,
    /// Wants listed once more in full, because tags hid a difference.
    pub relists: u64,
    /// The longest chain of requests that each had to wait for an answer, the hello included.
    pub round_trips: u64,
    /// Requests sent.
    pub requests: u64,
    /// Responses received.
    pub responses: u64,
    /// Nodes of the leader received.
    pub nodes: u64,
    /// Own leaves listed.
    pub leaves_listed: u64,
    /// Bytes of the rows received: id, version and content, before compression.
    pub row_bytes: u64,
    /// Rows received and staged.
    pub rows_put: u64,
    /// Rows received that were here already.
    pub rows_held: u64,
    /// Deletes staged.
    pub rows_deleted: u64,
    /// Frames received. Counted by whoever carries them.
    pub received: Traffic,
    /// Frames sent. Counted by whoever carries them.
    pub sent: Traffic,
}

impl Stats {
    /// Adds what another session has counted. The mode is the other's, if it has one; round trips, which follow each other, add up.
    pub fn add(&mut self, other: &Self) {
        self.mode = other.mode.or(self.mode);
        self.fallbacks += other.fallbacks;
        self.reruns += other.reruns;
        self.relists += other.relists;
        self.round_trips += other.round_trips;
        self.requests += other.requests;
        self.responses += other.responses;
        self.nodes += other.nodes;
        self.leaves_listed += other.leaves_listed;
        self.row_bytes += other.row_bytes;
        self.rows_put += other.rows_put;
        self.rows_held += other.rows_held;
        self.rows_deleted += other.rows_deleted;
        self.received.add(&other.received);
        self.sent.add(&other.sent);
    }

    /// Bytes received that are not rows, before compression.
    #[must_use]
    pub fn metadata_received(&self) -> u64 {
        self.received.raw_bytes.saturating_sub(self.row_bytes)
    }

    /// Bytes that are not rows, both ways, before compression.
    #[must_use]
    pub fn metadata_bytes(&self) -> u64 {
        self.metadata_received() + self.sent.raw_bytes
    }

    pub(crate) fn on_request(&mut self, request: &Request) {
        self.requests += 1;
        if let Request::Rows { wants, .. } = request {
            self.leaves_listed += wants.iter().map(|want| want.have.len() as u64).sum::<u64>();
        }
    }

    pub(crate) fn on_response(&mut self, response: &Response) {
        self.responses += 1;
        if let Response::Nodes { nodes, .. } = response {
            self.nodes += nodes.len() as u64;
        }
        if let Some(block) = response.block() {
            self.row_bytes += block.rows.iter().map(row_bytes).sum::<u64>();
        }
    }
}

/// Rows of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Volume {
    /// How many.
    pub rows: u64,
    /// Their bytes: id, version and content, before compression.
    pub bytes: u64,
}

/// Counters of one session, on the leader's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// Requests answered.
    pub requests: u64,
    /// Nodes sent.
    pub nodes: u64,
    /// Rows sent because they were written since.
    pub lineage: Volume,
    /// Rows sent because the follower did not list them.
    pub walk: Volume,
    /// Rows sent because the follower listed nothing.
    pub bulk: Volume,
    /// Frames sent.
    pub sent: Traffic,
    /// Frames received.
    pub received: Traffic,
}

impl Volume {
    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

impl Served {
    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.nodes += other.nodes;
        self.lineage.add(&other.lineage);
        self.walk.add(&other.walk);
        self.bulk.add(&other.bulk);
        self.sent.add(&other.sent);
        self.received.add(&other.received);
    }

    /// Rows of a mode.
    #[must_use]
    pub fn volume(&self, mode: Mode) -> Volume {
        match mode {
            Mode::Equal => Volume::default(),
            Mode::Lineage => self.lineage,
            Mode::Walk => self.walk,
            Mode::Bulk => self.bulk,
        }
    }

    /// Counts a response that answers a request of this mode; see [`Request::mode`].
    pub fn count(&mut self, mode: Mode, response: &Response) {
        if let Response::Nodes { nodes, .. } = response {
            self.nodes += nodes.len() as u64;
        }
        let volume = match mode {
            Mode::Equal => return,
            Mode::Lineage => &mut self.lineage,
            Mode::Walk => &mut self.walk,
            Mode::Bulk => &mut self.bulk,
        };
        if let Some(block) = response.block() {
            volume.rows += block.rows.len() as u64;
            volume.bytes += block.rows.iter().map(row_bytes).sum::<u64>();
        }
    }
}

impl Request {
    /// The mode of a follower that sends this.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Self::Hello { .. } => Mode::Equal,
            Self::Since { .. } => Mode::Lineage,
            Self::Rows { wants, .. } if wants.iter().all(|want| want.have.is_empty()) => Mode::Bulk,
            Self::Nodes { .. } | Self::Rows { .. } => Mode::Walk,
        }
    }
}
