//! Nearest-neighbour search: a graph, the exact scan, distances and filters.
//!
//! Owns every point of a collection in memory: its id, its canonical payload bytes and its vectors. It knows
//! nothing of storage, versions or the log: whoever applies writes tells it of each one, in order.
//!
//! Vectors are searchable as soon as they are written. Where there are many, background threads put them into a
//! graph; those not in it yet are scanned, and everything the graph says is checked against what is stored. A graph
//! can be written down (`checkpoint`), and taken up again for the vectors that are still the same.
//!
//! Vectors that have a graph are kept in fewer bytes (`packed`), each with a bound of what that loses. The bounds tell
//! which points may be among the hits (`spread`, `band`), and these are scored from the vectors themselves, which
//! whoever stores them gives ([`Originals`]). So hits and scores of a scan are what they would be without that, to the
//! last bit, and so are the scores of what a graph finds.
//!
//! Sparse vectors are in an inverted index (`sparse`), which is as exact as a scan and needs no background work.
//!
//! Filters are answered by payload indexes, which are made on demand, and by the payloads themselves where these do not
//! tell. Which points pass is therefore always exact; the indexes only make it fast.
//!
//! Reads use the rayon pool. They must not be called from one of its threads while holding a lock that another
//! job of the pool may want: a waiting rayon thread runs other jobs in the meantime.

mod aligned;
mod band;
mod checked;
mod checkpoint;
mod collection;
mod counts;
mod cpu;
mod distance;
mod exact;
mod given;
pub mod graph;
mod half_form;
mod hybrid;
mod matching;
mod options;
mod originals;
mod packed;
mod payload;
mod plan;
mod reach;
mod rows;
mod slab;
mod sparse;
mod spread;
mod top;
mod vectors;
mod workers;

pub use checkpoint::{Checkpoint, CheckpointError, Fingerprint, Saving};
pub use collection::{CollectionIndex, Replaced, Searched};
pub use counts::IndexCounts;
pub use cpu::{UnsupportedCpu, check_cpu};
pub use given::Given;
pub use graph::GraphWork;
pub use options::{GRAPH_VECTORS_MIN, IndexOptions, SlabForm};
pub use originals::{NoOriginals, Numbered, Originals, PointVersion, SearchError, Unavailable};
pub use plan::{Plan, Why};
pub use top::Scored;
