//! Takes the leader's offers: one at a time, the newest first, and each to its end.
//!
//! An offer is worked on in a task of its own, so that a broken call never leaves an install halfway. A newer offer
//! cuts short the pull of an older one, whose staged rows it goes on from; an install is never cut short.

use std::sync::Arc;

use pando_model::NodeId;
use pando_replica::{Replica, StagedDelta};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::catch_up::{CatchUpReason, CatchUpWhy};
use crate::error::PeerError;
use crate::options::NodeOptions;
use crate::session::progress::Progress;
use crate::session::pull::Pull;
use crate::session::{Accepted, Offer};
use crate::state_machine::describe;
use crate::transport::{RefusalCode, Transport};
use crate::trust::Trust;
use crate::types::{LogId, Raft, Snapshot, SnapshotHandle, Vote};

/// The follower's side of snapshot offers.
pub(crate) struct Incoming {
    pub(crate) replica: Arc<Replica>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) options: NodeOptions,
    pub(crate) progress: Arc<Progress>,
    trust: Arc<Trust>,
    pub(crate) tasks: TaskTracker,
    /// The offer worked on, and how to cut its pull short.
    current: Mutex<Option<(Vote, CancellationToken)>>,
    /// Held while an offer is worked on.
    slot: Arc<tokio::sync::Mutex<()>>,
}

impl Incoming {
    pub(crate) fn new(
        replica: Arc<Replica>,
        transport: Arc<dyn Transport>,
        options: NodeOptions,
        progress: Arc<Progress>,
        trust: Arc<Trust>,
    ) -> Arc<Self> {
        Arc::new(Self {
            replica,
            transport,
            options,
            progress,
            trust,
            tasks: TaskTracker::new(),
            current: Mutex::default(),
            slot: Arc::default(),
        })
    }

    /// Takes an offer and answers when it is installed.
    pub(crate) async fn take(
        self: &Arc<Self>,
        raft: &Raft,
        from: NodeId,
        offer: Offer,
    ) -> Result<Accepted, PeerError> {
        fail::fail_point!("sync::offer", |_| Err(PeerError::new(
            RefusalCode::Busy,
            "the fail point sync::offer is set"
        )));
        // Only that: whether its state is here already cannot be said while an install is under way, since openraft
        // counts that as committed from its beginning.
        if let Some(answer) = stale(raft, &offer).await? {
            return Ok(answer);
        }
        let superseded = self.supersede(offer.vote)?;
        let arrived = Instant::now();
        let (this, raft) = (Arc::clone(self), raft.clone());
        let session = async move {
            let _slot = this.slot.lock().await;
            let done = this.work(&raft, from, offer, arrived, superseded).await;
            this.progress.session_over();
            done
        };
        let work = self.tasks.spawn(session.in_current_span());
        work.await.unwrap_or_else(|_| {
            Err(PeerError::new(
                RefusalCode::Failed,
                "the session's task was lost",
            ))
        })
    }

    /// Cuts short whatever is worked on, and waits for its end.
    pub(crate) async fn stop(&self) {
        if let Some((_, running)) = self.current.lock().take() {
            running.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn supersede(&self, vote: Vote) -> Result<CancellationToken, PeerError> {
        if self.tasks.is_closed() {
            return Err(PeerError::new(
                RefusalCode::Stopped,
                "this node is shutting down",
            ));
        }
        let mut current = self.current.lock();
        if let Some((running, token)) = &*current {
            if *running > vote {
                return Err(PeerError::new(
                    RefusalCode::Stale,
                    "an offer of a newer leader is being worked on",
                ));
            }
            token.cancel();
        }
        let token = CancellationToken::new();
        *current = Some((vote, token.clone()));
        Ok(token)
    }

    /// A state that was found wrong says nothing by its log index, so it takes no part in what lineage saves.
    fn pull_options(&self) -> NodeOptions {
        let mut options = self.options.clone();
        options.sync_lineage &= !self.trust.is_quarantined();
        options
    }

    async fn work(
        &self,
        raft: &Raft,
        from: NodeId,
        offer: Offer,
        arrived: Instant,
        superseded: CancellationToken,
    ) -> Result<Accepted, PeerError> {
        // The one before this has come to its end, and may have been installed.
        if let Some(settled) = settled(raft, &offer).await? {
            return Ok(self.leave(settled));
        }
        let had = raft.metrics().borrow().last_log_index;
        let why = why(had, &offer);
        let index = offer.header.index;
        self.progress.session_began(arrived, from, index, why);
        let malformed = |reason: &str| PeerError::new(RefusalCode::Malformed, reason);
        let address = offer
            .meta
            .last_membership
            .membership()
            .get_node(&from)
            .cloned();
        let address = address
            .ok_or_else(|| malformed("the offer's membership does not say where its sender is"))?;
        tracing::info!(
            leader = from,
            index,
            reason = why.reason.code(),
            had,
            log_kept_from = why.kept_from,
            "catching up by delta"
        );
        let offer = Arc::new(offer);
        let pull = Pull {
            replica: Arc::clone(&self.replica),
            transport: Arc::clone(&self.transport),
            options: self.pull_options(),
            progress: Arc::clone(&self.progress),
            leader: from,
            address,
            offer: Arc::clone(&offer),
            superseded,
        };
        let delta = pull.run().await.map_err(|error| {
            Progress::add(&self.progress.outcomes.failed, 1);
            tracing::warn!(leader = from, %error, "catching up by delta failed");
            PeerError::caused(RefusalCode::Failed, &error)
        })?;
        if describe(delta.applied())?.as_ref() != Some(&offer.meta) {
            return Err(malformed(
                "the offer's snapshot is not the state its header describes",
            ));
        }
        fail::fail_point!("sync::before_install", |_| Err(PeerError::new(
            RefusalCode::Failed,
            "the fail point sync::before_install is set"
        )));
        // The log may have brought it meanwhile, from another leader.
        if let Some(settled) = settled(raft, &offer).await? {
            if settled.needless {
                self.discard(delta).await?;
            }
            return Ok(self.leave(settled));
        }
        self.progress.installing();
        let snapshot = Box::new(SnapshotHandle::Staged(Box::new(delta)));
        let snapshot = Snapshot {
            meta: offer.meta.clone(),
            snapshot,
        };
        let installed = raft.install_full_snapshot(offer.vote, snapshot).await;
        let vote = installed
            .map_err(|error| PeerError::caused(RefusalCode::Failed, &error))?
            .vote;
        let mended = self.trust.mended(raft, &self.replica, &offer.header);
        mended.await?;
        if self.replica.applied().index() >= offer.header.index {
            self.progress.installed(index);
            tracing::info!(
                leader = from,
                index = offer.header.index,
                "caught up by delta"
            );
        }
        Ok(Accepted { vote })
    }
}

impl Incoming {
    /// Leaves an offer there is nothing to do for. What was staged for a leader that is not one any more belongs to the
    /// catch-up that the next one goes on with.
    fn leave(&self, settled: Settled) -> Accepted {
        self.progress.session_needless(settled.needless);
        settled.answer
    }

    /// The state is here: nobody goes on from what was staged.
    async fn discard(&self, delta: StagedDelta) -> Result<(), PeerError> {
        let replica = Arc::clone(&self.replica);
        let discarded = tokio::task::spawn_blocking(move || replica.discard(delta)).await;
        discarded
            .map_err(|_| PeerError::new(RefusalCode::Failed, "the thread was lost"))?
            .map_err(|error| PeerError::caused(RefusalCode::Failed, &error))
    }
}

/// An offer there is nothing to do for.
struct Settled {
    answer: Accepted,
    /// Its state is here already; else its leader is not one any more.
    needless: bool,
}

/// Why the offer was made to a node whose log ends at `had`.
pub(super) fn why(had: Option<u64>, offer: &Offer) -> CatchUpWhy {
    let reason = match had {
        _ if offer.why.repair => CatchUpReason::Repair,
        None => CatchUpReason::NewNode,
        Some(_) => CatchUpReason::LogPurged(offer.why.cause),
    };
    CatchUpWhy {
        reason,
        had,
        kept_from: offer.why.kept_from,
        replay_bytes: offer.why.replay_bytes(had.unwrap_or_default()),
    }
}

/// The answer to an offer whose leader is not one any more.
async fn stale(raft: &Raft, offer: &Offer) -> Result<Option<Accepted>, PeerError> {
    let (vote, _) = vote_and_committed(raft).await?;
    Ok((vote > offer.vote).then_some(Accepted { vote }))
}

/// The answer to an offer there is nothing to do for: its leader is not one any more, or its state is here already.
/// To be asked in the slot.
async fn settled(raft: &Raft, offer: &Offer) -> Result<Option<Settled>, PeerError> {
    let (vote, committed) = vote_and_committed(raft).await?;
    let needless = offer.meta.last_log_id <= committed;
    let answer = Accepted { vote };
    Ok((vote > offer.vote || needless).then_some(Settled { answer, needless }))
}

async fn vote_and_committed(raft: &Raft) -> Result<(Vote, Option<LogId>), PeerError> {
    raft.with_raft_state(|state| (*state.vote_ref(), state.committed))
        .await
        .map_err(|error| PeerError::caused(RefusalCode::Stopped, &error))
}
