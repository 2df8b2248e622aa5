//! openraft's network over a [`Transport`]: bodies are encoded here, answers decoded, failures sorted by whether
//! openraft should try again at once.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::error::{
    RPCError, RaftError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use pando_model::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::address::NodeAddress;
use crate::session::{Views, send_offer};
use crate::transport::{PeerRpc, Transport, TransportError};
use crate::types::{Fatal, Snapshot, SnapshotHandle, TypeConfig, Vote};
use crate::wire::{self, WireError};

type RpcError = RPCError<NodeId, NodeAddress, RaftError<NodeId>>;

/// Makes links to other nodes.
pub(crate) struct Network {
    pub(crate) id: NodeId,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) views: Arc<Views>,
    /// Pause after a failed call.
    pub(crate) pause: Duration,
}

/// The link to one other node.
pub(crate) struct Link {
    id: NodeId,
    target: NodeId,
    address: NodeAddress,
    transport: Arc<dyn Transport>,
    views: Arc<Views>,
    pause: Duration,
}

#[derive(Debug, Error)]
enum CallError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("a snapshot is sent from a frozen view, which this is not")]
    NotFrozen,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &NodeAddress) -> Link {
        Link {
            id: self.id,
            target,
            address: node.clone(),
            transport: Arc::clone(&self.transport),
            views: Arc::clone(&self.views),
            pause: self.pause,
        }
    }
}

impl Link {
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        rpc: PeerRpc,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, CallError> {
        let body = wire::encode(request)?;
        let answer = self
            .transport
            .call(self.target, &self.address, rpc, body, timeout)
            .await?;
        Ok(wire::decode(&answer)?)
    }

    fn rpc_error(&self, action: RPCTypes, error: &CallError) -> RpcError {
        match error {
            CallError::Transport(TransportError::Timeout { after }) => RPCError::Timeout(Timeout {
                action,
                id: self.id,
                target: self.target,
                timeout: *after,
            }),
            // Everything else waits a moment before it is tried again; openraft would repeat it at once otherwise.
            CallError::Transport(
                TransportError::Unreachable { .. }
                | TransportError::Broken { .. }
                | TransportError::Refused { .. },
            )
            | CallError::Wire(_)
            | CallError::NotFrozen => RPCError::Unreachable(Unreachable::new(error)),
        }
    }
}

impl RaftNetwork<TypeConfig> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, RpcError> {
        let answer = self.call(PeerRpc::Append, &rpc, option.hard_ttl()).await;
        answer.map_err(|error| self.rpc_error(RPCTypes::AppendEntries, &error))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, RpcError> {
        let answer = self.call(PeerRpc::Vote, &rpc, option.hard_ttl()).await;
        answer.map_err(|error| self.rpc_error(RPCTypes::Vote, &error))
    }

    /// Any failure is one to wait after: openraft then chooses anew between the log and a fresh view.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<NodeId>, StreamingError<TypeConfig, Fatal>> {
        let unreachable = |error: &(dyn std::error::Error + 'static)| {
            let text = TransportError::Unreachable {
                reason: crate::error::chain(error),
            };
            StreamingError::Unreachable(Unreachable::new(&text))
        };
        let SnapshotHandle::Frozen(view) = *snapshot.snapshot else {
            return Err(unreachable(&CallError::NotFrozen));
        };
        let target = (self.target, &self.address);
        let offer = send_offer(
            &self.views,
            self.transport.as_ref(),
            target,
            vote,
            snapshot.meta,
            view,
        );
        tokio::select! {
            sent = offer => {
                sent.map(SnapshotResponse::new).map_err(|error| unreachable(&error))
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.pause))
    }
}
