//! Commit: a plan's changes into storage in one atomic batch, then into memory.

use std::sync::Arc;

use pando_merkle::{Digest, Key, Leaf, Prepared, Tree, replica_root};
use pando_model::{CollectionName, Definition, LogPosition, Row, Stamp, TreeId};
use pando_storage::{Batch, DigestRow, RowAddress, StoredKey, codec};

use crate::applied::{Applied, StoredApplied};
use crate::collection::{Collection, root_at, root_of};
use crate::error::ReplicaError;
use crate::plan::{Changes, PointChange, SystemChange};
use crate::replica::{Replica, Writer};
use crate::state::State;
use crate::times::Part;

/// What becomes of the trees, and the root after a plan, before anything is written.
struct Next {
    system: Prepared,
    /// The collection whose points change: what becomes of its tree, and its root afterwards.
    touched: Option<(TreeId, Prepared, Digest)>,
    created: Option<Arc<Definition>>,
    redefined: Option<Arc<Definition>>,
    dropped: Option<(CollectionName, TreeId)>,
    root: Digest,
}

/// One row to be written or deleted.
struct RowChange<'a> {
    at: RowAddress,
    put: Option<(&'a Row, &'a Leaf)>,
    /// Whether a row is stored there now.
    replaces: bool,
    /// That row, if it can be told: one that is damaged is written anew all the same.
    previous: Option<DigestRow>,
}

impl Replica {
    /// Commits the changes of the entry at `position`, which leaves the cluster with this membership.
    pub(crate) fn commit(
        &self,
        writer: &mut Writer,
        changes: Changes,
        position: LogPosition,
        membership: Vec<u8>,
    ) -> Result<(), ReplicaError> {
        let system_rows = system_rows(&changes, position.index);
        let points = changes
            .points
            .as_ref()
            .map_or(0, |(_, points)| points.len());
        let changed = system_rows.len() + points;
        let (next, batch, applied) = {
            let state = self.state.read();
            let next = self.times.of(Part::Tree, || {
                next(&state, &changes, &system_rows, position.index)
            });
            let mut batch = self.times.of(Part::Storage, || {
                let rows = self.row_changes(&state, &changes, &system_rows)?;
                self.rows_batch(&rows)
            })?;
            let applied = Applied {
                position: Some(position),
                membership,
                root: next.root,
            };
            let meta = codec::encode(&StoredApplied::from(&applied));
            batch.put(StoredKey::Meta.encode(self.options.group), meta);
            (next, batch, applied)
        };
        (self.times).of(Part::Storage, || self.store.apply(batch))?;
        if let Some((_, tree)) = &next.dropped {
            writer.dropped.push(*tree);
        }
        // Bound, so that a large index is freed after the lock.
        let latest = applied.clone();
        let dropped = {
            let mut state = self.state.write();
            let Next {
                system,
                touched,
                created,
                redefined,
                dropped,
                ..
            } = next;
            (self.times).of(Part::Tree, || show_trees(&mut state, system, touched));
            if let Some(definition) = redefined
                && let Some(collection) = state.collections.get_mut(&definition.tree)
            {
                (self.times).of(Part::Index, || collection.redefine(definition));
            }
            (self.times).of(Part::Index, || {
                let created = created.map(|it| Collection::new(it, &self.index_options));
                show(&mut state, changes, created, dropped, applied)
            })
        };
        *self.latest.write() = latest;
        drop(dropped);
        self.clear_garbage(writer, changed)?;
        Ok(())
    }

    fn rows_batch(&self, changes: &[RowChange<'_>]) -> Result<Batch, ReplicaError> {
        let mut batch = Batch::new();
        for RowChange {
            at,
            put,
            replaces,
            previous,
        } in changes
        {
            match put {
                Some((row, leaf)) => {
                    self.rows.put(&mut batch, *at, row, leaf)?;
                }
                None if *replaces => self.rows.unlink(&mut batch, *at),
                None => {}
            }
            let rewritten = |previous: &DigestRow| {
                put.is_some_and(|(_, leaf)| leaf.digest == previous.digest())
            };
            // What a frozen view still reads stays, and goes with the view.
            if let Some(previous) = previous
                && !rewritten(previous)
                && !self.views.capture(&mut batch, *at, previous)
            {
                self.rows.delete_content(&mut batch, *at, previous);
            }
        }
        Ok(batch)
    }

    fn row_changes<'a>(
        &self,
        state: &State,
        changes: &'a Changes,
        system_rows: &'a [(Key, Option<(Row, Leaf)>)],
    ) -> Result<Vec<RowChange<'a>>, ReplicaError> {
        let change = |tree: TreeId, key, put, replaces: bool| {
            let at = RowAddress::new(tree, key);
            let previous = match replaces {
                true => self.readable_digest(at)?,
                false => None,
            };
            Ok(RowChange {
                at,
                put,
                replaces,
                previous,
            })
        };
        let system = system_rows.iter().map(|(key, put)| {
            let put = put.as_ref().map(|(row, leaf)| (row, leaf));
            change(TreeId::SYSTEM, *key, put, state.system.get(key).is_some())
        });
        let touched = changes.points.as_ref().and_then(|(tree, points)| {
            let collection = state.collections.get(tree)?;
            Some((*tree, collection, points))
        });
        let points = touched.into_iter().flat_map(|(tree, collection, points)| {
            points.iter().map(move |point| {
                let put = point.put.as_ref().map(|put| (&put.row, &put.leaf));
                change(
                    tree,
                    point.key,
                    put,
                    collection.tree.get(&point.key).is_some(),
                )
            })
        });
        system.chain(points).collect()
    }

    /// The digest row at an address, if there is one that can be read: one that is damaged can be replaced and deleted
    /// all the same, and only its content stays behind.
    pub(crate) fn readable_digest(
        &self,
        at: RowAddress,
    ) -> Result<Option<DigestRow>, ReplicaError> {
        match self.rows.digest(self.store.as_ref(), at) {
            Err(error) if error.is_rot() => Ok(None),
            found => Ok(found?),
        }
    }
}

/// The rows of the system changes; `None` deletes.
fn system_rows(changes: &Changes, index: u64) -> Vec<(Key, Option<(Row, Leaf)>)> {
    let row = |change: &SystemChange| match change {
        SystemChange::Put(row) => (row.id().key(), Some(row.to_row(changes.stamp, index))),
        SystemChange::Delete(id) => (id.key(), None),
    };
    changes.system.iter().map(row).collect()
}

fn next(
    state: &State,
    changes: &Changes,
    system_rows: &[(Key, Option<(Row, Leaf)>)],
    index: u64,
) -> Next {
    let leaf = |put: &Option<(Row, Leaf)>| put.as_ref().map(|(_, leaf)| *leaf);
    let rows = system_rows.iter().map(|(key, put)| (*key, leaf(put)));
    let system = state.system.prepare(rows, index);
    let touched = changes.points.as_ref().and_then(|(id, points)| {
        let collection = state.collections.get(id)?;
        let leaf = |point: &PointChange| point.put.as_ref().map(|put| put.leaf);
        let rows = points.iter().map(|point| (point.key, leaf(point)));
        let tree = collection.tree.prepare(rows, index);
        let root = root_at(&collection.definition, tree.len(), &tree.root());
        Some((*id, tree, root))
    });
    let defined = changes.defined();
    let is_known = |it: &Arc<Definition>| state.collections.contains_key(&it.tree);
    let redefined = defined.clone().filter(is_known);
    let created = defined.filter(|it| !is_known(it));
    let dropped = changes.dropped().and_then(|name| {
        let definition = state.catalogue.collections.get(name)?;
        Some((name.clone(), definition.tree))
    });
    let mut roots: Vec<(&CollectionName, Digest)> = Vec::new();
    for (name, definition) in &state.catalogue.collections {
        let id = definition.tree;
        if dropped.as_ref().is_some_and(|(_, tree)| *tree == id) {
            continue;
        }
        let known = state.collections.get(&id);
        let root = match (&touched, &redefined) {
            (Some((tree, _, root)), _) if *tree == id => Some(*root),
            (_, Some(it)) if it.tree == id => known.map(|c| root_of(it, &c.tree)),
            _ => known.map(|c| c.root),
        };
        roots.extend(root.map(|root| (name, root)));
    }
    if let Some(definition) = &created {
        roots.push((&definition.name, root_of(definition, &Tree::new())));
        roots.sort_unstable_by_key(|(name, _)| *name);
    }
    let root = replica_root(&system.root(), roots.into_iter().map(|(_, root)| root));
    Next {
        system,
        touched,
        created,
        redefined,
        dropped,
        root,
    }
}

/// Makes the trees what was prepared.
fn show_trees(state: &mut State, system: Prepared, touched: Option<(TreeId, Prepared, Digest)>) {
    state.system.apply(system);
    if let Some((id, tree, root)) = touched
        && let Some(collection) = state.collections.get_mut(&id)
    {
        collection.tree.apply(tree);
        collection.root = root;
    }
}

/// Shows readers what was committed. Returns the collection that was dropped.
fn show(
    state: &mut State,
    changes: Changes,
    created: Option<Collection>,
    dropped: Option<(CollectionName, TreeId)>,
    applied: Applied,
) -> Option<Collection> {
    for change in changes.system {
        match change {
            SystemChange::Put(row) => state.catalogue.put(row),
            SystemChange::Delete(id) => state.catalogue.delete(&id),
        }
    }
    if let Some(created) = created {
        (state.collections).insert(created.definition.tree, created);
    }
    let dropped = dropped.and_then(|(_, tree)| state.collections.remove(&tree));
    if let Some((id, points)) = changes.points
        && let Some(collection) = state.collections.get_mut(&id)
    {
        for point in points {
            match point.put {
                Some(put) => {
                    let record = put.record;
                    let version = Stamp::from_bytes(put.row.version);
                    let vectors = (&record.vectors, &record.sparse_vectors);
                    let index = &mut collection.index;
                    index.upsert(point.id, version, vectors, record.payload);
                }
                None => {
                    collection.index.remove(point.id);
                }
            }
        }
    }
    if changes.check.is_some() {
        state.last_check = changes.check;
    }
    state.applied = applied;
    dropped
}
