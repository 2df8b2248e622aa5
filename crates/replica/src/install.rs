//! Install: the staged delta becomes the state.
//!
//! From the moment the intent says APPLYING there is no way back, and none is needed: the new state is committed by
//! the cluster, and everything it takes is durable here. Storage changes first: content is there since it was staged,
//! so a row is replaced by writing its digest row, and readers go on from the old trees, indexes and content, which
//! stays until the install is over. Then memory changes, in one step if the delta is small enough to be held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pando_index::IndexOptions;
use pando_merkle::{Change, Key, Leaf, Tree};
use pando_model::{PointId, Record, Stamp, TreeId};
use pando_storage::{Batch, DigestRow, Laid, Overlay, OverlayId, RowAddress, StoredKey, codec};

use crate::applied::{Applied, StoredApplied};
use crate::catalogue::Catalogue;
use crate::collection::{Collection, point_of};
use crate::error::ReplicaError;
use crate::intent::{Intent, Phase};
use crate::replica::{Replica, Writer};
use crate::stage::{StagedDelta, changes, check_not_behind, check_stage, stage_overlay};
use crate::state::State;

/// Rows changed in storage by one batch. Few under test, so that an install has a middle.
pub(crate) const INSTALL_BATCH_ROWS: usize = if cfg!(test) { 16 } else { 512 };
/// New rows of this many bytes in all are held in memory, so that readers wait only while they are shown; a larger
/// delta is shown in parts of this size, and readers are refused meanwhile.
const SHOW_BYTES_MAX: u64 = 64 << 20;
/// Keys or rows cleared per batch.
const CLEAR_PAGE: usize = 1024;

/// What an install has come to.
#[derive(Debug)]
pub struct Installed {
    /// The state it ended in.
    pub applied: Applied,
    /// How long readers were not served.
    pub unserved: Duration,
}

/// A row as it is to be shown.
struct Shown {
    tree: TreeId,
    key: Key,
    put: Option<Put>,
    /// The point that goes.
    gone: Option<PointId>,
}

struct Put {
    leaf: Leaf,
    /// None in the system tree, whose rows are shown as the catalogue.
    point: Option<(PointId, Stamp, Record)>,
}

impl Replica {
    /// Installs a staged delta. Readers are refused while the state is a mixture. Entries may have been applied since
    /// the stage was verified: what they wrote is either in the new state or goes.
    ///
    /// # Errors
    /// [`ReplicaError::StageMismatch`] when the stage does not make the announced state, or the state here is beyond
    /// it: nothing is installed then. When storage fails the replica is unusable until it is opened anew, which goes
    /// on where this stopped.
    pub fn install(&self, delta: StagedDelta) -> Result<Installed, ReplicaError> {
        fail::fail_point!("install::begin");
        let mut writer = self.writer()?;
        let (current, index) = self.current();
        if let Err(overtaken) = check_not_behind(&delta.applied, index) {
            Intent::clear(self.store.as_ref(), self.options.group)?;
            self.store.flush()?;
            return Err(overtaken);
        }
        // The intent stays if this fails: the log may be purged up to it already, and without the intent the next
        // start would find a state that nothing leads on from, and no word of why.
        if index != delta.base && check_stage(self, &current, &delta.trees)?.is_void() {
            self.clear_overlay(OverlayId::STAGE)?;
        }
        let StagedDelta {
            applied,
            trees: target,
            catalogue,
            _place,
            ..
        } = delta;
        let unserved = self.or_poison(|| {
            self.clear_returning(&mut writer, &target)?;
            self.views.give_up_all();
            let trees: Vec<TreeId> = target.keys().copied().collect();
            let mut batch = Batch::new();
            Intent::new(Phase::Applying, &applied, &trees, index)
                .put(&mut batch, self.options.group);
            self.store.apply(batch)?;
            self.store.flush()?;
            fail::fail_point!("install::applying");
            self.install_storage(&current, &target, &applied)?;
            let (gone, unserved) =
                self.install_memory(&mut writer, &current, &target, catalogue, &applied)?;
            drop(gone);
            fail::fail_point!("install::clear");
            // From here on the stage is nothing to go on from, also for the next process.
            let mut batch = Batch::new();
            Intent::new(Phase::Installed, &applied, &trees, index)
                .put(&mut batch, self.options.group);
            self.store.apply(batch)?;
            writer
                .overlays
                .extend([OverlayId::STAGE, OverlayId::REPLACED]);
            self.store.flush()?;
            Ok(unserved)
        })?;
        Ok(Installed { applied, unserved })
    }

    /// Finishes clearing dropped trees that the new state has after all: what is left of them is not in its tree.
    fn clear_returning(
        &self,
        writer: &mut Writer,
        target: &BTreeMap<TreeId, Tree>,
    ) -> Result<(), ReplicaError> {
        let (returning, dropped) = std::mem::take(&mut writer.dropped)
            .into_iter()
            .partition(|tree| target.contains_key(tree));
        writer.dropped = dropped;
        let returning: Vec<TreeId> = returning;
        for tree in returning {
            let store = self.store.as_ref();
            self.clear_pages(|batch| self.rows.delete_page(store, batch, tree, CLEAR_PAGE))?;
        }
        Ok(())
    }

    /// Makes storage that of the new state, and durable.
    fn install_storage(
        &self,
        current: &BTreeMap<TreeId, Tree>,
        target: &BTreeMap<TreeId, Tree>,
        applied: &Applied,
    ) -> Result<(), ReplicaError> {
        let (mut batch, mut rows) = (Batch::new(), 0);
        for (tree, change) in changes(current, target) {
            let at = RowAddress::new(tree, change.key);
            let put = match change.to {
                Some(to) => Some(self.staged_digest(at, &to)?),
                None => None,
            };
            self.install_row(&mut batch, at, put.as_ref(), applied.index())?;
            rows += 1;
            if rows % INSTALL_BATCH_ROWS == 0 {
                self.store.apply(std::mem::take(&mut batch))?;
                fail::fail_point!("install::mid");
            }
        }
        self.store.apply(std::mem::take(&mut batch))?;
        fail::fail_point!("install::mid");
        batch.put(
            StoredKey::Meta.encode(self.options.group),
            codec::encode(&StoredApplied::from(applied)),
        );
        self.store.apply(batch)?;
        Ok(self.store.flush()?)
    }

    fn staged_digest(&self, at: RowAddress, leaf: &Leaf) -> Result<DigestRow, ReplicaError> {
        let staged = match stage_overlay(self).head(self.store.as_ref(), at)? {
            Some(Laid::Put(staged)) => Some(staged),
            Some(Laid::Delete) | None => None,
        };
        expect_digest(staged, leaf, at, "staged")
    }

    /// Adds to a batch what makes the stored row the staged one, and takes it off the stage: cleared afterwards, the
    /// heads of a full copy would hold up the next session for longer than that takes. Also used to roll forward, which
    /// goes on with what is still staged. The content of the row before stays, for readers of the old state, and is
    /// noted down to be cleared.
    pub(crate) fn install_row(
        &self,
        batch: &mut Batch,
        at: RowAddress,
        put: Option<&DigestRow>,
        index: u64,
    ) -> Result<(), ReplicaError> {
        let previous = self.readable_digest(at)?;
        stage_overlay(self).lift(batch, at);
        match put {
            Some(staged) => self.rows.link(batch, at, &staged.at_index(index)),
            None => self.rows.unlink(batch, at),
        }
        let kept = put.map(DigestRow::digest);
        if let Some(previous) = previous.filter(|previous| Some(previous.digest()) != kept) {
            let replaced = Overlay::new(self.options.group, OverlayId::REPLACED);
            replaced.put(batch, at, &previous);
        }
        Ok(())
    }

    /// Makes trees, indexes and catalogue those of the new state. Returns the collections that are gone.
    fn install_memory(
        &self,
        writer: &mut Writer,
        current: &BTreeMap<TreeId, Tree>,
        target: &BTreeMap<TreeId, Tree>,
        catalogue: Catalogue,
        applied: &Applied,
    ) -> Result<(Vec<Collection>, Duration), ReplicaError> {
        let (mut part, mut bytes, mut begun) = (Vec::new(), 0, None);
        for (tree, change) in changes(current, target) {
            bytes += change.to.map_or(0, |to| u64::from(to.bytes));
            part.push(self.shown(&catalogue, tree, &change, applied.index())?);
            if bytes >= SHOW_BYTES_MAX {
                // From here on what readers would see is a mixture.
                begun.get_or_insert_with(Instant::now);
                self.installing.store(true, Ordering::Release);
                let mut state = self.state.write();
                prepare_collections(&mut state, &catalogue, &self.index_options);
                show_rows(&mut state, std::mem::take(&mut part), applied.index());
                bytes = 0;
            }
        }
        let begun = begun.unwrap_or_else(Instant::now);
        let gone = {
            let mut state = self.state.write();
            prepare_collections(&mut state, &catalogue, &self.index_options);
            show_rows(&mut state, part, applied.index());
            self.show_installed(&mut state, writer, catalogue, applied)?
        };
        self.installing.store(false, Ordering::Release);
        Ok((gone, begun.elapsed()))
    }

    /// Reads what a change puts.
    fn shown(
        &self,
        catalogue: &Catalogue,
        tree: TreeId,
        change: &Change,
        index: u64,
    ) -> Result<Shown, ReplicaError> {
        let (key, at) = (change.key, RowAddress::new(tree, change.key));
        let definition = catalogue.collections.values().find(|d| d.tree == tree);
        let put = match (change.to, definition) {
            (None, _) => None,
            (Some(to), None) => Some(Put {
                leaf: Leaf { index, ..to },
                point: None,
            }),
            (Some(to), Some(definition)) => {
                let digest = self.installed_digest(at, &to)?;
                let stored = self.rows.read(self.store.as_ref(), at, digest)?;
                let (id, record) = point_of(definition, key, &stored.row)?;
                Some(Put {
                    leaf: Leaf { index, ..to },
                    point: Some((id, Stamp::from_bytes(stored.row.version), record)),
                })
            }
        };
        let gone = match definition {
            Some(_) if change.to.is_none() && change.from.is_some() => self.replaced_id(at)?,
            _ => None,
        };
        Ok(Shown {
            tree,
            key,
            put,
            gone,
        })
    }

    /// The digest row that this install has just written.
    fn installed_digest(&self, at: RowAddress, leaf: &Leaf) -> Result<DigestRow, ReplicaError> {
        let stored = self.rows.digest(self.store.as_ref(), at)?;
        expect_digest(stored, leaf, at, "installed")
    }

    /// The id of a point that this install has deleted.
    fn replaced_id(&self, at: RowAddress) -> Result<Option<PointId>, ReplicaError> {
        let replaced = Overlay::new(self.options.group, OverlayId::REPLACED);
        let stored = match replaced.head(self.store.as_ref(), at)? {
            Some(Laid::Put(previous)) => PointId::from_bytes(&previous.id).ok(),
            Some(Laid::Delete) | None => None,
        };
        let state = self.state.read();
        Ok(state.collections.get(&at.tree).and_then(|collection| {
            let is_it = |id: &PointId| collection.key(*id) == at.key;
            // If its row was damaged, it is the one of this key among all points shown.
            let shown = || collection.index.select(None).into_iter().find(is_it);
            stored.filter(is_it).or_else(shown)
        }))
    }

    /// The new state is whole: checks its root, and shows it. Returns the collections that are gone.
    fn show_installed(
        &self,
        state: &mut State,
        writer: &mut Writer,
        catalogue: Catalogue,
        applied: &Applied,
    ) -> Result<Vec<Collection>, ReplicaError> {
        let kept: BTreeSet<TreeId> = catalogue.collections.values().map(|d| d.tree).collect();
        let gone: BTreeMap<TreeId, Collection> = state
            .collections
            .extract_if(.., |tree, _| !kept.contains(tree))
            .collect();
        writer.dropped.extend(gone.keys());
        for definition in catalogue.collections.values() {
            if let Some(collection) = state.collections.get_mut(&definition.tree) {
                collection.redefine(Arc::clone(definition));
            }
        }
        state.catalogue = catalogue;
        let found = state.compute_root();
        if found != applied.root {
            let (index, expected) = (applied.index(), applied.root);
            return Err(ReplicaError::RootMismatch {
                index,
                found,
                expected,
            });
        }
        state.applied = applied.clone();
        *self.latest.write() = applied.clone();
        Ok(gone.into_values().collect())
    }

    /// Removes what an install has left, then its intent.
    pub(crate) fn clear_stage(&self) -> Result<(), ReplicaError> {
        self.clear_overlay(OverlayId::REPLACED)?;
        self.clear_overlay(OverlayId::STAGE)?;
        Intent::clear(self.store.as_ref(), self.options.group)?;
        Ok(self.store.flush()?)
    }

    /// Removes what a finished install has left, if anything is left.
    pub(crate) fn clear_installed(&self, writer: &mut Writer) -> Result<(), ReplicaError> {
        if writer.overlays.contains(&OverlayId::STAGE) {
            writer
                .overlays
                .retain(|id| *id != OverlayId::STAGE && *id != OverlayId::REPLACED);
            self.clear_stage()?;
        }
        Ok(())
    }

    /// Removes all that is in an overlay, with the content that nobody else reads. By the writer.
    pub(crate) fn clear_overlay(&self, id: OverlayId) -> Result<(), ReplicaError> {
        let (overlay, store) = (Overlay::new(self.options.group, id), self.store.as_ref());
        let page = |batch: &mut Batch| overlay.take_page(store, batch, CLEAR_PAGE);
        while self.clear_overlay_page(id, page)? > 0 {}
        Ok(())
    }
}

/// The digest row found, if it is that of the leaf.
fn expect_digest(
    found: Option<DigestRow>,
    leaf: &Leaf,
    at: RowAddress,
    state: &str,
) -> Result<DigestRow, ReplicaError> {
    let found = found.filter(|found| found.digest() == leaf.digest);
    found.ok_or_else(|| ReplicaError::StageMismatch {
        detail: format!("row {:?} of tree {} is not {state}", at.key, at.tree),
    })
}

/// Makes room for collections that are new; those that go are dropped when all is installed.
fn prepare_collections(state: &mut State, catalogue: &Catalogue, options: &IndexOptions) {
    for definition in catalogue.collections.values() {
        let fresh = || Collection::new(Arc::clone(definition), options);
        state
            .collections
            .entry(definition.tree)
            .or_insert_with(fresh);
    }
}

/// Brings rows into the trees and the indexes.
fn show_rows(state: &mut State, rows: Vec<Shown>, index: u64) {
    for Shown {
        tree: id,
        key,
        put,
        gone,
    } in rows
    {
        let mut collection = state.collections.get_mut(&id);
        let tree = collection
            .as_mut()
            .map_or(&mut state.system, |c| &mut c.tree);
        match &put {
            Some(put) => tree.insert(key, put.leaf),
            None => tree.remove(&key, index),
        };
        let Some(collection) = collection else {
            continue;
        };
        if let Some((point, version, record)) = put.and_then(|put| put.point) {
            let vectors = (&record.vectors, &record.sparse_vectors);
            (collection.index).upsert(point, version, vectors, record.payload);
        } else if let Some(gone) = gone {
            collection.index.remove(gone);
        }
    }
}
