//! Whether this node's state may be trusted: its quarantine, which outlives the process, and what checks have found.
//!
//! Quarantine is entered in memory first and left on disk first, so that at no moment a state that was found wrong is
//! served. Knows what is so; who decides it is `node/verify`, who mends it `node/quarantine`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pando_model::{GroupId, NodeId};
use pando_storage::{Batch, KvStore, StoredKey, Versioned, codec};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::log_store::LogError;
use crate::status::{TrustStatus, Verified};
use crate::verdict::Verdict;

/// Why this node's state must not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quarantine {
    /// The log index of the check that found it.
    pub(crate) index: u64,
    /// The root here at that index.
    pub(crate) root: [u8; 32],
    /// The root of the majority.
    pub(crate) majority: [u8; 32],
    /// When it was found, in ms since the Unix epoch.
    pub(crate) since_ms: u64,
    /// Whether what differs is written down for the operator. Nothing is mended before.
    pub(crate) evidence: bool,
}

impl Versioned for Quarantine {
    const TAG: u8 = 1;
    type Previous = Self;

    fn upgrade(previous: Self) -> Self {
        previous
    }
}

impl Quarantine {
    /// For people.
    pub(crate) fn reason(&self) -> String {
        let hex = |root: &[u8; 32]| pando_merkle::Digest(*root).short();
        let (index, here, there) = (self.index, hex(&self.root), hex(&self.majority));
        let next = if self.evidence {
            "it is being repaired from the leader"
        } else {
            "what differs is being written down, then it is repaired from the leader"
        };
        format!("at log index {index} its root was {here}, the majority's {there}; {next}")
    }
}

/// What is known of this node's and the members' states.
pub(crate) struct Trust {
    store: Arc<dyn KvStore>,
    group: GroupId,
    quarantine: watch::Sender<Option<Arc<Quarantine>>>,
    /// Held while members are compared: one comparison at a time.
    pub(crate) comparing: tokio::sync::Mutex<()>,
    /// Members found to differ from a majority, and comparisons without a majority.
    divergences: AtomicU64,
    /// The last comparison, and the last that found a majority.
    compared: Mutex<Option<Verified>>,
    verified: Mutex<Option<Verified>>,
    /// Members a repair is under way for.
    repairing: Mutex<BTreeSet<NodeId>>,
    /// When the kept state of each check was last of use.
    used: Mutex<BTreeMap<u64, Instant>>,
    /// Voters of the majority, when this node leads and is not one of them.
    successors: Mutex<Vec<NodeId>>,
    pub(crate) resign: Notify,
}

/// Keeps a second repair of a member away.
pub(crate) struct Repairing(Arc<Trust>, NodeId);

impl Drop for Repairing {
    fn drop(&mut self) {
        self.0.repairing.lock().remove(&self.1);
    }
}

impl Trust {
    /// What the last process knew. Blocks.
    pub(crate) fn open(store: Arc<dyn KvStore>, group: GroupId) -> Result<Arc<Self>, LogError> {
        let stored = store.get(&StoredKey::Quarantine.encode(group))?;
        let decoded = stored.map(|bytes| codec::decode::<Quarantine>(&bytes));
        let quarantine = decoded
            .transpose()
            .map_err(|source| LogError::Record {
                what: "quarantine",
                source,
            })?
            .map(Arc::new);
        if let Some(found) = &quarantine {
            tracing::error!(reason = found.reason(), "this node is quarantined still");
        }
        Ok(Arc::new(Self {
            store,
            group,
            quarantine: watch::Sender::new(quarantine),
            comparing: tokio::sync::Mutex::default(),
            divergences: AtomicU64::new(0),
            compared: Mutex::default(),
            verified: Mutex::default(),
            repairing: Mutex::default(),
            used: Mutex::default(),
            successors: Mutex::default(),
            resign: Notify::new(),
        }))
    }

    /// Why this node's state must not be used, if so.
    pub(crate) fn quarantine(&self) -> Option<Arc<Quarantine>> {
        self.quarantine.borrow().clone()
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        self.quarantine.borrow().is_some()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<Option<Arc<Quarantine>>> {
        self.quarantine.subscribe()
    }

    /// Sets the quarantine, durably. Blocks.
    pub(crate) fn enter(&self, found: Quarantine) -> Result<(), LogError> {
        let value = codec::encode(&found);
        self.quarantine.send_replace(Some(Arc::new(found)));
        let mut batch = Batch::new();
        batch.put(StoredKey::Quarantine.encode(self.group), value);
        self.store.apply(batch)?;
        Ok(self.store.flush()?)
    }

    /// Ends the quarantine. Blocks.
    pub(crate) fn leave(&self) -> Result<(), LogError> {
        let mut batch = Batch::new();
        batch.delete(StoredKey::Quarantine.encode(self.group));
        self.store.apply(batch)?;
        self.store.flush()?;
        self.quarantine.send_replace(None);
        Ok(())
    }

    /// Notes what comparing all members came to. Nothing is verified where no majority agrees.
    pub(crate) fn judged(&self, index: u64, verdict: &Verdict, now_ms: u64) {
        let found = match verdict {
            Verdict::Minority { nodes, .. } => nodes.len() as u64,
            Verdict::NoMajority { .. } => 1,
            Verdict::Equal { .. } | Verdict::Unknown { .. } => 0,
        };
        self.divergences.fetch_add(found, Ordering::Relaxed);
        let compared = Verified {
            index,
            at_ms: now_ms,
            verdict: verdict.clone(),
        };
        if verdict.root().is_some() {
            *self.verified.lock() = Some(compared.clone());
        }
        *self.compared.lock() = Some(compared);
    }

    pub(crate) fn status(&self) -> TrustStatus {
        TrustStatus {
            quarantined: self.is_quarantined(),
            divergences: self.divergences.load(Ordering::Relaxed),
            compared: self.compared.lock().clone(),
            verified: self.verified.lock().clone(),
        }
    }

    /// The place to repair a member; none while it is being repaired.
    pub(crate) fn repair(self: &Arc<Self>, id: NodeId) -> Option<Repairing> {
        let free = self.repairing.lock().insert(id);
        free.then(|| Repairing(Arc::clone(self), id))
    }

    /// Notes that the kept state of a check was of use.
    pub(crate) fn use_check(&self, index: u64) {
        self.used.lock().insert(index, Instant::now());
    }

    /// Of these checks, those last of use (or first seen) after `since`.
    pub(crate) fn still_used(&self, checks: &[u64], since: Option<Instant>) -> BTreeSet<u64> {
        let mut used = self.used.lock();
        used.retain(|index, _| checks.contains(index));
        let now = Instant::now();
        let fresh = checks.iter().filter(|index| {
            let at = *used.entry(**index).or_insert(now);
            since.is_none_or(|since| at >= since)
        });
        fresh.copied().collect()
    }

    /// Has the lead handed to one of these.
    pub(crate) fn resign_to(&self, successors: Vec<NodeId>) {
        *self.successors.lock() = successors;
        self.resign.notify_one();
    }

    pub(crate) fn successors(&self) -> Vec<NodeId> {
        std::mem::take(&mut *self.successors.lock())
    }
}

#[cfg(test)]
mod tests {
    use pando_storage::MemoryStore;

    use super::*;

    fn open(store: &Arc<MemoryStore>) -> Arc<Trust> {
        let store = Arc::clone(store) as Arc<dyn KvStore>;
        Trust::open(store, GroupId::CATALOGUE).unwrap()
    }

    fn found() -> Quarantine {
        Quarantine {
            index: 7,
            root: [1; 32],
            majority: [2; 32],
            since_ms: 5,
            evidence: false,
        }
    }

    #[test]
    fn a_quarantine_outlives_a_crash_and_so_does_its_end() {
        let store = Arc::new(MemoryStore::new());
        let trust = open(&store);
        assert!(!trust.is_quarantined());
        trust.enter(found()).unwrap();
        let store = Arc::new(store.crash());
        let trust = open(&store);
        assert_eq!(*trust.quarantine().unwrap(), found());
        assert!(trust.quarantine().unwrap().reason().contains("01010101"));
        trust.leave().unwrap();
        assert!(!open(&Arc::new(store.crash())).is_quarantined());
    }

    #[test]
    fn only_what_a_majority_agreed_on_is_verified() {
        let trust = open(&Arc::new(MemoryStore::new()));
        let root = [1; 32];
        let nodes = BTreeSet::from([3]);
        let verdicts = [
            (Verdict::Unknown { answered: 1 }, None),
            (Verdict::Equal { root }, Some(2)),
            (Verdict::NoMajority { roots: 2 }, Some(2)),
            (Verdict::Minority { root, nodes }, Some(4)),
            (Verdict::Unknown { answered: 0 }, Some(4)),
        ];
        for (index, (verdict, verified)) in (1..).zip(verdicts) {
            trust.judged(index, &verdict, 10 * index);
            let status = trust.status();
            let compared = status.compared.expect("the last one");
            assert_eq!((compared.index, compared.verdict), (index, verdict));
            let found = status.verified.map(|found| (found.index, found.at_ms));
            assert_eq!(found, verified.map(|index| (index, 10 * index)));
        }
        assert_eq!(trust.status().divergences, 2);
    }

    #[test]
    fn one_repair_of_a_member_at_a_time() {
        let trust = open(&Arc::new(MemoryStore::new()));
        let first = trust.repair(2);
        assert!(first.is_some() && trust.repair(2).is_none());
        assert!(
            trust.repair(3).is_some(),
            "another member is another matter"
        );
        drop(first);
        assert!(trust.repair(2).is_some());
    }
}
