//! Content split into chunks, none of which makes a stored value longer than [`VALUE_BYTES_MAX`].
//!
//! Knows where the chunks of a row are (under its content key, or under that of an overlay) and nothing of
//! digests: whoever reads checks.

use pando_merkle::Key;
use pando_model::TreeId;

use crate::batch::{Batch, VALUE_BYTES_MAX};
use crate::codec::{RAW_OVERHEAD_BYTES, decode_raw, encode_raw};
use crate::error::StorageError;
use crate::keys::{GroupId, OverlayId, RowAddress, StoredKey};
use crate::kv::{KvStore, Pair};

/// Longest chunk of content, in bytes.
pub const CHUNK_BYTES_MAX: usize = VALUE_BYTES_MAX - RAW_OVERHEAD_BYTES;

/// Longest content of a row, in bytes: chunks are counted by a `u16`.
pub const CONTENT_BYTES_MAX: usize = CHUNK_BYTES_MAX * u16::MAX as usize;

/// Number of chunks that content of this length is split into; none for empty content.
///
/// # Errors
/// [`StorageError::ContentTooLong`] above [`CONTENT_BYTES_MAX`].
pub fn chunk_count(content_bytes: usize) -> Result<u16, StorageError> {
    u16::try_from(content_bytes.div_ceil(CHUNK_BYTES_MAX)).map_err(|_beyond_u16| {
        StorageError::ContentTooLong {
            bytes: content_bytes,
            bytes_max: CONTENT_BYTES_MAX,
        }
    })
}

/// Where content is: of the rows themselves, or of an overlay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContentSpace {
    pub(crate) group: GroupId,
    pub(crate) overlay: Option<OverlayId>,
}

impl ContentSpace {
    fn key(self, at: RowAddress, chunk: u16) -> Vec<u8> {
        let key = match self.overlay {
            None => StoredKey::Content(at, chunk),
            Some(overlay) => StoredKey::OverlayContent(overlay, at, chunk),
        };
        key.encode(self.group)
    }

    /// What all content keys of a row start with.
    fn row_prefix(self, at: RowAddress) -> Vec<u8> {
        let mut key = self.key(at, 0);
        key.truncate(key.len() - size_of::<u16>());
        key
    }

    /// What all content keys of this space start with.
    fn prefix(self, at: RowAddress) -> Vec<u8> {
        let mut key = self.row_prefix(at);
        key.truncate(key.len() - size_of::<TreeId>() - size_of::<Key>());
        key
    }

    /// Adds the puts of all chunks, and the deletes of the chunks a longer former content leaves over.
    pub(crate) fn put(
        self,
        batch: &mut Batch,
        at: RowAddress,
        content: &[u8],
        previous_chunks: u16,
    ) -> Result<u16, StorageError> {
        let chunks = chunk_count(content.len())?;
        for (chunk, part) in (0..chunks).zip(content.chunks(CHUNK_BYTES_MAX)) {
            batch.put(self.key(at, chunk), encode_raw(part));
        }
        self.delete(batch, at, chunks..previous_chunks);
        Ok(chunks)
    }

    pub(crate) fn delete(self, batch: &mut Batch, at: RowAddress, chunks: std::ops::Range<u16>) {
        for chunk in chunks {
            batch.delete(self.key(at, chunk));
        }
    }

    /// The chunks stored for a row, at most `chunks`, as far as they follow each other.
    pub(crate) fn read(
        self,
        store: &dyn KvStore,
        at: RowAddress,
        chunks: u16,
    ) -> Result<Chunks, StorageError> {
        let mut found = Chunks::default();
        if chunks > 0 {
            for pair in store.scan(&self.row_prefix(at), None, usize::from(chunks))? {
                found.push(&pair)?;
            }
        }
        Ok(found)
    }

    /// The first `limit` chunks of a tree from a row on, in key order.
    pub(crate) fn scan(
        self,
        store: &dyn KvStore,
        from: RowAddress,
        limit: usize,
    ) -> Result<Vec<Pair>, StorageError> {
        // The prefix of the row sorts right before its first chunk.
        store.scan(&self.prefix(from), Some(&self.row_prefix(from)), limit)
    }

    /// Takes the chunks of one row off pairs that are in key order; those of rows before it are left behind.
    pub(crate) fn take(
        self,
        pairs: &mut std::iter::Peekable<std::vec::IntoIter<Pair>>,
        at: RowAddress,
        chunks: u16,
    ) -> Result<Chunks, StorageError> {
        let prefix = self.row_prefix(at);
        let mut found = Chunks::default();
        while let Some(pair) =
            pairs.next_if(|(key, _)| key.as_slice() < prefix.as_slice() || key.starts_with(&prefix))
        {
            if pair.0.starts_with(&prefix) && found.count < chunks {
                found.push(&pair)?;
            }
        }
        Ok(found)
    }
}

/// Content put together from chunks.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    pub(crate) content: Vec<u8>,
    /// How many chunks, from 0 on without a gap.
    pub(crate) count: u16,
    gap: bool,
}

impl Chunks {
    fn push(&mut self, (key, value): &Pair) -> Result<(), StorageError> {
        let number = key.last_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        self.gap |= number != Some(self.count);
        if !self.gap {
            self.content.extend_from_slice(decode_raw(value)?);
            self.count += 1;
        }
        Ok(())
    }
}
