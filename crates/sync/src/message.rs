//! The messages of a session: what the follower asks and what the leader answers.
//!
//! Pure data. Decoding checks shape and size only; whether a message makes sense at this point of a session is for
//! [`crate::Leader`] and [`crate::Follower`] to judge. The layout of these types is the wire format: changing one
//! means raising [`crate::PROTOCOL_VERSION`].

use pando_merkle::{Digest, Key, Prefix};
use pando_model::{Row, TreeId};
use serde::{Deserialize, Serialize};

use crate::limits::{
    PREFIXES_PER_REQUEST_MAX, ROWS_PER_FRAME_MAX, TREES_MAX, WANTS_PER_REQUEST_MAX,
};
use crate::wire::{Bounded, ByteString, Packed, Rows};

/// Follower to leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Opens the session.
    Hello {
        /// The follower's [`crate::PROTOCOL_VERSION`].
        protocol: u32,
        /// Root of the follower's installed state (staged rows not counted).
        root: Digest,
        /// Log index of that state.
        index: u64,
    },
    /// "Tell me what is under these prefixes."
    Nodes {
        /// The tree walked.
        tree: TreeId,
        /// Answer with whole 32-byte hashes instead of truncated ones.
        full: bool,
        /// Strictly ascending.
        #[serde(deserialize_with = "Bounded::<PREFIXES_PER_REQUEST_MAX>::deserialize")]
        prefixes: Vec<Prefix>,
    },
    /// "Send what I lack under these prefixes."
    Rows {
        /// The tree walked.
        tree: TreeId,
        /// Strictly ascending by prefix, none under another.
        #[serde(deserialize_with = "Bounded::<WANTS_PER_REQUEST_MAX>::deserialize")]
        wants: Vec<Want>,
    },
}

/// One prefix whose rows the follower wants to be made equal to the leader's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Where.
    pub prefix: Prefix,
    /// All the follower has there.
    pub have: Have,
}

/// The leaves a follower holds under a prefix, strictly ascending by key. Empty: stream everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Have {
    /// First 8 bytes of the key, first 8 bytes of the leaf digest.
    Short(#[serde(with = "Packed")] Vec<(u64, u64)>),
    /// Whole key, whole leaf digest.
    Full(#[serde(with = "Packed")] Vec<(Key, Digest)>),
}

impl Have {
    /// How many leaves are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Short(pairs) => pairs.len(),
            Self::Full(pairs) => pairs.len(),
        }
    }

    /// Whether nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Leader to follower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// The follower's root is the leader's: nothing to do.
    Equal {
        /// Log index of the leader's view.
        index: u64,
    },
    /// What the session will make the follower equal to.
    Snapshot(SnapshotHeader),
    /// Answers some of the prefixes of a `Nodes` request.
    Nodes {
        /// The tree walked.
        tree: TreeId,
        /// Each prefix asked for is answered once.
        #[serde(deserialize_with = "Bounded::<PREFIXES_PER_REQUEST_MAX>::deserialize")]
        nodes: Vec<(Prefix, WireNode)>,
    },
    /// A part of the answer to one want.
    Rows {
        /// The tree walked.
        tree: TreeId,
        /// The want answered.
        prefix: Prefix,
        /// Rows the follower lacks or has in another version, in key order over all parts.
        #[serde(with = "Rows::<ROWS_PER_FRAME_MAX>")]
        puts: Vec<Row>,
        /// Keys the follower listed and the leader does not have, in key order over all parts.
        deletes: Deletes,
        /// Whether this is the last part.
        done: bool,
    },
}

/// Keys to delete, in the form in which the follower listed them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deletes {
    /// First 8 bytes of each key.
    Short(#[serde(with = "Packed")] Vec<u64>),
    /// Whole keys.
    Full(#[serde(with = "Packed")] Vec<Key>),
}

impl Deletes {
    /// How many keys are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Short(keys) => keys.len(),
            Self::Full(keys) => keys.len(),
        }
    }

    /// Whether nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The state a leader offers: one frozen view, at one log index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHeader {
    /// Replica root of the view.
    pub root: Digest,
    /// Log index of the view.
    pub index: u64,
    /// Opaque to this crate: the consensus layer's description of the snapshot.
    #[serde(with = "ByteString")]
    pub meta: Vec<u8>,
    /// The system tree first, then the collections strictly ascending by name.
    #[serde(deserialize_with = "Bounded::<TREES_MAX>::deserialize")]
    pub trees: Vec<TreeHeader>,
}

/// One tree of a [`SnapshotHeader`].
///
/// The replica root covers name, definition, count and root. Id and salt it covers only through the rows: whoever
/// installs a verified snapshot holds them against the catalogue in its system tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeHeader {
    /// Which tree.
    pub id: TreeId,
    /// Name of the collection; empty for the system tree.
    pub name: String,
    /// Canonical definition of the collection; empty for the system tree.
    #[serde(with = "ByteString")]
    pub definition: Vec<u8>,
    /// Salt of the tree's keys; zero for the system tree.
    pub salt: [u8; 16],
    /// Root of the tree.
    pub root: Digest,
    /// Rows in the tree.
    pub count: u64,
    /// Bytes of those rows: a hint, for progress bars.
    pub bytes: u64,
}

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
    /// The first 8 bytes.
    Short([u8; 8]),
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
            Self::Short(digest.truncated().to_be_bytes())
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
    Short(#[serde(with = "Packed")] Vec<u64>),
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
            Hashes::Short(some.map(Digest::truncated).collect())
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
