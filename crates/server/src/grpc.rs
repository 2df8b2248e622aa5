//! The public API: one file per service, each method decode, call, encode.
//!
//! Owns what all methods share: deadlines, limits and counts ([`admission`]), turns of searches
//! ([`gate`]), and how reads and writes reach the node ([`Api`]). Knows gRPC and the node; no ranking, no storage, no Raft.

mod admission;
mod api;
mod cluster;
mod collections;
mod diff;
mod gate;
mod points;
mod search;
mod server;
mod threads;

pub(crate) use admission::{ADMIN_TIMEOUT, Admission, Deadline, RequestSpan};
pub(crate) use api::Api;
pub(crate) use cluster::form;
pub(crate) use gate::SearchGate;
pub(crate) use server::{PublicApi, serve, set_health};
pub(crate) use threads::Threads;
