//! Why a session stops. A peer is never trusted: whatever it sends that the protocol does not allow ends the session
//! with one of these, and nothing is installed.

use pando_merkle::{Digest, Key, Prefix};
use pando_model::TreeId;
use thiserror::Error;

/// A leader's refusal of a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The follower speaks another version.
    #[error(
        "the peer speaks sync protocol {theirs}, this node {ours}: run the same release on both"
    )]
    Protocol {
        /// This node's version.
        ours: u32,
        /// The peer's.
        theirs: u32,
    },
    /// The request names a tree the view does not have.
    #[error("the view has no tree {tree}: ask only for trees of the snapshot header")]
    UnknownTree {
        /// The tree asked for.
        tree: TreeId,
    },
    /// The request asks for nothing.
    #[error("the request lists no prefix: ask for at least one")]
    Empty,
    /// The request is too large.
    #[error("the request lists {found} {what}; at most {max} are allowed: split it")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// Prefixes are not strictly ascending, or a want lies under another.
    #[error("prefix {prefix} of tree {tree} is out of order, repeated or under the one before it")]
    PrefixOrder {
        /// The tree asked for.
        tree: TreeId,
        /// The offending prefix.
        prefix: Prefix,
    },
    /// Two listed leaves have one tag: an answer could not tell them apart.
    #[error(
        "two leaves listed under prefix {prefix} of tree {tree} have the same tag: list them in full"
    )]
    TagRepeated {
        /// The tree asked for.
        tree: TreeId,
        /// The want's prefix.
        prefix: Prefix,
    },
    /// Listed leaves are not strictly ascending by key.
    #[error("the leaves listed under prefix {prefix} of tree {tree} are not in strict key order")]
    HaveOrder {
        /// The tree asked for.
        tree: TreeId,
        /// The want's prefix.
        prefix: Prefix,
    },
    /// A listed leaf is not under the want's prefix.
    #[error("a leaf listed under prefix {prefix} of tree {tree} does not lie there")]
    HaveOutside {
        /// The tree asked for.
        tree: TreeId,
        /// The want's prefix.
        prefix: Prefix,
    },
}

/// Why a leader could not go on with an answer: its own store is at fault.
#[derive(Debug, Error)]
pub enum AnswerError<E: std::error::Error + 'static> {
    /// The source failed.
    #[error("the rows cannot be read from the frozen view")]
    Source(#[source] E),
    /// The source did not return the rows asked for.
    #[error("the frozen view returned {found} rows of tree {tree} for {expected} keys of its tree")]
    RowCount {
        /// The tree.
        tree: TreeId,
        /// Rows returned.
        found: usize,
        /// Keys asked for.
        expected: usize,
    },
    /// A row is not the one its leaf was made from. It is not sent: the store is damaged, or the tree is.
    #[error(
        "row {key} of tree {tree} does not match its leaf: this node's store is damaged; verify it"
    )]
    RowDamaged {
        /// The tree.
        tree: TreeId,
        /// The key in the tree.
        key: Key,
    },
}

/// Why a follower gave a session up.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SyncError {
    /// A message that cannot come now.
    #[error("the leader sent {message} {when}")]
    Unexpected {
        /// The message.
        message: &'static str,
        /// At which point.
        when: &'static str,
    },
    /// The snapshot header breaks its rules.
    #[error("the leader's snapshot header is invalid: {rule}")]
    Header {
        /// The rule.
        rule: &'static str,
    },
    /// The header's root is not the root of its trees.
    #[error("the leader claims root {claimed}, but its tree roots make {computed}")]
    HeaderRoot {
        /// As sent.
        claimed: Digest,
        /// From the header's tree roots.
        computed: Digest,
    },
    /// An answer to nothing that is outstanding: never asked, or answered before.
    #[error("the leader sent {what} for request {id}, which does not wait for any")]
    NotRequested {
        /// What was answered.
        what: &'static str,
        /// The number of the request.
        id: u64,
    },
    /// A part of an answer that no leader of this protocol sends.
    #[error("the leader's answer to request {id} is invalid: {rule}")]
    Part {
        /// The number of the request.
        id: u64,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A node that no tree has, or that contradicts what the leader said of it before.
    #[error("the leader's node at prefix {prefix} of tree {tree} is invalid: {rule}")]
    Node {
        /// The tree.
        tree: TreeId,
        /// The prefix.
        prefix: Prefix,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A row that must not come in this answer.
    #[error("the leader sent row {key} for prefix {prefix} of tree {tree}: {rule}")]
    Row {
        /// The tree.
        tree: TreeId,
        /// The prefix of the want.
        prefix: Prefix,
        /// The row's key.
        key: Key,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A delete that must not come in this answer.
    #[error("the leader sent a delete for prefix {prefix} of tree {tree}: {rule}")]
    Delete {
        /// The tree.
        tree: TreeId,
        /// The prefix of the want.
        prefix: Prefix,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// More rows than the tree has.
    #[error("the leader sent more rows of tree {tree} than the {count} its header counts")]
    TooManyRows {
        /// The tree.
        tree: TreeId,
        /// The header's count.
        count: u64,
    },
    /// The leader said it had sent all, but what is there now is not what it said was there.
    #[error(
        "the leader ended its answer for prefix {prefix} of tree {tree} before it was complete"
    )]
    Incomplete {
        /// The tree.
        tree: TreeId,
        /// The prefix of the want.
        prefix: Prefix,
    },
    /// The tree is not the leader's, although the walk was repeated with whole hashes.
    #[error(
        "tree {tree} has root {found} after the sync, not the leader's {expected}: not installed"
    )]
    RootMismatch {
        /// The tree.
        tree: TreeId,
        /// The header's root.
        expected: Digest,
        /// The root reached.
        found: Digest,
    },
    /// The tree has the leader's root but not the count its header claims.
    #[error(
        "tree {tree} has {found} rows, but the leader's header counts {expected}: not installed"
    )]
    CountMismatch {
        /// The tree.
        tree: TreeId,
        /// The header's count.
        expected: u64,
        /// Rows reached.
        found: u64,
    },
}
