//! Who is right: what the reports of all members at one log index come to. Pure.
//!
//! A majority is more than half of the voters: as many as it takes to commit a write, so what they agree on is what was
//! committed. A member that did not answer is unknown, never wrong. Without a majority nobody is called wrong.

use std::collections::{BTreeMap, BTreeSet};

use pando_model::NodeId;
use serde::{Deserialize, Serialize};

/// A replica root.
pub(crate) type Root = [u8; 32];

/// What comparing the members comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// All members that answered have one root, and they are a majority.
    Equal {
        /// The root.
        root: [u8; 32],
    },
    /// A majority has one root; these members, voters or not, have another.
    Minority {
        /// The majority's root.
        root: [u8; 32],
        /// Those that differ from it.
        nodes: BTreeSet<NodeId>,
    },
    /// Members differ and no root has a majority: nobody knows who is right.
    NoMajority {
        /// How many different roots there are.
        roots: usize,
    },
    /// Nobody differs, but too few voters answered to be a majority.
    Unknown {
        /// How many voters answered.
        answered: usize,
    },
}

impl Verdict {
    /// Judges the reports; `None` stands for a member that gave none.
    #[must_use]
    pub fn of(voters: &BTreeSet<NodeId>, reports: &BTreeMap<NodeId, Option<Root>>) -> Self {
        let answered = || {
            let answers = reports.iter();
            answers.filter_map(|(id, root)| Some((*id, (*root)?)))
        };
        let mut votes: BTreeMap<Root, usize> = BTreeMap::new();
        for (id, root) in answered() {
            *votes.entry(root).or_default() += usize::from(voters.contains(&id));
        }
        let majority = votes.iter().find(|(_, count)| **count * 2 > voters.len());
        let Some((root, _)) = majority else {
            return match votes.len() {
                0 | 1 => Self::Unknown {
                    answered: votes.values().sum(),
                },
                roots => Self::NoMajority { roots },
            };
        };
        let root = *root;
        let differ = answered().filter(|(_, other)| *other != root);
        let nodes: BTreeSet<NodeId> = differ.map(|(id, _)| id).collect();
        if nodes.is_empty() {
            Self::Equal { root }
        } else {
            Self::Minority { root, nodes }
        }
    }

    /// The majority's root, if there is a majority.
    #[must_use]
    pub fn root(&self) -> Option<[u8; 32]> {
        match self {
            Self::Equal { root } | Self::Minority { root, .. } => Some(*root),
            Self::NoMajority { .. } | Self::Unknown { .. } => None,
        }
    }

    /// The members that are wrong.
    pub fn minority(&self) -> impl Iterator<Item = NodeId> + '_ {
        let nodes = match self {
            Self::Minority { nodes, .. } => Some(nodes),
            Self::Equal { .. } | Self::NoMajority { .. } | Self::Unknown { .. } => None,
        };
        nodes.into_iter().flatten().copied()
    }

    /// A name for metrics and scripts.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Equal { .. } => "equal",
            Self::Minority { .. } => "minority",
            Self::NoMajority { .. } => "no_majority",
            Self::Unknown { .. } => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges members 1, 2, ..; a letter is a root, a dash no answer, a lower-case letter a learner's root.
    fn judge(members: &str) -> Verdict {
        let reports = (1..).zip(members.bytes()).map(|(id, byte)| {
            let root = (byte != b'-').then_some([byte.to_ascii_uppercase(); 32]);
            (id, root)
        });
        let voters = (1..).zip(members.bytes());
        let voters = voters.filter(|(_, byte)| !byte.is_ascii_lowercase());
        Verdict::of(&voters.map(|(id, _)| id).collect(), &reports.collect())
    }

    const A: Root = [b'A'; 32];

    fn minority(nodes: &[NodeId]) -> Verdict {
        Verdict::Minority {
            root: A,
            nodes: nodes.iter().copied().collect(),
        }
    }

    #[test]
    fn one_root_everywhere_is_equal() {
        for members in ["A", "AA", "AAA", "AA-", "AAA--", "AAAa", "AAA-a"] {
            assert_eq!(judge(members), Verdict::Equal { root: A }, "{members}");
        }
    }

    #[test]
    fn who_differs_from_a_majority_is_wrong() {
        assert_eq!(judge("AAB"), minority(&[3]));
        assert_eq!(judge("BAA"), minority(&[1]));
        assert_eq!(judge("ABAAC"), minority(&[2, 5]));
        assert_eq!(judge("AAAB-"), minority(&[4]), "who is silent is not");
        assert_eq!(judge("AAb"), minority(&[3]), "a learner can be wrong, too");
        assert_eq!(judge("AAB").root(), Some(A));
        assert_eq!(judge("ABAAC").minority().collect::<Vec<_>>(), [2, 5]);
    }

    #[test]
    fn without_a_majority_nobody_is_wrong() {
        assert_eq!(judge("AB"), Verdict::NoMajority { roots: 2 });
        assert_eq!(judge("AABB"), Verdict::NoMajority { roots: 2 });
        assert_eq!(judge("ABC"), Verdict::NoMajority { roots: 3 });
        assert_eq!(
            judge("AAB--"),
            Verdict::NoMajority { roots: 2 },
            "two of five are no majority, though two are more than one"
        );
        assert_eq!(
            judge("A-a"),
            Verdict::Unknown { answered: 1 },
            "learners have no say"
        );
        assert_eq!(judge("A--"), Verdict::Unknown { answered: 1 });
        assert_eq!(judge("--"), Verdict::Unknown { answered: 0 });
        assert_eq!(judge("AB").minority().count(), 0);
        assert_eq!(judge("ABC").root(), None);
    }
}
