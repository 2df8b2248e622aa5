//! The catalogue of keys: every key of both stores is here, and nowhere else.
//!
//! ```text
//! group u32 | kind u8 | the kind's own fields
//! ```
//! All numbers are big endian, so that the order of bytes is the order of fields. A group's keys are together,
//! and within it a kind's. The kind of a retired key is never given to another.

use pando_merkle::Key;
pub use pando_model::GroupId;
use pando_model::TreeId;

/// One set of changes laid over a group's rows: the stage of a sync, the pre-images of a frozen view, or what an
/// install has replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OverlayId(pub u32);

impl OverlayId {
    /// What a sync session has received and not yet installed.
    pub const STAGE: Self = Self(0);
    /// Rows that an install has replaced, whose content is still to be cleared. All other ids are frozen views.
    pub const REPLACED: Self = Self(1);
}

/// Where a row is: its tree and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowAddress {
    /// The tree.
    pub tree: TreeId,
    /// The row's key in it.
    pub key: Key,
}

impl RowAddress {
    /// The address of `key` in `tree`.
    #[must_use]
    pub const fn new(tree: TreeId, key: Key) -> Self {
        Self { tree, key }
    }
}

/// A key that is not in the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The kind byte is absent or unknown.
    #[error("a stored key has the unknown kind {kind:?}; start a release that knows it")]
    UnknownKind {
        /// The kind byte, if there is one.
        kind: Option<u8>,
    },
    /// The fields do not have the length the kind asks for.
    #[error("a stored key of kind {kind} has {found} bytes instead of {expected}")]
    Length {
        /// The kind byte.
        kind: u8,
        /// Length of the key.
        found: usize,
        /// Length a key of this kind has.
        expected: usize,
    },
}

/// One-byte kinds. Data store 1 to 15, log store from 16 on; the owner's is the same in both.
pub(crate) mod kind {
    pub(crate) const META: u8 = 1;
    pub(crate) const DIGEST: u8 = 2;
    // 3 is retired: content without the digest of its row.
    pub(crate) const OVERLAY_HEAD: u8 = 4;
    // 5 is retired: content of an overlay's own.
    // 6 is retired: what a stage was built on, never written.
    pub(crate) const INTENT: u8 = 7;
    pub(crate) const OWNER: u8 = 8;
    pub(crate) const CONTENT: u8 = 9;
    pub(crate) const VOTE: u8 = 16;
    pub(crate) const COMMITTED: u8 = 17;
    pub(crate) const PURGED: u8 = 18;
    pub(crate) const ENTRY: u8 = 19;
    pub(crate) const QUARANTINE: u8 = 20;
}

/// A key of the catalogue, without its group. Key and value layouts are on the variants; `group u32 | kind u8`
/// comes before all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredKey {
    /// Data store, kind 1. Key: nothing more. Value: the applied state (versioned; the replica's own type).
    Meta,
    /// Data store, kind 2. Key: `tree u32 | key [16]`. Value: [`crate::DigestRow`].
    Digest(RowAddress),
    /// Data store, kind 9. Key: `tree u32 | key [16] | first 8 bytes of the row's leaf digest | chunk u16`. Value: up
    /// to [`crate::CHUNK_BYTES_MAX`] bytes of the row's content.
    Content(RowAddress, u64, u16),
    /// Data store, kind 4. Key: `overlay u32 | tree u32 | key [16]`. Value: put (with a digest row, which tells where
    /// the content is) or delete.
    OverlayHead(OverlayId, RowAddress),
    /// Data store, kind 7. Key: nothing more. Value: the intent to install (versioned; consensus's type).
    Intent,
    /// Both stores, kind 8. Key: nothing more. Value: which node's the store is (versioned; the server's type).
    Owner,
    /// Log store, kind 16. Key: nothing more. Value: the vote (versioned; consensus's type).
    Vote,
    /// Log store, kind 17. Key: nothing more. Value: the committed log id (versioned; consensus's type).
    Committed,
    /// Log store, kind 18. Key: nothing more. Value: the last purged log id (versioned; consensus's type).
    Purged,
    /// Log store, kind 19. Key: `index u64 | chunk u16`. Value: a piece of the entry, see [`crate::EntryLog`].
    Entry(u64, u16),
    /// Log store, kind 20. Key: nothing more. Value: why the state must not be used (versioned; consensus's type).
    Quarantine,
}

const HEAD_BYTES: usize = 5;
const ADDRESS_BYTES: usize = 20;
const TAG_BYTES: usize = 8;
const CHUNK_BYTES: usize = 2;
const OVERLAY_BYTES: usize = 4;
const INDEX_BYTES: usize = 8;

impl StoredKey {
    /// The bytes of the key in a group.
    #[must_use]
    pub fn encode(&self, group: GroupId) -> Vec<u8> {
        let (kind, expected) = (self.kind(), length_of(self.kind()));
        let mut bytes = Vec::with_capacity(expected.unwrap_or(HEAD_BYTES));
        bytes.extend(group.0.to_be_bytes());
        bytes.push(kind);
        match self {
            Self::Meta
            | Self::Intent
            | Self::Owner
            | Self::Vote
            | Self::Committed
            | Self::Purged
            | Self::Quarantine => {}
            Self::Digest(at) => push_address(&mut bytes, at),
            Self::Content(at, tag, chunk) => {
                push_address(&mut bytes, at);
                bytes.extend(tag.to_be_bytes());
                bytes.extend(chunk.to_be_bytes());
            }
            Self::OverlayHead(overlay, at) => {
                bytes.extend(overlay.0.to_be_bytes());
                push_address(&mut bytes, at);
            }
            Self::Entry(index, chunk) => {
                bytes.extend(index.to_be_bytes());
                bytes.extend(chunk.to_be_bytes());
            }
        }
        bytes
    }

    /// Reads a key back.
    ///
    /// # Errors
    /// When the kind is unknown or the length wrong.
    pub fn decode(bytes: &[u8]) -> Result<(GroupId, Self), KeyError> {
        let mut fields = Fields(bytes);
        let kind = bytes.get(HEAD_BYTES - 1).copied();
        let expected = kind.and_then(length_of);
        let (Some(kind), Some(expected)) = (kind, expected) else {
            return Err(KeyError::UnknownKind { kind });
        };
        let wrong = KeyError::Length {
            kind,
            found: bytes.len(),
            expected,
        };
        if bytes.len() != expected {
            return Err(wrong);
        }
        fields.read(kind).ok_or(wrong)
    }

    /// Where the row is that the key belongs to, if it belongs to one.
    #[must_use]
    pub fn address(&self) -> Option<RowAddress> {
        match self {
            Self::Digest(at) | Self::Content(at, ..) | Self::OverlayHead(_, at) => Some(*at),
            Self::Meta
            | Self::Intent
            | Self::Owner
            | Self::Vote
            | Self::Committed
            | Self::Purged
            | Self::Quarantine
            | Self::Entry(..) => None,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Meta => kind::META,
            Self::Digest(_) => kind::DIGEST,
            Self::Content(..) => kind::CONTENT,
            Self::OverlayHead(..) => kind::OVERLAY_HEAD,
            Self::Intent => kind::INTENT,
            Self::Owner => kind::OWNER,
            Self::Vote => kind::VOTE,
            Self::Committed => kind::COMMITTED,
            Self::Purged => kind::PURGED,
            Self::Quarantine => kind::QUARANTINE,
            Self::Entry(..) => kind::ENTRY,
        }
    }
}

/// Length in bytes of a whole key of this kind; none for a kind that does not exist.
fn length_of(kind: u8) -> Option<usize> {
    let fields = match kind {
        kind::META
        | kind::INTENT
        | kind::OWNER
        | kind::VOTE
        | kind::COMMITTED
        | kind::PURGED
        | kind::QUARANTINE => 0,
        kind::DIGEST => ADDRESS_BYTES,
        kind::CONTENT => ADDRESS_BYTES + TAG_BYTES + CHUNK_BYTES,
        kind::OVERLAY_HEAD => OVERLAY_BYTES + ADDRESS_BYTES,
        kind::ENTRY => INDEX_BYTES + CHUNK_BYTES,
        _ => return None,
    };
    Some(HEAD_BYTES + fields)
}

fn push_address(bytes: &mut Vec<u8>, at: &RowAddress) {
    bytes.extend(at.tree.0.to_be_bytes());
    bytes.extend(at.key.as_bytes());
}

/// The bytes all keys of a kind in a group start with.
pub(crate) fn kind_prefix(group: GroupId, kind: u8) -> Vec<u8> {
    let mut bytes = group.0.to_be_bytes().to_vec();
    bytes.push(kind);
    bytes
}

/// The bytes not yet read of a key.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn address(&mut self) -> Option<RowAddress> {
        let tree = TreeId(self.number()?);
        Some(RowAddress {
            tree,
            key: Key::from_bytes(self.take()?),
        })
    }

    fn chunk(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn read(&mut self, kind: u8) -> Option<(GroupId, StoredKey)> {
        let group = GroupId(self.number()?);
        self.take::<1>()?;
        let key = match kind {
            kind::META => StoredKey::Meta,
            kind::DIGEST => StoredKey::Digest(self.address()?),
            kind::CONTENT => {
                let (at, tag) = (self.address()?, self.take().map(u64::from_be_bytes)?);
                StoredKey::Content(at, tag, self.chunk()?)
            }
            kind::OVERLAY_HEAD => {
                StoredKey::OverlayHead(OverlayId(self.number()?), self.address()?)
            }
            kind::INTENT => StoredKey::Intent,
            kind::OWNER => StoredKey::Owner,
            kind::VOTE => StoredKey::Vote,
            kind::COMMITTED => StoredKey::Committed,
            kind::PURGED => StoredKey::Purged,
            kind::QUARANTINE => StoredKey::Quarantine,
            kind::ENTRY => StoredKey::Entry(self.take().map(u64::from_be_bytes)?, self.chunk()?),
            _ => return None,
        };
        Some((group, key))
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
