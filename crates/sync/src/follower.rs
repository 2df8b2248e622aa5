//! The follower's side: makes its working trees equal to the leader's view.
//!
//! Owns the order of a session: hello, then for each tree the cheapest way there is (what was written since a log
//! index, a walk, or everything), rows, verification. Invariants: nothing the leader sends is staged unless
//! it was asked for and lies where it was asked for; a session that ends in [`Finished::Verified`] has every root equal
//! in all 32 bytes; after an error the follower answers nothing but errors. Must not know how messages travel or where
//! staged rows are kept.

mod ask;
mod cover;
mod drops;
mod nodes;
mod pending;
mod rows;
mod session;
mod since;
mod verify;

use std::collections::BTreeMap;

use pando_merkle::{Digest, Key, Tree};
use pando_model::{Row, TreeId};

use crate::error::SyncError;
use crate::header;
use crate::limits::PROTOCOL_VERSION;
use crate::message::{Request, Response, SnapshotHeader};
use crate::stats::{Mode, Stats};
use session::Session;

/// Where a follower starts.
#[derive(Clone, Debug)]
pub struct Base {
    /// Root of the installed state, what is staged not counted.
    pub root: Digest,
    /// Log index of the installed state.
    pub index: u64,
    /// The working trees: the installed state with everything already staged laid over it.
    pub trees: BTreeMap<TreeId, Tree>,
    /// Whether nothing is staged: the working trees are the installed state of [`Base::index`].
    pub clean: bool,
}

/// How a follower asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerOptions {
    /// Take what was written since the installed log index, where the trees are just that state.
    pub lineage: bool,
    /// Most requests without a complete answer.
    pub window: usize,
    /// Most of them that stream a whole part of a tree.
    pub streams: usize,
    /// Most prefixes in one `Nodes` request.
    pub prefixes_per_request: usize,
    /// Most leaves listed in one `Rows` request; a single want may list [`FollowerOptions::list_max`].
    pub listed_per_request: usize,
    /// Where the leader has a bucket, list up to this many own leaves rather than walk on.
    pub list_max: u64,
    /// Trees with at least this many rows on both sides are walked from level 1, which saves a round trip.
    pub wide_start_min: u64,
    /// A tree with less than one row for so many of the leader's is not walked: all of it is taken.
    pub bulk_ratio: u64,
    /// Trees that are streamed are asked for in parts of about this many bytes.
    pub stream_bytes: u64,
    /// Most deletes of whole subtrees staged in one step.
    pub deletes_per_step: usize,
}

impl Default for FollowerOptions {
    fn default() -> Self {
        Self {
            lineage: true,
            window: 8,
            streams: 3,
            prefixes_per_request: 256,
            listed_per_request: 4_096,
            list_max: 1_024,
            wide_start_min: 4_096,
            bulk_ratio: 8,
            stream_bytes: 16 << 20,
            deletes_per_step: 8_192,
        }
    }
}

/// What to do after a message.
#[derive(Debug, Default)]
#[must_use = "a step must be staged before, and sent after, anything else happens"]
pub struct Step {
    /// Send these, in order.
    pub send: Vec<Request>,
    /// Keep these, in order; a session resumed from them does not ask for them again.
    pub stage: Vec<Staged>,
    /// There is more to stage without any message: call [`Follower::proceed`] once these are staged.
    pub more: bool,
    /// The session is over.
    pub finished: Option<Finished>,
}

/// One change that makes the follower's state more like the leader's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The tree changed.
    pub tree: TreeId,
    /// The key changed.
    pub key: Key,
    /// How.
    pub op: Op,
}

/// How a key changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// The key holds this row.
    Put(Row),
    /// The key holds nothing.
    Delete,
}

/// How a session ended.
#[derive(Debug)]
pub enum Finished {
    /// The installed state is the leader's: there is nothing to install, and whatever is staged is void.
    Equal {
        /// Log index of the leader's view.
        index: u64,
    },
    /// The working trees are the leader's. The rows staged, in this session and before it, may be installed.
    Verified {
        /// The view the follower is equal to now.
        header: SnapshotHeader,
        /// Its trees. The leaves of rows that came in this session carry the view's log index.
        trees: BTreeMap<TreeId, Tree>,
    },
}

/// The follower's side of one session.
pub struct Follower {
    phase: Phase,
    options: FollowerOptions,
    stats: Stats,
    progress: (u64, u64),
}

enum Phase {
    /// Nothing sent.
    Ready(Base),
    /// Hello sent.
    Greeted(Base),
    Walking(Box<Session>),
    /// Finished, or failed.
    Over,
}

impl Follower {
    /// A session from this base.
    #[must_use]
    pub fn new(base: Base, options: FollowerOptions) -> Self {
        Self {
            phase: Phase::Ready(base),
            options,
            stats: Stats::default(),
            progress: (0, 0),
        }
    }

    /// The requests that open the session. Nothing when it is open already.
    #[must_use]
    pub fn start(&mut self) -> Vec<Request> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Ready(base) => {
                let hello = Request::Hello {
                    protocol: PROTOCOL_VERSION,
                    root: base.root,
                    index: base.index,
                };
                self.phase = Phase::Greeted(base);
                self.stats.on_request(&hello);
                self.stats.round_trips = 1;
                vec![hello]
            }
            other => {
                self.phase = other;
                Vec::new()
            }
        }
    }

    /// Takes a message of the leader.
    ///
    /// # Errors
    /// If the leader breaks the protocol, or the trees are not equal in the end. The session is over then; what was
    /// staged in earlier steps is sound to keep, since the next session checks it again.
    pub fn on_response(&mut self, response: Response) -> Result<Step, SyncError> {
        self.stats.on_response(&response);
        // Taken out, so that an error leaves the session over.
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Ready(_) => Err(unexpected(&response, "before the session was opened")),
            Phase::Over => Err(unexpected(&response, "after the session was over")),
            Phase::Greeted(base) => self.on_greeting(base, response),
            Phase::Walking(mut session) => {
                let mut step = Step::default();
                match response {
                    Response::Nodes { id, nodes } => session.on_nodes(id, nodes)?,
                    Response::Rows {
                        id,
                        parts,
                        more,
                        puts,
                    } => {
                        let answer = (parts, more, puts.rows);
                        session.on_rows(id, answer, &mut step.stage, &mut self.stats)?;
                    }
                    Response::Since {
                        id,
                        puts,
                        kept,
                        done,
                    } => {
                        let answer = (puts.rows, kept, done);
                        session.on_since(id, answer, &mut step.stage, &mut self.stats)?;
                    }
                    Response::Equal { .. } | Response::Snapshot(_) => {
                        return Err(unexpected(&response, "after the snapshot header"));
                    }
                }
                self.advance(session, step)
            }
        }
    }

    /// Goes on after a step that said [`Step::more`].
    ///
    /// # Errors
    /// If the trees are not equal in the end.
    pub fn proceed(&mut self) -> Result<Step, SyncError> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Walking(session) => self.advance(session, Step::default()),
            other => {
                self.phase = other;
                Ok(Step::default())
            }
        }
    }

    /// What the session has cost so far, but for the frames: those are counted by whoever carries them.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Counts a frame received, for [`Follower::stats`].
    pub fn count_received(&mut self, frame: &[u8]) {
        self.stats.received.count(frame);
    }

    /// Counts a frame sent, for [`Follower::stats`].
    pub fn count_sent(&mut self, frame: &[u8]) {
        self.stats.sent.count(frame);
    }

    /// Rows of the leader known to be equal here, and rows there in all; an estimate while the walk goes on.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        self.progress
    }

    fn on_greeting(&mut self, base: Base, response: Response) -> Result<Step, SyncError> {
        match response {
            Response::Equal { index } => {
                self.stats.mode = Some(Mode::Equal);
                let finished = Some(Finished::Equal { index });
                Ok(Step {
                    finished,
                    ..Step::default()
                })
            }
            Response::Snapshot(header) => {
                header::check(&header)?;
                let session = Session::new(header, base, self.options, &mut self.stats);
                self.advance(Box::new(session), Step::default())
            }
            Response::Nodes { .. } | Response::Rows { .. } | Response::Since { .. } => {
                Err(unexpected(&response, "before the snapshot header"))
            }
        }
    }

    /// Does what can be done without another message.
    fn advance(&mut self, mut session: Box<Session>, mut step: Step) -> Result<Step, SyncError> {
        loop {
            step.more = session.drop_some(&mut step.stage, &mut self.stats);
            session.ask(&mut step.send, &mut self.stats);
            self.progress = session.progress();
            if !session.is_idle() {
                self.phase = Phase::Walking(session);
                return Ok(step);
            }
            if session.verify(&mut self.stats)? {
                let (header, trees) = session.into_parts();
                step.finished = Some(Finished::Verified { header, trees });
                return Ok(step);
            }
        }
    }
}

fn unexpected(response: &Response, when: &'static str) -> SyncError {
    let message = match response {
        Response::Equal { .. } => "an equality",
        Response::Snapshot(_) => "a snapshot header",
        Response::Nodes { .. } => "nodes",
        Response::Rows { .. } | Response::Since { .. } => "rows",
    };
    SyncError::Unexpected { message, when }
}
