//! The messages of a session: what the follower asks and what the leader answers.
//!
//! Pure data. Decoding checks shape and size only; whether a message makes sense at this point of a session is for
//! [`crate::Leader`] and [`crate::Follower`] to judge. Every request but the first has a number, and its answers carry
//! it: what was asked is not repeated in the answer. The layout of these types is the wire format: changing one means
//! raising [`crate::PROTOCOL_VERSION`].

mod node;

use pando_merkle::{Digest, Key, Prefix};
use pando_model::TreeId;
use serde::{Deserialize, Serialize};

use crate::limits::{
    KEPT_PER_FRAME_MAX, LISTED_PER_REQUEST_MAX, PREFIXES_PER_REQUEST_MAX, TREES_MAX,
    WANTS_PER_REQUEST_MAX,
};
use crate::wire::{Bounded, ByteString, Packed, Prefixes, RowBlock, Wants};

pub use node::{Children, WireHash, WireNode};

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
        /// Number of the request.
        id: u64,
        /// The tree walked.
        tree: TreeId,
        /// Answer with whole 32-byte hashes instead of short ones.
        full: bool,
        /// Strictly ascending.
        #[serde(with = "Prefixes")]
        prefixes: Vec<Prefix>,
    },
    /// "Send what I lack under these prefixes."
    Rows {
        /// Number of the request.
        id: u64,
        /// The tree walked.
        tree: TreeId,
        /// Strictly ascending by prefix, none under another.
        #[serde(with = "Wants")]
        wants: Vec<Want>,
    },
    /// "I have your state of that log index: send what was written since."
    Since {
        /// Number of the request.
        id: u64,
        /// The tree.
        tree: TreeId,
        /// The part of the tree.
        prefix: Prefix,
        /// The log index.
        index: u64,
    },
}

/// One prefix whose rows the follower wants to be made equal to the leader's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Where.
    pub prefix: Prefix,
    /// What the follower has there.
    pub have: Have,
}

/// The first bytes of a leaf digest. A digest covers id, version and content, so whoever has an equal one has the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub [u8; 3]);

impl Tag {
    /// The tag of a leaf digest.
    #[must_use]
    pub fn of(digest: &Digest) -> Self {
        let [a, b, c, ..] = digest.0;
        Self([a, b, c])
    }
}

/// The leaves a follower lists under a prefix, in the order of their keys. None: stream everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Have {
    /// The tag of each, all different.
    Tags(#[serde(with = "Packed")] Vec<Tag>),
    /// Whole key, whole leaf digest, strictly ascending by key.
    Full(#[serde(with = "Packed")] Vec<(Key, Digest)>),
}

impl Have {
    /// Nothing is listed.
    pub(crate) const NOTHING: Self = Self::Tags(Vec::new());

    /// How many leaves are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Tags(tags) => tags.len(),
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
    /// Answers the next prefixes of a `Nodes` request, in its order.
    Nodes {
        /// The request.
        id: u64,
        /// One for each prefix.
        #[serde(deserialize_with = "Bounded::<PREFIXES_PER_REQUEST_MAX>::deserialize")]
        nodes: Vec<WireNode>,
    },
    /// Answers the next wants of a `Rows` request, in its order.
    Rows {
        /// The request.
        id: u64,
        /// One for each want answered here; the first may go on with the last of the frame before.
        #[serde(deserialize_with = "Bounded::<WANTS_PER_REQUEST_MAX>::deserialize")]
        parts: Vec<Part>,
        /// Whether the answer to the last of these wants goes on in the next frame.
        more: bool,
        /// The rows of all parts: those the follower did not list, in key order for each want.
        puts: RowBlock,
    },
    /// A part of the answer to a `Since` request.
    Since {
        /// The request.
        id: u64,
        /// Rows written since, in key order over all parts.
        puts: RowBlock,
        /// Where rows were removed since: what is still there. In key order over all parts, each after the rows there.
        #[serde(deserialize_with = "Bounded::<KEPT_PER_FRAME_MAX>::deserialize")]
        kept: Vec<Kept>,
        /// Whether this is the last part.
        done: bool,
    },
}

impl Response {
    /// The rows it carries.
    #[must_use]
    pub fn block(&self) -> Option<&RowBlock> {
        match self {
            Self::Rows { puts, .. } | Self::Since { puts, .. } => Some(puts),
            Self::Equal { .. } | Self::Snapshot(_) | Self::Nodes { .. } => None,
        }
    }

    /// The same, to be laid out otherwise.
    pub fn block_mut(&mut self) -> Option<&mut RowBlock> {
        match self {
            Self::Rows { puts, .. } | Self::Since { puts, .. } => Some(puts),
            Self::Equal { .. } | Self::Snapshot(_) | Self::Nodes { .. } => None,
        }
    }
}

/// A part of the answer to one want.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// How many rows of the frame belong to this want.
    pub puts: u32,
    /// Positions in the want's list of leaves that the leader does not have: deleted, unless a row takes their place.
    /// Ascending over all parts of one want.
    #[serde(deserialize_with = "Bounded::<LISTED_PER_REQUEST_MAX>::deserialize")]
    pub gone: Vec<u32>,
}

/// What a bucket of the leader holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The bucket.
    pub prefix: Prefix,
    /// The tags of all its leaves. The follower drops what it has there under none of them.
    #[serde(with = "Packed")]
    pub tags: Vec<Tag>,
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
