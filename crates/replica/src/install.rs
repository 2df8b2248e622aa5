//! Install: the staged delta becomes the state.
//!
//! From the moment the intent says APPLYING there is no way back, and none is needed: the new state is committed by
//! the cluster, and everything it takes is durable here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pando_merkle::{Key, Leaf, Tree, diff};
use pando_model::{PointId, TreeId};
use pando_storage::{Batch, DigestRow, Laid, Overlay, RowAddress, StoredKey, StoredRow, codec};

use crate::applied::{Applied, StoredApplied};
use crate::catalogue::Catalogue;
use crate::collection::{Collection, point_of, root_of};
use crate::error::ReplicaError;
use crate::intent::{Intent, Phase};
use crate::replica::{Replica, Writer};
use crate::stage::{StagedDelta, check_not_behind, check_stage, stage_overlay};
use crate::state::State;

/// The stage is applied in batches of about this many bytes, each shown before the next.
pub(crate) const INSTALL_BATCH_BYTES: usize = 2 << 20;
/// Keys or rows cleared per batch.
const CLEAR_PAGE: usize = 1024;

/// A row as it was installed.
struct Installed {
    key: Key,
    /// What is stored now; `None`: nothing.
    put: Option<StoredRow>,
    /// Id of the row stored before.
    previous: Option<Vec<u8>>,
}

impl Replica {
    /// Installs a staged delta. Readers are refused while the state is a mixture. Entries may have been applied since
    /// the stage was verified: what they wrote is either in the new state or goes.
    ///
    /// # Errors
    /// [`ReplicaError::StageMismatch`] when the stage does not make the announced state, or the state here is beyond
    /// it: nothing is installed then. When storage fails the replica is unusable until it is opened anew, which goes
    /// on where this stopped.
    pub fn install(&self, delta: StagedDelta) -> Result<Applied, ReplicaError> {
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
        if index != delta.base {
            check_stage(self, &current, &delta.trees)?;
        }
        let StagedDelta {
            applied,
            trees: target,
            catalogue,
            _place,
            ..
        } = delta;
        self.or_poison(|| {
            self.clear_returning(&mut writer, &target)?;
            self.views.give_up_all();
            let trees: Vec<TreeId> = target.keys().copied().collect();
            let mut batch = Batch::new();
            Intent::new(Phase::Applying, &applied, &trees, index)
                .put(&mut batch, self.options.group);
            self.store.apply(batch)?;
            self.store.flush()?;
            fail::fail_point!("install::applying");
            self.installing.store(true, Ordering::Release);
            self.install_trees(&current, &target, &catalogue, &applied)?;
            let gone = self.show_installed(&mut writer, catalogue, &applied)?;
            self.installing.store(false, Ordering::Release);
            drop(gone);
            fail::fail_point!("install::clear");
            self.clear_stage()
        })?;
        Ok(applied)
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

    /// Makes storage, trees and indexes those of the new state, and storage durable.
    fn install_trees(
        &self,
        current: &BTreeMap<TreeId, Tree>,
        target: &BTreeMap<TreeId, Tree>,
        catalogue: &Catalogue,
        applied: &Applied,
    ) -> Result<(), ReplicaError> {
        // Waits for readers that came before `installing` was set; none comes in afterwards.
        self.prepare_collections(catalogue);
        let none = Tree::new();
        for (id, tree) in target {
            self.install_tree(*id, current.get(id).unwrap_or(&none), tree, applied.index())?;
        }
        let mut meta = Batch::new();
        meta.put(
            StoredKey::Meta.encode(self.options.group),
            codec::encode(&StoredApplied::from(applied)),
        );
        self.store.apply(meta)?;
        Ok(self.store.flush()?)
    }

    /// Makes room for collections that are new; those that go are dropped from memory when all is installed.
    fn prepare_collections(&self, catalogue: &Catalogue) {
        let mut state = self.state.write();
        for definition in catalogue.collections.values() {
            let fresh = || Collection::new(Arc::clone(definition));
            state
                .collections
                .entry(definition.tree)
                .or_insert_with(fresh);
        }
    }

    fn install_tree(
        &self,
        id: TreeId,
        current: &Tree,
        target: &Tree,
        index: u64,
    ) -> Result<(), ReplicaError> {
        let mut batch = Batch::new();
        let mut installed = Vec::new();
        for change in diff(current, target) {
            let at = RowAddress::new(id, change.key);
            let put = match change.to {
                Some(to) => Some(self.staged_row(at, &to)?),
                None => None,
            };
            let previous = self.install_row(&mut batch, at, put.as_ref(), index)?;
            installed.push(Installed {
                key: change.key,
                put,
                previous,
            });
            if batch.bytes() >= INSTALL_BATCH_BYTES {
                self.store.apply(std::mem::take(&mut batch))?;
                self.show_rows(id, std::mem::take(&mut installed), index)?;
                fail::fail_point!("install::mid");
            }
        }
        self.store.apply(batch)?;
        self.show_rows(id, installed, index)?;
        fail::fail_point!("install::mid");
        Ok(())
    }

    fn staged_row(&self, at: RowAddress, leaf: &Leaf) -> Result<StoredRow, ReplicaError> {
        match stage_overlay(self).get(self.store.as_ref(), at)? {
            Some(Laid::Put(stored)) if stored.leaf.digest == leaf.digest => Ok(stored),
            _ => Err(ReplicaError::StageMismatch {
                detail: format!("row {:?} of tree {} is not staged", at.key, at.tree),
            }),
        }
    }

    /// Adds to a batch what makes the stored row the staged one; also used to roll forward. Returns the id of the row
    /// that was stored there.
    pub(crate) fn install_row(
        &self,
        batch: &mut Batch,
        at: RowAddress,
        put: Option<&StoredRow>,
        index: u64,
    ) -> Result<Option<Vec<u8>>, ReplicaError> {
        let previous = self.rows.digest(self.store.as_ref(), at)?;
        let chunks = previous.as_ref().map_or(0, DigestRow::chunks);
        match put {
            Some(stored) => {
                let leaf = Leaf {
                    index,
                    ..stored.leaf
                };
                self.rows.put(batch, at, &stored.row, &leaf, chunks)?;
            }
            None if previous.is_some() => self.rows.delete(batch, at, chunks),
            None => {}
        }
        Ok(previous.map(|digest| digest.id))
    }

    /// Brings the rows of one batch into the tree and the index.
    fn show_rows(
        &self,
        id: TreeId,
        installed: Vec<Installed>,
        index: u64,
    ) -> Result<(), ReplicaError> {
        let mut state = self.state.write();
        let State {
            collections,
            system,
            ..
        } = &mut *state;
        let mut collection = collections.get_mut(&id);
        for Installed { key, put, previous } in installed {
            let tree = collection.as_mut().map_or(&mut *system, |c| &mut c.tree);
            match &put {
                Some(stored) => tree.insert(
                    key,
                    Leaf {
                        index,
                        ..stored.leaf
                    },
                ),
                None => tree.remove(&key, index),
            };
            let Some(collection) = &mut collection else {
                continue;
            };
            match (put, previous) {
                (Some(stored), _) => {
                    let (point, record) = point_of(&collection.definition, key, &stored.row)?;
                    collection
                        .index
                        .upsert(point, &record.vectors, record.payload);
                }
                (None, Some(previous)) => {
                    let point = PointId::from_bytes(&previous);
                    collection
                        .index
                        .remove(point.map_err(|source| ReplicaError::Row {
                            tree: id,
                            key,
                            source,
                        })?);
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// The new state is whole: checks its root, and shows it. Returns the collections that are gone.
    fn show_installed(
        &self,
        writer: &mut Writer,
        catalogue: Catalogue,
        applied: &Applied,
    ) -> Result<Vec<Collection>, ReplicaError> {
        let mut state = self.state.write();
        let kept: BTreeSet<TreeId> = catalogue.collections.values().map(|d| d.tree).collect();
        let gone: BTreeMap<TreeId, Collection> = state
            .collections
            .extract_if(.., |tree, _| !kept.contains(tree))
            .collect();
        writer.dropped.extend(gone.keys());
        for definition in catalogue.collections.values() {
            if let Some(collection) = state.collections.get_mut(&definition.tree) {
                collection.definition = Arc::clone(definition);
                collection.root = root_of(definition, &collection.tree);
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

    /// Removes the intent and the stage, in this order: a stage without an intent is only something to resume.
    pub(crate) fn clear_stage(&self) -> Result<(), ReplicaError> {
        Intent::clear(self.store.as_ref(), self.options.group)?;
        self.store.flush()?;
        self.clear_overlay(&stage_overlay(self))
    }

    /// Removes all that is in an overlay.
    pub(crate) fn clear_overlay(&self, overlay: &Overlay) -> Result<(), ReplicaError> {
        self.clear_pages(|batch| overlay.clear_page(self.store.as_ref(), batch, CLEAR_PAGE))
    }
}
