//! Planning writes of points.

use std::collections::BTreeMap;

use pando_merkle::Leaf;
use pando_model::limits::{FILTERED_WRITE_BYTES_MAX, POINTS_PER_WRITE_MAX};
use pando_model::{
    Effect, InvalidInput, Payload, Point, PointId, Record, Row, Selector, TreeId, Value, WriteError,
};
use pando_storage::{RowAddress, leaf_of};

use super::{Changes, Planned, Planner, PointChange, PointPut, Refusal};
use crate::collection::Collection;
use crate::error::ReplicaError;
use crate::times::Part;

/// A deleted row costs its keys only: about this fraction of its content.
const DELETE_COST_DIVISOR: usize = 64;

/// What a row costs that goes. Every entry of a sparse vector is taken out of a list.
fn delete_cost(collection: &Collection, leaf: &Leaf) -> usize {
    let bytes = leaf.bytes as usize;
    match collection.definition.schema.sparse_vectors.is_empty() {
        true => bytes / DELETE_COST_DIVISOR,
        false => bytes,
    }
}

impl Planner<'_> {
    pub(super) fn upsert(&self, tree: TreeId, points: &[Point]) -> Planned {
        let collection = self.collection(tree)?;
        let mut puts = Vec::with_capacity(points.len());
        let mut replaced = 0;
        for point in points {
            collection.definition.schema.check_point(point)?;
            let old = collection.tree.get(&collection.key(point.id));
            replaced += old.map_or(0, |leaf| delete_cost(collection, leaf));
            let record = Record {
                vectors: point.vectors.clone(),
                sparse_vectors: point.sparse_vectors.clone(),
                payload: point.payload.encode(),
            };
            puts.push(self.put(collection, point.id, record));
        }
        // Chunks left over by longer rows are deleted in the same batch, which has to hold them.
        if replaced > FILTERED_WRITE_BYTES_MAX {
            let (bytes, max) = (replaced, FILTERED_WRITE_BYTES_MAX);
            return Err(WriteError::from(InvalidInput::WriteTooLarge { bytes, max }).into());
        }
        Ok(self.points(tree, puts, None))
    }

    pub(super) fn delete(&self, tree: TreeId, selector: &Selector) -> Planned {
        let collection = self.collection(tree)?;
        let (ids, mut next) = select(collection, selector);
        let mut changes = Vec::with_capacity(ids.len());
        let mut budget = Budget::new();
        for id in ids {
            let key = collection.key(id);
            let Some(leaf) = collection.tree.get(&key) else {
                continue;
            };
            if !budget.take(delete_cost(collection, leaf)) {
                next = Some(id);
                break;
            }
            changes.push(PointChange { id, key, put: None });
        }
        Ok(self.points(tree, changes, next))
    }

    pub(super) fn change_payload(
        &self,
        tree: TreeId,
        selector: &Selector,
        change: impl Fn(&mut BTreeMap<String, Value>),
    ) -> Planned {
        let collection = self.collection(tree)?;
        let (ids, mut next) = select(collection, selector);
        let mut changes = Vec::with_capacity(ids.len());
        let mut budget = Budget::new();
        for id in ids {
            let Some(mut record) = self.read(collection, id).map_err(Refusal::Replica)? else {
                continue;
            };
            let decoded = record.payload.decode();
            let Payload(mut fields) = decoded.map_err(|e| unreadable(collection, id, e))?;
            change(&mut fields);
            let payload = Payload(fields);
            payload.validate()?;
            record.payload = payload.encode();
            let put = self.put(collection, id, record);
            let bytes = put.put.as_ref().map_or(0, |put| put.row.content.len());
            if !budget.take(bytes) {
                next = Some(id);
                break;
            }
            changes.push(put);
        }
        Ok(self.points(tree, changes, next))
    }

    pub(super) fn collection(&self, tree: TreeId) -> Result<&Collection, WriteError> {
        self.state
            .collections
            .get(&tree)
            .ok_or_else(|| WriteError::CollectionNotFound {
                name: format!("of tree {tree}"),
            })
    }

    /// A point that exists must be readable: to pass over one that is damaged here would part this replica from the
    /// others.
    fn read(&self, collection: &Collection, id: PointId) -> Result<Option<Record>, ReplicaError> {
        let (tree, key) = (collection.definition.tree, collection.key(id));
        let Some(leaf) = collection.tree.get(&key) else {
            return Ok(None);
        };
        let stored = self.rows.get(self.store, RowAddress::new(tree, key))?;
        let stored = stored.filter(|stored| stored.leaf.digest == leaf.digest);
        let stored = stored.ok_or(ReplicaError::Damaged { tree, key })?;
        let record = Record::decode(&stored.row.content);
        record
            .map(Some)
            .map_err(|source| ReplicaError::Row { tree, key, source })
    }

    fn put(&self, collection: &Collection, id: PointId, record: Record) -> PointChange {
        let row = Row {
            id: id.to_bytes(),
            version: self.stamp.to_bytes(),
            content: record.encode(),
        };
        let leaf = (self.times).of(Part::Tree, || leaf_of(&row, self.index));
        PointChange {
            id,
            key: collection.key(id),
            put: Some(PointPut { row, leaf, record }),
        }
    }

    fn points(
        &self,
        tree: TreeId,
        changes: Vec<PointChange>,
        next: Option<PointId>,
    ) -> (Effect, Changes) {
        let affected = changes.len() as u64;
        let system = if changes.is_empty() {
            Vec::new()
        } else {
            vec![self.tick()]
        };
        let changes = Changes {
            system,
            points: Some((tree, changes)),
            ..Changes::default()
        };
        (Effect::Points { affected, next }, changes)
    }
}

fn unreadable(collection: &Collection, id: PointId, source: pando_model::DecodeError) -> Refusal {
    let (tree, key) = (collection.definition.tree, collection.key(id));
    Refusal::Replica(ReplicaError::Row { tree, key, source })
}

fn select(collection: &Collection, selector: &Selector) -> (Vec<PointId>, Option<PointId>) {
    match selector {
        Selector::Ids(ids) => (ids.iter().copied().collect(), None),
        Selector::Filter { filter, from } => {
            collection
                .index
                .scroll(Some(filter), *from, POINTS_PER_WRITE_MAX)
        }
    }
}

/// Bounds what one entry changes, so that its batch stays bounded; the first change always fits.
struct Budget {
    left: usize,
    fresh: bool,
}

impl Budget {
    fn new() -> Self {
        Self {
            left: FILTERED_WRITE_BYTES_MAX,
            fresh: true,
        }
    }

    fn take(&mut self, bytes: usize) -> bool {
        if bytes > self.left && !self.fresh {
            return false;
        }
        self.fresh = false;
        self.left = self.left.saturating_sub(bytes);
        true
    }
}
