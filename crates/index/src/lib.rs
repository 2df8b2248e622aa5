//! Nearest-neighbour search: a graph, the exact scan, distances and filters.
//!
//! Owns every point of a collection in memory: its id, its canonical payload bytes and its vectors. It knows
//! nothing of storage, versions or the log: whoever applies writes tells it of each one, in order.
//!
//! Vectors are searchable as soon as they are written. Where there are many, background threads put them into a
//! graph; those not in it yet are scanned, and everything the graph says is checked against what is stored.
//!
//! Reads use the rayon pool. They must not be called from one of its threads while holding a lock that another
//! job of the pool may want: a waiting rayon thread runs other jobs in the meantime.

mod collection;
mod cpu;
mod distance;
mod exact;
pub mod graph;
mod half_form;
mod hybrid;
mod options;
mod plan;
mod rows;
mod slab;
mod top;
mod vectors;
mod workers;

pub use collection::{CollectionIndex, Searched};
pub use cpu::{UnsupportedCpu, check_cpu};
pub use options::{GRAPH_VECTORS_MIN, IndexOptions};
pub use plan::{Plan, Why};
pub use top::Scored;
