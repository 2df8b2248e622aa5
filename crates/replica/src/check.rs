//! Consistency checks: what the state was at the log index of a check, kept so that replicas can be compared there.
//!
//! Keeping a state is keeping its trees, which costs a clone, and later the nodes that writes no longer share. So only
//! the last few are kept, and whoever has a clock drops them when they are old ([`Replica::forget_checks`]). Rows are
//! not kept: an id and a version are told from what is stored now, as far as that is still the same.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use pando_merkle::{Digest, Key, Look, Prefix, Tree};
use pando_model::{CheckReport, CollectionRoot, Definition, TreeId};
use pando_storage::RowAddress;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::error::ReplicaError;
use crate::replica::Replica;
use crate::state::State;

/// Checks whose trees are kept; an older one makes room.
const CHECKS_KEPT: usize = 4;

/// Most prefixes in one [`Replica::look`].
pub const PREFIXES_PER_LOOK_MAX: usize = 128;

/// The state at the log index of a check.
pub struct Checked {
    report: CheckReport,
    system: Tree,
    collections: BTreeMap<TreeId, (Arc<Definition>, Tree)>,
}

/// The last checks, oldest first. Never changes: a check makes the next one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks(Vec<Arc<Checked>>);

/// What a kept tree has under one prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenNode {
    /// Few enough leaves to be listed, in key order.
    Leaves(Vec<FrozenLeaf>),
    /// The children's digests.
    Inner(Box<[Option<Digest>; 16]>),
}

/// A leaf of a kept tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenLeaf {
    /// Its key.
    pub key: Key,
    /// Its digest.
    pub digest: Digest,
    /// The row's id, unless the row is gone by now.
    pub id: Option<Vec<u8>>,
    /// The row's version, unless it was written again since.
    pub version: Option<[u8; 16]>,
    /// What is stored for the row cannot be read, so neither is known. Told here only, not to other nodes.
    #[serde(skip)]
    pub unreadable: bool,
}

/// Why a look at a kept state failed.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum LookRefused {
    /// The check's state is not kept.
    #[error(
        "the state at log index {index} is not kept here any more, or not yet: compare at a new check"
    )]
    NotKept {
        /// The log index asked for.
        index: u64,
    },
    /// There is no such tree at that index.
    #[error("there is no tree {tree} at log index {index}")]
    NoTree {
        /// The log index asked for.
        index: u64,
        /// The tree asked for.
        tree: TreeId,
    },
    /// Too much at once.
    #[error("{count} prefixes at once are over the limit of {max}: ask for fewer")]
    TooMany {
        /// How many were asked for.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// Storage failed.
    #[error("storage failed: {reason}")]
    Storage {
        /// What it says.
        reason: String,
    },
}

impl LookRefused {
    /// Whether it will never be told: what is asked for is gone. Else it is worth asking again.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::NotKept { .. } | Self::NoTree { .. } => true,
            Self::TooMany { .. } | Self::Storage { .. } => false,
        }
    }
}

impl Checked {
    /// What is reported of the state.
    #[must_use]
    pub fn report(&self) -> &CheckReport {
        &self.report
    }

    /// A tree of the state.
    #[must_use]
    pub fn tree(&self, id: TreeId) -> Option<&Tree> {
        if id == TreeId::SYSTEM {
            return Some(&self.system);
        }
        self.collections.get(&id).map(|(_, tree)| tree)
    }

    /// The collections and their trees, by tree id.
    pub fn collections(&self) -> impl Iterator<Item = (&Definition, &Tree)> {
        let collections = self.collections.values();
        collections.map(|(definition, tree)| (definition.as_ref(), tree))
    }

    fn of(state: &State, index: u64) -> Self {
        let (points, bytes) = state.totals();
        let live = state
            .catalogue
            .collections
            .values()
            .filter_map(|definition| state.collections.get(&definition.tree));
        let roots = live.clone().map(|collection| CollectionRoot {
            name: collection.definition.name.clone(),
            tree: collection.definition.tree,
            root: collection.root.0,
            points: collection.tree.len(),
        });
        let report = CheckReport {
            index,
            root: state.applied.root.0,
            points,
            bytes,
            system: state.system.root().0,
            collections: roots.collect(),
        };
        let kept = live.map(|collection| {
            let definition = Arc::clone(&collection.definition);
            (definition.tree, (definition, collection.tree.clone()))
        });
        Self {
            report,
            system: state.system.clone(),
            collections: kept.collect(),
        }
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Checked").field(&self.report).finish()
    }
}

impl Checks {
    /// The report of the check at `index`, and the checks of this state with it.
    pub(crate) fn with(state: &State, index: u64) -> (CheckReport, Self) {
        let checked = Arc::new(Checked::of(state, index));
        let report = checked.report.clone();
        let earlier = state.last_check.iter().flat_map(|checks| &checks.0);
        let mut kept: Vec<_> = earlier.cloned().chain([checked]).collect();
        kept.drain(..kept.len().saturating_sub(CHECKS_KEPT));
        (report, Self(kept))
    }
}

impl FrozenNode {
    /// What is compared.
    #[must_use]
    pub fn look(&self) -> Look {
        match self {
            Self::Leaves(leaves) => {
                Look::Leaves(leaves.iter().map(|leaf| (leaf.key, leaf.digest)).collect())
            }
            Self::Inner(children) => Look::Inner(children.clone()),
        }
    }
}

impl Replica {
    /// The report of the last consistency check that is kept.
    pub fn last_check(&self) -> Option<CheckReport> {
        let state = self.state.read();
        let last = state.last_check.as_ref()?.0.last()?;
        Some(last.report.clone())
    }

    /// The state at the check of this log index, if it is kept.
    pub fn checked(&self, index: u64) -> Option<Arc<Checked>> {
        let state = self.state.read();
        let checks = state.last_check.as_ref()?;
        let found = checks.0.iter().find(|check| check.report.index == index);
        found.cloned()
    }

    /// The log indexes of the checks that are kept, oldest first.
    pub fn checks(&self) -> Vec<u64> {
        let state = self.state.read();
        let checks = state.last_check.iter().flat_map(|checks| &checks.0);
        checks.map(|check| check.report.index).collect()
    }

    /// Drops the kept states of checks that are not to be kept.
    pub fn forget_checks(&self, keep: impl Fn(u64) -> bool) {
        let mut state = self.state.write();
        let Some(checks) = &mut state.last_check else {
            return;
        };
        let forgotten: Vec<_> = checks
            .0
            .extract_if(.., |check| !keep(check.report.index))
            .collect();
        // Freeing a tree that nobody shares takes a while; nobody waits for it.
        drop(state);
        drop(forgotten);
    }

    /// What the tree of a kept check has under each of these prefixes.
    ///
    /// # Errors
    /// When the check is not kept, has no such tree, too much is asked for, or storage fails.
    pub fn look(
        &self,
        index: u64,
        tree: TreeId,
        prefixes: &[Prefix],
    ) -> Result<Vec<FrozenNode>, LookRefused> {
        let (count, max) = (prefixes.len(), PREFIXES_PER_LOOK_MAX);
        if count > max {
            return Err(LookRefused::TooMany { count, max });
        }
        let checked = self.checked(index).ok_or(LookRefused::NotKept { index })?;
        let kept = checked
            .tree(tree)
            .ok_or(LookRefused::NoTree { index, tree })?;
        let nodes = prefixes.iter().map(|prefix| match kept.look(prefix) {
            Look::Inner(children) => Ok(FrozenNode::Inner(children)),
            Look::Leaves(leaves) => {
                let leaves = leaves.into_iter();
                let named = leaves.map(|(key, digest)| self.name_leaf(tree, key, digest));
                Ok(FrozenNode::Leaves(named.collect::<Result<_, _>>()?))
            }
        });
        let nodes: Result<Vec<_>, ReplicaError> = nodes.collect();
        nodes.map_err(|error| LookRefused::Storage {
            reason: error.to_string(),
        })
    }

    /// A key is the hash of its id, so the row that is there now has the same id; its version may be another. A row that
    /// is damaged is a leaf all the same: the tree knows its key and its digest.
    fn name_leaf(
        &self,
        tree: TreeId,
        key: Key,
        digest: Digest,
    ) -> Result<FrozenLeaf, ReplicaError> {
        let at = RowAddress::new(tree, key);
        let stored = match self.rows.digest(self.store.as_ref(), at) {
            Ok(stored) => stored,
            Err(error) if error.is_damage() => {
                if error.is_rot() {
                    self.damage.mark(at);
                }
                return Ok(FrozenLeaf {
                    key,
                    digest,
                    id: None,
                    version: None,
                    unreadable: true,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let same = stored.as_ref().filter(|row| row.leaf().digest == digest);
        let version = same.map(|row| row.version);
        let id = stored.map(|row| row.id);
        Ok(FrozenLeaf {
            key,
            digest,
            id,
            version,
            unreadable: false,
        })
    }
}
