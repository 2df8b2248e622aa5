//! What a benchmark's nodes are told, as flags of `pando serve`.

use super::row::Method;

/// No graph: what is measured is catching up, and a graph is built whoever the vectors come from.
const NO_GRAPH: &str = "--graph-vectors-min=0";
/// Nor is what is stored read again meanwhile: a node has to come to rest before it is measured.
const NO_SCRUB: &str = "--scrub-mib-per-second=0";

/// For a leader that keeps its log until it is told to drop it, and so many MiB of it.
pub(super) fn leader(log_mib: u64, request_timeout_ms: u128) -> Vec<String> {
    vec![
        "--raft-log-entries-max=1000001".to_owned(),
        "--raft-log-entries-keep=1000000".to_owned(),
        format!("--raft-log-mib-max={log_mib}"),
        // Nor is it cut because a delta would be cheaper, which is what is measured.
        "--raft-replay-cost-ratio=1000".to_owned(),
        format!("--request-timeout-ms={request_timeout_ms}"),
        NO_GRAPH.to_owned(),
        NO_SCRUB.to_owned(),
    ]
}

/// For a follower: whether it says at which index it stopped, and whether it asks for compression, are its own to
/// decide.
pub(super) fn follower(method: Method, zstd: bool) -> Vec<String> {
    let compression = if zstd { "zstd" } else { "none" };
    vec![
        format!("--sync-lineage={}", method != Method::Walk),
        format!("--sync-compression={compression}"),
        NO_GRAPH.to_owned(),
        NO_SCRUB.to_owned(),
    ]
}
