//! Content split into chunks, none of which makes a stored value longer than [`VALUE_BYTES_MAX`].
//!
//! Content lies under its row's address and the first bytes of the row's digest, and never changes there: a row that
//! is rewritten has its new content beside the old one until the old one is deleted. So whoever holds a digest, a
//! frozen view or a stage, holds the content as long as nobody deletes it. Knows nothing of digests beyond that:
//! whoever reads checks.

use pando_merkle::{Digest, Key};
use pando_model::TreeId;

use crate::batch::{Batch, VALUE_BYTES_MAX};
use crate::codec::{RAW_OVERHEAD_BYTES, decode_raw, encode_raw};
use crate::error::StorageError;
use crate::keys::{GroupId, RowAddress, StoredKey};
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

/// The content of one row: whose, and which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContentAddress {
    at: RowAddress,
    tag: u64,
}

impl ContentAddress {
    /// The content of the row at `at` whose leaf digest is `digest`.
    pub(crate) fn new(at: RowAddress, digest: &Digest) -> Self {
        Self {
            at,
            tag: digest.truncated(),
        }
    }
}

/// Where the content of a group's rows is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContentSpace(pub(crate) GroupId);

impl ContentSpace {
    fn key(self, of: ContentAddress, chunk: u16) -> Vec<u8> {
        StoredKey::Content(of.at, of.tag, chunk).encode(self.0)
    }

    /// What all chunks of one content start with.
    fn content_prefix(self, of: ContentAddress) -> Vec<u8> {
        let mut key = self.key(of, 0);
        key.truncate(key.len() - size_of::<u16>());
        key
    }

    /// What all content keys of this tree and those behind it start with.
    fn space_prefix(self, of: ContentAddress) -> Vec<u8> {
        let mut key = self.content_prefix(of);
        key.truncate(key.len() - size_of::<TreeId>() - size_of::<Key>() - size_of::<u64>());
        key
    }

    /// Adds the puts of all chunks.
    pub(crate) fn put(
        self,
        batch: &mut Batch,
        of: ContentAddress,
        content: &[u8],
    ) -> Result<u16, StorageError> {
        let chunks = chunk_count(content.len())?;
        for (chunk, part) in (0..chunks).zip(content.chunks(CHUNK_BYTES_MAX)) {
            batch.put(self.key(of, chunk), encode_raw(part));
        }
        Ok(chunks)
    }

    /// Adds the deletes of all chunks.
    pub(crate) fn delete(self, batch: &mut Batch, of: ContentAddress, chunks: u16) {
        for chunk in 0..chunks {
            batch.delete(self.key(of, chunk));
        }
    }

    /// The chunks stored, at most `chunks`, as far as they follow each other.
    pub(crate) fn read(
        self,
        store: &dyn KvStore,
        of: ContentAddress,
        chunks: u16,
    ) -> Result<Chunks, StorageError> {
        let mut found = Chunks::default();
        if chunks == 1 {
            // Most rows have one: a look-up is cheaper than a scan.
            let key = self.key(of, 0);
            if let Some(value) = store.get(&key)? {
                found.push(&(key, value))?;
            }
        } else if chunks > 1 {
            for pair in store.scan(&self.content_prefix(of), None, usize::from(chunks))? {
                found.push(&pair)?;
            }
        }
        Ok(found)
    }

    /// The first `limit` chunks of a tree from one content on, in key order.
    pub(crate) fn scan(
        self,
        store: &dyn KvStore,
        from: ContentAddress,
        limit: usize,
    ) -> Result<Vec<Pair>, StorageError> {
        // The prefix of the content sorts right before its first chunk.
        store.scan(
            &self.space_prefix(from),
            Some(&self.content_prefix(from)),
            limit,
        )
    }

    /// Takes the chunks of one content off pairs that are in key order; those before it are left behind.
    pub(crate) fn take(
        self,
        pairs: &mut std::iter::Peekable<std::vec::IntoIter<Pair>>,
        of: ContentAddress,
        chunks: u16,
    ) -> Result<Chunks, StorageError> {
        let prefix = self.content_prefix(of);
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
