//! Generated wire types and the conversions between them and the model; nothing else.
//!
//! [`v1`] is the public API, [`cluster_v1`] the node-to-node API. Model types convert to wire types with
//! `From` and back with `TryFrom`, because what comes over a wire may be anything.

mod generated;

pub use generated::{FILE_DESCRIPTOR_SET, cluster_v1, v1};

/// Largest gRPC message either side accepts, in bytes.
pub const GRPC_MESSAGE_BYTES_MAX: usize = 8 << 20;
