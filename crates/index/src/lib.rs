//! Nearest-neighbour search: the exact scan, distances and filters.
//!
//! Owns every point of a collection in memory: its id, its canonical payload bytes and its vectors. It knows
//! nothing of storage, versions or the log: whoever applies writes tells it of each one, in order.
//!
//! Reads use the rayon pool. They must not be called from one of its threads while holding a lock that another
//! job of the pool may want: a waiting rayon thread runs other jobs in the meantime.

mod collection;
mod distance;
mod exact;
mod slab;
mod top;

pub use collection::CollectionIndex;
pub use top::Scored;
