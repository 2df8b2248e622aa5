//! Consensus glue: the only crate that names openraft. Log store, state machine, network, node handle.
//!
//! Data flows one way. A write enters at [`Node::write`], is checked and stamped by the leader, goes into the log
//! (`log_store`, durable on a majority before it counts), and from there through `state_machine` into the replica. A
//! follower that is behind gets the entries it missed, or, once they are purged (`log_bound`), a delta (`session`).
//!
//! Invariants: openraft is told that something is durable only after the store's flush has returned; a snapshot is a
//! root, never bytes; nothing is fetched or compared while openraft installs; no request waits beyond its deadline.
//!
//! It must not know gRPC (see [`Transport`]) nor what a command means beyond checking it.

mod address;
mod catch_up;
mod clock;
mod error;
mod evidence;
mod log_book;
mod log_bound;
mod log_policy;
mod log_store;
mod members;
mod messages;
mod network;
mod node;
mod options;
mod scrub;
mod session;
mod state_machine;
mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tidy;
mod transport;
mod trust;
mod types;
mod verdict;
mod wire;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod suite_tests;

pub use address::NodeAddress;
pub use catch_up::{CatchUpPath, CatchUpReason, CatchUpWhy, LastCatchUp};
pub use clock::{Clock, SystemClock};
pub use error::{AdminFailure, PeerError, ReadFailure, StartError, WriteFailure};
pub use log_book::LogFigures;
pub use log_policy::PurgeCause;
pub use log_store::{LogError, purged_index};
pub use messages::Receipt;
pub use node::{Components, Node};
pub use options::{NodeOptions, OptionsError};
pub use session::{CatchUps, Repair};
pub use status::{
    CatchUpCounters, MemberStatus, NodeState, NodeStatus, Role, ScrubStatus, SyncFigures,
    SyncStatus, TrustStatus, Verified, VerifyReport,
};
pub use transport::{PeerRpc, RefusalCode, SyncPipe, Transport, TransportError};
pub use verdict::Verdict;
pub use wire::WireError;
