//! Loading: vectors and payloads are read into the indexes after the trees are open, each row checked against the
//! leaf its tree names.
//!
//! Until all are loaded nothing is read, since an index that lacks a row would answer wrongly, and nothing is applied,
//! since what a filtered write changes is read off the index. A row that is not what its tree names is left out and
//! noted; once it is mended the replica goes on.
//!
//! Points that an index checkpoint knows take their places in its graph; the others are indexed afterwards.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use pando_index::Fingerprint;
use pando_merkle::{Key, Leaf};
use pando_model::{Definition, PointId, Record, Row, Stamp, TreeId};
use pando_storage::{RowAddress, StoredRow};
use pando_sync::row_bytes;
use parking_lot::Mutex;

use crate::checkpoint::fingerprint;
use crate::collection::point_of;
use crate::error::ReplicaError;
use crate::ranges::{KeyRange, key_ranges};
use crate::replica::Replica;
use crate::times::Part;

/// Rows read per page.
const PAGE: usize = 512;

/// A point as it was read.
type Loaded = (PointId, Stamp, Record, Fingerprint);

/// What one page came to.
#[derive(Default)]
struct Page {
    points: Vec<Loaded>,
    rotten: Vec<RowAddress>,
}

/// How far the loading is.
#[derive(Default)]
pub(crate) struct Loading {
    total: AtomicU64,
    done: AtomicU64,
    /// Whether all pages were read.
    read: AtomicBool,
    /// Whether all rows are loaded.
    finished: AtomicBool,
    unloaded: Mutex<BTreeSet<RowAddress>>,
}

impl Loading {
    pub(crate) fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// Rows loaded and rows in all, while not all are loaded.
    pub(crate) fn progress(&self) -> Option<(u64, u64)> {
        let figure = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (!self.is_finished()).then(|| (figure(&self.done), figure(&self.total)))
    }

    fn is_read(&self) -> bool {
        self.read.load(Ordering::Acquire)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}

impl Replica {
    /// Loads what [`Replica::open_trees`] has left out. To be called once, from any thread.
    ///
    /// # Errors
    /// When storage fails. The replica serves nothing then until it is opened anew. Rows that are not what they should
    /// be are no error: see [`Replica::unloaded`].
    pub fn load(&self) -> Result<(), ReplicaError> {
        self.sweep_checkpoints();
        let trees: Vec<TreeId> = self.state.read().collections.keys().copied().collect();
        let load = || trees.into_iter().try_for_each(|tree| self.load_tree(tree));
        let loaded = self.times.of(Part::StartLoad, || self.or_poison(load));
        match &loaded {
            Ok(()) => {
                self.loading.read.store(true, Ordering::Release);
                self.finish_loading();
            }
            Err(_) => {
                let _writer = self.writer.lock();
                self.loaded.notify_all();
            }
        }
        loaded
    }

    /// Gives up what is not loaded yet; the replica is unusable then, and nobody waits for it any more.
    pub fn stop_loading(&self) {
        let _writer = self.writer.lock();
        if !self.loading.is_finished() {
            self.poisoned.store(true, Ordering::Release);
            self.loaded.notify_all();
        }
    }

    /// Rows that could not be loaded: on disk they are not what their trees name.
    pub fn unloaded(&self) -> Vec<RowAddress> {
        self.loading.unloaded.lock().iter().copied().collect()
    }

    /// Rows loaded and rows in all, until all are loaded.
    pub fn load_progress(&self) -> Option<(u64, u64)> {
        self.loading.progress()
    }

    /// Takes a row that was mended, if it could not be loaded before.
    pub(crate) fn load_mended(
        &self,
        at: RowAddress,
        row: &Row,
        leaf: Leaf,
    ) -> Result<(), ReplicaError> {
        // Noted as unloaded or not: it may have been gone when its page was read.
        if self.loading.is_finished() {
            return Ok(());
        }
        {
            // Nothing is applied before all is loaded, so the tree still names it.
            let mut state = self.state.write();
            if let Some(collection) = state.collections.get_mut(&at.tree) {
                let (id, record) = point_of(&collection.definition, at.key, row)?;
                let version = Stamp::from_bytes(row.version);
                let vectors = (&record.vectors, &record.sparse_vectors);
                (collection.index).upsert(id, version, vectors, record.payload);
            }
        }
        tracing::info!(tree = at.tree.0, key = ?at.key, bytes = leaf.bytes, "a mended row is loaded");
        self.loading.unloaded.lock().remove(&at);
        if self.loading.is_read() {
            self.finish_loading();
        }
        Ok(())
    }

    fn finish_loading(&self) {
        // Whoever waits for the writer's place looks at this under its lock.
        let _writer = self.writer.lock();
        if self.loading.unloaded.lock().is_empty() {
            self.loading.finished.store(true, Ordering::Release);
            self.loaded.notify_all();
        }
    }

    /// Reading, checking and decoding take most of the time, so they are shared out by key; the index is filled by one.
    fn load_tree(&self, tree: TreeId) -> Result<(), ReplicaError> {
        let definition = {
            let state = self.state.read();
            let Some(collection) = state.collections.get(&tree) else {
                return Ok(());
            };
            std::sync::Arc::clone(&collection.definition)
        };
        for (name, checkpoint, when_restored) in self.checkpoints_of(&definition) {
            // A row that was mended meanwhile is in the index already: then the graph is built anew.
            if let Some(collection) = self.state.write().collections.get_mut(&tree)
                && collection.index.is_empty()
            {
                (collection.index).restore(&name, checkpoint, when_restored);
            }
        }
        let parts = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let (tx, rx) = sync_channel(parts);
            for keys in key_ranges(parts) {
                let (tx, definition) = (tx.clone(), &definition);
                scope.spawn(move || self.read_points(definition, keys, &tx));
            }
            drop(tx);
            for page in rx {
                let Page { points, rotten } = page?;
                let done = (points.len() + rotten.len()) as u64;
                for at in &rotten {
                    self.damage.mark(*at);
                }
                self.loading.unloaded.lock().extend(rotten);
                let mut state = self.state.write();
                if let Some(collection) = state.collections.get_mut(&tree) {
                    let index = &mut collection.index;
                    for (id, version, record, fingerprint) in points {
                        let vectors = (&record.vectors, &record.sparse_vectors);
                        index.load(id, version, vectors, record.payload, fingerprint);
                    }
                }
                self.loading.done.fetch_add(done, Ordering::Relaxed);
            }
            Ok::<_, ReplicaError>(())
        })?;
        if let Some(collection) = self.state.write().collections.get_mut(&tree) {
            collection.index.loaded();
        }
        self.note_missing(tree)
    }

    /// Notes the rows of which not even the digest is there any more: the store was rebuilt since the trees were opened.
    fn note_missing(&self, id: TreeId) -> Result<(), ReplicaError> {
        if self.store.health().rebuilds == 0 {
            return Ok(());
        }
        let tree = {
            let state = self.state.read();
            state.collections.get(&id).map(|c| c.tree.clone())
        };
        for (key, leaf) in tree.iter().flatten() {
            let at = RowAddress::new(id, key);
            if !self.is_stored(at, &leaf.digest)? {
                self.loading.unloaded.lock().insert(at);
                self.damage.mark(at);
            }
        }
        Ok(())
    }

    /// Sends the points of a range of keys in pages, then nothing more; or an error, then nothing more.
    fn read_points(
        &self,
        definition: &Definition,
        keys: KeyRange,
        pages: &SyncSender<Result<Page, ReplicaError>>,
    ) {
        let mut after = keys.after;
        while !self.poisoned.load(Ordering::Acquire) {
            let (page, last) = match self.read_page(definition, keys, after) {
                Ok((_, None)) => return,
                Ok((page, Some(last))) => (Ok(page), Some(last)),
                Err(error) => (Err(error), None),
            };
            // Nobody listens any more once another part has failed.
            if pages.send(page).is_err() || last.is_none() {
                return;
            }
            after = last;
        }
    }

    /// A page of points, and the last key it covers; none at the end of the range.
    fn read_page(
        &self,
        definition: &Definition,
        keys: KeyRange,
        after: Option<Key>,
    ) -> Result<(Page, Option<Key>), ReplicaError> {
        let (store, tree) = (self.store.as_ref(), definition.tree);
        let rows = match self.rows.page(store, tree, after, PAGE) {
            Ok(page) => page.into_iter().map(|(key, row)| (key, Ok(row))).collect(),
            Err(error) if error.is_rot() => self.read_singly(tree, after)?,
            Err(error) => return Err(error.into()),
        };
        let (mut page, mut last) = (Page::default(), None);
        for (key, row) in rows.into_iter().take_while(|(key, _)| keys.holds(key)) {
            last = Some(key);
            match row {
                // The size, which no digest covers, is checked too: the planner goes by it.
                Ok(stored) if u64::from(stored.leaf.bytes) == row_bytes(&stored.row) => {
                    let (id, record) = point_of(definition, key, &stored.row)?;
                    let version = Stamp::from_bytes(stored.row.version);
                    let fingerprint = fingerprint(&stored.leaf.digest);
                    page.points.push((id, version, record, fingerprint));
                }
                Ok(_) => return Err(ReplicaError::Damaged { tree, key }),
                Err(rotten) => page.rotten.push(rotten),
            }
        }
        Ok((page, last))
    }

    /// A page of rows read one by one, since one of them is rotten.
    #[expect(
        clippy::type_complexity,
        reason = "a row, or the address of a rotten one"
    )]
    fn read_singly(
        &self,
        tree: TreeId,
        after: Option<Key>,
    ) -> Result<Vec<(Key, Result<StoredRow, RowAddress>)>, ReplicaError> {
        let store = self.store.as_ref();
        let digests = self.rows.digest_page(store, tree, after, PAGE)?;
        let mut rows = Vec::with_capacity(digests.len());
        for (key, digest) in digests {
            let at = RowAddress::new(tree, key);
            match self.rows.read(store, at, digest) {
                Ok(row) => rows.push((key, Ok(row))),
                Err(error) if error.is_rot() => rows.push((key, Err(at))),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(rows)
    }
}
