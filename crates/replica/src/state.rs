//! The state readers see: the last committed one, whole.

use std::collections::BTreeMap;

use pando_merkle::{Digest, Tree, replica_root};
use pando_model::{CollectionName, ReadError, TreeId};

use crate::applied::Applied;
use crate::catalogue::Catalogue;
use crate::check::Checks;
use crate::collection::Collection;

/// A replica's state in memory.
pub(crate) struct State {
    pub(crate) applied: Applied,
    pub(crate) catalogue: Catalogue,
    pub(crate) system: Tree,
    pub(crate) collections: BTreeMap<TreeId, Collection>,
    /// The last consistency checks.
    pub(crate) last_check: Option<Checks>,
}

impl State {
    /// The state before the first entry.
    pub(crate) fn empty() -> Self {
        let system = Tree::new();
        let root = replica_root(&system.root(), []);
        Self {
            applied: Applied {
                position: None,
                membership: Vec::new(),
                root,
            },
            catalogue: Catalogue::default(),
            system,
            collections: BTreeMap::new(),
            last_check: None,
        }
    }

    /// The replica root, from the roots of the trees.
    pub(crate) fn compute_root(&self) -> Digest {
        let collections = &self.catalogue.collections;
        let roots = collections
            .values()
            .filter_map(|d| self.collections.get(&d.tree));
        replica_root(&self.system.root(), roots.map(|c| c.root))
    }

    /// The collection of a name or an alias.
    pub(crate) fn collection(&self, name: &CollectionName) -> Result<&Collection, ReadError> {
        self.catalogue
            .resolve(name)
            .and_then(|definition| self.collections.get(&definition.tree))
            .ok_or_else(|| ReadError::CollectionNotFound { name: name.clone() })
    }

    /// Points and bytes over all collections.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.collections
            .values()
            .fold((0, 0), |(points, bytes), c| {
                (points + c.tree.len(), bytes + c.tree.bytes())
            })
    }
}
