//! The follower's side of a catch-up, up to the intent: what differs is kept durably, then checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pando_merkle::{Tree, diff};
use pando_model::TreeId;
use pando_storage::keys::OverlayId;
use pando_storage::{Batch, DigestRow, KvStore, Laid, Overlay, RowAddress, leaf_of};
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
struct Place(Arc<AtomicBool>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A verified delta whose intent is durable: all that is left to do is to install it.
pub struct StagedDelta {
    pub(crate) applied: Applied,
    pub(crate) trees: BTreeMap<TreeId, Tree>,
    /// Kept until the install is over, so that nothing else is staged meanwhile.
    _place: Place,
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
        let (applied, mut trees) = {
            let state = self.state.read();
            (state.applied.clone(), state.trees())
        };
        let overlay = stage_overlay(self);
        for_each_staged(self.store.as_ref(), &overlay, |at, laid| match laid {
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
        })?;
        let base = Base {
            root: applied.root,
            index: applied.index(),
            trees,
        };
        Ok(Stage {
            replica: Arc::clone(self),
            place,
            base,
            unflushed: 0,
        })
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
        let overlay = stage_overlay(&self.replica);
        let store = self.replica.store.as_ref();
        let mut batch = Batch::new();
        for Staged { tree, key, op } in staged {
            let at = RowAddress::new(tree, key);
            match op {
                Op::Put(row) => {
                    overlay.put(&mut batch, at, &row, &leaf_of(&row, self.base.index))?
                }
                Op::Delete => overlay.delete(&mut batch, at),
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
        let base = {
            let state = replica.state.read();
            check_rows(&replica, &state.trees(), &trees)?;
            check_catalogue(&replica, header, &trees)?;
            state.applied.index()
        };
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
            _place: self.place,
        })
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

/// Every row the new state has and the old one has not must be in the stage.
fn check_rows(
    replica: &Replica,
    current: &BTreeMap<TreeId, Tree>,
    target: &BTreeMap<TreeId, Tree>,
) -> Result<(), ReplicaError> {
    let overlay = stage_overlay(replica);
    let none = Tree::new();
    for (id, tree) in target {
        for change in diff(current.get(id).unwrap_or(&none), tree) {
            let Some(to) = change.to else { continue };
            let at = RowAddress::new(*id, change.key);
            match overlay.head(replica.store.as_ref(), at)? {
                Some(Laid::Put(digest)) if digest.leaf().digest == to.digest => {}
                _ => {
                    return Err(mismatch(format!(
                        "row {:?} of tree {id} is not staged",
                        at.key
                    )));
                }
            }
        }
    }
    Ok(())
}

/// The collections announced must be those of the system tree as it will be.
fn check_catalogue(
    replica: &Replica,
    header: &SnapshotHeader,
    trees: &BTreeMap<TreeId, Tree>,
) -> Result<(), ReplicaError> {
    let system = trees
        .get(&TreeId::SYSTEM)
        .ok_or_else(|| mismatch("no system tree"))?;
    let catalogue = read_catalogue(replica, system)?;
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
    Ok(())
}

/// The catalogue of a system tree whose rows are stored or staged.
pub(crate) fn read_catalogue(replica: &Replica, system: &Tree) -> Result<Catalogue, ReplicaError> {
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
