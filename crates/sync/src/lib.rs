//! The sync session as a pure state machine: message in, messages out; framing and compression.
//!
//! A [`Follower`] makes its state equal to the one frozen view a [`Leader`] serves, and moves only what differs: it
//! walks the leader's Merkle trees from the roots down to where they differ from its own, lists the leaves it has
//! there, and gets the rows it lacks and the keys to drop. Equality is decided by all 32 bytes of every root before
//! anything is installed; the short hashes of the walk only save bytes.
//!
//! Invariants of the crate: no I/O, no clock, no threads, so whoever carries the messages (a gRPC stream, a test, a
//! browser) drives both sides alike; and a peer is never trusted: any bytes, in any order, end in a typed error, in
//! bounded memory, without a panic and without an install.

mod error;
mod follower;
mod frame;
mod framer;
mod header;
mod leader;
mod limits;
mod message;
mod row;
mod stats;
mod wire;

pub use error::{AnswerError, RequestError, SyncError};
pub use follower::{Base, Finished, Follower, FollowerOptions, Op, Staged, Step};
pub use frame::{
    Compression, FRAME_HEADER_BYTES, FrameError, ZSTD_LEVEL_MAX, ZSTD_LEVEL_MIN, decode, encode,
};
pub use framer::Framer;
pub use header::header_root;
pub use leader::{Answer, Leader, LeaderOptions, Source};
pub use limits::{
    FRAME_BODY_BYTES_MAX, FRAME_BYTES_MAX, KEPT_PER_FRAME_MAX, LISTED_PER_REQUEST_MAX,
    PREFIXES_PER_REQUEST_MAX, PROTOCOL_VERSION, ROWS_PER_FRAME_MAX, TREES_MAX,
    WANTS_PER_REQUEST_MAX,
};
pub use message::{
    Children, Have, Kept, Part, Request, Response, SnapshotHeader, Tag, TreeHeader, Want, WireHash,
    WireNode,
};
pub use row::{row_bytes, row_key, row_leaf};
pub use stats::{Mode, Served, Stats, Traffic, Volume};
pub use wire::RowBlock;
