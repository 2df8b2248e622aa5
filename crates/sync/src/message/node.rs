//! Nodes of a tree as they travel: shortened digests, because the full root decides in the end.

use pando_merkle::Digest;
use serde::{Deserialize, Serialize};

use crate::wire::Packed;

/// A node of the leader's tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WireNode {
    /// No leaf under the prefix.
    Empty,
    /// Few leaves under the prefix.
    Bucket {
        /// Digest of the bucket.
        hash: WireHash,
        /// How many leaves.
        count: u64,
    },
    /// Many leaves under the prefix.
    Inner {
        /// The digests of its children.
        children: Children,
    },
}

/// A digest as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WireHash {
    /// The first 4 bytes. Two different nodes look alike once in 2^32 comparisons; a second pass finds that out.
    Short([u8; 4]),
    /// All of it.
    Full(Digest),
}

impl WireHash {
    /// A digest in the form asked for.
    #[must_use]
    pub fn of(digest: &Digest, full: bool) -> Self {
        if full {
            Self::Full(*digest)
        } else {
            Self::Short(short(digest).to_be_bytes())
        }
    }

    /// Whether it is a whole digest.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether two hashes can be of one digest.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Full(digest), hash) | (hash, Self::Full(digest)) => hash.matches(digest),
            (Self::Short(a), Self::Short(b)) => a == b,
        }
    }

    /// Whether `digest` has this hash.
    #[must_use]
    pub fn matches(&self, digest: &Digest) -> bool {
        *self == Self::of(digest, self.is_full())
    }
}

/// The children of an inner node: which are not empty, and the digest of each of those.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Children {
    present: u16,
    hashes: Hashes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Hashes {
    Short(#[serde(with = "Packed")] Vec<u32>),
    Full(#[serde(with = "Packed")] Vec<Digest>),
}

impl Children {
    /// The children's digests in the form asked for.
    #[must_use]
    pub fn of(children: &[Option<Digest>; 16], full: bool) -> Self {
        let present = children
            .iter()
            .enumerate()
            .filter(|(_, digest)| digest.is_some())
            .fold(0, |bits, (n, _)| bits | (1 << n));
        let some = children.iter().flatten();
        let hashes = if full {
            Hashes::Full(some.copied().collect())
        } else {
            Hashes::Short(some.map(short).collect())
        };
        Self { present, hashes }
    }

    /// The sixteen children, `None` where there is no leaf; `None` at all if there are not as many hashes as
    /// children, or no child, which no leader of this protocol sends.
    #[must_use]
    pub fn unpack(&self) -> Option<[Option<WireHash>; 16]> {
        let mut hashes: Vec<WireHash> = match &self.hashes {
            Hashes::Short(list) => list
                .iter()
                .map(|hash| WireHash::Short(hash.to_be_bytes()))
                .collect(),
            Hashes::Full(list) => list.iter().copied().map(WireHash::Full).collect(),
        };
        if hashes.len() != self.present.count_ones() as usize || hashes.is_empty() {
            return None;
        }
        hashes.reverse();
        Some(std::array::from_fn(|n| {
            if self.present & (1 << n) == 0 {
                None
            } else {
                hashes.pop()
            }
        }))
    }
}

fn short(digest: &Digest) -> u32 {
    let [a, b, c, d, ..] = digest.0;
    u32::from_be_bytes([a, b, c, d])
}
