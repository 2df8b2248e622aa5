//! Changes laid over a group's rows: what a sync has staged, the pre-images that a frozen view needs, or what an
//! install has replaced.
//!
//! Each address has a head, which says put or delete, and for a put the digest row that tells which content. The
//! content itself lies with that of all rows ([`Rows::put_content`]). Knows nothing of sessions and views: the owner of
//! an overlay writes what it lays over, clears it in the end, and decides whether anybody else reads its content.

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::codec::{self, Versioned};
use crate::digest_row::{DigestRow, StoredRow};
use crate::error::StorageError;
use crate::keys::{GroupId, OverlayId, RowAddress, StoredKey, kind, kind_prefix};
use crate::kv::{KvStore, Pair};
use crate::rows::Rows;

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

/// Access to one overlay. Holds no state: make one wherever it is needed.
#[derive(Clone, Copy, Debug)]
pub struct Overlay {
    group: GroupId,
    id: OverlayId,
}

impl Overlay {
    /// An overlay of a group.
    #[must_use]
    pub const fn new(group: GroupId, id: OverlayId) -> Self {
        Self { group, id }
    }

    /// Adds the write that lays a row over an address, in the place of what lies there.
    pub fn put(&self, batch: &mut Batch, at: RowAddress, digest: &DigestRow) {
        let head = Laid::Put(digest.clone());
        batch.put(self.head_key(at), codec::encode(&head));
    }

    /// Adds the write that lays "no row" over an address, in the place of what lies there.
    pub fn delete(&self, batch: &mut Batch, at: RowAddress) {
        batch.put(self.head_key(at), codec::encode(&Laid::Delete));
    }

    /// Adds the write after which nothing lies over an address. Content that was named there stays.
    pub fn lift(&self, batch: &mut Batch, at: RowAddress) {
        batch.delete(self.head_key(at));
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
        let rows = Rows::new(self.group);
        let mut head = self.head(store, at)?;
        // Ends: each further round needs a write to this address between two reads of it.
        while let Some(before) = head {
            let Laid::Put(digest) = before.clone() else {
                return Ok(Some(Laid::Delete));
            };
            let error = match rows.read(store, at, digest) {
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
        heads(store.scan(&prefix, after.as_deref(), limit)?)
    }

    /// Adds the deletes of the first `limit` heads of this overlay, and returns what they said: their content is the
    /// caller's to delete in the same batch, where nobody else reads it. An empty page means that the overlay is gone.
    ///
    /// # Errors
    /// When the store cannot read or a value does not decode.
    pub fn take_page(
        &self,
        store: &dyn KvStore,
        batch: &mut Batch,
        limit: usize,
    ) -> Result<Vec<(RowAddress, Laid<DigestRow>)>, StorageError> {
        let pairs = store.scan(&self.prefix(kind::OVERLAY_HEAD), None, limit)?;
        take(batch, pairs)
    }

    /// As [`Overlay::take_page`], for all overlays of the group but the stage: what outlives the process for nothing
    /// but to be cleared.
    ///
    /// # Errors
    /// When the store cannot read or a value does not decode.
    pub fn take_leftover_page(
        group: GroupId,
        store: &dyn KvStore,
        batch: &mut Batch,
        limit: usize,
    ) -> Result<Vec<(RowAddress, Laid<DigestRow>)>, StorageError> {
        let mut end_of_stage = Self::new(group, OverlayId::STAGE).prefix(kind::OVERLAY_HEAD);
        end_of_stage.resize(crate::KEY_BYTES_MAX, u8::MAX);
        let prefix = kind_prefix(group, kind::OVERLAY_HEAD);
        let pairs = store.scan(&prefix, Some(&end_of_stage), limit)?;
        take(batch, pairs)
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

fn heads(pairs: Vec<Pair>) -> Result<Vec<(RowAddress, Laid<DigestRow>)>, StorageError> {
    pairs
        .into_iter()
        .map(|(key, value)| Ok((head_address(&key)?, codec::decode(&value)?)))
        .collect()
}

fn take(
    batch: &mut Batch,
    pairs: Vec<Pair>,
) -> Result<Vec<(RowAddress, Laid<DigestRow>)>, StorageError> {
    for (key, _) in &pairs {
        batch.delete(key.clone());
    }
    heads(pairs)
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
