//! What a node does about trust on its own: compares members on a schedule, drops the kept states of old checks, mends
//! itself, and hands over a lead it should not have.

use std::sync::Arc;
use std::time::Duration;

use pando_merkle::Prefix;
use pando_model::{Command, Consistency, NodeId, TreeId};
use pando_replica::{Checked, FrozenNode, LookRefused};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::error::{ReadFailure, WriteFailure};
use crate::node::Node;

/// The state of a check is kept this long after it was last looked at.
const CHECK_KEPT: Duration = Duration::from_secs(60);
/// How often what is kept is looked through.
const KEPT_INTERVAL: Duration = Duration::from_secs(5);
/// How long a comparison that nobody waits for may take.
const COMPARE_WITHIN: Duration = Duration::from_secs(30);

impl Node {
    /// Starts all of it. Each task ends with the node, wherever it is.
    pub(super) fn watch_over(self: &Arc<Self>) {
        self.watch(Arc::clone(self).mend());
        self.watch(Arc::clone(self).compare_on_schedule());
        self.watch(Arc::clone(self).forget_checks());
        self.watch(Arc::clone(self).resign_when_wrong());
    }

    fn watch(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Writes a check at which every member keeps its trees for a while, without comparing anything. Returns its log
    /// index.
    ///
    /// # Errors
    /// See [`Node::write`].
    pub async fn freeze_members(&self, deadline: Duration) -> Result<u64, WriteFailure> {
        let written = self.write(Command::ConsistencyCheck, None, deadline).await;
        Ok(written?.index)
    }

    /// This node's state at the check of this log index, once it has applied it; none if it is not kept.
    ///
    /// # Errors
    /// When the deadline is over first, the node has stopped, or its state must not be used.
    pub async fn frozen(
        &self,
        index: u64,
        deadline: Duration,
    ) -> Result<Option<Arc<Checked>>, ReadFailure> {
        self.barrier(Consistency::AtLeast(index), deadline).await?;
        self.trust.use_check(index);
        Ok(self.replica.checked(index))
    }

    /// What the tree kept of a check has under these prefixes; see [`pando_replica::Replica::look`].
    ///
    /// # Errors
    /// When the check is not kept, has no such tree, or too much is asked for.
    pub async fn look(
        &self,
        index: u64,
        tree: TreeId,
        prefixes: Vec<Prefix>,
    ) -> Result<Vec<FrozenNode>, LookRefused> {
        self.trust.use_check(index);
        let replica = Arc::clone(&self.replica);
        let looking = tokio::task::spawn_blocking(move || replica.look(index, tree, &prefixes));
        looking.await.unwrap_or_else(|error| {
            Err(LookRefused::Storage {
                reason: error.to_string(),
            })
        })
    }

    /// Also while nothing is written: what was last verified is never much older than an interval, for an entry and a
    /// comparison of roots that are there.
    async fn compare_on_schedule(self: Arc<Self>) {
        let interval = self.options.check_interval;
        if interval.is_zero() {
            return;
        }
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.is_leader() {
                continue;
            }
            let compared = self.verify_here(Instant::now() + COMPARE_WITHIN).await;
            if let Some(Err(error)) = compared {
                tracing::warn!(%error, "the members were not compared");
            }
        }
    }

    async fn forget_checks(self: Arc<Self>) {
        loop {
            sleep(KEPT_INTERVAL).await;
            let checks = self.replica.checks();
            let kept = (self.trust).still_used(&checks, Instant::now().checked_sub(CHECK_KEPT));
            if kept.len() < checks.len() {
                let replica = Arc::clone(&self.replica);
                let forgetting = tokio::task::spawn_blocking(move || {
                    replica.forget_checks(|index| kept.contains(&index));
                });
                if forgetting.await.is_err() {
                    return;
                }
            }
        }
    }

    async fn resign_when_wrong(self: Arc<Self>) {
        loop {
            self.trust.resign.notified().await;
            self.resign(self.trust.successors()).await;
        }
    }

    /// Hands the lead to a member whose state is right, and has that one compare, so that it finds this node wrong.
    async fn resign(&self, successors: Vec<NodeId>) {
        tracing::error!("THIS LEADER'S STATE IS WRONG: it hands over the lead");
        for to in successors {
            if !self.is_voter(to) || !self.is_leader() {
                continue;
            }
            let until = Instant::now() + self.options.change_timeout;
            match self.transfer_here(to, until).await {
                Some(Ok(())) | None => break,
                Some(Err(error)) => {
                    tracing::error!(to, %error, "the lead was not handed over");
                }
            }
        }
        if self.is_leader() {
            tracing::error!("nobody took over the lead; the next check tries again");
        } else if let Err(error) = self.verify(COMPARE_WITHIN).await {
            tracing::warn!(%error, "the members were not compared after the lead was handed over");
        }
    }
}
