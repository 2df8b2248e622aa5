//! Which keys differ between this node and another at one check, by walking both kept trees; tree metadata only.

use std::collections::{BTreeMap, BTreeSet};

use pando_merkle::{Digest, Look, LookError, Prefix, compare};
use pando_model::{CheckReport, NodeId, TreeId};
use pando_replica::{FrozenNode, LookRefused, PREFIXES_PER_LOOK_MAX};
use thiserror::Error;
use tokio::time::Instant;

use crate::address::NodeAddress;
use crate::evidence::{self, Header, KEYS_MAX, Line, Side};
use crate::messages::{LookReply, TrustRequest};
use crate::node::Node;
use crate::node::quarantine::TrustCallError;
use crate::trust::Quarantine;

/// Why what differs was not written down.
#[derive(Debug, Error)]
pub(super) enum EvidenceError {
    #[error("the leader cannot be asked what it has")]
    Call(#[from] TrustCallError),
    #[error("the leader does not say what it has: {0}")]
    Report(String),
    #[error("the leader says what no tree has")]
    Look(#[from] LookError),
    #[error("the leader answered {got} prefixes of {asked}")]
    Short { asked: usize, got: usize },
    #[error("it cannot be told: {0}")]
    Refused(#[from] LookRefused),
    #[error("not all of it can be told yet: {reason}")]
    Incomplete { reason: String },
    #[error("the file cannot be written")]
    Write(#[from] std::io::Error),
    #[error("the task was lost")]
    Lost,
}

impl EvidenceError {
    /// Whether there is more to be told, perhaps, by another try.
    pub(super) fn is_incomplete(&self) -> bool {
        matches!(self, Self::Incomplete { .. })
    }
}

/// What was found to differ.
#[derive(Default)]
struct Found {
    keys: u64,
    lines: Vec<Line>,
    /// Why a part of it was not found out, if so.
    missed: Option<String>,
}

impl Found {
    fn miss(&mut self, refused: &LookRefused) {
        self.missed.get_or_insert_with(|| refused.to_string());
    }
}

impl Node {
    /// Writes down what differs between this node and a member of the majority, as far as it can be told; and why no
    /// more. What storage does not give is worth another try, unless this is the `last`.
    pub(super) async fn write_evidence(
        &self,
        quarantine: &Quarantine,
        peer: (NodeId, &NodeAddress),
        last: bool,
    ) -> Result<(), EvidenceError> {
        let Some(dir) = self.options.evidence_dir.clone() else {
            return Ok(());
        };
        let index = quarantine.index;
        if evidence::path(&dir, index).exists() {
            return Ok(());
        }
        let mut found = Found::default();
        let gone = match self.differences(index, peer, &mut found).await {
            Ok(()) => false,
            Err(EvidenceError::Refused(refused)) => {
                found.miss(&refused);
                refused.is_final()
            }
            Err(error) => return Err(error),
        };
        let missed = found.missed.take();
        // What was kept of that check is gone, here or there, or storage goes on failing: no more will be told.
        if let Some(reason) = missed.clone().filter(|_| !gone && !last) {
            return Err(EvidenceError::Incomplete { reason });
        }
        let (unknown, incomplete) = if found.keys == 0 {
            (missed, None)
        } else {
            (None, missed)
        };
        let header = Header {
            index,
            root_here: Digest(quarantine.root).to_string(),
            root_majority: Digest(quarantine.majority).to_string(),
            found_ms: quarantine.since_ms,
            node: self.options.id,
            peer: peer.0,
            keys: found.keys,
            listed: found.lines.len() as u64,
            unknown,
            incomplete,
        };
        let writing =
            tokio::task::spawn_blocking(move || evidence::write(&dir, &header, &found.lines));
        let file = writing.await.map_err(|_| EvidenceError::Lost)??;
        let (keys, file) = (found.keys, file.display().to_string());
        tracing::error!(index, keys, file, "what differs is written down");
        Ok(())
    }

    async fn differences(
        &self,
        index: u64,
        peer: (NodeId, &NodeAddress),
        found: &mut Found,
    ) -> Result<(), EvidenceError> {
        let not_kept = LookRefused::NotKept { index };
        let own = self.replica.checked(index).ok_or(not_kept.clone())?;
        let until = Instant::now() + self.options.call_timeout;
        let theirs = self.call_report(peer.0, peer.1, index, until).await;
        let theirs = match theirs {
            Ok(report) => report,
            // Only a look tells whether it is gone for good.
            Err(reason) => {
                let look = self.look_there(index, TreeId::SYSTEM, vec![Prefix::ROOT], peer);
                look.await?;
                return Err(EvidenceError::Report(reason));
            }
        };
        let (ours, theirs) = (trees(own.report()), trees(&theirs));
        let ids: BTreeSet<TreeId> = ours.keys().chain(theirs.keys()).copied().collect();
        for tree in ids {
            let (here, there) = (ours.get(&tree), theirs.get(&tree));
            if here.map(|(_, root)| root) == there.map(|(_, root)| root) {
                continue;
            }
            let name = here.or(there).map_or("", |(name, _)| name.as_str());
            let sides = (here.is_some(), there.is_some());
            self.walk(index, (tree, name), sides, peer, found).await?;
        }
        Ok(())
    }

    /// Walks one tree, a bounded number of prefixes at a time, the deepest first so that few are open. Once one of them
    /// cannot be looked at, each is looked at by itself, so that no other is missed.
    async fn walk(
        &self,
        index: u64,
        (tree, name): (TreeId, &str),
        sides: (bool, bool),
        peer: (NodeId, &NodeAddress),
        found: &mut Found,
    ) -> Result<(), EvidenceError> {
        let mut open = vec![Prefix::ROOT];
        let mut at_once = PREFIXES_PER_LOOK_MAX;
        while !open.is_empty() {
            let prefixes = open.split_off(open.len().saturating_sub(at_once));
            let looked = self.look_at_both(index, tree, sides, &prefixes, peer);
            let (ours, theirs) = match looked.await {
                Ok(nodes) => nodes,
                Err(EvidenceError::Refused(refused)) if !refused.is_final() => {
                    if prefixes.len() > 1 {
                        at_once = 1;
                        open.extend(prefixes);
                    } else {
                        found.miss(&refused);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            for ((prefix, ours), theirs) in prefixes.iter().zip(&ours).zip(&theirs) {
                let (a, b): (Look, Look) = (ours.look(), theirs.look());
                b.check(prefix)?;
                let compared = compare(prefix, &a, &b);
                open.extend(compared.next.into_iter().rev());
                for difference in compared.differences {
                    found.keys += 1;
                    if found.lines.len() < KEYS_MAX {
                        let key = difference.key;
                        let (here, there) = (side(ours, key), side(theirs, key));
                        found.lines.push(Line::new(name, tree, key, &here, &there));
                    }
                }
            }
        }
        Ok(())
    }

    /// What is under prefixes of a tree on both sides; nothing on a side that has no such tree.
    async fn look_at_both(
        &self,
        index: u64,
        tree: TreeId,
        (here, there): (bool, bool),
        prefixes: &[Prefix],
        peer: (NodeId, &NodeAddress),
    ) -> Result<(Vec<FrozenNode>, Vec<FrozenNode>), EvidenceError> {
        let none = || vec![FrozenNode::Leaves(Vec::new()); prefixes.len()];
        let ours = if here {
            self.look(index, tree, prefixes.to_vec()).await?
        } else {
            none()
        };
        let theirs = if there {
            let looked = self.look_there(index, tree, prefixes.to_vec(), peer);
            looked.await?
        } else {
            none()
        };
        Ok((ours, theirs))
    }

    async fn look_there(
        &self,
        index: u64,
        tree: TreeId,
        prefixes: Vec<Prefix>,
        peer: (NodeId, &NodeAddress),
    ) -> Result<Vec<FrozenNode>, EvidenceError> {
        let asked = prefixes.len();
        let request = TrustRequest::Look {
            index,
            tree,
            prefixes,
        };
        let reply: LookReply = self.ask_trust(peer, &request).await?;
        let nodes = reply?;
        if nodes.len() != asked {
            let got = nodes.len();
            return Err(EvidenceError::Short { asked, got });
        }
        Ok(nodes)
    }
}

/// Names and roots of the trees of a report.
fn trees(report: &CheckReport) -> BTreeMap<TreeId, (String, [u8; 32])> {
    let system = (TreeId::SYSTEM, (String::new(), report.system));
    let collections = report.collections.iter();
    let named = collections.map(|found| (found.tree, (found.name.to_string(), found.root)));
    named.chain([system]).collect()
}

fn side(node: &FrozenNode, key: pando_merkle::Key) -> Side {
    let FrozenNode::Leaves(leaves) = node else {
        return Side::default();
    };
    let leaf = leaves.iter().find(|leaf| leaf.key == key);
    leaf.map_or_else(Side::default, |leaf| Side {
        digest: Some(leaf.digest),
        id: leaf.id.clone(),
        version: leaf.version,
        unreadable: leaf.unreadable,
    })
}
