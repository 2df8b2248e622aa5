//! The replica's handle: who may touch what, and the figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pando_index::IndexOptions;
use pando_merkle::Digest;
use pando_model::{ReadError, RequestId, TreeId};
use pando_storage::{KvStore, OverlayId, Rows};
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};

use crate::applied::Applied;
use crate::checkpoint::Checkpoints;
use crate::damage::Damage;
use crate::error::ReplicaError;
use crate::load::Loading;
use crate::options::ReplicaOptions;
use crate::scrub::Kept;
use crate::state::State;
use crate::times::{Part, Times};
use crate::vector_cache::VectorCache;
use crate::view::Views;

/// One replica's state. Shared by reference; all calls block.
///
/// One writer at a time (`writer`) plans and commits; readers hold `state` and never wait for storage writes, only
/// for the short moment in which a committed change is shown.
pub struct Replica {
    pub(crate) store: Arc<dyn KvStore>,
    pub(crate) rows: Rows,
    pub(crate) options: ReplicaOptions,
    pub(crate) index_options: IndexOptions,
    pub(crate) checkpoints: Option<Arc<Checkpoints>>,
    /// What searches read of the vectors of the index.
    pub(crate) vector_cache: VectorCache,
    pub(crate) writer: Mutex<Writer>,
    /// Told when everything is loaded: until then the writer's place is nobody's.
    pub(crate) loaded: Condvar,
    pub(crate) loading: Loading,
    pub(crate) times: Times,
    pub(crate) state: RwLock<State>,
    /// `state.applied` once more: whoever only asks how far this replica is never waits for a search or a commit, so
    /// it may ask on an async worker. Follows `state`: who sees an index here sees its writes there.
    pub(crate) latest: RwLock<Applied>,
    pub(crate) views: Views,
    /// Rows that storage cannot give.
    pub(crate) damage: Damage,
    pub(crate) kept: Kept,
    /// Set while a stage is open; there is one at most.
    pub(crate) staging: Arc<AtomicBool>,
    /// Set between the first and the last batch of an install, when what readers would see is a mixture.
    pub(crate) installing: AtomicBool,
    /// Set when storage failed halfway: memory and disk may differ, and only a restart tells.
    pub(crate) poisoned: AtomicBool,
}

/// What only the writer touches.
#[derive(Default)]
pub(crate) struct Writer {
    /// Trees of dropped collections whose rows are still stored.
    pub(crate) dropped: Vec<TreeId>,
    /// Overlays of dropped views that are still stored.
    pub(crate) overlays: Vec<OverlayId>,
}

/// Poisons when it is dropped before the work is whole, be it by an error or by a panic.
struct Halfway<'a> {
    poisoned: &'a AtomicBool,
    whole: bool,
}

impl Drop for Halfway<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.poisoned.store(true, Ordering::Release);
        }
    }
}

/// A replica's figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplicaStats {
    /// Collections.
    pub collections: u64,
    /// Points in all collections.
    pub points: u64,
    /// Canonical bytes of all points.
    pub bytes: u64,
    /// Bytes the indexes hold in memory.
    pub index_bytes: u64,
    /// Bytes of stored vectors that are kept in memory for searches.
    pub vector_cache_bytes: u64,
    /// Vectors that no graph holds yet, where there is one.
    pub index_backlog: u64,
    /// Vectors put into graphs one by one since the replica was opened.
    pub index_indexed: u64,
    /// Vectors whose place in a graph was taken from a checkpoint instead.
    pub index_reused: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Frozen views alive.
    pub views: u64,
    /// Bytes of pre-images they hold.
    pub overlay_bytes: u64,
}

impl Replica {
    /// The log index at which a request was applied, while it is remembered: a retry comes later in the log, and
    /// changes nothing there.
    pub fn request_index(&self, id: &RequestId) -> Option<u64> {
        let state = self.state.read();
        state.catalogue.reply(id).map(|reply| reply.index)
    }

    /// How far this replica is.
    pub fn applied(&self) -> Applied {
        self.latest.read().clone()
    }

    /// The replica root.
    pub fn root(&self) -> Digest {
        self.latest.read().root
    }

    /// The time a part of the work has taken since the replica was opened.
    pub fn time(&self, part: Part) -> Duration {
        self.times.get(part)
    }

    /// Whether an install is between its first and its last batch.
    pub fn is_installing(&self) -> bool {
        self.installing.load(Ordering::Acquire)
    }

    /// Makes everything applied so far durable.
    ///
    /// # Errors
    /// When storage fails.
    pub fn make_durable(&self) -> Result<(), ReplicaError> {
        Ok(self.store.flush()?)
    }

    /// The replica's figures.
    ///
    /// # Errors
    /// When storage cannot tell its size.
    pub fn stats(&self) -> Result<ReplicaStats, ReplicaError> {
        let disk_bytes = self.store.size_on_disk()?;
        let (views, overlay_bytes) = self.views.totals();
        let state = self.state.read();
        let (points, bytes) = state.totals();
        Ok(ReplicaStats {
            collections: state.collections.len() as u64,
            points,
            bytes,
            index_bytes: state
                .collections
                .values()
                .map(|c| c.index.memory_bytes())
                .sum(),
            vector_cache_bytes: self.vector_cache.bytes(),
            index_backlog: state
                .collections
                .values()
                .map(|c| c.index.backlog() as u64)
                .sum(),
            index_indexed: self.index_options.counts.indexed(),
            index_reused: self.index_options.counts.reused(),
            disk_bytes,
            views,
            overlay_bytes,
        })
    }

    /// The writer's place, if this replica is sound, loaded or not: for what does not change the state.
    pub(crate) fn writer_unloaded(&self) -> Result<MutexGuard<'_, Writer>, ReplicaError> {
        let writer = self.writer.lock();
        if self.poisoned.load(Ordering::Acquire) {
            return Err(ReplicaError::Poisoned);
        }
        Ok(writer)
    }

    /// The writer's place, if this replica is sound and loaded.
    pub(crate) fn writer(&self) -> Result<MutexGuard<'_, Writer>, ReplicaError> {
        let mut writer = self.writer.lock();
        let waits =
            |_: &mut Writer| !self.loading.is_finished() && !self.poisoned.load(Ordering::Acquire);
        self.loaded.wait_while(&mut writer, waits);
        if self.poisoned.load(Ordering::Acquire) {
            return Err(ReplicaError::Poisoned);
        }
        Ok(writer)
    }

    /// The state for a reader, if it may be read.
    pub(crate) fn readable(&self) -> Result<RwLockReadGuard<'_, State>, ReadError> {
        let refuse = |reason: &str| {
            Err(ReadError::NotServing {
                reason: reason.to_owned(),
            })
        };
        if let Some((done, total)) = self.loading.progress() {
            return refuse(&format!(
                "it is loading its points, {done} of {total}; try again in a moment or ask another node"
            ));
        }
        let state = self.state.read();
        if self.poisoned.load(Ordering::Acquire) {
            return refuse("its storage failed; restart the node");
        }
        if self.is_installing() {
            return refuse(
                "it is installing a catch-up; try again in a moment or ask another node",
            );
        }
        Ok(state)
    }

    /// Runs the part of a write that must not stop halfway; if it does, nothing is served any more.
    pub(crate) fn or_poison<T>(
        &self,
        work: impl FnOnce() -> Result<T, ReplicaError>,
    ) -> Result<T, ReplicaError> {
        let mut halfway = Halfway {
            poisoned: &self.poisoned,
            whole: false,
        };
        let result = work();
        halfway.whole = result.is_ok();
        result
    }
}
