//! Changes laid over a group's rows: what a sync has staged, or the pre-images that a frozen view needs.
//!
//! Each address has a head, which says put or delete, and for a put the content in chunks under a prefix of its
//! own, so that a resumed session reads heads only. Knows nothing of sessions and views: the owner of an overlay
//! writes what it lays over, and clears it in the end.

use pando_merkle::Leaf;
use pando_model::Row;
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::codec::{self, Versioned};
use crate::content::ContentSpace;
use crate::digest_row::{DigestRow, StoredRow};
use crate::error::StorageError;
use crate::keys::{GroupId, OverlayId, RowAddress, StoredKey, kind, kind_prefix};
use crate::kv::{KvStore, Pair};
use crate::rows::cut_page;

/// A change laid over a row: `T` is [`StoredRow`] where the content was read, [`DigestRow`] where it was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Laid<T> {
    /// The row is this one.
    Put(T),
    /// There is no row.
    Delete,
}

/// Also to be raised when the layout of [`DigestRow`] changes, which is part of it.
impl Versioned for Laid<DigestRow> {
    const TAG: u8 = 1;
    type Previous = Self;

    fn upgrade(previous: Self) -> Self {
        previous
    }
}

impl Laid<DigestRow> {
    fn chunks(&self) -> u16 {
        match self {
            Self::Put(digest) => digest.chunks(),
            Self::Delete => 0,
        }
    }
}

/// Access to one overlay. Holds no state: make one wherever it is needed.
#[derive(Clone, Copy, Debug)]
pub struct Overlay {
    group: GroupId,
    id: OverlayId,
    content: ContentSpace,
}

impl Overlay {
    /// An overlay of a group.
    #[must_use]
    pub const fn new(group: GroupId, id: OverlayId) -> Self {
        Self {
            group,
            id,
            content: ContentSpace {
                group,
                overlay: Some(id),
            },
        }
    }

    /// Adds the writes that lay a row over an address, in the place of what lies there.
    ///
    /// # Errors
    /// When id or content are too long; the batch is then not to be used.
    pub fn put(
        &self,
        batch: &mut Batch,
        at: RowAddress,
        row: &Row,
        leaf: &Leaf,
    ) -> Result<(), StorageError> {
        // Chunks that a longer former content leaves over are not read and go when the overlay is cleared.
        let chunks = self.content.put(batch, at, &row.content, 0)?;
        let head = Laid::Put(DigestRow::new(row, leaf, chunks)?);
        batch.put(self.head_key(at), codec::encode(&head));
        Ok(())
    }

    /// Adds the write that lays "no row" over an address, in the place of what lies there.
    pub fn delete(&self, batch: &mut Batch, at: RowAddress) {
        batch.put(self.head_key(at), codec::encode(&Laid::Delete));
    }

    /// What lies over an address, without content.
    ///
    /// # Errors
    /// When the store cannot read or the value does not decode.
    pub fn head(
        &self,
        store: &dyn KvStore,
        at: RowAddress,
    ) -> Result<Option<Laid<DigestRow>>, StorageError> {
        let value = store.get(&self.head_key(at))?;
        Ok(value.as_deref().map(codec::decode).transpose()?)
    }

    /// What lies over an address, content checked.
    ///
    /// # Errors
    /// [`StorageError::Rotten`] when a row is not what its digest says.
    pub fn get(
        &self,
        store: &dyn KvStore,
        at: RowAddress,
    ) -> Result<Option<Laid<StoredRow>>, StorageError> {
        let mut head = self.head(store, at)?;
        // Ends: each further round needs a write to this address between two reads of it.
        while let Some(before) = head {
            let Laid::Put(digest) = before.clone() else {
                return Ok(Some(Laid::Delete));
            };
            let found = self.content.read(store, at, digest.chunks())?;
            let error = match digest.join(at, found) {
                Ok(row) => return Ok(Some(Laid::Put(row))),
                Err(error) => error,
            };
            head = self.head(store, at)?;
            if head.as_ref() == Some(&before) {
                return Err(error);
            }
        }
        Ok(None)
    }

    /// The first `limit` changes behind `after` in the order of their addresses, over all trees, without content.
    /// An empty page is the end.
    ///
    /// # Errors
    /// When the store cannot read or a value does not decode.
    pub fn head_page(
        &self,
        store: &dyn KvStore,
        after: Option<RowAddress>,
        limit: usize,
    ) -> Result<Vec<(RowAddress, Laid<DigestRow>)>, StorageError> {
        let prefix = self.prefix(kind::OVERLAY_HEAD);
        let after = after.map(|at| self.head_key(at));
        let pairs = store.scan(&prefix, after.as_deref(), limit)?;
        pairs
            .into_iter()
            .map(|(key, value)| Ok((head_address(&key)?, codec::decode(&value)?)))
            .collect()
    }

    /// The first changes behind `after` in the order of their addresses, over all trees, content checked: at most
    /// `limit`, fewer when they hold more than a few MiB. An empty page is the end.
    ///
    /// # Errors
    /// [`StorageError::Rotten`] when a row is not what its digest says.
    pub fn page(
        &self,
        store: &dyn KvStore,
        after: Option<RowAddress>,
        limit: usize,
    ) -> Result<Vec<(RowAddress, Laid<StoredRow>)>, StorageError> {
        let mut after = after;
        loop {
            let mut heads = self.head_page(store, after, limit)?;
            let chunks = cut_page(&mut heads, Laid::chunks);
            let (Some((first, _)), Some((last, _))) = (heads.first(), heads.last()) else {
                return Ok(Vec::new());
            };
            after = Some(*last);
            let pairs = self.content.scan(store, *first, chunks)?;
            let changes = self.join_page(store, heads, pairs)?;
            // All of them cleared since their heads were read is not the end of the overlay.
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    /// Adds the deletes of up to `limit` stored keys of this overlay, heads first, so that what is left after a
    /// crash is never a head without its content. Returns how many; 0 means that the overlay is gone.
    ///
    /// # Errors
    /// When the store cannot read.
    pub fn clear_page(
        &self,
        store: &dyn KvStore,
        batch: &mut Batch,
        limit: usize,
    ) -> Result<usize, StorageError> {
        for kind in [kind::OVERLAY_HEAD, kind::OVERLAY_CONTENT] {
            let pairs = store.scan(&self.prefix(kind), None, limit)?;
            if !pairs.is_empty() {
                return Ok(delete_all(batch, pairs));
            }
        }
        Ok(0)
    }

    /// As [`Overlay::clear_page`], for all overlays of the group but the stage: views do not outlive the process.
    ///
    /// # Errors
    /// When the store cannot read.
    pub fn clear_views_page(
        group: GroupId,
        store: &dyn KvStore,
        batch: &mut Batch,
        limit: usize,
    ) -> Result<usize, StorageError> {
        for kind in [kind::OVERLAY_HEAD, kind::OVERLAY_CONTENT] {
            let mut end_of_stage = Self::new(group, OverlayId::STAGE).prefix(kind);
            end_of_stage.resize(crate::KEY_BYTES_MAX, u8::MAX);
            let pairs = store.scan(&kind_prefix(group, kind), Some(&end_of_stage), limit)?;
            if !pairs.is_empty() {
                return Ok(delete_all(batch, pairs));
            }
        }
        Ok(0)
    }

    fn join_page(
        &self,
        store: &dyn KvStore,
        heads: Vec<(RowAddress, Laid<DigestRow>)>,
        pairs: Vec<Pair>,
    ) -> Result<Vec<(RowAddress, Laid<StoredRow>)>, StorageError> {
        let mut pairs = pairs.into_iter().peekable();
        let mut changes = Vec::with_capacity(heads.len());
        for (at, head) in heads {
            let Laid::Put(digest) = head else {
                changes.push((at, Laid::Delete));
                continue;
            };
            let found = self.content.take(&mut pairs, at, digest.chunks())?;
            let change = match digest.join(at, found) {
                Ok(row) => Some(Laid::Put(row)),
                // Rotten, written meanwhile, or displaced by chunks left over: the single read tells.
                Err(_) => self.get(store, at)?,
            };
            changes.extend(change.map(|change| (at, change)));
        }
        Ok(changes)
    }

    fn head_key(&self, at: RowAddress) -> Vec<u8> {
        StoredKey::OverlayHead(self.id, at).encode(self.group)
    }

    fn prefix(&self, kind: u8) -> Vec<u8> {
        let mut prefix = kind_prefix(self.group, kind);
        prefix.extend(self.id.0.to_be_bytes());
        prefix
    }
}

fn delete_all(batch: &mut Batch, pairs: Vec<Pair>) -> usize {
    let count = pairs.len();
    for (key, _) in pairs {
        batch.delete(key);
    }
    count
}

fn head_address(key: &[u8]) -> Result<RowAddress, StorageError> {
    let (_, key) = StoredKey::decode(key)?;
    Ok(key
        .address()
        .expect("scanned under the prefix of heads, which have an address"))
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;
