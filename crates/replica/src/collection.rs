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
    /// An empty collection.
    pub(crate) fn new(definition: Arc<Definition>, options: &IndexOptions) -> Self {
        let tree = Tree::new();
        let root = root_of(&definition, &tree);
        let index = CollectionIndex::with_options(&definition.schema, options.clone());
        Self {
            definition,
            tree,
            index,
            root,
        }
    }

    /// The collection has this definition from now on. It has the same tree, and vectors of the same kinds.
    pub(crate) fn redefine(&mut self, definition: Arc<Definition>) {
        if definition.schema != self.definition.schema {
            self.index.quantize(&definition.schema);
        }
        self.root = root_of(&definition, &self.tree);
        self.definition = definition;
    }

    /// Where a point's row is in the tree.
    pub(crate) fn key(&self, id: PointId) -> Key {
        key_of(&self.definition, id)
    }
}

/// Where a point's row is in its collection's tree.
pub(crate) fn key_of(definition: &Definition, id: PointId) -> Key {
    Key::derive(&definition.salt, &id.to_bytes())
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
    let (dense, sparse) = (&record.vectors, &record.sparse_vectors);
    let fits = definition.schema.check_vectors(dense, sparse).is_ok();
    if !fits || (dense.is_empty() && sparse.is_empty()) {
        let what = "point: its vectors are not those of its collection";
        return Err(unreadable(DecodeError::Malformed { what }));
    }
    Ok((id, record))
}

/// The root of a collection whose rows are in `tree`.
pub(crate) fn root_of(definition: &Definition, tree: &Tree) -> Digest {
    root_at(definition, tree.len(), &tree.root())
}

/// The root of a collection of so many rows, whose tree has this root.
pub(crate) fn root_at(definition: &Definition, rows: u64, tree: &Digest) -> Digest {
    let name = definition.name.as_str();
    collection_root(name, &definition.encode(), rows, tree)
}
