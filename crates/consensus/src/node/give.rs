//! Gives a view of what is applied here to a member that lost its own state.

use std::sync::Arc;
use std::time::Duration;

use pando_model::NodeId;
use pando_sync::Source as _;

use crate::error::PeerError;
use crate::node::Node;
use crate::session::{Lease, Offer};
use crate::state_machine::describe;
use crate::transport::RefusalCode;

/// How often it is looked whether a view that was given out is still read.
const HOLD_TICK: Duration = Duration::from_secs(1);

impl Node {
    /// Freezes what is applied here for a member that lost its own state, and says how to get it. One that asks again
    /// has given up what it was given before. Refused when it is not its turn: it asks another member, and comes back.
    pub(crate) async fn give_view(self: &Arc<Self>, to: NodeId) -> Result<Offer, PeerError> {
        let vote = self.raft.metrics().borrow().vote;
        let is_member = |id| {
            let metrics = self.raft.metrics().borrow().clone();
            metrics
                .membership_config
                .nodes()
                .any(|(member, _)| *member == id)
        };
        if !is_member(to) {
            let reason = format!("node {to} is no member as far as this node knows");
            return Err(PeerError::new(RefusalCode::Foreign, reason));
        }
        let replica = Arc::clone(&self.replica);
        let frozen = tokio::task::spawn_blocking(move || replica.freeze());
        let view = frozen
            .await
            .map_err(|_| PeerError::new(RefusalCode::Failed, "the thread was lost"))?
            .map_err(|error| PeerError::caused(RefusalCode::Failed, &error))?;
        let meta = describe(view.applied())?
            .ok_or_else(|| PeerError::new(RefusalCode::Busy, "nothing is applied here yet"))?;
        let header = view.header().clone();
        let free = || self.outgoing.free();
        let lease = self.views.open_anew(Arc::clone(&view), to, free);
        let lease = lease.ok_or_else(|| {
            let max = self.options.syncs_outgoing_max;
            let reason = format!("as many followers are served as may be, {max}: ask again later");
            PeerError::new(RefusalCode::Busy, reason)
        })?;
        let offer = Offer {
            vote,
            meta,
            header,
            token: lease.token,
            why: self.book.why().for_repair(),
        };
        tracing::info!(
            follower = to,
            index = offer.header.index,
            "giving a view to repair from"
        );
        let idle = self.options.sync_idle * 3;
        let held = hold(lease, move || Arc::strong_count(&view), idle);
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = held => {}
                () = stopping.cancelled() => {}
            }
        });
        Ok(offer)
    }
}

/// Keeps a view open until no stream has read from it for a while, or it is closed.
async fn hold(lease: Lease, holders: impl Fn() -> usize, idle: Duration) {
    // One here, one in the table of open views; every stream has one more.
    const AT_REST: usize = 2;
    let mut rested = Duration::ZERO;
    while rested < idle {
        tokio::select! {
            () = tokio::time::sleep(HOLD_TICK) => {}
            () = lease.closed() => return,
        }
        if holders() > AT_REST {
            rested = Duration::ZERO;
        } else {
            rested += HOLD_TICK;
        }
    }
    drop(lease);
}
