//! Commit: a plan's changes into storage in one atomic batch, then into memory.

use std::sync::Arc;

use pando_merkle::{Digest, Key, Leaf, Tree, replica_root};
use pando_model::{CollectionName, Definition, LogPosition, Row, TreeId};
use pando_storage::{Batch, RowAddress, StoredKey, codec};

use crate::applied::{Applied, StoredApplied};
use crate::collection::{Collection, root_of};
use crate::error::ReplicaError;
use crate::plan::{Changes, SystemChange};
use crate::replica::{Replica, Writer};
use crate::state::State;

/// The trees and the root after a plan, before anything is written.
struct Next {
    system: Tree,
    /// The collection whose points change: its tree and root afterwards.
    touched: Option<(TreeId, Tree, Digest)>,
    created: Option<Arc<Definition>>,
    dropped: Option<(CollectionName, TreeId)>,
    root: Digest,
}

/// One row to be written or deleted.
struct RowChange<'a> {
    at: RowAddress,
    put: Option<(&'a Row, &'a Leaf)>,
    /// Whether a row is stored there now.
    replaces: bool,
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
        let (next, batch, applied) = {
            let state = self.state.read();
            let next = next(&state, &changes, &system_rows, position.index);
            let rows = row_changes(&state, &changes, &system_rows);
            self.views
                .capture(self.store.as_ref(), self.rows, rows.iter().map(|r| r.at))?;
            let mut batch = self.rows_batch(&rows)?;
            let applied = Applied {
                position: Some(position),
                membership,
                root: next.root,
            };
            let meta = codec::encode(&StoredApplied::from(&applied));
            batch.put(StoredKey::Meta.encode(self.options.group), meta);
            (next, batch, applied)
        };
        self.store.apply(batch)?;
        if let Some((_, tree)) = &next.dropped {
            writer.dropped.push(*tree);
        }
        // Bound, so that a large index is freed after the lock.
        let latest = applied.clone();
        let dropped = show(&mut self.state.write(), changes, next, applied);
        *self.latest.write() = latest;
        drop(dropped);
        self.clear_garbage(writer)?;
        Ok(())
    }

    fn rows_batch(&self, changes: &[RowChange<'_>]) -> Result<Batch, ReplicaError> {
        let mut batch = Batch::new();
        for change in changes {
            let chunks = if change.replaces {
                match self.rows.digest(self.store.as_ref(), change.at) {
                    Ok(digest) => digest.map_or(0, |d| d.chunks()),
                    // Written anew, it is sound.
                    Err(error) if error.is_rot() => 0,
                    Err(error) => return Err(error.into()),
                }
            } else {
                0
            };
            match change.put {
                Some((row, leaf)) => {
                    self.rows.put(&mut batch, change.at, row, leaf, chunks)?;
                }
                None if change.replaces => self.rows.delete(&mut batch, change.at, chunks),
                None => {}
            }
        }
        Ok(batch)
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
    let mut system = state.system.clone();
    for (key, put) in system_rows {
        match put {
            Some((_, leaf)) => system.insert(*key, *leaf),
            None => system.remove(key, index),
        };
    }
    let touched = changes.points.as_ref().and_then(|(id, points)| {
        let collection = state.collections.get(id)?;
        let mut tree = collection.tree.clone();
        for point in points {
            match &point.put {
                Some(put) => tree.insert(point.key, put.leaf),
                None => tree.remove(&point.key, index),
            };
        }
        let root = root_of(&collection.definition, &tree);
        Some((*id, tree, root))
    });
    let created = changes.created();
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
        let root = match &touched {
            Some((tree, _, root)) if *tree == id => Some(*root),
            _ => state.collections.get(&id).map(|c| c.root),
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
        dropped,
        root,
    }
}

fn row_changes<'a>(
    state: &State,
    changes: &'a Changes,
    system_rows: &'a [(Key, Option<(Row, Leaf)>)],
) -> Vec<RowChange<'a>> {
    let mut rows = Vec::new();
    for (key, put) in system_rows {
        rows.push(RowChange {
            at: RowAddress::new(TreeId::SYSTEM, *key),
            put: put.as_ref().map(|(row, leaf)| (row, leaf)),
            replaces: state.system.get(key).is_some(),
        });
    }
    let Some((tree, points)) = &changes.points else {
        return rows;
    };
    let Some(collection) = state.collections.get(tree) else {
        return rows;
    };
    rows.extend(points.iter().map(|point| RowChange {
        at: RowAddress::new(*tree, point.key),
        put: point.put.as_ref().map(|put| (&put.row, &put.leaf)),
        replaces: collection.tree.get(&point.key).is_some(),
    }));
    rows
}

/// Shows readers what was committed. Returns the collection that was dropped.
fn show(state: &mut State, changes: Changes, next: Next, applied: Applied) -> Option<Collection> {
    for change in changes.system {
        match change {
            SystemChange::Put(row) => state.catalogue.put(row),
            SystemChange::Delete(id) => state.catalogue.delete(&id),
        }
    }
    state.system = next.system;
    if let Some(definition) = next.created {
        state
            .collections
            .insert(definition.tree, Collection::new(definition));
    }
    let dropped = next
        .dropped
        .and_then(|(_, tree)| state.collections.remove(&tree));
    if let (Some((id, tree, root)), Some((_, points))) = (next.touched, changes.points)
        && let Some(collection) = state.collections.get_mut(&id)
    {
        (collection.tree, collection.root) = (tree, root);
        for point in points {
            match point.put {
                Some(put) => {
                    let record = put.record;
                    collection
                        .index
                        .upsert(point.id, &record.vectors, record.payload);
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
