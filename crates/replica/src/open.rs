//! Start: the trees and indexes are rebuilt from the stored rows, and the root decides whether they are served.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pando_merkle::Key;
use pando_model::{PointId, Record, TreeId};
use pando_storage::{KvStore, Rows, StoredKey, StoredRow, codec};
use parking_lot::{Mutex, RwLock};

use crate::applied::StoredApplied;
use crate::collection::{Collection, root_of};
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
        replica.clear_orphans(&state)?;
        *replica.state.write() = state;
        Ok(replica)
    }

    fn load(&self) -> Result<State, ReplicaError> {
        let mut state = State::empty();
        let meta = self
            .store
            .get(&StoredKey::Meta.encode(self.options.group))?;
        if let Some(bytes) = meta {
            state.applied = codec::decode::<StoredApplied>(&bytes)?.into();
        }
        self.for_each_row(TreeId::SYSTEM, |key, stored| {
            state.system.insert(key, stored.leaf);
            let row = SystemRow::from_row(&stored.row);
            let tree = TreeId::SYSTEM;
            state
                .catalogue
                .put(row.map_err(|source| ReplicaError::Row { tree, key, source })?);
            Ok(())
        })?;
        for definition in state.catalogue.collections.values() {
            let collection = self.load_collection(Collection::new(Arc::clone(definition)))?;
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

    fn load_collection(&self, mut collection: Collection) -> Result<Collection, ReplicaError> {
        let tree = collection.definition.tree;
        self.for_each_row(tree, |key, stored| {
            let unreadable = |source| ReplicaError::Row { tree, key, source };
            let id = PointId::from_bytes(&stored.row.id).map_err(unreadable)?;
            let record = Record::decode(&stored.row.content).map_err(unreadable)?;
            collection.tree.insert(key, stored.leaf);
            collection.index.upsert(id, &record.vectors, record.payload);
            Ok(())
        })?;
        collection.root = root_of(&collection.definition, &collection.tree);
        Ok(collection)
    }

    /// Reads every row of a tree, checked against its digest.
    fn for_each_row(
        &self,
        tree: TreeId,
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
                visit(key, stored)?;
            }
        }
    }

    /// Deletes the rows of collections that were dropped shortly before the last process ended.
    fn clear_orphans(&self, state: &State) -> Result<(), ReplicaError> {
        for tree in (TreeId::SYSTEM.0 + 1..state.catalogue.next_tree).map(TreeId) {
            if !state.collections.contains_key(&tree) {
                self.delete_tree(tree)?;
            }
        }
        Ok(())
    }
}
