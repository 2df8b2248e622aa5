//! Start: the trees and indexes are rebuilt from the stored rows, and the root decides whether they are served.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pando_merkle::Key;
use pando_model::TreeId;
use pando_storage::{KvStore, Rows, StoredKey, StoredRow, codec};
use pando_sync::row_bytes;
use parking_lot::{Mutex, RwLock};

use crate::applied::{Applied, StoredApplied};
use crate::collection::{Collection, point_of, root_of};
use crate::error::ReplicaError;
use crate::options::ReplicaOptions;
use crate::replica::{Replica, Writer};
use crate::state::State;
use crate::system_row::SystemRow;
use crate::view::Views;

/// Rows read per page.
const PAGE: usize = 1024;

impl Replica {
    /// Opens the replica kept in a store. `log_purged` is the highest index purged from the Raft log: it decides what
    /// an interrupted install becomes.
    ///
    /// # Errors
    /// [`ReplicaError::RootMismatch`] when the rows are not those that were stored; storage errors.
    pub fn open(
        store: Arc<dyn KvStore>,
        options: ReplicaOptions,
        log_purged: Option<u64>,
    ) -> Result<Self, ReplicaError> {
        let replica = Self {
            store,
            rows: Rows::new(options.group),
            options,
            writer: Mutex::new(Writer::default()),
            state: RwLock::new(State::empty()),
            views: Views::new(options.group, options.overlay_bytes_max),
            staging: Arc::default(),
            installing: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
        };
        replica.clear_views()?;
        replica.recover_install(log_purged)?;
        let state = replica.load()?;
        replica.writer.lock().dropped = replica.orphans(&state)?;
        *replica.state.write() = state;
        Ok(replica)
    }

    fn load(&self) -> Result<State, ReplicaError> {
        let mut state = State::empty();
        if let Some(applied) = self.stored_applied()? {
            state.applied = applied;
        }
        let index = state.applied.index();
        self.for_each_row(TreeId::SYSTEM, index, |key, stored| {
            state.system.insert(key, stored.leaf);
            let row = SystemRow::from_row(&stored.row);
            let tree = TreeId::SYSTEM;
            state
                .catalogue
                .put(row.map_err(|source| ReplicaError::Row { tree, key, source })?);
            Ok(())
        })?;
        for definition in state.catalogue.collections.values() {
            let collection =
                self.load_collection(Collection::new(Arc::clone(definition)), index)?;
            state.collections.insert(definition.tree, collection);
        }
        let (found, expected) = (state.compute_root(), state.applied.root);
        if found != expected {
            let index = state.applied.index();
            return Err(ReplicaError::RootMismatch {
                index,
                found,
                expected,
            });
        }
        Ok(state)
    }

    /// How far the stored state is.
    pub(crate) fn stored_applied(&self) -> Result<Option<Applied>, ReplicaError> {
        let key = StoredKey::Meta.encode(self.options.group);
        let Some(bytes) = self.store.get(&key)? else {
            return Ok(None);
        };
        codec::decode::<StoredApplied>(&bytes)?.try_into().map(Some)
    }

    fn load_collection(
        &self,
        mut collection: Collection,
        index: u64,
    ) -> Result<Collection, ReplicaError> {
        self.for_each_row(collection.definition.tree, index, |key, stored| {
            let (id, record) = point_of(&collection.definition, key, &stored.row)?;
            collection.tree.insert(key, stored.leaf);
            collection.index.upsert(id, &record.vectors, record.payload);
            Ok(())
        })?;
        collection.root = root_of(&collection.definition, &collection.tree);
        Ok(collection)
    }

    /// Reads every row of a tree, checked against its digest. The hints, which no digest covers, are checked too: the
    /// planner goes by sizes, and recovery by indexes.
    fn for_each_row(
        &self,
        tree: TreeId,
        index: u64,
        mut visit: impl FnMut(Key, StoredRow) -> Result<(), ReplicaError>,
    ) -> Result<(), ReplicaError> {
        let mut after = None;
        loop {
            let page = self.rows.page(self.store.as_ref(), tree, after, PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(*last);
            for (key, stored) in page {
                if u64::from(stored.leaf.bytes) != row_bytes(&stored.row)
                    || stored.leaf.index > index
                {
                    return Err(ReplicaError::Damaged { tree, key });
                }
                visit(key, stored)?;
            }
        }
    }
}
