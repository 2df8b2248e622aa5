//! Install: the staged delta becomes the state.
//!
//! From the moment the intent says APPLYING there is no way back, and none is needed: the new state is committed by
//! the cluster, and everything it takes is durable here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pando_merkle::{Key, Leaf, Tree, diff};
use pando_model::{PointId, Record, TreeId};
use pando_storage::{Batch, DigestRow, Laid, RowAddress, StoredKey, StoredRow, codec};

use crate::applied::{Applied, StoredApplied};
use crate::catalogue::Catalogue;
use crate::collection::{Collection, root_of};
use crate::error::ReplicaError;
use crate::intent::{Intent, Phase};
use crate::replica::{Replica, Writer};
use crate::stage::{StagedDelta, read_catalogue, stage_overlay};
use crate::state::State;

/// The stage is applied in batches of about this many bytes, each shown before the next.
pub(crate) const INSTALL_BATCH_BYTES: usize = 2 << 20;
/// Keys of the finished stage cleared per batch.
const CLEAR_PAGE: usize = 2048;

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
    /// When storage fails or the stage does not make the announced state. The replica is unusable then until it is
    /// opened anew, which goes on where this stopped.
    pub fn install(&self, delta: StagedDelta) -> Result<Applied, ReplicaError> {
        let mut writer = self.writer()?;
        self.views.give_up_all();
        let result = self.install_locked(&mut writer, &delta);
        self.installing.store(false, Ordering::Release);
        self.or_poison(result)?;
        Ok(delta.applied)
    }

    fn install_locked(&self, writer: &mut Writer, delta: &StagedDelta) -> Result<(), ReplicaError> {
        let store = self.store.as_ref();
        let (applied, target) = (&delta.applied, &delta.trees);
        let current = self.state.read().trees();
        let base = self.state.read().applied.index();
        let catalogue = read_catalogue(self, target.get(&TreeId::SYSTEM).unwrap_or(&Tree::new()))?;
        let mut deletes = Batch::new();
        self.stage_deletes(&mut deletes, &current, target)?;
        let trees: Vec<TreeId> = target.keys().copied().collect();
        Intent::new(Phase::Applying, applied, &trees, base).put(&mut deletes, self.options.group);
        store.apply(deletes)?;
        store.flush()?;
        fail::fail_point!("install::applying");
        self.installing.store(true, Ordering::Release);
        self.prepare_collections(&catalogue);
        let none = Tree::new();
        for (id, tree) in target {
            self.install_tree(*id, current.get(id).unwrap_or(&none), tree, applied.index())?;
        }
        let mut meta = Batch::new();
        meta.put(
            StoredKey::Meta.encode(self.options.group),
            codec::encode(&StoredApplied::from(applied)),
        );
        store.apply(meta)?;
        store.flush()?;
        self.show_installed(writer, catalogue, applied)?;
        fail::fail_point!("install::clear");
        self.clear_stage()
    }

    /// Lays down the deletes the session could not know of: keys written since, and absent from the new state.
    /// With them the stage alone says what to do, which is what recovery needs.
    fn stage_deletes(
        &self,
        batch: &mut Batch,
        current: &BTreeMap<TreeId, Tree>,
        target: &BTreeMap<TreeId, Tree>,
    ) -> Result<(), ReplicaError> {
        let overlay = stage_overlay(self);
        for (id, tree) in target {
            let Some(current) = current.get(id) else {
                continue;
            };
            for change in diff(current, tree).filter(|change| change.to.is_none()) {
                overlay.delete(batch, RowAddress::new(*id, change.key));
                if batch.bytes() >= INSTALL_BATCH_BYTES {
                    self.store.apply(std::mem::take(batch))?;
                }
            }
        }
        Ok(())
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
            let unreadable = |source| ReplicaError::Row {
                tree: id,
                key,
                source,
            };
            match (put, previous) {
                (Some(stored), _) => {
                    let point = PointId::from_bytes(&stored.row.id).map_err(unreadable)?;
                    let record = Record::decode(&stored.row.content).map_err(unreadable)?;
                    collection
                        .index
                        .upsert(point, &record.vectors, record.payload);
                }
                (None, Some(previous)) => {
                    collection
                        .index
                        .remove(PointId::from_bytes(&previous).map_err(unreadable)?);
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// The new state is whole: checks its root, and shows it.
    fn show_installed(
        &self,
        writer: &mut Writer,
        catalogue: Catalogue,
        applied: &Applied,
    ) -> Result<(), ReplicaError> {
        let mut state = self.state.write();
        let kept: Vec<TreeId> = catalogue.collections.values().map(|d| d.tree).collect();
        let gone = state.collections.keys().filter(|tree| !kept.contains(tree));
        writer.dropped.extend(gone.copied().collect::<Vec<_>>());
        state.collections.retain(|tree, _| kept.contains(tree));
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
        Ok(())
    }

    /// Removes the intent and the stage, in this order: a stage without an intent is only something to resume.
    pub(crate) fn clear_stage(&self) -> Result<(), ReplicaError> {
        let store = self.store.as_ref();
        Intent::clear(store, self.options.group)?;
        store.flush()?;
        let overlay = stage_overlay(self);
        self.delete_pages(|batch| overlay.clear_page(store, batch, CLEAR_PAGE))
    }

    /// Forgets what was staged: the leader's state turned out to be equal, or the operator wants a fresh start.
    ///
    /// # Errors
    /// When storage fails.
    pub fn discard_stage(&self) -> Result<(), ReplicaError> {
        let _writer = self.writer()?;
        self.clear_stage()
    }
}
