//! What may be chosen about an index.

use std::sync::Arc;

use crate::counts::IndexCounts;
use crate::graph::diskann::DiskAnn;
use crate::graph::{Library, Sizes};
use crate::payload::Demand;

/// Where graphs begin. One is faster from some 3,000 vectors on; up to here a scan takes about a millisecond, misses
/// nothing, and needs no memory.
pub const GRAPH_VECTORS_MIN: usize = 20_000;

/// Where payload indexes begin: small enough that asking the payloads of fewer points matters little. Not measured.
const PAYLOAD_POINTS_MIN: usize = 1_000;

/// How an index keeps vectors that have a graph beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlabForm {
    /// At half precision. Little more than the hits is read from where the vectors are stored.
    Half,
    /// In a byte a value. On real embeddings of 384 values 11.4 vectors are read for 10 hits, where it is 10 at half
    /// precision; values that differ much in size within a vector make it more.
    #[default]
    Int8,
}

/// Sizes and defaults of an index.
#[derive(Clone)]
pub struct IndexOptions {
    /// The graph library.
    pub library: Arc<dyn Library>,
    /// A vector name that this many points have gets a graph; it loses it when half as many have it.
    pub graph_rows_min: usize,
    /// Rows of the smallest graph segment.
    pub segment_rows_min: usize,
    /// Bytes of the largest graph segment.
    pub segment_bytes_max: usize,
    /// How vectors are kept once there is a graph. Hits and scores are the same in every form.
    pub slab_form: SlabForm,
    /// List size of a search that does not name one.
    pub ef: usize,
    /// Where filling graphs is counted.
    pub counts: Arc<IndexCounts>,
    /// A filter begins indexes of its fields where there are so many points; they are given up at half as many.
    pub payload_points_min: usize,
    /// Points that a filter takes into the indexes that it wants and that do not cover all of them yet, at least.
    pub payload_points_per_filter: usize,
}

impl IndexOptions {
    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            rows_min: self.segment_rows_min,
            bytes_max: self.segment_bytes_max,
        }
    }

    pub(crate) fn demand(&self) -> Demand {
        Demand {
            points_min: self.payload_points_min,
            points_per_filter: self.payload_points_per_filter,
        }
    }
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self {
            library: Arc::new(DiskAnn),
            graph_rows_min: GRAPH_VECTORS_MIN,
            segment_rows_min: 1 << 14,
            // Each is searched, so fewer are faster: a million vectors of 128 values in one take half the time that they take
            // in three. While one grows, its copy takes as much again.
            segment_bytes_max: 1 << 30,
            slab_form: SlabForm::default(),
            // Recall@10 of 0.995 on 115,659 real embeddings of 384 values (examples/recall.rs).
            ef: 64,
            counts: Arc::default(),
            payload_points_min: PAYLOAD_POINTS_MIN,
            payload_points_per_filter: 1 << 13,
        }
    }
}
