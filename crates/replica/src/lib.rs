//! One replica's state: storage, trees and indexes behind apply, search, freeze, stage and install.
//!
//! Data flows one way. A log entry is *planned* against the state (`plan`: pure reads), *committed* to storage in
//! one atomic batch together with the applied position and the new root (`commit`), and only then shown to
//! readers. A catch-up *freezes* a view on the leader (`view`), *stages* what differs on the follower (`stage`),
//! and *installs* it there (`install`), every step of which can be cut off at any point and recovered at start
//! (`open`, `recover`). Meanwhile everything stored is read again (`scrub`), and what is not what the trees name
//! (`damage`) is written anew from another replica's copy (`mend`). The graphs of the indexes are kept in files for the
//! next start (`checkpoint`).
//!
//! Invariants: what readers see has been written to storage; the stored root is the root of the stored rows,
//! except between the intent to install and its end; apply uses no clock, no randomness and no map order.
//!
//! It must not know Raft: positions are numbers to it, and the membership is opaque bytes. All calls block: never
//! make them on an async worker.

mod applied;
mod apply;
mod catalogue;
mod check;
mod checkpoint;
mod collection;
mod commit;
mod damage;
mod diverge;
mod error;
mod estimate;
mod garbage;
mod install;
mod intent;
mod load;
mod mend;
mod open;
mod options;
mod plan;
mod ranges;
mod reads;
mod recover;
mod reindex;
mod replica;
mod reply;
mod scrub;
mod stage;
mod state;
mod system_row;
mod times;
mod vector_cache;
mod view;

pub use applied::{Applied, ApplyEntry, ApplyPayload, decode_meta};
pub use check::{Checked, FrozenLeaf, FrozenNode, LookRefused, PREFIXES_PER_LOOK_MAX};
pub use checkpoint::SaveWhich;
pub use error::ReplicaError;
pub use estimate::DeltaEstimate;
pub use install::Installed;
pub use mend::{Mended, WantedRow};
pub use options::{CheckpointOptions, ReplicaOptions, VECTOR_CACHE_BYTES_MAX};
pub use reads::Patience;
pub use replica::{Replica, ReplicaStats};
pub use scrub::{DamageReport, ScrubCursor, ScrubStep};
pub use stage::{Stage, StagedDelta};
pub use times::Part;
pub use view::{FrozenView, ViewError};

#[cfg(test)]
mod tests;
