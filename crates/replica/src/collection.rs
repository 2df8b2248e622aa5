//! One collection in memory: its definition, its tree, its index, and its root.

use std::sync::Arc;

use pando_index::CollectionIndex;
use pando_merkle::{Digest, Key, Tree, collection_root};
use pando_model::{Definition, PointId};

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
    pub(crate) fn new(definition: Arc<Definition>) -> Self {
        let tree = Tree::new();
        let root = root_of(&definition, &tree);
        let index = CollectionIndex::new(&definition.schema);
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

/// The root of a collection whose rows are in `tree`.
pub(crate) fn root_of(definition: &Definition, tree: &Tree) -> Digest {
    collection_root(
        definition.name.as_str(),
        &definition.encode(),
        tree.len(),
        &tree.root(),
    )
}
