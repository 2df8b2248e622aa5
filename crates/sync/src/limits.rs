//! Every limit of the sync protocol, with its unit. Both sides check what they receive against these before
//! they allocate for it; errors quote them.

/// Version of the messages and of their meaning. Peers with different versions do not sync.
pub const PROTOCOL_VERSION: u32 = 2;

/// Largest body of one frame, in bytes, before and after compression. Fits the default message limit of gRPC (4 MiB)
/// and holds any single row, because one write is at most 1 MiB.
pub const FRAME_BODY_BYTES_MAX: usize = 3 << 20;
/// Largest frame, in bytes: a body and its header.
pub const FRAME_BYTES_MAX: usize = FRAME_BODY_BYTES_MAX + crate::frame::FRAME_HEADER_BYTES;

/// Most trees in one snapshot header.
pub const TREES_MAX: usize = 4_096;
/// Most prefixes in one `Nodes` request, and most nodes in one `Nodes` response.
pub const PREFIXES_PER_REQUEST_MAX: usize = 4_096;
/// Most wants in one `Rows` request, and most parts in one `Rows` response.
pub const WANTS_PER_REQUEST_MAX: usize = 4_096;
/// Most leaves listed in one `Rows` request, all its wants together.
pub const LISTED_PER_REQUEST_MAX: usize = 16_384;
/// Most rows in one response.
pub const ROWS_PER_FRAME_MAX: usize = 16_384;
/// Most buckets in one `Since` response of which the leader says what they still hold.
pub const KEPT_PER_FRAME_MAX: usize = 4_096;
