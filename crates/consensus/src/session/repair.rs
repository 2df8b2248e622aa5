//! A node whose stored state is lost gets it from another member, before it takes part in Raft.
//!
//! Its log is whole, and with it all it has promised: what is lost is only what entries came to. Any member may give
//! that, since whatever a member has applied is committed. What is got must reach as far as the log was purged; from
//! there on the log goes on. Until then the node votes for nobody and acknowledges nothing: it is down.

use std::sync::Arc;
use std::time::Duration;

use pando_model::NodeId;
use pando_replica::Replica;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::address::NodeAddress;
use crate::error::chain;
use crate::options::NodeOptions;
use crate::session::Offer;
use crate::session::incoming::why;
use crate::session::progress::{CatchUps, Progress};
use crate::session::pull::Pull;
use crate::state_machine::describe;
use crate::transport::{PeerRpc, Transport};
use crate::wire;

/// Pause before all members are asked again; doubled after each round that brought nothing, ..
const ROUND_PAUSE: Duration = Duration::from_millis(500);
/// .. up to this.
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(10);

/// What a repair needs.
pub struct Repair {
    /// The replica: empty, or as far as an earlier repair came.
    pub replica: Arc<Replica>,
    /// The network.
    pub transport: Arc<dyn Transport>,
    /// The node's settings.
    pub options: NodeOptions,
    /// The members it knew last, itself or not.
    pub peers: Vec<(NodeId, NodeAddress)>,
    /// How far the state must reach.
    pub at_least: u64,
    /// Where it is shown, like any catch-up.
    pub catch_ups: CatchUps,
}

/// Why one member did not give its state.
#[derive(Debug, thiserror::Error)]
enum RepairError {
    #[error(transparent)]
    Transport(#[from] crate::transport::TransportError),
    #[error(transparent)]
    Wire(#[from] wire::WireError),
    #[error(transparent)]
    Pull(#[from] super::pull::PullError),
    #[error("the state at log index {found} is too old, the log here begins behind {at_least}")]
    Old { found: u64, at_least: u64 },
    #[error("the state is not the one its description says")]
    Other,
    #[error(transparent)]
    Replica(#[from] pando_replica::ReplicaError),
    #[error("a thread was lost")]
    Lost,
}

/// The pause after the next round.
struct Pauses(Duration);

impl Pauses {
    /// `moved`: rows came, so that it is worth asking again soon.
    fn next(&mut self, moved: bool) -> Duration {
        let pause = if moved { ROUND_PAUSE } else { self.0 };
        self.0 = (pause * 2).min(ROUND_PAUSE_MAX);
        pause
    }
}

impl Repair {
    /// Asks one member after the other, until one has given its state and it is installed. Returns its log index.
    pub async fn run(self) -> u64 {
        let mut pauses = Pauses(ROUND_PAUSE);
        let progress = &self.catch_ups.0;
        loop {
            let before = progress.rows();
            for (peer, address) in &self.peers {
                if *peer == self.options.id {
                    continue;
                }
                match self.from(*peer, address).await {
                    Ok(index) => return index,
                    Err(error) => {
                        tracing::warn!(peer, error = %chain(&error), "no state from this member yet");
                    }
                }
            }
            tokio::time::sleep(pauses.next(progress.rows() > before)).await;
        }
    }

    async fn from(&self, peer: NodeId, address: &NodeAddress) -> Result<u64, RepairError> {
        let (body, arrived) = (wire::encode(&())?, Instant::now());
        let timeout = self.options.call_timeout;
        let answer = self
            .transport
            .call(peer, address, PeerRpc::View, body, timeout)
            .await?;
        let offer: Offer = wire::decode(&answer)?;
        let (found, at_least) = (offer.header.index, self.at_least);
        if found < at_least {
            return Err(RepairError::Old { found, at_least });
        }
        tracing::warn!(
            peer,
            index = found,
            "repairing the stored state from this member"
        );
        let progress = &self.catch_ups.0;
        let had = self.replica.applied().position;
        let why = why(had.map(|position| position.index), &offer);
        progress.session_began(arrived, peer, found, why);
        let installed = self.pull(peer, address, offer).await;
        match &installed {
            Ok(()) => progress.installed(found),
            Err(_) => Progress::add(&progress.outcomes.failed, 1),
        }
        progress.session_over();
        installed.map(|()| found)
    }

    /// Pulls what is offered, and installs it.
    async fn pull(
        &self,
        peer: NodeId,
        address: &NodeAddress,
        offer: Offer,
    ) -> Result<(), RepairError> {
        let progress = &self.catch_ups.0;
        let offer = Arc::new(offer);
        let pull = Pull {
            replica: Arc::clone(&self.replica),
            transport: Arc::clone(&self.transport),
            options: self.options.clone(),
            progress: Arc::clone(progress),
            leader: peer,
            address: address.clone(),
            offer: Arc::clone(&offer),
            superseded: CancellationToken::new(),
        };
        let delta = pull.run().await?;
        if !describe(delta.applied())?.is_some_and(|meta| meta == offer.meta) {
            return Err(RepairError::Other);
        }
        progress.installing();
        let replica = Arc::clone(&self.replica);
        let installed = tokio::task::spawn_blocking(move || {
            let installed = replica.install(delta)?;
            replica.make_durable()?;
            Ok::<_, pando_replica::ReplicaError>(installed)
        });
        let installed = installed.await.map_err(|_| RepairError::Lost)??;
        progress.install_took(installed.unserved);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_give_nothing_are_asked_less_and_less_often() {
        let mut pauses = Pauses(ROUND_PAUSE);
        let failed: Vec<_> = (0..6).map(|_| pauses.next(false).as_millis()).collect();
        assert_eq!(failed, [500, 1_000, 2_000, 4_000, 8_000, 10_000]);
        assert_eq!(pauses.next(true), ROUND_PAUSE, "rows came");
        assert_eq!(pauses.next(false), ROUND_PAUSE * 2);
    }
}
