//! What a snapshot header must be before anything is done for it.

use pando_merkle::{Digest, collection_root, replica_root};
use pando_model::TreeId;

use crate::error::SyncError;
use crate::message::{SnapshotHeader, TreeHeader};

/// The replica root that a header's tree roots make. Both sides and the replica itself compute it here.
#[must_use]
pub fn header_root(trees: &[TreeHeader]) -> Digest {
    let (system, collections) = match trees.split_first() {
        Some((system, collections)) => (system.root, collections),
        None => (pando_merkle::Tree::new().root(), trees),
    };
    let roots = collections
        .iter()
        .map(|tree| collection_root(&tree.name, &tree.definition, tree.count, &tree.root));
    replica_root(&system, roots)
}

/// Checks a header against its rules and its own root.
pub(crate) fn check(header: &SnapshotHeader) -> Result<(), SyncError> {
    let broken = |rule| Err(SyncError::Header { rule });
    let Some((system, collections)) = header.trees.split_first() else {
        return broken("it must begin with the system tree");
    };
    if system.id != TreeId::SYSTEM
        || !system.name.is_empty()
        || !system.definition.is_empty()
        || system.salt != [0; 16]
    {
        return broken("it must begin with the system tree, unnamed, undefined and unsalted");
    }
    if collections.first().is_some_and(|tree| tree.name.is_empty())
        || !collections.is_sorted_by(|a, b| a.name < b.name)
    {
        return broken("collections must be strictly ascending by name");
    }
    let mut ids: Vec<TreeId> = header.trees.iter().map(|tree| tree.id).collect();
    ids.sort_unstable();
    if !ids.is_sorted_by(|a, b| a < b) {
        return broken("a tree id must not repeat");
    }
    let computed = header_root(&header.trees);
    if computed != header.root {
        return Err(SyncError::HeaderRoot {
            claimed: header.root,
            computed,
        });
    }
    Ok(())
}
