//! The rows of a group: one digest row each, and content in chunks under a prefix of its own, so that a tree is
//! rebuilt from digests only, and a row is replaced by writing one digest row when its content is there already.
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
            content: ContentSpace(group),
        }
    }

    /// Adds the writes that store a row: its content, and the digest row that makes it the row at this address. The
    /// content of the row before it is the caller's to delete, unless somebody still reads it.
    ///
    /// # Errors
    /// When id or content are too long; the batch is then not to be used.
    pub fn put(
        &self,
        batch: &mut Batch,
        at: RowAddress,
        row: &Row,
        leaf: &Leaf,
    ) -> Result<DigestRow, StorageError> {
        let digest = self.put_content(batch, at, row, leaf)?;
        self.link(batch, at, &digest);
        Ok(digest)
    }

    /// Adds the writes of a row's content alone. It is no row before it is linked.
    ///
    /// # Errors
    /// When id or content are too long; the batch is then not to be used.
    pub fn put_content(
        &self,
        batch: &mut Batch,
        at: RowAddress,
        row: &Row,
        leaf: &Leaf,
    ) -> Result<DigestRow, StorageError> {
        let digest = DigestRow::new(row, leaf)?;
        self.content.put(batch, digest.content(at), &row.content)?;
        Ok(digest)
    }

    /// Adds the write that makes this the row at an address. Its content is there already.
    pub fn link(&self, batch: &mut Batch, at: RowAddress, digest: &DigestRow) {
        batch.put(
            StoredKey::Digest(at).encode(self.group),
            codec::encode(digest),
        );
    }

    /// Adds the write after which there is no row at an address. Its content stays.
    pub fn unlink(&self, batch: &mut Batch, at: RowAddress) {
        batch.delete(StoredKey::Digest(at).encode(self.group));
    }

    /// Adds the deletes of a row's content.
    pub fn delete_content(&self, batch: &mut Batch, at: RowAddress, digest: &DigestRow) {
        self.content
            .delete(batch, digest.content(at), digest.chunks());
    }

    /// Adds the writes that remove a row with its content.
    pub fn delete(&self, batch: &mut Batch, at: RowAddress, digest: &DigestRow) {
        self.unlink(batch, at);
        self.delete_content(batch, at, digest);
    }

    /// The row that this digest row describes, linked or not, checked.
    ///
    /// # Errors
    /// [`StorageError::Rotten`] when its content is not there, or not what the digest says.
    pub fn read(
        &self,
        store: &dyn KvStore,
        at: RowAddress,
        digest: DigestRow,
    ) -> Result<StoredRow, StorageError> {
        let found = self
            .content
            .read(store, digest.content(at), digest.chunks())?;
        digest.join(at, found)
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
            let error = match self.read(store, at, before.clone()) {
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
            let chunks = cut_page(&mut digests);
            let (Some((first, digest)), Some((last, _))) = (digests.first(), digests.last()) else {
                return Ok(Vec::new());
            };
            after = Some(*last);
            // One scan for all: chunks are in the order of their rows. Where old content lies between them it ends
            // too early, and the rest are read one by one.
            let first = digest.content(RowAddress::new(tree, *first));
            let pairs = self.content.scan(store, first, chunks)?;
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
            self.delete(batch, RowAddress::new(tree, *key), digest);
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
            let (of, chunks) = (digest.content(at), digest.chunks());
            let found = self.content.take(&mut pairs, of, chunks)?;
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
fn cut_page(page: &mut Vec<(Key, DigestRow)>) -> usize {
    let chunks_max = PAGE_BYTES_MAX / crate::CHUNK_BYTES_MAX;
    let mut chunks = 0;
    let mut rows = 0;
    for (_, digest) in page.iter() {
        if chunks >= chunks_max {
            break;
        }
        chunks += usize::from(digest.chunks());
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
