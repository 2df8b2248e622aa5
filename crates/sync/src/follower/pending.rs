//! What is still to be asked, and what was asked and waits for its answer.

use std::collections::VecDeque;

use pando_merkle::{Key, Prefix};
use pando_model::TreeId;

use crate::message::{Kept, WireHash};

/// A prefix to be asked for.
pub(super) struct Todo {
    pub(super) tree: TreeId,
    pub(super) prefix: Prefix,
    /// What the leader said of it, if it has spoken.
    pub(super) hash: Option<WireHash>,
    /// Leaves here.
    pub(super) leaves: u64,
    /// List them in full, because tags hid a difference.
    pub(super) relist: bool,
    pub(super) round: u64,
}

/// A part of a tree to be streamed.
pub(super) struct Stream {
    pub(super) tree: TreeId,
    pub(super) prefix: Prefix,
    /// What was written since this log index; everything if there is none.
    pub(super) since: Option<u64>,
    pub(super) round: u64,
}

/// A request without its complete answer.
pub(super) enum Pending {
    Nodes {
        tree: TreeId,
        full: bool,
        asked: VecDeque<Asked>,
    },
    Rows {
        tree: TreeId,
        wants: VecDeque<Wanted>,
        /// Whether it streams a part of a tree.
        stream: bool,
    },
    Since {
        tree: TreeId,
        wanted: Wanted,
        last_kept: Option<Prefix>,
    },
}

impl Pending {
    pub(super) fn is_stream(&self) -> bool {
        match self {
            Self::Nodes { .. } => false,
            Self::Rows { stream, .. } => *stream,
            Self::Since { .. } => true,
        }
    }
}

/// A prefix of a `Nodes` request that is not answered.
pub(super) struct Asked {
    pub(super) prefix: Prefix,
    pub(super) hash: Option<WireHash>,
    pub(super) round: u64,
}

/// How the leaves of a want were listed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// Not at all: the leader sends all it has, and what is not among it goes.
    Nothing,
    /// By their tags: equal tags may hide a difference.
    Tags,
    /// In full.
    Full,
    /// Not at all, and the leader says itself what goes.
    Since,
}

/// A want, or a stream, whose answer is not complete.
pub(super) struct Wanted {
    pub(super) prefix: Prefix,
    pub(super) hash: Option<WireHash>,
    pub(super) listing: Listing,
    pub(super) round: u64,
    /// The keys there were here when it was asked, and which of them the leader has sent rows for.
    pub(super) keys: Vec<Key>,
    pub(super) sent: Vec<bool>,
    /// Positions in `keys` that the leader does not have as they were listed.
    pub(super) gone: Vec<u32>,
    pub(super) last_put: Option<Key>,
    /// Share of the tree already counted as done, in positions.
    pub(super) covered: u64,
}

impl Wanted {
    pub(super) fn new(prefix: Prefix, listing: Listing, keys: Vec<Key>) -> Self {
        Self {
            prefix,
            hash: None,
            listing,
            round: 0,
            sent: vec![false; keys.len()],
            keys,
            gone: Vec::new(),
            last_put: None,
            covered: 0,
        }
    }

    /// Notes that the leader has sent a row for this key.
    pub(super) fn mark_sent(&mut self, key: &Key) {
        let at = self.keys.binary_search(key);
        if let Some(slot) = at.ok().and_then(|at| self.sent.get_mut(at)) {
            *slot = true;
        }
    }

    /// The keys whose rows go, now that all is sent. Empties the lists.
    pub(super) fn take_deletes(&mut self) -> Vec<Key> {
        let (keys, sent) = (
            std::mem::take(&mut self.keys),
            std::mem::take(&mut self.sent),
        );
        let unsent = |at: usize| sent.get(at) == Some(&false);
        match self.listing {
            Listing::Since => Vec::new(),
            Listing::Nothing => (0..)
                .zip(keys)
                .filter_map(|(at, key)| unsent(at).then_some(key))
                .collect(),
            Listing::Tags | Listing::Full => std::mem::take(&mut self.gone)
                .into_iter()
                .map(|at| at as usize)
                .filter(|at| unsent(*at))
                .filter_map(|at| keys.get(at).copied())
                .collect(),
        }
    }
}

/// Rows to be dropped without another word of the leader.
pub(super) enum Drop {
    /// All under a prefix, but for those with these tags (sorted).
    Under(Prefix, Vec<crate::message::Tag>),
    /// These.
    Keys(Vec<Key>),
}

impl From<Kept> for Drop {
    fn from(kept: Kept) -> Self {
        let Kept { prefix, mut tags } = kept;
        tags.sort_unstable();
        Self::Under(prefix, tags)
    }
}
