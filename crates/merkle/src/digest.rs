//! Digests and what goes into them. The only module that hashes tree contents.
//!
//! Every digest is SHA-256 over a tag byte and its parts, integers big endian:
//!
//! ```text
//! value      = H(0 | len(content) u64 | content)
//! leaf       = H(1 | len(id) u64 | id | version 16 | value 32)
//! bucket     = H(2 | prefix | count u64 | (key 16 | leaf 32) in key order)
//! node       = H(3 | prefix | 16 x child 32)           an empty child counts as 32 zero bytes
//! collection = H(4 | len(name) u64 | name | len(definition) u64 | definition | count u64 | root 32)
//! replica    = H(5 | system tree root 32 | collection roots 32 each, in name order)
//! prefix     = nibble count u8 | nibbles packed two to a byte, high first, zero padded
//! ```
//!
//! The tags keep a digest of one kind from passing as another; the lengths keep two different
//! inputs from meeting in one byte string. These layouts are persisted and compared between nodes:
//! changing one is a new protocol version.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::node::Entry;
use crate::prefix::Prefix;

const TAG_VALUE: u8 = 0;
const TAG_LEAF: u8 = 1;
const TAG_BUCKET: u8 = 2;
const TAG_NODE: u8 = 3;
const TAG_COLLECTION: u8 = 4;
const TAG_REPLICA: u8 = 5;

/// Stands for a child that holds no leaves inside the digest of its parent. No SHA-256 output is
/// known to be zero, so it cannot be mistaken for a child that holds something.
const EMPTY_CHILD: [u8; 32] = [0; 32];

/// A SHA-256 digest. Prints as hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest's 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hexadecimal characters, for people.
    pub fn short(&self) -> String {
        format!("{:08x}", self.truncated() >> 32)
    }

    /// The first eight bytes as a big-endian integer: what the wire carries while walking, where
    /// the full root decides in the end.
    pub const fn truncated(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Digest of a row's canonical content.
pub fn value_digest(content: &[u8]) -> Digest {
    Hasher::new(TAG_VALUE).sized(content).finish()
}

/// Digest of a leaf: which row, which version, which content.
pub fn leaf_digest(id: &[u8], version: &[u8; 16], value: &Digest) -> Digest {
    Hasher::new(TAG_LEAF)
        .sized(id)
        .fixed(version)
        .fixed(&value.0)
        .finish()
}

/// Root of one collection: its name, definition and row count beside the root of its tree, so that
/// two collections with equal rows under different rules still differ.
pub fn collection_root(name: &str, definition: &[u8], count: u64, tree_root: &Digest) -> Digest {
    Hasher::new(TAG_COLLECTION)
        .sized(name.as_bytes())
        .sized(definition)
        .fixed(&count.to_be_bytes())
        .fixed(&tree_root.0)
        .finish()
}

/// Root of a replica: the system tree's root, then the collection roots **in name order**.
pub fn replica_root(system: &Digest, collections: impl IntoIterator<Item = Digest>) -> Digest {
    let start = Hasher::new(TAG_REPLICA).fixed(&system.0);
    collections
        .into_iter()
        .fold(start, |hasher, root| hasher.fixed(&root.0))
        .finish()
}

/// Digest of the bucket at `prefix`; `entries` are in key order.
pub(crate) fn bucket_digest(prefix: &Prefix, entries: &[Entry]) -> Digest {
    let start = Hasher::new(TAG_BUCKET)
        .prefix(prefix)
        .fixed(&(entries.len() as u64).to_be_bytes());
    entries
        .iter()
        .fold(start, |hasher, (key, leaf)| {
            hasher.fixed(key.as_bytes()).fixed(&leaf.digest.0)
        })
        .finish()
}

/// Digest of the inner node at `prefix`, from its sixteen children in nibble order.
pub(crate) fn node_digest(
    prefix: &Prefix,
    children: impl IntoIterator<Item = Option<Digest>>,
) -> Digest {
    let start = Hasher::new(TAG_NODE).prefix(prefix);
    children
        .into_iter()
        .fold(start, |hasher, child| {
            hasher.fixed(&child.map_or(EMPTY_CHILD, |digest| digest.0))
        })
        .finish()
}

struct Hasher(Sha256);

impl Hasher {
    fn new(tag: u8) -> Self {
        Self(Sha256::new()).fixed(&[tag])
    }

    /// A part whose length never varies (or is itself determined by what precedes it).
    fn fixed(mut self, part: &[u8]) -> Self {
        self.0.update(part);
        self
    }

    /// A part of any length, preceded by it.
    fn sized(self, part: &[u8]) -> Self {
        self.fixed(&(part.len() as u64).to_be_bytes()).fixed(part)
    }

    fn prefix(self, prefix: &Prefix) -> Self {
        self.fixed(&[prefix.len_u8()]).fixed(prefix.packed())
    }

    fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
