//! Start: the trees and indexes are rebuilt from the stored rows, and the root decides whether they are served.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, sync_channel};

use pando_merkle::{Key, Leaf};
use pando_model::{Definition, PointId, Record, TreeId};
use pando_storage::{KvStore, Rows, StoredKey, StoredRow, codec};
use pando_sync::row_bytes;
use parking_lot::{Mutex, RwLock};

use crate::applied::{Applied, StoredApplied};
use crate::collection::{Collection, point_of, root_of};
use crate::damage::Damage;
use crate::error::ReplicaError;
use crate::options::ReplicaOptions;
use crate::replica::{Replica, Writer};
use crate::scrub::Kept;
use crate::state::State;
use crate::system_row::SystemRow;
use crate::view::Views;

/// Rows read per page.
const PAGE: usize = 1024;
/// Most threads that read rows.
const PARTS_MAX: usize = 8;

/// A point as it was read.
type Loaded = (Key, Leaf, PointId, Record);

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
            kept: Kept::new(store.as_ref())?,
            damage: Damage::default(),
            store,
            rows: Rows::new(options.group),
            options,
            writer: Mutex::new(Writer::default()),
            latest: RwLock::new(State::empty().applied),
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
        *replica.latest.write() = state.applied.clone();
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

    /// Reading, checking and decoding take most of a start, so they are shared out by key; the tree and the index
    /// are filled by one.
    fn load_collection(
        &self,
        mut collection: Collection,
        index: u64,
    ) -> Result<Collection, ReplicaError> {
        let definition = Arc::clone(&collection.definition);
        let parts = std::thread::available_parallelism().map_or(1, |n| n.get().min(PARTS_MAX));
        std::thread::scope(|scope| {
            let (tx, rx) = sync_channel(parts);
            for keys in key_ranges(parts) {
                let (tx, definition) = (tx.clone(), &definition);
                scope.spawn(move || self.read_points(definition, index, keys, &tx));
            }
            drop(tx);
            for page in rx {
                for (key, leaf, id, record) in page? {
                    collection.tree.insert(key, leaf);
                    (collection.index).upsert(id, &record.vectors, record.payload);
                }
            }
            Ok::<_, ReplicaError>(())
        })?;
        collection.root = root_of(&collection.definition, &collection.tree);
        Ok(collection)
    }

    /// Sends the points of a range of keys in pages, then nothing more; or an error, then nothing more.
    fn read_points(
        &self,
        definition: &Definition,
        index: u64,
        keys: KeyRange,
        pages: &SyncSender<Result<Vec<Loaded>, ReplicaError>>,
    ) {
        let mut after = keys.after;
        loop {
            let page = self.page(definition.tree, index, after);
            let page = page.and_then(|rows| {
                let rows = rows.into_iter();
                rows.take_while(|(key, _)| keys.last.is_none_or(|last| *key <= last))
                    .map(|(key, stored)| {
                        let (id, record) = point_of(definition, key, &stored.row)?;
                        Ok((key, stored.leaf, id, record))
                    })
                    .collect::<Result<Vec<Loaded>, _>>()
            });
            if let Ok(rows) = &page {
                let Some((last, ..)) = rows.last() else {
                    return;
                };
                after = Some(*last);
            }
            // Nobody listens any more once another part has failed.
            let failed = page.is_err();
            if pages.send(page).is_err() || failed {
                return;
            }
        }
    }

    /// Reads every row of a tree, checked.
    fn for_each_row(
        &self,
        tree: TreeId,
        index: u64,
        mut visit: impl FnMut(Key, StoredRow) -> Result<(), ReplicaError>,
    ) -> Result<(), ReplicaError> {
        let mut after = None;
        loop {
            let page = self.page(tree, index, after)?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(*last);
            for (key, stored) in page {
                visit(key, stored)?;
            }
        }
    }

    /// A page of rows, checked against their digests. The hints, which no digest covers, are checked too: the planner
    /// goes by sizes, and recovery by indexes.
    fn page(
        &self,
        tree: TreeId,
        index: u64,
        after: Option<Key>,
    ) -> Result<Vec<(Key, StoredRow)>, ReplicaError> {
        let page = self.rows.page(self.store.as_ref(), tree, after, PAGE)?;
        let sound = |stored: &StoredRow| {
            u64::from(stored.leaf.bytes) == row_bytes(&stored.row) && stored.leaf.index <= index
        };
        match page.iter().find(|(_, stored)| !sound(stored)) {
            Some((key, _)) => Err(ReplicaError::Damaged { tree, key: *key }),
            None => Ok(page),
        }
    }
}

/// Some of a tree's keys: all behind `after`, up to and with `last`.
struct KeyRange {
    after: Option<Key>,
    last: Option<Key>,
}

/// All keys in so many ranges of equal width: keys are hashes, so each holds about as many rows.
fn key_ranges(parts: usize) -> impl Iterator<Item = KeyRange> {
    let width = u128::MAX / parts as u128;
    let end = move |part: usize| Key::from_bytes((width * part as u128).to_be_bytes());
    (0..parts).map(move |part| KeyRange {
        after: (part > 0).then(|| end(part)),
        last: (part + 1 < parts).then(|| end(part + 1)),
    })
}
