//! Comparing two trees that are not in one place, a few prefixes at a time.
//!
//! Each side says what it has under a prefix ([`Tree::look`]); [`compare`] says where to look next and which keys
//! differ. Only what differs is ever looked at, so the cost follows the difference. What the other side says is not
//! believed: [`Look::check`] refuses what no tree can have.

use thiserror::Error;

use crate::digest::Digest;
use crate::key::Key;
use crate::node::BUCKET_MAX;
use crate::prefix::Prefix;
use crate::tree::{NodeView, Tree};

/// What a tree has under one prefix: children to go on with, or few enough leaves to be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// At most [`BUCKET_MAX`] leaves, in key order; none at all is one of these, too.
    Leaves(Vec<(Key, Digest)>),
    /// More than that: the children's digests in nibble order, `None` for a child without leaves.
    Inner(Box<[Option<Digest>; 16]>),
}

/// A look that no tree has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("at prefix {prefix}: {rule}")]
pub struct LookError {
    /// Where.
    pub prefix: Prefix,
    /// What must hold.
    pub rule: &'static str,
}

/// A key at which two trees differ: at least one side is there, and the digests are not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: Key,
    /// The leaf digest on the first side.
    pub a: Option<Digest>,
    /// The leaf digest on the second side.
    pub b: Option<Digest>,
}

/// What comparing two looks at one prefix comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Where both sides are to be looked at next.
    pub next: Vec<Prefix>,
    /// Keys that differ, in key order.
    pub differences: Vec<Difference>,
}

impl Look {
    /// Refuses what no tree can have at `prefix`.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self, prefix: &Prefix) -> Result<(), LookError> {
        let broken = |rule| {
            Err(LookError {
                prefix: *prefix,
                rule,
            })
        };
        match self {
            Self::Inner(_) if prefix.child(0).is_none() => broken("a whole key has no children"),
            Self::Inner(children) if children.iter().all(Option::is_none) => {
                broken("a node has a child")
            }
            Self::Inner(_) => Ok(()),
            Self::Leaves(leaves) if leaves.len() > BUCKET_MAX => {
                broken("a bucket holds no more leaves than its limit")
            }
            Self::Leaves(leaves) if !leaves.iter().all(|(key, _)| prefix.contains(key)) => {
                broken("a leaf lies under its prefix")
            }
            Self::Leaves(leaves) if !leaves.is_sorted_by(|(a, _), (b, _)| a < b) => {
                broken("leaves are in key order")
            }
            Self::Leaves(_) => Ok(()),
        }
    }

    /// What is known of the child at `nibble`: its digest if it was said, or whether there is anything.
    fn child(&self, depth: u8, nibble: usize) -> (Option<Digest>, bool) {
        match self {
            Self::Inner(children) => {
                let digest = children.get(nibble).copied().flatten();
                (digest, digest.is_some())
            }
            Self::Leaves(leaves) => {
                let under = |(key, _): &(Key, Digest)| usize::from(key.nibble(depth)) == nibble;
                (None, leaves.iter().any(under))
            }
        }
    }
}

impl Tree {
    /// What lies under `prefix`, for comparison with another tree.
    #[must_use]
    pub fn look(&self, prefix: &Prefix) -> Look {
        match self.node(prefix) {
            NodeView::Inner { children, .. } => Look::Inner(children),
            NodeView::Empty | NodeView::Bucket { .. } => {
                let leaves = self.leaves(prefix);
                Look::Leaves(leaves.map(|(key, leaf)| (key, leaf.digest)).collect())
            }
        }
    }
}

/// Compares what two trees have under one prefix.
#[must_use]
pub fn compare(prefix: &Prefix, a: &Look, b: &Look) -> Compared {
    if let (Look::Leaves(a), Look::Leaves(b)) = (a, b) {
        return Compared {
            next: Vec::new(),
            differences: merge(a, b),
        };
    }
    let depth = prefix.len_u8();
    let next = prefix.children().enumerate().filter(|(nibble, _)| {
        match (a.child(depth, *nibble), b.child(depth, *nibble)) {
            ((None, false), (None, false)) => false,
            ((Some(a), _), (Some(b), _)) => a != b,
            // One side is there, or lists leaves whose digest it did not say.
            _ => true,
        }
    });
    Compared {
        next: next.map(|(_, child)| child).collect(),
        differences: Vec::new(),
    }
}

fn merge(mut a: &[(Key, Digest)], mut b: &[(Key, Digest)]) -> Vec<Difference> {
    let mut found = Vec::new();
    loop {
        let (from, to) = match (a.first(), b.first()) {
            (None, None) => return found,
            (Some(from), Some(to)) if from.0 == to.0 => (Some(from), Some(to)),
            (Some(from), Some(to)) if from.0 > to.0 => (None, Some(to)),
            (None, to) => (None, to),
            (from, _) => (from, None),
        };
        a = &a[usize::from(from.is_some())..];
        b = &b[usize::from(to.is_some())..];
        let Some((key, _)) = from.or(to) else {
            return found;
        };
        let digest = |side: Option<&(Key, Digest)>| side.map(|(_, digest)| *digest);
        let (a, b) = (digest(from), digest(to));
        if a != b {
            found.push(Difference { key: *key, a, b });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::Leaf;

    fn leaf(content: u8) -> Leaf {
        Leaf {
            digest: Digest([content; 32]),
            bytes: 1,
            index: 1,
        }
    }

    fn tree(rows: &[(u16, u8)]) -> Tree {
        let key = |n: u16| Key::derive(&[1; 16], &n.to_be_bytes());
        rows.iter().map(|(n, c)| (key(*n), leaf(*c))).collect()
    }

    /// All differences, and how many looks they took.
    fn walk(a: &Tree, b: &Tree) -> (Vec<Difference>, usize) {
        let (mut found, mut looks) = (Vec::new(), 0);
        let mut open = vec![Prefix::ROOT];
        while let Some(prefix) = open.pop() {
            let (a, b) = (a.look(&prefix), b.look(&prefix));
            a.check(&prefix).unwrap();
            b.check(&prefix).unwrap();
            looks += 1;
            let compared = compare(&prefix, &a, &b);
            found.extend(compared.differences);
            open.extend(compared.next.into_iter().rev());
        }
        (found, looks)
    }

    proptest! {
        #[test]
        fn walking_finds_what_diff_finds(
            a in prop::collection::btree_map(0..400_u16, 0..3_u8, 0..300),
            b in prop::collection::btree_map(0..400_u16, 0..3_u8, 0..300),
        ) {
            let rows = |map: std::collections::BTreeMap<u16, u8>| map.into_iter().collect::<Vec<_>>();
            let (a, b) = (tree(&rows(a)), tree(&rows(b)));
            let whole = |change: crate::Change| Difference {
                key: change.key,
                a: change.from.map(|leaf| leaf.digest),
                b: change.to.map(|leaf| leaf.digest),
            };
            let expected: Vec<_> = crate::diff(&a, &b).map(whole).collect();
            prop_assert_eq!(walk(&a, &b).0, expected);
        }
    }

    #[test]
    fn the_cost_follows_the_difference() {
        let rows: Vec<(u16, u8)> = (0..20_000).map(|n| (n, 1)).collect();
        let mut other = rows.clone();
        other[7].1 = 2;
        let (found, looks) = walk(&tree(&rows), &tree(&other));
        assert_eq!(found.len(), 1);
        assert!(looks <= 6, "{looks} looks for one difference");
    }

    #[test]
    fn what_no_tree_has_is_refused() {
        let inner = Prefix::ROOT.child(3).unwrap();
        let key = Key::from_bytes([0x30; 16]);
        let outside = Key::from_bytes([0x40; 16]);
        let digest = Digest([1; 32]);
        let rule = |look: Look, prefix: &Prefix| look.check(prefix).unwrap_err().rule;
        assert!(rule(Look::Leaves(vec![(outside, digest)]), &inner).contains("under its prefix"));
        assert!(rule(Look::Leaves(vec![(key, digest); 2]), &inner).contains("key order"));
        assert!(rule(Look::Leaves(vec![(key, digest); 33]), &inner).contains("limit"));
        assert!(rule(Look::Inner(Box::default()), &inner).contains("has a child"));
        let whole = Prefix::of(&key, 32);
        let children = Look::Inner(Box::new([Some(digest); 16]));
        assert!(rule(children, &whole).contains("no children"));
        assert!(Look::Leaves(vec![(key, digest)]).check(&inner).is_ok());
    }
}
