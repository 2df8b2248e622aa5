//! The rows of a group: one digest row each, and content in chunks under a prefix of its own, so that a start
//! reads digests only.
//!
//! Writes are added to the caller's batch, so that rows, trees and applied state change together. Every read of
//! content is checked against the digest. Two reads may see two states when a writer is at work: a row that does
//! not check is read again as long as its digest row keeps changing, and is rotten only when it does not.

use pando_merkle::{Key, Leaf};
use pando_model::{Row, TreeId};

use crate::batch::Batch;
use crate::codec;
use crate::content::ContentSpace;
use crate::digest_row::{DigestRow, StoredRow};
use crate::error::StorageError;
use crate::keys::{GroupId, RowAddress, StoredKey, kind, kind_prefix};
use crate::kv::{KvStore, Pair};

/// A page of full rows ends early when it holds this many bytes of content.
pub(crate) const PAGE_BYTES_MAX: usize = 4 << 20;

/// Access to the rows of one group. Holds no state: make one wherever it is needed.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    group: GroupId,
    content: ContentSpace,
}

impl Rows {
    /// The rows of a group.
    #[must_use]
    pub const fn new(group: GroupId) -> Self {
        Self {
            group,
            content: ContentSpace {
                group,
                overlay: None,
            },
        }
    }

    /// Adds the writes that store a row. `previous_chunks` is the chunk count of the row stored at this address
    /// before, 0 when there was none: what a shorter content leaves over is deleted. Returns the new chunk count.
    ///
    /// # Errors
    /// When id or content are too long; the batch is then not to be used.
    pub fn put(
        &self,
        batch: &mut Batch,
        at: RowAddress,
        row: &Row,
        leaf: &Leaf,
        previous_chunks: u16,
    ) -> Result<u16, StorageError> {
        let chunks = self.content.put(batch, at, &row.content, previous_chunks)?;
        let digest = DigestRow::new(row, leaf, chunks)?;
        batch.put(
            StoredKey::Digest(at).encode(self.group),
            codec::encode(&digest),
        );
        Ok(chunks)
    }

    /// Adds the writes that remove a row of `previous_chunks` chunks.
    pub fn delete(&self, batch: &mut Batch, at: RowAddress, previous_chunks: u16) {
        batch.delete(StoredKey::Digest(at).encode(self.group));
        self.content.delete(batch, at, 0..previous_chunks);
    }

    /// The digest row at an address.
    ///
    /// # Errors
    /// When the store cannot read or the value does not decode.
    pub fn digest(
        &self,
        store: &dyn KvStore,
        at: RowAddress,
    ) -> Result<Option<DigestRow>, StorageError> {
        let value = store.get(&StoredKey::Digest(at).encode(self.group))?;
        Ok(value.as_deref().map(codec::decode).transpose()?)
    }

    /// The row at an address, checked.
    ///
    /// # Errors
    /// [`StorageError::Rotten`] when the row is not what its digest says.
    pub fn get(
        &self,
        store: &dyn KvStore,
        at: RowAddress,
    ) -> Result<Option<StoredRow>, StorageError> {
        let mut digest = self.digest(store, at)?;
        // Ends: each further round needs a write to this row between two reads of it.
        while let Some(before) = digest {
            let found = self.content.read(store, at, before.chunks())?;
            let error = match before.clone().join(at, found) {
                Ok(row) => return Ok(Some(row)),
                Err(error) => error,
            };
            digest = self.digest(store, at)?;
            if digest.as_ref() == Some(&before) {
                return Err(error);
            }
        }
        Ok(None)
    }

    /// The first `limit` digest rows of a tree behind `after`, in key order. An empty page is the end.
    ///
    /// # Errors
    /// When the store cannot read or a value does not decode.
    pub fn digest_page(
        &self,
        store: &dyn KvStore,
        tree: TreeId,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, DigestRow)>, StorageError> {
        let after =
            after.map(|key| StoredKey::Digest(RowAddress::new(tree, key)).encode(self.group));
        let pairs = store.scan(&self.digest_prefix(tree), after.as_deref(), limit)?;
        pairs
            .into_iter()
            .map(|(key, value)| Ok((row_key(&key)?, codec::decode(&value)?)))
            .collect()
    }

    /// The first full rows of a tree behind `after`, in key order and checked: at most `limit`, fewer when they
    /// hold more than a few MiB. An empty page is the end.
    ///
    /// # Errors
    /// [`StorageError::Rotten`] when a row is not what its digest says.
    pub fn page(
        &self,
        store: &dyn KvStore,
        tree: TreeId,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, StoredRow)>, StorageError> {
        let mut after = after;
        loop {
            let mut digests = self.digest_page(store, tree, after, limit)?;
            let chunks = cut_page(&mut digests, DigestRow::chunks);
            let (Some((first, _)), Some((last, _))) = (digests.first(), digests.last()) else {
                return Ok(Vec::new());
            };
            after = Some(*last);
            // One scan for all: chunks are in the order of their rows.
            let pairs = self
                .content
                .scan(store, RowAddress::new(tree, *first), chunks)?;
            let rows = self.join_page(store, tree, digests, pairs)?;
            // All of them gone since their digests were read is not the end of the tree.
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
    }

    /// Adds the deletes of the first `limit` rows of a tree. Returns how many; 0 means that the tree is empty.
    ///
    /// # Errors
    /// When the store cannot read or a value does not decode.
    pub fn delete_page(
        &self,
        store: &dyn KvStore,
        batch: &mut Batch,
        tree: TreeId,
        limit: usize,
    ) -> Result<usize, StorageError> {
        let page = self.digest_page(store, tree, None, limit)?;
        for (key, digest) in &page {
            self.delete(batch, RowAddress::new(tree, *key), digest.chunks());
        }
        Ok(page.len())
    }

    fn join_page(
        &self,
        store: &dyn KvStore,
        tree: TreeId,
        digests: Vec<(Key, DigestRow)>,
        pairs: Vec<Pair>,
    ) -> Result<Vec<(Key, StoredRow)>, StorageError> {
        let mut pairs = pairs.into_iter().peekable();
        let mut rows = Vec::with_capacity(digests.len());
        for (key, digest) in digests {
            let at = RowAddress::new(tree, key);
            let found = self.content.take(&mut pairs, at, digest.chunks())?;
            let row = match digest.join(at, found) {
                Ok(row) => Some(row),
                // Rotten, or written meanwhile: the single read tells.
                Err(_) => self.get(store, at)?,
            };
            rows.extend(row.map(|row| (key, row)));
        }
        Ok(rows)
    }

    fn digest_prefix(&self, tree: TreeId) -> Vec<u8> {
        let mut prefix = kind_prefix(self.group, kind::DIGEST);
        prefix.extend(tree.0.to_be_bytes());
        prefix
    }
}

/// Ends a page behind the row that fills it. Returns how many chunks the rows left have together.
pub(crate) fn cut_page<K, D>(page: &mut Vec<(K, D)>, chunks_of: impl Fn(&D) -> u16) -> usize {
    let chunks_max = PAGE_BYTES_MAX / crate::CHUNK_BYTES_MAX;
    let mut chunks = 0;
    let mut rows = 0;
    for (_, digest) in page.iter() {
        if chunks >= chunks_max {
            break;
        }
        chunks += usize::from(chunks_of(digest));
        rows += 1;
    }
    page.truncate(rows);
    chunks
}

fn row_key(key: &[u8]) -> Result<Key, StorageError> {
    let (_, key) = StoredKey::decode(key)?;
    Ok(key
        .address()
        .expect("scanned under the prefix of digest rows, which have an address")
        .key)
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
