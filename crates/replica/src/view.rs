//! Frozen views: the state at one log index, served while writes go on.
//!
//! A view is the trees as they were (shared nodes, free to keep) and the digest rows of what changed since, laid down
//! with each change, whose old content is left where it is until the view goes. A row is served only if it has the
//! leaf of the view's tree, so a view never serves wrong bytes: at worst it is given up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use pando_merkle::{Digest, Key, Leaf, Tree};
use pando_model::{GroupId, Row, TreeId};
use pando_storage::{
    Batch, DigestRow, KvStore, Laid, Overlay, OverlayId, RowAddress, Rows, StorageError,
};
use pando_sync::{SnapshotHeader, Source, TreeHeader};
use parking_lot::Mutex;
use thiserror::Error;

use crate::applied::Applied;
use crate::damage::Damage;
use crate::error::ReplicaError;
use crate::replica::Replica;
use crate::state::State;
use crate::system_row::SYSTEM_SALT;

/// From this many keys on, rows that are neighbours in storage are looked for in one scan.
const SCAN_FROM: usize = 8;

/// Why a view cannot serve a row.
#[derive(Debug, Error)]
pub enum ViewError {
    /// The view was given up: too much old content kept, or its replica installed another state.
    #[error("the frozen view at log index {index} was given up ({reason}): start the sync again")]
    GivenUp {
        /// The view's log index.
        index: u64,
        /// Why.
        reason: &'static str,
    },
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The state of a replica at one log index.
pub struct FrozenView {
    applied: Applied,
    header: SnapshotHeader,
    store: Arc<dyn KvStore>,
    rows: Rows,
    shared: Arc<Shared>,
    damage: Damage,
}

/// What the writer needs of a view.
struct Shared {
    overlay: Overlay,
    id: OverlayId,
    trees: BTreeMap<TreeId, Tree>,
    /// Whether anything was laid down.
    captured: AtomicBool,
    bytes: AtomicU64,
    given_up: AtomicBool,
    garbage: Arc<Mutex<Vec<OverlayId>>>,
}

/// The views of one replica.
pub(crate) struct Views {
    group: GroupId,
    bytes_max: u64,
    next_id: AtomicU32,
    live: Mutex<Vec<Weak<Shared>>>,
    garbage: Arc<Mutex<Vec<OverlayId>>>,
}

impl FrozenView {
    /// The replica's position, membership and root at the view's index.
    #[must_use]
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// Bytes of old content kept so far.
    #[must_use]
    pub fn overlay_bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// As [`Source::rows`], but waits for rows that are damaged here and are being mended, for at most `wait`.
    ///
    /// # Errors
    /// As [`Source::rows`].
    pub fn rows_or_wait(
        &self,
        tree: TreeId,
        keys: &[Key],
        wait: Duration,
    ) -> Result<Vec<Row>, ViewError> {
        let until = Instant::now() + wait;
        loop {
            let error = match self.rows(tree, keys) {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            let damaged = |key: &Key| self.damage.contains(RowAddress::new(tree, *key));
            let Some(key) = keys.iter().find(|key| damaged(key)) else {
                return Err(error);
            };
            if !self.damage.wait_for(RowAddress::new(tree, *key), until) {
                return Err(error);
            }
        }
    }

    fn leaf(&self, at: RowAddress) -> Option<&Leaf> {
        self.shared.trees.get(&at.tree)?.get(&at.key)
    }

    fn given_up(&self, reason: &'static str) -> ViewError {
        ViewError::GivenUp {
            index: self.applied.index(),
            reason,
        }
    }

    /// The row as it was. The current digest row is read first: a writer lays the old one down in the same batch that
    /// changes it, so whoever sees the change also sees the old one.
    fn row(&self, at: RowAddress) -> Result<Row, ViewError> {
        let leaf = self
            .leaf(at)
            .ok_or_else(|| self.given_up("a row was asked for that it has not"))?;
        let store = self.store.as_ref();
        let current = match self.rows.digest(store, at) {
            Ok(current) => current.filter(|digest| digest.digest() == leaf.digest),
            Err(error) if error.is_rot() => None,
            Err(error) => return Err(error.into()),
        };
        let digest = match current {
            Some(digest) => Some(digest),
            None => match self.shared.overlay.head(store, at)? {
                Some(Laid::Put(digest)) if digest.digest() == leaf.digest => Some(digest),
                _ => None,
            },
        };
        match digest.map(|digest| self.rows.read(store, at, digest)) {
            Some(Ok(stored)) => return Ok(stored.row),
            Some(Err(error)) if !error.is_rot() => return Err(error.into()),
            Some(Err(_)) | None => {}
        }
        // Never sent. If it is damaged it is mended from another replica, and the session goes on when it is tried
        // again.
        self.damage.mark(at);
        Err(self.given_up("a row, or the digest of an old row, is not there"))
    }

    /// Rows that lie side by side in storage and have not changed since, by one scan from the first key.
    fn scan(&self, tree: TreeId, keys: &[Key]) -> Result<BTreeMap<Key, Row>, ViewError> {
        let (Some(first), true) = (keys.first(), keys.len() >= SCAN_FROM) else {
            return Ok(BTreeMap::new());
        };
        // Keys are hashes, so about as many lie between two of them as their distance says.
        let span = keys
            .last()
            .map_or(0, |last| last.short().saturating_sub(first.short()));
        let rows = self.shared.trees.get(&tree).map_or(0, Tree::len);
        let between = (u128::from(rows) * u128::from(span)) >> u64::BITS;
        if between > 2 * keys.len() as u128 {
            return Ok(BTreeMap::new());
        }
        let before = u128::from_be_bytes(*first.as_bytes()).checked_sub(1);
        let before = before.map(|n| Key::from_bytes(n.to_be_bytes()));
        let store = self.store.as_ref();
        let page = match self.rows.page(store, tree, before, 2 * keys.len()) {
            Ok(page) => page,
            // One by one, it is found which.
            Err(error) if error.is_rot() => return Ok(BTreeMap::new()),
            Err(error) => return Err(error.into()),
        };
        let unchanged = page.into_iter().filter(|(key, stored)| {
            let leaf = self.leaf(RowAddress::new(tree, *key));
            leaf.is_some_and(|leaf| leaf.digest == stored.leaf.digest)
        });
        Ok(unchanged.map(|(key, stored)| (key, stored.row)).collect())
    }
}

impl Source for FrozenView {
    type Error = ViewError;

    fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    fn tree(&self, id: TreeId) -> Option<&Tree> {
        self.shared.trees.get(&id)
    }

    fn rows(&self, tree: TreeId, keys: &[Key]) -> Result<Vec<Row>, ViewError> {
        if self.shared.given_up.load(Ordering::Acquire) {
            return Err(
                self.given_up("its pre-images outgrew their limit, or its replica moved on")
            );
        }
        let mut scanned = self.scan(tree, keys)?;
        // To the end also behind one that is damaged, so that all that are come to be known, and mended, at once.
        let rows: Vec<_> = keys
            .iter()
            .map(|key| match scanned.remove(key) {
                Some(row) => Ok(row),
                None => self.row(RowAddress::new(tree, *key)),
            })
            .collect();
        rows.into_iter().collect()
    }
}

/// Of what is shared, not of the view: a writer that is laying something down holds it too, and is the last to know.
impl Drop for Shared {
    fn drop(&mut self) {
        // The overlay is cleared by later writers: dropping may happen where blocking is not allowed.
        if *self.captured.get_mut() {
            self.garbage.lock().push(self.id);
        }
    }
}

impl Views {
    pub(crate) fn new(group: GroupId, bytes_max: u64) -> Self {
        Self {
            group,
            bytes_max,
            next_id: AtomicU32::new(OverlayId::REPLACED.0 + 1),
            live: Mutex::default(),
            garbage: Arc::default(),
        }
    }

    /// Adds to a batch, which is about to change a row, what living views need to read it as it is. Whether any of them
    /// does: its content must stay then.
    pub(crate) fn capture(&self, batch: &mut Batch, at: RowAddress, current: &DigestRow) -> bool {
        let mut needed = false;
        for view in self.living() {
            needed |= view.capture(batch, at, current, self.bytes_max);
        }
        needed
    }

    /// Whether a living view reads this content.
    pub(crate) fn reads(&self, at: RowAddress, digest: &Digest) -> bool {
        self.living().iter().any(|view| view.reads(at, digest))
    }

    /// Gives up every living view: the state they were taken of is about to be replaced.
    pub(crate) fn give_up_all(&self) {
        for view in self.living() {
            view.given_up.store(true, Ordering::Release);
        }
    }

    /// How many views live, and their pre-images' bytes.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let living = self.living();
        let bytes = living
            .iter()
            .map(|view| view.bytes.load(Ordering::Relaxed))
            .sum();
        (living.len() as u64, bytes)
    }

    /// The overlays of views dropped since this was last asked.
    pub(crate) fn take_garbage(&self) -> Vec<OverlayId> {
        std::mem::take(&mut *self.garbage.lock())
    }

    /// Whether a view may still read rows of a tree.
    pub(crate) fn holds(&self, tree: TreeId) -> bool {
        self.living()
            .iter()
            .any(|view| view.trees.contains_key(&tree) && !view.given_up.load(Ordering::Acquire))
    }

    fn living(&self) -> Vec<Arc<Shared>> {
        let mut live = self.live.lock();
        live.retain(|view| view.strong_count() > 0);
        live.iter().filter_map(Weak::upgrade).collect()
    }

    fn add(&self, trees: BTreeMap<TreeId, Tree>) -> Arc<Shared> {
        let id = OverlayId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let shared = Arc::new(Shared {
            overlay: Overlay::new(self.group, id),
            id,
            trees,
            captured: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
            garbage: Arc::clone(&self.garbage),
        });
        self.live.lock().push(Arc::downgrade(&shared));
        shared
    }
}

impl Shared {
    fn reads(&self, at: RowAddress, digest: &Digest) -> bool {
        let leaf = self.trees.get(&at.tree).and_then(|tree| tree.get(&at.key));
        !self.given_up.load(Ordering::Acquire) && leaf.is_some_and(|leaf| leaf.digest == *digest)
    }

    /// Lays down the digest row, if this view has its row. Whether it has.
    fn capture(
        &self,
        batch: &mut Batch,
        at: RowAddress,
        current: &DigestRow,
        bytes_max: u64,
    ) -> bool {
        if !self.reads(at, &current.digest()) {
            return false;
        }
        let bytes = u64::from(current.leaf().bytes);
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > bytes_max {
            self.given_up.store(true, Ordering::Release);
            return false;
        }
        self.overlay.put(batch, at, current);
        self.captured.store(true, Ordering::Release);
        true
    }
}

fn header(state: &State) -> SnapshotHeader {
    let mut trees = vec![TreeHeader {
        id: TreeId::SYSTEM,
        name: String::new(),
        definition: Vec::new(),
        salt: SYSTEM_SALT,
        root: state.system.root(),
        count: state.system.len(),
        bytes: state.system.bytes(),
    }];
    let collections = state.catalogue.collections.iter();
    trees.extend(collections.filter_map(|(name, definition)| {
        let collection = state.collections.get(&definition.tree)?;
        Some(TreeHeader {
            id: definition.tree,
            name: name.to_string(),
            definition: definition.encode(),
            salt: definition.salt,
            root: collection.tree.root(),
            count: collection.tree.len(),
            bytes: collection.tree.bytes(),
        })
    }));
    let meta = state.applied.encode_meta();
    SnapshotHeader {
        root: state.applied.root,
        index: state.applied.index(),
        meta,
        trees,
    }
}

impl State {
    /// All trees, frozen.
    pub(crate) fn trees(&self) -> BTreeMap<TreeId, Tree> {
        let collections = self.collections.iter().map(|(id, c)| (*id, c.tree.clone()));
        collections
            .chain([(TreeId::SYSTEM, self.system.clone())])
            .collect()
    }
}

impl Replica {
    /// Freezes a view of the state as it is now. Costs nothing that grows with the state.
    ///
    /// # Errors
    /// When an earlier failure left this replica unusable.
    pub fn freeze(&self) -> Result<Arc<FrozenView>, ReplicaError> {
        // With the writer's place taken, storage and memory are at the same index.
        let _writer = self.writer()?;
        let state = self.state.read();
        let shared = self.views.add(state.trees());
        Ok(Arc::new(FrozenView {
            applied: state.applied.clone(),
            header: header(&state),
            store: Arc::clone(&self.store),
            rows: self.rows,
            shared,
            damage: self.damage.clone(),
        }))
    }
}
