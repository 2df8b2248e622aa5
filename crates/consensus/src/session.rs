//! Catch-up by delta: how a snapshot offered by the leader becomes one installed at the follower.
//!
//! The leader freezes a view, offers it (`offer`) and serves it (`serve`); the follower takes the offer (`incoming`),
//! pulls what differs over a sync stream it opens back to the leader (`pull`), stages it durably, verifies it and hands
//! it to openraft. The session's logic is `pando-sync`; here are its messages' envelopes, its clocks and its threads.

mod episode;
mod incoming;
mod intake;
mod limit;
mod offer;
mod outgoing;
mod progress;
mod pull;
mod repair;
mod serve;
mod views;

use pando_sync::{Compression, Request, Response, SnapshotHeader};
use serde::{Deserialize, Serialize};

pub(crate) use episode::{Appended, Away};
pub(crate) use incoming::Incoming;
pub(crate) use offer::{OfferError, Offered, send_offer};
pub(crate) use outgoing::{Outgoing, RESERVED_MAX, Reserved};
pub use progress::CatchUps;
pub(crate) use progress::Progress;
pub use repair::Repair;
pub(crate) use serve::serve;
pub(crate) use views::{Lease, Views};

use crate::log_book::Why;
use crate::types::{SnapshotMeta, Vote};

/// The leader's offer of a snapshot: the body of [`crate::PeerRpc::SnapshotOffer`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// The leader's vote.
    pub(crate) vote: Vote,
    /// openraft's description of the snapshot.
    pub(crate) meta: SnapshotMeta,
    /// The view's description. The session's must be the same.
    pub(crate) header: SnapshotHeader,
    /// Names the view when the stream is opened.
    pub(crate) token: u64,
    /// Why it is offered.
    pub(crate) why: Why,
}

/// The answer to an offer that was installed, or was not needed any more.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Accepted {
    /// The follower's vote.
    pub(crate) vote: Vote,
}

/// Follower to leader, on a sync stream.
#[derive(Debug, Serialize, Deserialize)]
enum Up {
    /// The first frame: which view, and what compression the follower takes.
    Open { token: u64, accepts: Compression },
    /// All others but the last.
    Request(Request),
    /// The follower has all it wanted; the last frame of a session that came to its end.
    Done,
}

/// Leader to follower, on a sync stream.
#[derive(Debug, Serialize, Deserialize)]
enum Down {
    /// A part of an answer.
    Response(Response),
    /// The leader gives up; the last frame.
    Refused { reason: String },
}

/// The frame that opens a stream, for tests.
#[cfg(test)]
pub(crate) fn open_frame(token: u64) -> bytes::Bytes {
    let accepts = Compression::default();
    let open = Up::Open { token, accepts };
    pando_sync::encode(&open, Compression::None).expect("a small frame")
}

/// The request every session begins with, for tests.
#[cfg(test)]
pub(crate) fn hello_frame() -> bytes::Bytes {
    let hello = Request::Hello {
        protocol: pando_sync::PROTOCOL_VERSION,
        root: pando_merkle::Digest([0; 32]),
        index: 0,
    };
    pando_sync::encode(&Up::Request(hello), Compression::None).expect("a small frame")
}

/// The frame that ends a session, for tests.
#[cfg(test)]
pub(crate) fn done_frame() -> bytes::Bytes {
    pando_sync::encode(&Up::Done, Compression::None).expect("a small frame")
}

/// Whether a leader's frame is a refusal, for tests.
#[cfg(test)]
pub(crate) fn is_refusal(frame: &[u8]) -> bool {
    matches!(pando_sync::decode(frame), Ok(Down::Refused { .. }))
}
