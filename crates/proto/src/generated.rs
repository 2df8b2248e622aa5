//! What `build.rs` generates from `proto/`. The documentation is that of the `.proto` files.
#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    rust_2018_idioms,
    rustdoc::all,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    clippy::uninlined_format_args,
    reason = "generated code follows its generator's style"
)]

/// The public API, `pando.v1`.
pub mod v1 {
    tonic::include_proto!("pando.v1");
}

/// The node-to-node API, `pando.cluster.v1`.
pub mod cluster_v1 {
    tonic::include_proto!("pando.cluster.v1");
}

/// The encoded descriptors of all files, for the reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
