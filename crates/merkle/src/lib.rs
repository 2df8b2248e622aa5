//! The Merkle tree: leaves, buckets, root, freeze and diff. Knows bytes and digests, no vectors.
//!
//! A [`Tree`] maps a [`Key`] to a [`Leaf`] and keeps one SHA-256 [`Digest`] over all of them, the
//! root. It is an adaptive 16-ary radix tree: the node at a [`Prefix`] is a bucket while it holds
//! at most [`BUCKET_MAX`] leaves and an inner node with sixteen children above that.
//!
//! Invariants:
//! - the shape and every digest are a pure function of the set of (key, leaf digest) pairs, so two
//!   trees with the same rows have the same root whatever the order of the writes;
//! - a clone shares every node and never changes afterwards: cloning is freezing;
//! - hints (row sizes, highest log index) are never hashed and never decide equality.
//!
//! This crate does no I/O, has no clock and no threads, and must not learn what a row means.

mod diff;
mod digest;
mod key;
mod leaves;
mod look;
mod node;
mod prefix;
mod prepared;
mod since;
mod subtree;
mod tree;

pub use diff::{Change, Diff, diff};
pub use digest::{Digest, collection_root, leaf_digest, replica_root, value_digest};
pub use key::Key;
pub use leaves::Leaves;
pub use look::{Compared, Difference, Look, LookError, compare};
pub use node::{BUCKET_MAX, Leaf};
pub use prefix::{Prefix, PrefixError};
pub use prepared::Prepared;
pub use since::{Since, Touched};
pub use tree::{NodeView, Tree};
