//! What a node does whose state was found wrong, and what its leader does for it.
//!
//! A quarantined node serves nothing. It goes on taking log entries and counts towards commits, since its log is as good
//! as any; but it is told nothing of what is committed, so its state stands still at an index below the leader's next
//! check. That makes the leader's view always newer than its state, which is what an install takes. It writes down what
//! differs, asks the leader for an offer, pulls it like any catch-up, and is free when its root is the one offered.
//!
//! Every step can be cut off: the quarantine is on disk from before the first to after the last, and whoever finds it
//! there begins again.

use std::sync::Arc;
use std::time::Duration;

use openraft::raft::AppendEntriesRequest;
use pando_model::NodeId;
use pando_replica::{Replica, ReplicaError};
use pando_sync::{SnapshotHeader, Source};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::address::NodeAddress;
use crate::error::{PeerError, ReadFailure, chain};
use crate::log_store::LogError;
use crate::messages::{LookReply, TrustRequest};
use crate::node::Node;
use crate::node::differences::EvidenceError;
use crate::session::{OfferError, Offered, send_offer};
use crate::state_machine::describe;
use crate::transport::{PeerRpc, RefusalCode, TransportError};
use crate::trust::{Quarantine, Repairing, Trust};
use crate::types::{Fatal, Raft, TypeConfig};
use crate::wire::{self, WireError};

/// How long the comparison before and after a repair may take.
const COMPARE_WITHIN: Duration = Duration::from_secs(10);
/// Pause before a step that failed is tried again: the first, and the longest.
const STEP_PAUSE: Duration = Duration::from_millis(200);
const STEP_PAUSE_MAX: Duration = Duration::from_secs(10);

/// How often what differs is looked for again where storage does not tell, before less is written down.
const EVIDENCE_TRIES: u32 = 5;
/// How long a repair waits in line for its turn to be served. Given up then; the member asks again.
const TURN_WITHIN: Duration = Duration::from_secs(30);

/// Why a state was not offered for repair, or not taken.
#[derive(Debug, Error)]
enum RepairError {
    #[error("its turn to be served has not come within {after:?}")]
    Busy { after: Duration },
    #[error("the state cannot be frozen")]
    Freeze(#[from] ReplicaError),
    #[error("the state cannot be described")]
    Describe(#[from] WireError),
    #[error("nothing was applied here yet")]
    Nothing,
    #[error("the consensus core has ended")]
    Core(#[from] Fatal),
    #[error("the member did not take it")]
    Offer(#[from] OfferError),
    #[error("the task was lost")]
    Lost,
}

/// Why a call about trust brought nothing.
#[derive(Debug, Error)]
pub(super) enum TrustCallError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Why a step of the repair was not made.
#[derive(Debug, Error)]
enum StepError {
    #[error("no leader is known")]
    NoLeader,
    #[error("what differs is not written down yet")]
    Evidence(#[from] EvidenceError),
    #[error("the leader offers nothing")]
    Call(#[from] TrustCallError),
    #[error("the quarantine cannot be stored")]
    Store(#[from] LogError),
    #[error("the task was lost")]
    Lost,
}

fn refuse(code: RefusalCode, reason: impl ToString) -> PeerError {
    PeerError::new(code, reason)
}

impl Trust {
    /// Ends the quarantine if the state is now the one that was offered. To be called after an install.
    pub(crate) async fn mended(
        self: &Arc<Self>,
        raft: &Raft,
        replica: &Replica,
        offered: &SnapshotHeader,
    ) -> Result<(), PeerError> {
        if !self.is_quarantined() {
            return Ok(());
        }
        fail::fail_point!("trust::installed", |_| Err(refuse(
            RefusalCode::Failed,
            "the fail point trust::installed is set"
        )));
        let applied = replica.applied();
        if (applied.index(), applied.root) != (offered.index, offered.root) {
            let reason = "what was installed is not what was offered: the quarantine stands";
            return Err(refuse(RefusalCode::Failed, reason));
        }
        let trust = Arc::clone(self);
        let left = tokio::task::spawn_blocking(move || trust.leave()).await;
        left.map_err(|error| refuse(RefusalCode::Failed, error))?
            .map_err(|error| PeerError::caused(RefusalCode::Failed, &error))?;
        raft.runtime_config().elect(true);
        let (index, root) = (applied.index(), applied.root);
        tracing::warn!(index, %root, "this node is repaired and serves again");
        Ok(())
    }
}

impl Node {
    /// Refuses a read while this node's state must not be used.
    pub(super) fn check_trusted(&self) -> Result<(), ReadFailure> {
        match self.trust.quarantine() {
            None => Ok(()),
            Some(found) => Err(ReadFailure::Quarantined {
                index: found.index,
                reason: found.reason(),
            }),
        }
    }

    /// Refuses what a quarantined node must not do for others. It takes the log, votes, and is mended; no more.
    pub(super) fn check_answers(&self, rpc: PeerRpc) -> Result<(), PeerError> {
        let Some(found) = self.trust.quarantine() else {
            return Ok(());
        };
        match rpc {
            PeerRpc::Append | PeerRpc::Vote | PeerRpc::Report | PeerRpc::Trust => Ok(()),
            PeerRpc::SnapshotOffer if found.evidence => Ok(()),
            PeerRpc::SnapshotOffer => Err(refuse(
                RefusalCode::Busy,
                "this node writes down what differs in its state before that is replaced",
            )),
            PeerRpc::Propose
            | PeerRpc::ReadIndex
            | PeerRpc::Elect
            | PeerRpc::Rows
            | PeerRpc::View => {
                let reason = format!("this node is quarantined: {}", found.reason());
                Err(refuse(RefusalCode::Failed, reason))
            }
        }
    }

    /// Keeps from a quarantined node what is committed. A follower may always know less of that than its leader.
    pub(super) fn withhold(&self, request: &mut AppendEntriesRequest<TypeConfig>) {
        if self.trust.is_quarantined() {
            request.leader_commit = None;
        }
    }

    pub(super) async fn handle_trust(
        self: &Arc<Self>,
        from: NodeId,
        body: &[u8],
    ) -> Result<Vec<u8>, PeerError> {
        match wire::decode(body)? {
            TrustRequest::Quarantine { index, majority } => {
                self.be_quarantined(from, index, majority).await?;
                Ok(wire::encode(&())?)
            }
            TrustRequest::Look {
                index,
                tree,
                prefixes,
            } => {
                if self.trust.is_quarantined() {
                    let reason = "this node is quarantined: nothing is compared with it";
                    return Err(refuse(RefusalCode::Failed, reason));
                }
                let reply: LookReply = self.look(index, tree, prefixes).await;
                Ok(wire::encode(&reply)?)
            }
            TrustRequest::Repair => {
                self.begin_repair(from)?;
                Ok(wire::encode(&())?)
            }
        }
    }

    pub(super) async fn ask_trust<A: DeserializeOwned>(
        &self,
        (id, address): (NodeId, &NodeAddress),
        request: &(impl Serialize + Sync),
    ) -> Result<A, TrustCallError> {
        let (body, within) = (wire::encode(request)?, self.options.call_timeout);
        let answer = self
            .transport
            .call(id, address, PeerRpc::Trust, body, within)
            .await?;
        Ok(wire::decode(&answer)?)
    }

    /// The leader says that this node is wrong.
    async fn be_quarantined(
        &self,
        from: NodeId,
        index: u64,
        majority: [u8; 32],
    ) -> Result<(), PeerError> {
        if self.leader().is_none_or(|(id, _)| id != from) || self.is_leader() {
            let reason = format!("node {from} is not the leader this node follows");
            return Err(refuse(RefusalCode::Stale, reason));
        }
        if self.trust.is_quarantined() {
            return Ok(());
        }
        let checked = self.replica.checked(index);
        let root = checked.as_ref().map(|checked| checked.report().root);
        if root == Some(majority) {
            let reason = format!("the root here at log index {index} is the majority's");
            return Err(refuse(RefusalCode::Malformed, reason));
        }
        let found = Quarantine {
            index,
            root: root.unwrap_or_default(),
            majority,
            since_ms: self.clock.now_ms(),
            evidence: self.options.evidence_dir.is_none(),
        };
        self.raft.runtime_config().elect(false);
        self.views.withdraw_all();
        let reason = found.reason();
        tracing::error!(
            index,
            leader = from,
            reason,
            "THIS NODE'S STATE IS WRONG: it is quarantined and serves nothing until it is repaired"
        );
        self.store_quarantine(found)
            .await
            .map_err(|error| PeerError::caused(RefusalCode::Failed, &error))
    }

    async fn store_quarantine(&self, found: Quarantine) -> Result<(), StepError> {
        let trust = Arc::clone(&self.trust);
        let stored = tokio::task::spawn_blocking(move || trust.enter(found)).await;
        Ok(stored.map_err(|_| StepError::Lost)??)
    }

    /// While this node is quarantined, does what ends that. Runs until the node stops.
    pub(super) async fn mend(self: Arc<Self>) {
        let mut changes = self.trust.changes();
        loop {
            if changes.wait_for(Option::is_some).await.is_err() {
                return;
            }
            let mut pause = STEP_PAUSE;
            let mut tries = 0;
            while let Some(found) = self.trust.quarantine() {
                let step = self
                    .mend_step(found.as_ref(), tries >= EVIDENCE_TRIES)
                    .await;
                if let Err(error) = step {
                    let incomplete = EvidenceError::is_incomplete;
                    tries += u32::from(matches!(&error, StepError::Evidence(e) if incomplete(e)));
                    let error = chain(&error);
                    tracing::info!(error, "this node is still quarantined");
                }
                tokio::select! {
                    ended = changes.wait_for(Option::is_none) => if ended.is_err() { return },
                    () = sleep(pause) => pause = (pause * 2).min(STEP_PAUSE_MAX),
                }
            }
        }
    }

    /// Does what comes next. `last`: what differs is written down as far as it is known.
    async fn mend_step(&self, found: &Quarantine, last: bool) -> Result<(), StepError> {
        let leader = self.leader().filter(|(id, _)| *id != self.options.id);
        let (id, address) = leader.ok_or(StepError::NoLeader)?;
        if !found.evidence {
            self.write_evidence(found, (id, &address), last).await?;
            let evidence = true;
            self.store_quarantine(Quarantine {
                evidence,
                ..found.clone()
            })
            .await?;
        }
        // One that is under way is not asked for again.
        if self.progress.running().is_none() {
            let () = self
                .ask_trust((id, &address), &TrustRequest::Repair)
                .await?;
        }
        Ok(())
    }

    /// As leader, begins to repair a member.
    fn begin_repair(self: &Arc<Self>, target: NodeId) -> Result<(), PeerError> {
        if !self.is_leader() || self.trust.is_quarantined() {
            let reason = "this node does not lead, or is quarantined itself";
            return Err(refuse(RefusalCode::Stale, reason));
        }
        let address = self
            .address_of(target)
            .ok_or_else(|| refuse(RefusalCode::Malformed, "the caller is not a member"))?;
        let place = self
            .trust
            .repair(target)
            .ok_or_else(|| refuse(RefusalCode::Busy, "its repair is under way"))?;
        let node = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = node.repair(target, address, place) => {}
                () = node.stopping.cancelled() => {}
            }
        });
        Ok(())
    }

    /// Compares, so that this node is known to be right and its state newer than the target's; offers that state; and
    /// compares again when it is installed.
    async fn repair(&self, target: NodeId, address: NodeAddress, _place: Repairing) {
        let compared = self.verify_here(Instant::now() + COMPARE_WITHIN).await;
        let right = match compared {
            Some(Ok(report)) => {
                let wrong = report.verdict.minority().any(|id| id == self.options.id);
                report.verdict.root().is_some() && !wrong
            }
            Some(Err(_)) | None => false,
        };
        if !right {
            tracing::error!(
                target_node = target,
                "no repair: this leader's own state is not shown to be the majority's"
            );
            return;
        }
        if let Err(error) = self.offer_state(target, &address).await {
            let error = chain(&error);
            tracing::warn!(
                target_node = target,
                error,
                "a repair failed; it is begun again"
            );
            return;
        }
        match self.verify_here(Instant::now() + COMPARE_WITHIN).await {
            Some(Ok(report)) if report.verdict.minority().all(|id| id != target) => {
                tracing::info!(target_node = target, index = report.index, "repaired");
            }
            Some(Ok(_)) => tracing::error!(target_node = target, "repaired in vain"),
            Some(Err(_)) | None => {
                tracing::warn!(target_node = target, "repaired, but not compared since");
            }
        }
    }

    /// Waits for a turn first, without a view, and not for ever: those before it may take hours.
    async fn offer_state(&self, target: NodeId, address: &NodeAddress) -> Result<(), RepairError> {
        let after = TURN_WITHIN;
        let turn = self.outgoing.within(after).await;
        let turn = turn.ok_or(RepairError::Busy { after })?;
        let replica = Arc::clone(&self.replica);
        let frozen = tokio::task::spawn_blocking(move || replica.freeze()).await;
        let view = frozen.map_err(|_| RepairError::Lost)??;
        let meta = describe(view.applied())?.ok_or(RepairError::Nothing)?;
        let vote = self.raft.with_raft_state(|state| *state.vote_ref()).await?;
        let target_at = (target, address);
        let index = view.header().index;
        tracing::info!(target_node = target, index, "offering a state for repair");
        let transport = self.transport.as_ref();
        // openraft's own heartbeats go on: to it, no snapshot is under way.
        let offered = Offered {
            vote,
            meta,
            view,
            why: self.book.why().for_repair(),
            turn,
        };
        send_offer(&self.views, transport, target_at, offered).await?;
        Ok(())
    }
}
