//! Every limit on user input, with its unit. Errors quote these; nothing else repeats the numbers.

/// Most points in one write.
pub const POINTS_PER_WRITE_MAX: usize = 1_024;
/// Largest encoded write, in bytes: one write is one Raft entry. The SDK splits larger batches.
pub const WRITE_BYTES_MAX: usize = 1 << 20;
/// Largest payload of one point, in canonical bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Deepest nesting of a payload value or a filter.
pub const NESTING_MAX: usize = 16;
/// Most dimensions of one vector.
pub const DIMENSION_MAX: usize = 16_384;
/// Most entries (an index and its value) of one sparse vector.
pub const SPARSE_ENTRIES_MAX: usize = 16_384;
/// Most vectors (names) of one collection, dense and sparse together.
pub const VECTORS_PER_COLLECTION_MAX: usize = 16;
/// Longest collection, alias or vector name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Most collections and aliases, each.
pub const COLLECTIONS_MAX: usize = 1_024;
/// Most hits (or scrolled points) one request may ask for, offset included.
pub const RESULTS_MAX: usize = 10_000;
/// Longest list a search may have the graph searched with.
pub const EF_MAX: u32 = 10_000;
/// Most candidates that a search takes from the graph for each hit.
pub const OVERSAMPLING_MAX: f32 = 100.0;
/// Most examples of one search, positive and negative together.
pub const EXAMPLES_MAX: usize = 256;
/// Most groups of one search.
pub const GROUPS_MAX: usize = 1_000;
/// Most hits in one group.
pub const GROUP_SIZE_MAX: usize = 100;
/// Most values of one facet request.
pub const FACETS_MAX: usize = 10_000;
/// Most searches that one hybrid query fuses.
pub const HYBRID_QUERIES_MAX: usize = 16;
/// Most queries in one batch search.
pub const QUERIES_PER_BATCH_MAX: usize = 256;
/// Most conditions in one filter, nested ones included.
pub const FILTER_CONDITIONS_MAX: usize = 256;
/// Most values in one any-of condition, and ids in one has-id condition or one get.
pub const VALUES_PER_CONDITION_MAX: usize = 4_096;
/// How many request ids a cluster remembers; a retry older than this many writes is applied again.
pub const REQUEST_IDS_REMEMBERED: u64 = 65_536;
/// Most content, in bytes, that one filtered write changes in one Raft entry; it goes on in the next.
pub const FILTERED_WRITE_BYTES_MAX: usize = 2 << 20;
