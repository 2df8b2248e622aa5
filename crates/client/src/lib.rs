//! The Rust SDK: finds the leader, retries safely, typed errors.
//!
//! A [`Pando`] knows some members of a cluster, learns the others, sends writes to the leader where it knows it
//! and falls back to any other member. Every request has one deadline, retries included. Every write carries a
//! request id that all its retries share: the cluster answers a repeated id with the first reply, so that a
//! retry never repeats a side effect. Errors say what kind they are, whether asking again may help, and whether
//! something may have happened.
//!
//! ```no_run
//! use pando_client::model::{CollectionName, CollectionSchema, Metric, Payload, Point, SearchQuery};
//! use pando_client::{Consistency, Pando};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let pando = Pando::builder()
//!     .endpoint("http://127.0.0.1:7700")
//!     .connect()
//!     .await?;
//! let words = CollectionName::parse("words")?;
//! pando
//!     .create_collection(&words, CollectionSchema::single(3, Metric::Cosine))
//!     .await?;
//! let points = vec![
//!     Point::new(1, vec![1.0, 0.0, 0.1], Payload::default()),
//!     Point::new(2, vec![0.0, 1.0, 0.1], Payload::default()),
//! ];
//! let written = pando.upsert(&words, points).await?;
//!
//! // With the index of the write, any member answers with the write included.
//! let query = SearchQuery::new(vec![0.9, 0.1, 0.1], 1);
//! let hits = pando
//!     .search(&words, query, Consistency::AtLeast(written.log_index))
//!     .await?;
//! println!("nearest: {} ({})", hits[0].point.id, hits[0].score);
//! # Ok(())
//! # }
//! ```

mod builder;
mod bulk;
mod call;
mod cluster;
mod collections;
mod diff;
mod endpoints;
mod error;
mod points;
mod search;

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;

pub use builder::{Pando, PandoBuilder};
pub use bulk::{BulkError, BulkOptions, Progress};
pub use cluster::{AddedNode, FormedCluster, FrozenSnapshot};
pub use collections::Created;
pub use diff::{FrozenLeaf, FrozenNode, FrozenState, FrozenTree};
pub use error::{ClientError, ErrorKind, LeaderHint};
pub use pando_model as model;
pub use pando_model::Consistency;
pub use pando_proto::{
    CatchUp, CatchUpPath, CatchUpWhy, ClusterStatus, CollectionRoot, LastCatchUp, LogKept,
    NodeReport, NodeState, NodeStatus, Quarantined, ReplicaRoot, Role, Scrub, SyncProgress,
    Verdict, Verified, VerifyReport,
};
pub use points::Written;
