//! What is stored about a row beside its content: enough to rebuild its leaf, and to read and check its content.

use pando_merkle::{Digest, Leaf, leaf_digest, value_digest};
use pando_model::Row;
use serde::{Deserialize, Serialize};

use crate::codec::Versioned;
use crate::content::{Chunks, ContentAddress, chunk_count};
use crate::error::{Rot, StorageError};
use crate::keys::RowAddress;

/// Longest id of a row, in bytes: a digest row must fit in one stored value.
pub const ID_BYTES_MAX: usize = 1024;

/// The row of a digest: all of a row but its content, and the digest that covers it all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestRow {
    /// Canonical bytes of the row's id.
    pub id: Vec<u8>,
    /// Version stamp.
    pub version: [u8; 16],
    digest: [u8; 32],
    bytes: u32,
    index: u64,
    chunks: u16,
}

impl Versioned for DigestRow {
    const TAG: u8 = 1;
    type Previous = Self;

    fn upgrade(previous: Self) -> Self {
        previous
    }
}

/// A row as it was read: checked against its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The row.
    pub row: Row,
    /// Its leaf.
    pub leaf: Leaf,
}

impl DigestRow {
    /// The digest row of a row with this leaf.
    ///
    /// # Errors
    /// When id or content are too long.
    pub fn new(row: &Row, leaf: &Leaf) -> Result<Self, StorageError> {
        Self::with_chunks(row.id.clone(), row.version, leaf, row.content.len())
    }

    /// The digest row of a row of which only this is known: enough to read its content and check it.
    ///
    /// # Errors
    /// When id or content are too long.
    pub fn of_leaf(id: Vec<u8>, version: [u8; 16], leaf: &Leaf) -> Result<Self, StorageError> {
        let beside = id.len() + version.len();
        let content_bytes = (leaf.bytes as usize).saturating_sub(beside);
        Self::with_chunks(id, version, leaf, content_bytes)
    }

    fn with_chunks(
        id: Vec<u8>,
        version: [u8; 16],
        leaf: &Leaf,
        content_bytes: usize,
    ) -> Result<Self, StorageError> {
        if id.len() > ID_BYTES_MAX {
            return Err(StorageError::IdTooLong {
                bytes: id.len(),
                bytes_max: ID_BYTES_MAX,
            });
        }
        Ok(Self {
            id,
            version,
            digest: leaf.digest.0,
            bytes: leaf.bytes,
            index: leaf.index,
            chunks: chunk_count(content_bytes)?,
        })
    }

    /// The same row as written by the log entry at `index`.
    #[must_use]
    pub fn at_index(&self, index: u64) -> Self {
        Self {
            index,
            ..self.clone()
        }
    }

    /// The digest of the row.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.digest)
    }

    /// Where the content is.
    pub(crate) fn content(&self, at: RowAddress) -> ContentAddress {
        ContentAddress::new(at, &self.digest())
    }

    /// The leaf the tree holds for this row.
    #[must_use]
    pub fn leaf(&self) -> Leaf {
        Leaf {
            digest: Digest(self.digest),
            bytes: self.bytes,
            index: self.index,
        }
    }

    /// Into how many chunks the content is split.
    #[must_use]
    pub fn chunks(&self) -> u16 {
        self.chunks
    }

    /// Joins the content to the row; refuses what does not hash to the digest.
    pub(crate) fn join(self, at: RowAddress, found: Chunks) -> Result<StoredRow, StorageError> {
        let rotten = |rot| StorageError::Rotten {
            tree: at.tree,
            key: at.key,
            rot,
        };
        if found.count != self.chunks {
            return Err(rotten(Rot::MissingChunk {
                chunk: found.count,
                chunks: self.chunks,
            }));
        }
        let leaf = self.leaf();
        if leaf_digest(&self.id, &self.version, &value_digest(&found.content)) != leaf.digest {
            return Err(rotten(Rot::Digest));
        }
        let row = Row {
            id: self.id,
            version: self.version,
            content: found.content,
        };
        Ok(StoredRow { row, leaf })
    }
}

/// The leaf of a row written by the log entry at `index`.
#[must_use]
pub fn leaf_of(row: &Row, index: u64) -> Leaf {
    let bytes = row.id.len() + row.version.len() + row.content.len();
    Leaf {
        digest: leaf_digest(&row.id, &row.version, &value_digest(&row.content)),
        // A hint; rows that could saturate it are refused when they are stored.
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        index,
    }
}
