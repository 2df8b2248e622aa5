//! Scrubbing: what is stored is read again, bit by bit, and compared with the trees.
//!
//! One call is one step of bounded size, so that whoever calls decides how fast it goes. Each row the trees name is
//! read with its content and hashed; rows that no tree names are removed. What storage gives is compared twice before
//! it counts as damaged: a commit reaches storage shortly before it is shown.
//!
//! It reads through the engine, so it sees the disk only where the engine does not hold the page in memory.

use std::sync::atomic::{AtomicU64, Ordering};

use pando_merkle::{Key, Leaf, Prefix, Tree};
use pando_model::{GroupId, TreeId};
use pando_storage::{Batch, KvStore, RowAddress, StorageError, StoredKey, codec};

use crate::applied::StoredApplied;
use crate::error::ReplicaError;
use crate::replica::Replica;
use crate::state::State;

/// A stretch of a tree is chosen to hold about this many rows.
const STRETCH_ROWS: u64 = 64;
/// Deepest stretch, in nibbles.
const STRETCH_NIBBLES_MAX: u8 = 16;
/// Rows beyond those a tree names are looked for in pages of so many.
const EXTRA_PAGE: usize = 512;

/// How many keys there can be.
const KEYS: f64 = 340_282_366_920_938_463_463_374_607_431_768_211_456.0;

/// Where a pass over the state stands. The default is its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubCursor {
    tree: TreeId,
    /// The first key not yet read.
    from: u128,
}

impl Default for ScrubCursor {
    fn default() -> Self {
        Self {
            tree: TreeId::SYSTEM,
            from: 0,
        }
    }
}

/// What one step came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubStep {
    /// Where to go on.
    pub cursor: ScrubCursor,
    /// Rows read.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether it came to the end of the state; `cursor` is at the beginning again.
    pub wrapped: bool,
}

/// What a replica has found of damage since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DamageReport {
    /// Rows damaged now.
    pub rows: u64,
    /// Rows found damaged.
    pub found: u64,
    /// Rows mended.
    pub mended: u64,
    /// How often the store was rebuilt without what could not be read.
    pub rebuilds: u64,
    /// Whether it is being rebuilt now.
    pub rebuilding: bool,
}

/// What the scrubber keeps from the start on.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Rebuilds of the store that were followed up.
    rebuilds: AtomicU64,
    /// Whose store it is, as it was stored when the replica was opened.
    owner: Option<Vec<u8>>,
}

impl Kept {
    pub(crate) fn new(store: &dyn KvStore) -> Result<Self, StorageError> {
        Ok(Self {
            rebuilds: AtomicU64::new(store.health().rebuilds),
            owner: store.get(&StoredKey::Owner.encode(GroupId::CATALOGUE))?,
        })
    }
}

impl Replica {
    /// What is known of this replica's damage.
    #[must_use]
    pub fn damage(&self) -> DamageReport {
        let health = self.store.health();
        DamageReport {
            rows: self.damage.rows() as u64,
            found: self.damage.found(),
            mended: self.damage.mended_total(),
            rebuilds: health.rebuilds,
            rebuilding: health.rebuilding,
        }
    }

    /// Follows up a rebuild of the store: what belongs to no row is written anew from memory. Returns whether there was
    /// one, after which a whole pass of [`Replica::scrub_step`] finds the rows that are gone.
    ///
    /// # Errors
    /// When storage fails.
    pub fn follow_rebuild(&self) -> Result<bool, ReplicaError> {
        let rebuilds = self.store.health().rebuilds;
        if rebuilds == self.kept.rebuilds.load(Ordering::Acquire) {
            return Ok(false);
        }
        {
            let _writer = self.writer_unloaded()?;
            let mut batch = Batch::new();
            let applied = self.state.read().applied.clone();
            if applied.position.is_some() {
                let meta = codec::encode(&StoredApplied::from(&applied));
                batch.put(StoredKey::Meta.encode(self.options.group), meta);
            }
            if let Some(owner) = &self.kept.owner {
                batch.put(StoredKey::Owner.encode(GroupId::CATALOGUE), owner.clone());
            }
            self.store.apply(batch)?;
            self.store.flush()?;
        }
        self.kept.rebuilds.store(rebuilds, Ordering::Release);
        Ok(true)
    }

    /// A cursor behind about this share of the state's rows: a pass may begin anywhere.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "anywhere is good enough"
    )]
    pub fn scrub_from(&self, share: f64) -> ScrubCursor {
        let state = self.state.read();
        let all: f64 = state.scrubbed().map(|(_, tree)| rows_of(tree)).sum();
        let mut left = all * share.clamp(0.0, 1.0);
        for (tree, rows) in state.scrubbed().map(|(id, tree)| (id, rows_of(tree))) {
            if left < rows {
                let from = (left / rows * KEYS) as u128;
                return ScrubCursor { tree, from };
            }
            left -= rows;
        }
        ScrubCursor::default()
    }

    /// The share of the state's rows before the cursor, 0 to 1.
    #[must_use]
    pub fn scrubbed_share(&self, cursor: &ScrubCursor) -> f64 {
        let state = self.state.read();
        let (mut before, mut all) = (0.0, 0.0);
        for (id, tree) in state.scrubbed() {
            let rows = rows_of(tree);
            all += rows;
            if id < cursor.tree {
                before += rows;
            } else if id == cursor.tree {
                before += rows * (place(cursor.from) / KEYS);
            }
        }
        if all > 0.0 { before / all } else { 1.0 }
    }

    /// Reads on from the cursor until `budget` bytes are read or the state's end is reached.
    ///
    /// # Errors
    /// When storage fails as a whole. A damaged row is not an error: it is remembered.
    pub fn scrub_step(&self, cursor: ScrubCursor, budget: u64) -> Result<ScrubStep, ReplicaError> {
        let mut step = ScrubStep {
            cursor,
            ..ScrubStep::default()
        };
        while step.bytes < budget && !self.damage.is_full() {
            let Some((id, tree)) = self.tree_from(step.cursor.tree) else {
                step.cursor = ScrubCursor::default();
                step.wrapped = true;
                return Ok(step);
            };
            if id != step.cursor.tree {
                step.cursor = ScrubCursor { tree: id, from: 0 };
            }
            let stretch = Stretch::new(&tree, step.cursor.from);
            for (key, leaf) in tree.leaves(&stretch.prefix) {
                let at = RowAddress::new(id, key);
                if !self.is_stored(at, &leaf.digest)? {
                    self.confirm(at)?;
                }
                step.rows += 1;
                step.bytes += u64::from(leaf.bytes);
            }
            self.remove_extra(id, &tree, &stretch)?;
            step.cursor = match stretch.next {
                Some(from) => ScrubCursor { tree: id, from },
                None => ScrubCursor {
                    tree: TreeId(id.0.saturating_add(1)),
                    from: 0,
                },
            };
        }
        Ok(step)
    }

    /// The first tree from this id on, frozen.
    fn tree_from(&self, from: TreeId) -> Option<(TreeId, Tree)> {
        let state = self.state.read();
        let found = state.scrubbed().find(|(id, _)| *id >= from);
        found.map(|(id, tree)| (id, tree.clone()))
    }

    /// Looks once more with the writer held off, when storage and memory are at the same index: a row that is not the
    /// one the tree names is damaged, one that no tree names is removed.
    pub(crate) fn confirm(&self, at: RowAddress) -> Result<(), ReplicaError> {
        let _writer = self.writer_unloaded()?;
        let leaf = self.state.read().leaf(at).copied();
        match leaf {
            Some(leaf) => {
                if !self.is_stored(at, &leaf.digest)? {
                    self.damage.mark(at);
                }
            }
            None => {
                let key = StoredKey::Digest(at).encode(self.options.group);
                if self.store.get(&key)?.is_some() {
                    tracing::warn!(tree = at.tree.0, key = ?at.key, "a stored row is in no tree: removed");
                    let mut batch = Batch::new();
                    batch.delete(key);
                    self.store.apply(batch)?;
                }
            }
        }
        Ok(())
    }

    /// Removes digest rows in a stretch that the tree does not name: they would make another root at the next start.
    fn remove_extra(&self, id: TreeId, tree: &Tree, stretch: &Stretch) -> Result<(), ReplicaError> {
        let address = |key: u128| {
            let at = RowAddress::new(id, Key::from_bytes(key.to_be_bytes()));
            StoredKey::Digest(at).encode(self.options.group)
        };
        let mut prefix = address(0);
        prefix.truncate(prefix.len() - size_of::<Key>());
        let mut after = stretch.from.checked_sub(1).map(address);
        loop {
            let page = (self.store).scan(&prefix, after.as_deref(), EXTRA_PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            for (key, _) in page {
                let at = StoredKey::decode(&key)
                    .ok()
                    .and_then(|(_, key)| key.address());
                let Some(at) = at else { continue };
                if !stretch.prefix.contains(&at.key) {
                    return Ok(());
                }
                if tree.get(&at.key).is_none() {
                    self.confirm(at)?;
                }
            }
        }
    }
}

/// Neighbouring keys: all under one prefix.
struct Stretch {
    prefix: Prefix,
    from: u128,
    /// Where the next stretch begins; none after the last.
    next: Option<u128>,
}

impl Stretch {
    /// The stretch of a tree that holds the key.
    fn new(tree: &Tree, key: u128) -> Self {
        let mut nibbles = 0;
        while nibbles < STRETCH_NIBBLES_MAX && tree.len() >> (4 * nibbles) > STRETCH_ROWS {
            nibbles += 1;
        }
        let width = 1_u128.checked_shl(128 - 4 * u32::from(nibbles));
        let from = width.map_or(0, |width| key / width * width);
        Self {
            prefix: Prefix::of(&Key::from_bytes(from.to_be_bytes()), nibbles),
            from,
            next: width.and_then(|width| from.checked_add(width)),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of progress")]
fn place(key: u128) -> f64 {
    key as f64
}

#[expect(clippy::cast_precision_loss, reason = "a share of progress")]
fn rows_of(tree: &Tree) -> f64 {
    tree.len() as f64
}

impl State {
    /// The trees in order of their ids.
    fn scrubbed(&self) -> impl Iterator<Item = (TreeId, &Tree)> {
        let collections = self.collections.iter().map(|(id, c)| (*id, &c.tree));
        std::iter::once((TreeId::SYSTEM, &self.system)).chain(collections)
    }

    /// The leaf that the state names at an address.
    pub(crate) fn leaf(&self, at: RowAddress) -> Option<&Leaf> {
        match at.tree {
            TreeId::SYSTEM => self.system.get(&at.key),
            tree => self.collections.get(&tree)?.tree.get(&at.key),
        }
    }
}
