//! The public API: one file per service, each method decode, call, encode.
//!
//! Owns what all methods share: deadlines, limits and counts ([`admission`]), and how reads and writes reach
//! the node ([`Api`]). Knows gRPC and the node; no ranking, no storage, no Raft.

mod admission;
mod api;
mod cluster;
mod collections;
mod diff;
mod points;
mod search;
mod server;

pub(crate) use admission::{ADMIN_TIMEOUT, Admission, Deadline, RequestSpan};
pub(crate) use api::Api;
pub(crate) use cluster::form;
pub(crate) use server::{PublicApi, serve, set_health};
