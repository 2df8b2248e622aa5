//! What a session costs.

use crate::frame::{FRAME_HEADER_BYTES, encoded_bytes};
use crate::message::{Request, Response};
use crate::row::row_bytes;

/// Counters of one session, on the follower's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The longest chain of requests that each had to wait for an answer, the hello included.
    pub round_trips: u64,
    /// Requests sent.
    pub requests: u64,
    /// Responses received.
    pub responses: u64,
    /// Nodes of the leader received.
    pub nodes: u64,
    /// (key, leaf) pairs sent.
    pub leaf_pairs: u64,
    /// Bytes of all frames both ways that are not rows, before compression.
    pub metadata_bytes: u64,
    /// Bytes of the rows received: id, version and content, before compression.
    pub row_bytes: u64,
    /// Rows received and staged.
    pub rows_put: u64,
    /// Deletes staged.
    pub rows_deleted: u64,
    /// Walks repeated with whole hashes: 0 or 1.
    pub reruns: u64,
}

impl Stats {
    pub(super) fn sent(&mut self, request: &Request) {
        self.requests += 1;
        self.metadata_bytes += FRAME_HEADER_BYTES as u64 + encoded_bytes(request);
        if let Request::Rows { wants, .. } = request {
            self.leaf_pairs += wants.iter().map(|want| want.have.len() as u64).sum::<u64>();
        }
    }

    pub(super) fn received(&mut self, response: &Response) {
        self.responses += 1;
        let rows = match response {
            Response::Rows { puts, .. } => puts.iter().map(row_bytes).sum(),
            Response::Nodes { nodes, .. } => {
                self.nodes += nodes.len() as u64;
                0
            }
            Response::Equal { .. } | Response::Snapshot(_) => 0,
        };
        let frame = FRAME_HEADER_BYTES as u64 + encoded_bytes(response);
        self.metadata_bytes += frame.saturating_sub(rows);
        self.row_bytes += rows;
    }
}
