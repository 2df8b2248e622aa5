//! The difference of two trees, without looking at what they share.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::key::Key;
use crate::node::{Entry, Leaf};
use crate::prefix::Prefix;
use crate::subtree::Subtree;
use crate::tree::Tree;

/// One key at which two trees differ. At least one side is present, and the digests differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// The leaf in the first tree.
    pub from: Option<Leaf>,
    /// The leaf in the second tree.
    pub to: Option<Leaf>,
}

/// What turns `a` into `b`, in key order and lazily.
///
/// Subtrees that are the same node or have the same digest are skipped whole, so the cost follows
/// the difference. Leaves that differ in hints only are equal.
pub fn diff<'a>(a: &'a Tree, b: &'a Tree) -> Diff<'a> {
    Diff {
        stack: vec![(Prefix::ROOT, a.subtree(), b.subtree())],
        ready: VecDeque::new(),
    }
}

/// Iterator over the changes between two trees; see [`diff`].
pub struct Diff<'a> {
    /// Pairs still to be compared, the next one last. At most fifteen per level wait here.
    stack: Vec<(Prefix, Subtree<'a>, Subtree<'a>)>,
    /// Changes of the last pair of buckets compared.
    ready: VecDeque<Change>,
}

impl Iterator for Diff<'_> {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(change);
            }
            let (prefix, a, b) = self.stack.pop()?;
            self.compare(&prefix, a, b);
        }
    }
}

impl<'a> Diff<'a> {
    fn compare(&mut self, prefix: &Prefix, a: Subtree<'a>, b: Subtree<'a>) {
        if same(prefix, a, b) {
            return;
        }
        if let (Some(a), Some(b)) = (a.bucket(), b.bucket()) {
            merge(a, b, &mut self.ready);
            return;
        }
        let depth = prefix.len_u8();
        for nibble in (0..16).rev() {
            let pair = (a.child(depth, nibble), b.child(depth, nibble));
            if let (Some(prefix), (a, b)) = (prefix.child(nibble), pair) {
                self.stack.push((prefix, a, b));
            }
        }
    }
}

/// Whether two subtrees at `prefix` can be told equal without looking inside.
fn same(prefix: &Prefix, a: Subtree<'_>, b: Subtree<'_>) -> bool {
    match (a, b) {
        (Subtree::Empty, Subtree::Empty) => true,
        (Subtree::Node(a), Subtree::Node(b)) => {
            Arc::ptr_eq(a, b) || (a.count() == b.count() && a.digest(prefix) == b.digest(prefix))
        }
        _ => false,
    }
}

/// Appends the differences of two short sorted lists.
fn merge(mut a: &[Entry], mut b: &[Entry], out: &mut VecDeque<Change>) {
    loop {
        let (from, to) = match (a.first(), b.first()) {
            (None, None) => return,
            (Some(from), Some(to)) if from.0 == to.0 => (Some(from), Some(to)),
            (Some(from), Some(to)) if from.0 > to.0 => (None, Some(to)),
            (None, to) => (None, to),
            (from, _) => (from, None),
        };
        a = &a[usize::from(from.is_some())..];
        b = &b[usize::from(to.is_some())..];
        let (from, to) = (from.copied(), to.copied());
        let Some((key, _)) = from.or(to) else { return };
        let (from, to) = (from.map(|(_, leaf)| leaf), to.map(|(_, leaf)| leaf));
        if from.map(|leaf| leaf.digest) != to.map(|leaf| leaf.digest) {
            out.push_back(Change { key, from, to });
        }
    }
}
