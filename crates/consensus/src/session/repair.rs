//! A node whose stored state is lost gets it from another member, before it takes part in Raft.
//!
//! Its log is whole, and with it all it has promised: what is lost is only what entries came to. Any member may give
//! that, since whatever a member has applied is committed. What is got must reach as far as the log was purged; from
//! there on the log goes on. Until then the node votes for nobody and acknowledges nothing: it is down.

use std::sync::Arc;
use std::time::Duration;

use pando_model::NodeId;
use pando_replica::Replica;
use tokio_util::sync::CancellationToken;

use crate::address::NodeAddress;
use crate::error::chain;
use crate::options::NodeOptions;
use crate::session::Offer;
use crate::session::progress::Progress;
use crate::session::pull::Pull;
use crate::state_machine::describe;
use crate::transport::{PeerRpc, Transport};
use crate::wire;

/// Pause before all members are asked again.
const ROUND_PAUSE: Duration = Duration::from_millis(500);

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

impl Repair {
    /// Asks one member after the other, until one has given its state and it is installed. Returns its log index.
    pub async fn run(self) -> u64 {
        loop {
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
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    async fn from(&self, peer: NodeId, address: &NodeAddress) -> Result<u64, RepairError> {
        let body = wire::encode(&())?;
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
        let offer = Arc::new(offer);
        let pull = Pull {
            replica: Arc::clone(&self.replica),
            transport: Arc::clone(&self.transport),
            options: self.options.clone(),
            progress: Arc::new(Progress::default()),
            leader: peer,
            address: address.clone(),
            offer: Arc::clone(&offer),
            superseded: CancellationToken::new(),
        };
        let delta = pull.run().await?;
        if !describe(delta.applied())?.is_some_and(|meta| meta == offer.meta) {
            return Err(RepairError::Other);
        }
        let replica = Arc::clone(&self.replica);
        let installed = tokio::task::spawn_blocking(move || {
            replica.install(delta)?;
            replica.make_durable()
        });
        installed.await.map_err(|_| RepairError::Lost)??;
        Ok(found)
    }
}
