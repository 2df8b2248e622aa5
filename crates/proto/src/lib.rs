//! Generated wire types and the conversions between them and the model; nothing else.
//!
//! [`v1`] is the public API, [`cluster_v1`] the node-to-node API. Model types become wire types with `From`;
//! the way back is `TryFrom` or a `decode_` function and may fail with a [`DecodeError`] that names the field,
//! because what comes over a wire may be anything. Failed calls carry a typed detail ([`detail`]).

mod convert;
pub mod detail;
mod error;
mod generated;
mod report;

pub use convert::{
    decode_collection, decode_consistency, decode_facets, decode_filter, decode_groups, decode_id,
    decode_ids, decode_ordered, decode_payload, decode_points, decode_quantizations,
    decode_queries, decode_request_id, decode_schema, decode_scroll, decode_selector,
    encode_facets, encode_groups, encode_ordered, encode_quantizations, encode_request_id,
    encode_scroll, with_payload, with_vectors,
};
pub use error::DecodeError;
pub use generated::{FILE_DESCRIPTOR_SET, cluster_v1, v1};
pub use report::{
    CatchUp, CatchUpPath, CatchUpWhy, ClusterStatus, CollectionRoot, LastCatchUp, LogKept,
    NodeReport, NodeState, NodeStatus, Quarantined, ReplicaRoot, Role, Scrub, SyncProgress,
    Verdict, Verified, VerifyReport,
};

/// Largest gRPC message either side accepts, in bytes.
pub const GRPC_MESSAGE_BYTES_MAX: usize = 8 << 20;
