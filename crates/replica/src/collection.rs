//! One collection in memory: its definition, its tree, its index, and its root.

use std::sync::Arc;

use pando_index::{CollectionIndex, IndexOptions};
use pando_merkle::{Digest, Key, Tree, collection_root};
use pando_model::{DecodeError, Definition, PointId, Record, Row};

use crate::error::ReplicaError;

/// A collection's part of the state.
pub(crate) struct Collection {
    pub(crate) definition: Arc<Definition>,
    pub(crate) tree: Tree,
    pub(crate) index: CollectionIndex,
    /// Root of the collection as `tree` is now.
    pub(crate) root: Digest,
}

impl Collection {
    /// An empty collection, whose vectors get graphs from so many on.
    pub(crate) fn new(definition: Arc<Definition>, graph_vectors_min: usize) -> Self {
        let tree = Tree::new();
        let root = root_of(&definition, &tree);
        let options = IndexOptions {
            graph_rows_min: graph_vectors_min,
            ..IndexOptions::default()
        };
        let index = CollectionIndex::with_options(&definition.schema, options);
        Self {
            definition,
            tree,
            index,
            root,
        }
    }

    /// Where a point's row is in the tree.
    pub(crate) fn key(&self, id: PointId) -> Key {
        Key::derive(&self.definition.salt, &id.to_bytes())
    }
}

/// Reads a row as a point of a collection: what the index takes without asking.
pub(crate) fn point_of(
    definition: &Definition,
    key: Key,
    row: &Row,
) -> Result<(PointId, Record), ReplicaError> {
    let tree = definition.tree;
    let unreadable = |source| ReplicaError::Row { tree, key, source };
    let id = PointId::from_bytes(&row.id).map_err(unreadable)?;
    let record = Record::decode(&row.content).map_err(unreadable)?;
    let schema = &definition.schema;
    let fits = |(name, values): (_, &Vec<f32>)| schema.check_vector(name, values).is_ok();
    if record.vectors.is_empty() || !record.vectors.iter().all(fits) {
        let what = "point: its vectors are not those of its collection";
        return Err(unreadable(DecodeError::Malformed { what }));
    }
    Ok((id, record))
}

/// The root of a collection whose rows are in `tree`.
pub(crate) fn root_of(definition: &Definition, tree: &Tree) -> Digest {
    collection_root(
        definition.name.as_str(),
        &definition.encode(),
        tree.len(),
        &tree.root(),
    )
}
