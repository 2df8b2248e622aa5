//! Handing the leadership over. openraft 0.9 cannot do it, so the leader falls silent: it takes no writes and no reads,
//! waits until its successor has its whole log and its lease has run out everywhere, and asks it to stand for
//! election. Whatever comes of it, the leader speaks again at the end. It does not fall silent for a successor that is
//! down or far behind.

use std::sync::atomic::Ordering;

use pando_model::NodeId;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::error::AdminFailure;
use crate::messages::ChangeReply;
use crate::node::Node;
use crate::node::admin::behind;
use crate::transport::PeerRpc;
use crate::wire;

/// Undoes the silence, also when the request is given up.
struct Silence<'a>(&'a Node);

impl<'a> Silence<'a> {
    /// `None` if another hand-over is under way.
    fn begin(node: &'a Node) -> Option<Self> {
        let free = !node.transferring.swap(true, Ordering::AcqRel);
        free.then_some(Self(node))
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        self.0.raft.runtime_config().heartbeat(true);
        self.0.transferring.store(false, Ordering::Release);
    }
}

impl Node {
    /// Hands over as leader; `None` if this node does not lead.
    pub(super) async fn transfer_here(&self, to: NodeId, until: Instant) -> Option<ChangeReply> {
        if to == self.options.id {
            return Some(Ok(()));
        }
        if !self.is_voter(to) {
            let failure = if self.is_learner(to) {
                AdminFailure::NotVoter { id: to }
            } else {
                AdminFailure::UnknownNode { id: to }
            };
            return Some(Err(failure));
        }
        let started = Instant::now();
        let address = self.address_of(to);
        let ready = match &address {
            Some(address) => self.is_up(to, address, until).await,
            None => false,
        };
        if !ready {
            let after = started.elapsed();
            return Some(Err(AdminFailure::NotTransferred { to, after }));
        }
        let Some(_silence) = Silence::begin(self) else {
            return Some(Err(AdminFailure::InProgress));
        };
        let over = timeout_at(until, self.hand_over(to)).await;
        let led_by_it = matches!(over, Ok(true));
        let after = started.elapsed();
        Some(if led_by_it {
            Ok(())
        } else {
            Err(AdminFailure::NotTransferred { to, after })
        })
    }

    /// Whether the leadership went to `to`.
    async fn hand_over(&self, to: NodeId) -> bool {
        let mut metrics = self.raft.metrics();
        let complete = |metrics: &crate::types::RaftMetrics| {
            metrics.replication.is_none() || behind(metrics, to) == Some(0)
        };
        // Nothing is written meanwhile, so a successor that was near the end gets there soon or not at all.
        match timeout(self.options.election_max, metrics.wait_for(complete)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return false,
        }
        self.raft.runtime_config().heartbeat(false);
        // The last heartbeat may have been sent just now; every voter's lease has run out after this.
        sleep(self.options.election_max + self.options.heartbeat).await;
        loop {
            let leader = self.raft.metrics().borrow().current_leader;
            if leader == Some(to) {
                return true;
            }
            if leader.is_some_and(|leader| leader != self.options.id) {
                return false;
            }
            self.ask_to_stand(to).await;
            let mut metrics = self.raft.metrics();
            let elected = metrics.wait_for(|metrics| metrics.current_leader == Some(to));
            // Time for one election; then it is asked again.
            match timeout(self.options.election_min, elected).await {
                Ok(Ok(_)) => return true,
                // The core has ended.
                Ok(Err(_)) => return false,
                Err(_) => {}
            }
        }
    }

    async fn ask_to_stand(&self, to: NodeId) {
        let (Some(address), Ok(body)) = (self.address_of(to), wire::encode(&())) else {
            return;
        };
        let deadline = self.options.call_timeout;
        let asked = self
            .transport
            .call(to, &address, PeerRpc::Elect, body, deadline)
            .await;
        if let Err(error) = asked {
            tracing::info!(to, %error, "the successor was not asked to stand for election");
        }
    }
}
