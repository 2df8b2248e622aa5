//! The node-to-node API: what members of one cluster say to each other, over gRPC on its own port.
//!
//! Owns the envelope ([`Envelope`]: cluster id, protocol version, sender and addressee on every message), the
//! client side ([`NodeTransport`]) and the server side ([`PeerService`]). A message is judged by its envelope
//! before its body is looked at. Knows nothing of what the bodies say: that is the consensus layer's.

mod connect;
mod envelope;
mod handler;
mod refusal;
mod server;
mod service;
mod sync_stream;
mod transport;

pub use connect::Connector;
pub use envelope::{Envelope, PROTOCOL_VERSION, Refusal};
pub use server::serve_peers;
pub use service::{PeerHandler, PeerService};
pub use transport::NodeTransport;
pub(crate) use transport::{JoinError, Joined};

/// Frames waiting in one direction of a sync stream. Frames are at most
/// [`pando_sync::FRAME_BYTES_MAX`], so this bounds the memory of a slow session.
pub(crate) const SYNC_FRAMES_QUEUED_MAX: usize = 4;

#[cfg(test)]
mod tests;
