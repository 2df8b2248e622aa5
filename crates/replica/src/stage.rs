//! The follower's side of a catch-up, up to the intent: what differs is kept durably, then checked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use pando_merkle::{Change, Tree, diff};
use pando_model::{PointId, Record, Row, TreeId};
use pando_storage::{Batch, DigestRow, KvStore, Laid, Overlay, OverlayId, RowAddress, leaf_of};
use pando_sync::{Base, Op, SnapshotHeader, Staged, header_root};

use crate::applied::{Applied, decode_meta};
use crate::catalogue::Catalogue;
use crate::error::ReplicaError;
use crate::intent::{Intent, Phase};
use crate::replica::Replica;
use crate::system_row::SystemRow;

/// Staged rows are written in batches of about this many bytes.
const STAGE_BATCH_BYTES: usize = 2 << 20;
/// Staged rows are made durable at least every so many bytes: what a cut costs at most.
const STAGE_FLUSH_BYTES: usize = 4 << 20;
/// Staged changes looked at per page.
const STAGE_PAGE: usize = 1024;

/// An open stage. While it lives, no other sync can stage here.
pub struct Stage {
    replica: Arc<Replica>,
    place: Place,
    base: Base,
    unflushed: usize,
}

/// The one stage's place; given back when dropped.
pub(crate) struct Place(Arc<AtomicBool>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A row that nobody can read is refused as it comes, not when it is installed.
fn check_readable(RowAddress { tree, key }: RowAddress, row: &Row) -> Result<(), ReplicaError> {
    let readable = if tree == TreeId::SYSTEM {
        SystemRow::from_row(row).map(drop)
    } else {
        PointId::from_bytes(&row.id).and_then(|_| Record::decode(&row.content).map(drop))
    };
    readable.map_err(|source| ReplicaError::Row { tree, key, source })
}

/// A verified delta whose intent is durable: all that is left to do is to install it.
pub struct StagedDelta {
    pub(crate) applied: Applied,
    pub(crate) trees: BTreeMap<TreeId, Tree>,
    pub(crate) catalogue: Catalogue,
    /// Log index of the state it was checked against.
    pub(crate) base: u64,
    /// Kept until the install is over, so that nothing else is staged meanwhile.
    pub(crate) _place: Place,
}

impl StagedDelta {
    /// The state the install ends in.
    #[must_use]
    pub fn applied(&self) -> &Applied {
        &self.applied
    }
}

impl std::fmt::Debug for StagedDelta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StagedDelta")
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

pub(crate) fn stage_overlay(replica: &Replica) -> Overlay {
    Overlay::new(replica.options.group, OverlayId::STAGE)
}

impl Replica {
    /// Opens the stage: the state as it is, with what earlier sessions staged laid over it.
    ///
    /// # Errors
    /// [`ReplicaError::StageBusy`] while another is open; storage errors.
    pub fn begin_stage(self: &Arc<Self>) -> Result<Stage, ReplicaError> {
        if self.staging.swap(true, Ordering::AcqRel) {
            return Err(ReplicaError::StageBusy);
        }
        let place = Place(Arc::clone(&self.staging));
        {
            let mut writer = self.writer()?;
            // What an install has left is no stage to go on from.
            self.clear_installed(&mut writer)?;
            // Of a delta that was never installed: what is staged from here on is no longer what it promises.
            Intent::clear(self.store.as_ref(), self.options.group)?;
            self.store.flush()?;
        }
        let (applied, mut trees) = {
            let state = self.state.read();
            (state.applied.clone(), state.trees())
        };
        let (overlay, mut clean) = (stage_overlay(self), true);
        for_each_staged(self.store.as_ref(), &overlay, |at, laid| {
            clean = false;
            match laid {
                Laid::Put(digest) => {
                    trees
                        .entry(at.tree)
                        .or_default()
                        .insert(at.key, digest.leaf());
                }
                Laid::Delete => {
                    if let Some(tree) = trees.get_mut(&at.tree) {
                        tree.remove(&at.key, applied.index());
                    }
                }
            }
        })?;
        let base = Base {
            root: applied.root,
            index: applied.index(),
            trees,
            clean,
        };
        Ok(Stage {
            replica: Arc::clone(self),
            place,
            base,
            unflushed: 0,
        })
    }
}

impl Replica {
    /// Gives up a staged delta whose state is here already: no session goes on from it.
    ///
    /// # Errors
    /// When storage fails; what is left of the stage is what the next session goes on from.
    pub fn discard(&self, delta: StagedDelta) -> Result<(), ReplicaError> {
        let _writer = self.writer()?;
        // First what promises the rows, then the rows.
        Intent::clear(self.store.as_ref(), self.options.group)?;
        self.store.flush()?;
        self.clear_overlay(OverlayId::STAGE)?;
        drop(delta);
        Ok(())
    }
}

/// Walks all staged changes in the order of their addresses, without their content.
fn for_each_staged(
    store: &dyn KvStore,
    overlay: &Overlay,
    mut visit: impl FnMut(RowAddress, Laid<DigestRow>),
) -> Result<(), ReplicaError> {
    let mut after = None;
    loop {
        let page = overlay.head_page(store, after, STAGE_PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after = Some(*last);
        for (at, laid) in page {
            visit(at, laid);
        }
    }
}

impl Stage {
    /// What the session starts from.
    #[must_use]
    pub fn base(&self) -> Base {
        self.base.clone()
    }

    /// Keeps changes. They are durable at the latest a few MiB later, and at [`Stage::finish`].
    ///
    /// # Errors
    /// When storage fails.
    pub fn put(&mut self, staged: Vec<Staged>) -> Result<(), ReplicaError> {
        let replica = Arc::clone(&self.replica);
        let (overlay, store) = (stage_overlay(&replica), replica.store.as_ref());
        let mut batch = Batch::new();
        // Taken when content is deleted: it must not become a row's meanwhile.
        let mut writer = None;
        for Staged { tree, key, op } in staged {
            let at = RowAddress::new(tree, key);
            let before = match overlay.head(store, at)? {
                Some(Laid::Put(before)) => Some(before),
                Some(Laid::Delete) | None => None,
            };
            let digest = match op {
                Op::Put(row) => {
                    check_readable(at, &row)?;
                    let leaf = leaf_of(&row, self.base.index);
                    let digest = replica.rows.put_content(&mut batch, at, &row, &leaf)?;
                    overlay.put(&mut batch, at, &digest);
                    Some(digest.digest())
                }
                Op::Delete => {
                    overlay.delete(&mut batch, at);
                    None
                }
            };
            // Of what an earlier session staged here, nobody else knows the content.
            if let Some(before) = before.filter(|before| Some(before.digest()) != digest) {
                if writer.is_none() {
                    writer = Some(replica.writer()?);
                }
                replica.delete_unread(&mut batch, at, &before)?;
            }
            if batch.bytes() >= STAGE_BATCH_BYTES {
                self.unflushed += batch.bytes();
                store.apply(std::mem::take(&mut batch))?;
            }
        }
        self.unflushed += batch.bytes();
        store.apply(batch)?;
        if self.unflushed >= STAGE_FLUSH_BYTES {
            store.flush()?;
            self.unflushed = 0;
        }
        Ok(())
    }

    /// Makes what was staged durable; what a broken session leaves to the next one.
    ///
    /// # Errors
    /// When storage fails.
    pub fn keep(self) -> Result<(), ReplicaError> {
        Ok(self.replica.store.flush()?)
    }

    /// Checks that the stage, laid over the state, is the announced state, and writes the intent to install it.
    /// `trees` are the verified working trees of the session.
    ///
    /// # Errors
    /// [`ReplicaError::StageMismatch`] when anything does not fit; nothing is installed then.
    pub fn finish(
        self,
        header: &SnapshotHeader,
        trees: BTreeMap<TreeId, Tree>,
    ) -> Result<StagedDelta, ReplicaError> {
        let replica = Arc::clone(&self.replica);
        fail::fail_point!("stage::staged");
        let applied = decode_meta(&header.meta)?;
        check_header(header, &applied, &trees)?;
        // Taken out, so that nobody waits for the checks. What is applied meanwhile, install checks again.
        let (current, base) = replica.current();
        check_not_behind(&applied, base)?;
        if check_stage(&replica, &current, &trees)?.is_void() {
            let _writer = replica.writer()?;
            replica.clear_overlay(OverlayId::STAGE)?;
        }
        let catalogue = check_catalogue(&replica, header, &trees)?;
        let ids: Vec<TreeId> = trees.keys().copied().collect();
        let mut batch = Batch::new();
        Intent::new(Phase::Staged, &applied, &ids, base).put(&mut batch, replica.options.group);
        // The rows are durable before the intent that promises them.
        replica.store.flush()?;
        replica.store.apply(batch)?;
        replica.store.flush()?;
        fail::fail_point!("stage::intent");
        Ok(StagedDelta {
            applied,
            trees,
            catalogue,
            base,
            _place: self.place,
        })
    }
}

impl Replica {
    /// All trees, and the log index they are at.
    pub(crate) fn current(&self) -> (BTreeMap<TreeId, Tree>, u64) {
        let state = self.state.read();
        (state.trees(), state.applied.index())
    }

    /// The catalogue of this system tree, if it is the one of the state: nothing has to be read then.
    fn catalogue_of(&self, system: &Tree) -> Option<Catalogue> {
        let state = self.state.read();
        (state.system.root() == system.root()).then(|| state.catalogue.clone())
    }
}

fn mismatch(detail: impl Into<String>) -> ReplicaError {
    ReplicaError::StageMismatch {
        detail: detail.into(),
    }
}

fn check_header(
    header: &SnapshotHeader,
    applied: &Applied,
    trees: &BTreeMap<TreeId, Tree>,
) -> Result<(), ReplicaError> {
    if header_root(&header.trees) != header.root || applied.root != header.root {
        return Err(mismatch(
            "the header's root, its trees' and its state's root are not the same",
        ));
    }
    if applied.index() != header.index {
        return Err(mismatch("the header's log index is not its state's"));
    }
    if header.trees.len() != trees.len() {
        return Err(mismatch("there are more or fewer trees than announced"));
    }
    for announced in &header.trees {
        let Some(tree) = trees.get(&announced.id) else {
            return Err(mismatch(format!("tree {} is missing", announced.id)));
        };
        if tree.root() != announced.root || tree.len() != announced.count {
            return Err(mismatch(format!(
                "tree {} has another root or count",
                announced.id
            )));
        }
    }
    Ok(())
}

/// A state is replaced by one at the same log index (a repair) or a later one.
pub(crate) fn check_not_behind(applied: &Applied, current: u64) -> Result<(), ReplicaError> {
    if applied.index() < current {
        return Err(mismatch(format!(
            "the announced state is at log index {}, behind {current}, which is applied here",
            applied.index()
        )));
    }
    Ok(())
}

/// How much an install changes.
#[derive(Clone, Copy)]
pub(crate) struct Delta {
    puts: u64,
    deletes: u64,
}

impl Delta {
    /// Nothing differs: whatever an earlier session left in the stage has been overtaken, and is the caller's to clear.
    pub(crate) fn is_void(self) -> bool {
        self.puts + self.deletes == 0
    }
}

/// Sees to it that the stage, laid over the current state, makes the target, all of it and nothing else, since that
/// is what recovery will do. Deletes that the session could not know of (of keys written since it began, and absent
/// from the target) are laid down here.
pub(crate) fn check_stage(
    replica: &Replica,
    current: &BTreeMap<TreeId, Tree>,
    target: &BTreeMap<TreeId, Tree>,
) -> Result<Delta, ReplicaError> {
    let (overlay, store) = (stage_overlay(replica), replica.store.as_ref());
    let digest = |trees: &BTreeMap<TreeId, Tree>, at: RowAddress| {
        let leaf = trees.get(&at.tree).and_then(|tree| tree.get(&at.key));
        leaf.map(|leaf| leaf.digest)
    };
    let (mut puts, mut deletes) = (0_u64, 0_u64);
    for change in changes(current, target) {
        match change.1.to {
            Some(_) => puts += 1,
            None => deletes += 1,
        }
    }
    let delta = Delta { puts, deletes };
    if delta.is_void() {
        return Ok(delta);
    }
    let (mut staged_puts, mut staged_deletes, mut stale) = (0, 0, None);
    for_each_staged(store, &overlay, |at, laid| {
        if !target.contains_key(&at.tree) {
            return;
        }
        let (from, to) = (digest(current, at), digest(target, at));
        let staged = match laid {
            Laid::Put(head) => Some(head.leaf().digest),
            Laid::Delete => None,
        };
        if staged != to {
            stale = Some(at);
        } else if from != to {
            staged_puts += u64::from(to.is_some());
            staged_deletes += u64::from(to.is_none());
        }
    })?;
    if let Some(RowAddress { tree, key }) = stale {
        return Err(mismatch(format!(
            "row {key:?} of tree {tree} is staged as another than announced"
        )));
    }
    if staged_puts != puts {
        return Err(mismatch(format!(
            "{staged_puts} rows are staged, not the {puts} that differ"
        )));
    }
    if staged_deletes != deletes {
        lay_deletes(store, &overlay, current, target)?;
    }
    Ok(delta)
}

fn lay_deletes(
    store: &dyn KvStore,
    overlay: &Overlay,
    current: &BTreeMap<TreeId, Tree>,
    target: &BTreeMap<TreeId, Tree>,
) -> Result<(), ReplicaError> {
    let mut batch = Batch::new();
    for (tree, change) in changes(current, target).filter(|(_, change)| change.to.is_none()) {
        overlay.delete(&mut batch, RowAddress::new(tree, change.key));
        if batch.bytes() >= STAGE_BATCH_BYTES {
            store.apply(std::mem::take(&mut batch))?;
        }
    }
    Ok(store.apply(batch)?)
}

/// What differs in the trees that stay.
pub(crate) fn changes<'a>(
    current: &'a BTreeMap<TreeId, Tree>,
    target: &'a BTreeMap<TreeId, Tree>,
) -> impl Iterator<Item = (TreeId, Change)> + 'a {
    static NONE: LazyLock<Tree> = LazyLock::new(Tree::new);
    target.iter().flat_map(|(id, tree)| {
        let current = current.get(id).unwrap_or(&NONE);
        diff(current, tree).map(|change| (*id, change))
    })
}

/// The collections announced must be those of the system tree as it will be.
fn check_catalogue(
    replica: &Replica,
    header: &SnapshotHeader,
    trees: &BTreeMap<TreeId, Tree>,
) -> Result<Catalogue, ReplicaError> {
    let system = trees
        .get(&TreeId::SYSTEM)
        .ok_or_else(|| mismatch("no system tree"))?;
    let catalogue = match replica.catalogue_of(system) {
        Some(catalogue) => catalogue,
        None => read_catalogue(replica, system)?,
    };
    let announced = header.trees.iter().filter(|tree| tree.id != TreeId::SYSTEM);
    let announced: Vec<_> = announced.map(|t| (t.id, t.salt, &t.definition)).collect();
    let defined: Vec<_> = catalogue.collections.values().collect();
    let encoded: Vec<_> = defined.iter().map(|d| d.encode()).collect();
    let defined: Vec<_> = defined
        .iter()
        .zip(&encoded)
        .map(|(d, e)| (d.tree, d.salt, e))
        .collect();
    if announced != defined {
        return Err(mismatch(
            "the collections announced are not those of the catalogue",
        ));
    }
    Ok(catalogue)
}

/// The catalogue of a system tree whose rows are stored or staged.
fn read_catalogue(replica: &Replica, system: &Tree) -> Result<Catalogue, ReplicaError> {
    let overlay = stage_overlay(replica);
    let store = replica.store.as_ref();
    let mut catalogue = Catalogue::default();
    for (key, leaf) in system {
        let at = RowAddress::new(TreeId::SYSTEM, key);
        let staged = match overlay.get(store, at)? {
            Some(Laid::Put(stored)) if stored.leaf.digest == leaf.digest => Some(stored),
            _ => replica.rows.get(store, at)?,
        };
        let stored = staged
            .filter(|stored| stored.leaf.digest == leaf.digest)
            .ok_or_else(|| mismatch(format!("system row {key:?} is neither stored nor staged")))?;
        let row = SystemRow::from_row(&stored.row);
        catalogue.put(row.map_err(|source| ReplicaError::Row {
            tree: TreeId::SYSTEM,
            key,
            source,
        })?);
    }
    Ok(catalogue)
}
