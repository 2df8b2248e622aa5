//! The membership as the replica carries it: openraft's record, and every node id the cluster ever had.
//!
//! The ids are part of the replicated state (they follow from the log alone and travel with every snapshot), so that
//! whichever node leads can refuse an id that was used before: a wiped node that came back under its old id would
//! break promises its old self made.

use std::collections::BTreeSet;

use pando_model::NodeId;
use serde::{Deserialize, Serialize};

use crate::types::{LogId, Membership, StoredMembership};
use crate::wire::{self, WireError};

/// What is stored as the membership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Members {
    /// The last membership applied.
    pub(crate) stored: StoredMembership,
    /// Ids of all members there ever were.
    pub(crate) used: BTreeSet<NodeId>,
}

impl Members {
    /// Reads the replica's bytes; none before the first membership.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.is_empty() {
            Ok(Self::default())
        } else {
            wire::decode(bytes)
        }
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, WireError> {
        wire::encode(self)
    }

    /// The record after this membership was applied.
    pub(crate) fn apply(&mut self, log_id: LogId, membership: Membership) {
        self.used.extend(membership.nodes().map(|(id, _)| *id));
        self.stored = StoredMembership::new(Some(log_id), membership);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use openraft::CommittedLeaderId;

    use super::*;
    use crate::address::NodeAddress;

    #[test]
    fn ids_are_remembered_after_their_nodes_are_gone() {
        let id = |index| LogId::new(CommittedLeaderId::new(1, 1), index);
        let membership = |ids: &[NodeId]| {
            let nodes: BTreeMap<_, _> =
                ids.iter().map(|id| (*id, NodeAddress::default())).collect();
            Membership::new(vec![ids.iter().copied().collect()], nodes)
        };
        let mut members = Members::decode(&[]).unwrap();
        members.apply(id(1), membership(&[1, 2, 3]));
        members.apply(id(2), membership(&[1, 3]));
        let read = Members::decode(&members.encode().unwrap()).unwrap();
        assert_eq!(read, members);
        assert_eq!(read.used, BTreeSet::from([1, 2, 3]));
        assert_eq!(read.stored.nodes().count(), 2);
    }
}
