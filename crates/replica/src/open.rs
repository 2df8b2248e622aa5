//! Start: the trees are rebuilt from the stored digests, and the root decides whether they are trusted. Vectors and
//! payloads are loaded afterwards (`load`).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, sync_channel};

use pando_index::IndexOptions;
use pando_merkle::{Key, Leaf, Tree};
use pando_model::TreeId;
use pando_storage::{KvStore, Rows, StoredKey, codec};
use pando_sync::row_bytes;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::applied::{Applied, StoredApplied};
use crate::checkpoint::Checkpoints;
use crate::collection::{Collection, root_of};
use crate::damage::Damage;
use crate::error::ReplicaError;
use crate::load::Loading;
use crate::options::ReplicaOptions;
use crate::ranges::{KeyRange, key_ranges};
use crate::replica::{Replica, Writer};
use crate::scrub::Kept;
use crate::state::State;
use crate::system_row::SystemRow;
use crate::times::{Part, Times};
use crate::vector_cache::VectorCache;
use crate::view::Views;

/// Digest rows read per page.
const PAGE: usize = 4096;

/// Leaves as they were read, in key order; or why they cannot be.
type Page = Result<Vec<(Key, Leaf)>, ReplicaError>;

impl Replica {
    /// Opens the replica kept in a store, whole: [`Replica::open_trees`], then [`Replica::load`].
    ///
    /// # Errors
    /// As these; and [`ReplicaError::Damaged`] when a row cannot be loaded.
    pub fn open(
        store: Arc<dyn KvStore>,
        options: ReplicaOptions,
        log_purged: Option<u64>,
    ) -> Result<Self, ReplicaError> {
        let replica = Self::open_trees(store, options, log_purged)?;
        replica.load()?;
        match replica.unloaded().first() {
            Some(at) => Err(ReplicaError::Damaged {
                tree: at.tree,
                key: at.key,
            }),
            None => Ok(replica),
        }
    }

    /// Opens the trees of the replica kept in a store. Until [`Replica::load`] has ended, reads are refused and writes
    /// wait. `log_purged` is the highest index purged from the Raft log: it decides what an interrupted install becomes.
    ///
    /// # Errors
    /// [`ReplicaError::RootMismatch`] when the rows are not those that were stored; storage errors.
    pub fn open_trees(
        store: Arc<dyn KvStore>,
        options: ReplicaOptions,
        log_purged: Option<u64>,
    ) -> Result<Self, ReplicaError> {
        let index_options = IndexOptions {
            graph_rows_min: options.graph_vectors_min,
            ..IndexOptions::default()
        };
        let checkpoints = options.checkpoints.clone().map(Checkpoints::new);
        let replica = Self {
            kept: Kept::new(store.as_ref())?,
            damage: Damage::default(),
            store,
            rows: Rows::new(options.group),
            index_options,
            checkpoints: checkpoints.map(Arc::new),
            vector_cache: VectorCache::new(options.vector_cache_bytes_max),
            writer: Mutex::new(Writer::default()),
            loaded: Condvar::new(),
            loading: Loading::default(),
            times: Times::default(),
            latest: RwLock::new(State::empty().applied),
            state: RwLock::new(State::empty()),
            views: Views::new(options.group, options.overlay_bytes_max),
            options,
            staging: Arc::default(),
            installing: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
        };
        replica.recover_install(log_purged)?;
        replica.clear_leftovers()?;
        let state = replica.times.of(Part::StartTrees, || replica.rebuild())?;
        replica.writer.lock().dropped = replica.orphans(&state)?;
        replica.loading.expect(state.totals().0);
        *replica.latest.write() = state.applied.clone();
        *replica.state.write() = state;
        Ok(replica)
    }

    fn rebuild(&self) -> Result<State, ReplicaError> {
        let mut state = State::empty();
        if let Some(applied) = self.stored_applied()? {
            state.applied = applied;
        }
        let index = state.applied.index();
        self.read_system(&mut state, index)?;
        for definition in state.catalogue.collections.values() {
            let mut collection = Collection::new(Arc::clone(definition), &self.index_options);
            collection.tree = self.rebuild_tree(definition.tree, index)?;
            collection.root = root_of(definition, &collection.tree);
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

    /// Reads the rows of the system tree, which are few.
    fn read_system(&self, state: &mut State, index: u64) -> Result<(), ReplicaError> {
        let tree = TreeId::SYSTEM;
        let mut after = None;
        loop {
            let page = self.rows.page(self.store.as_ref(), tree, after, PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(*last);
            for (key, stored) in page {
                if stored.leaf.index > index
                    || u64::from(stored.leaf.bytes) != row_bytes(&stored.row)
                {
                    return Err(ReplicaError::Damaged { tree, key });
                }
                state.system.insert(key, stored.leaf);
                let row = SystemRow::from_row(&stored.row);
                let row = row.map_err(|source| ReplicaError::Row { tree, key, source })?;
                state.catalogue.put(row);
            }
        }
    }

    /// A tree from its digest rows. Reading and decoding them takes longer than the tree, so it is shared out by key.
    fn rebuild_tree(&self, id: TreeId, index: u64) -> Result<Tree, ReplicaError> {
        let mut tree = Tree::new();
        let parts = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let (tx, rx) = sync_channel(parts);
            for keys in key_ranges(parts) {
                let tx = tx.clone();
                scope.spawn(move || self.read_leaves(id, index, keys, &tx));
            }
            drop(tx);
            for page in rx {
                for (key, leaf) in page? {
                    tree.insert(key, leaf);
                }
            }
            Ok::<_, ReplicaError>(())
        })?;
        Ok(tree)
    }

    /// Sends the leaves of a range of keys in pages, then nothing more; or an error, then nothing more. The log index,
    /// which no digest covers, is checked here: recovery goes by it.
    fn read_leaves(&self, tree: TreeId, index: u64, keys: KeyRange, pages: &SyncSender<Page>) {
        let mut after = keys.after;
        loop {
            let page = self
                .rows
                .digest_page(self.store.as_ref(), tree, after, PAGE);
            let page = page.map_err(ReplicaError::from).and_then(|rows| {
                let rows = rows.into_iter();
                rows.take_while(|(key, _)| keys.holds(key))
                    .map(|(key, digest)| match digest.leaf() {
                        leaf if leaf.index <= index => Ok((key, leaf)),
                        _ => Err(ReplicaError::Damaged { tree, key }),
                    })
                    .collect()
            });
            let page: Page = page;
            if let Ok(leaves) = &page {
                let Some((last, _)) = leaves.last() else {
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
}
