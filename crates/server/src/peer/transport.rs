//! The client side: carries the consensus layer's calls and sync streams to other nodes.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pando_consensus::{NodeAddress, PeerRpc, SyncPipe, Transport, TransportError};
use pando_model::NodeId;
use pando_proto::GRPC_MESSAGE_BYTES_MAX;
use pando_proto::cluster_v1 as wire;
use pando_proto::cluster_v1::peer_client::PeerClient;
use parking_lot::Mutex;
use tonic::transport::Channel;

use super::connect::{Connector, transport_error};
use super::envelope::{Envelope, Refusal};
use super::refusal;
use super::sync_stream;

/// The peers' APIs. Calls to one peer share a connection; every sync stream has its own, so that bulk data
/// never delays a heartbeat.
#[derive(Debug)]
pub struct NodeTransport {
    envelope: Envelope,
    connector: Connector,
    channels: Mutex<HashMap<String, Channel>>,
}

/// What a node that took an offer of membership says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) node_id: NodeId,
    pub(crate) address: NodeAddress,
    pub(crate) instance: uuid::Uuid,
}

/// Why an offer of membership came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl NodeTransport {
    /// Speaks for the node of this envelope.
    #[must_use]
    pub fn new(envelope: Envelope, connector: Connector) -> Self {
        Self {
            envelope,
            connector,
            channels: Mutex::default(),
        }
    }

    fn client(&self, address: &str) -> Result<PeerClient<Channel>, TransportError> {
        let mut channels = self.channels.lock();
        let channel = match channels.get(address) {
            Some(channel) => channel.clone(),
            None => {
                let channel = self.connector.lazy(address)?;
                channels.insert(address.to_owned(), channel.clone());
                channel
            }
        };
        Ok(client(channel))
    }

    /// Asks the node at an address of its node API who it is, and whether it could become a member.
    pub(crate) async fn ask_who(
        &self,
        to: NodeId,
        address: &str,
        timeout: Duration,
    ) -> Result<Joined, JoinError> {
        self.offer(to, address, timeout, true).await
    }

    /// Offers membership to the node at an address of its node API.
    pub(crate) async fn join(
        &self,
        to: NodeId,
        address: &str,
        timeout: Duration,
    ) -> Result<Joined, JoinError> {
        self.offer(to, address, timeout, false).await
    }

    async fn offer(
        &self,
        to: NodeId,
        address: &str,
        timeout: Duration,
        only_ask: bool,
    ) -> Result<Joined, JoinError> {
        let request = wire::JoinRequest {
            header: Some(self.envelope.header(to)),
            only_ask,
        };
        let mut client = self.client(address)?;
        let reply = within(Some(timeout), client.join(request)).await?;
        let accepted = match reply.result {
            Some(wire::join_reply::Result::Accepted(accepted)) => accepted,
            Some(wire::join_reply::Result::Refusal(refusal)) => {
                return Err(JoinError::Refused(refusal.into()));
            }
            None => return Err(no_result().into()),
        };
        let malformed =
            |reason: &str| JoinError::Refused(Refusal::new(wire::RefusalCode::Malformed, reason));
        if accepted.node_id == 0 {
            return Err(malformed("the new node does not say its id"));
        }
        let instance = uuid::Uuid::from_slice(&accepted.instance)
            .map_err(|_| malformed("the new node does not name its data directory"))?;
        let node = if accepted.node_address.is_empty() {
            address.to_owned()
        } else {
            accepted.node_address
        };
        let address = NodeAddress {
            node,
            api: accepted.api_address,
        };
        Ok(Joined {
            node_id: accepted.node_id,
            address,
            instance,
        })
    }
}

#[async_trait]
impl Transport for NodeTransport {
    async fn call(
        &self,
        to: NodeId,
        address: &NodeAddress,
        rpc: PeerRpc,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let request = wire::PeerRequest {
            header: Some(self.envelope.header(to)),
            rpc: refusal::rpc_to_wire(rpc).into(),
            body: body.into(),
        };
        let mut client = self.client(&address.node)?;
        // Installing takes as long as it takes; a dead peer shows by the keepalive.
        let timeout = (rpc != PeerRpc::SnapshotOffer).then_some(timeout);
        let reply = within(timeout, client.call(request)).await?;
        self.check_reply(
            to,
            reply.header.as_ref(),
            matches!(reply.result, Some(wire::peer_reply::Result::Refusal(_))),
        )?;
        match reply.result {
            Some(wire::peer_reply::Result::Body(body)) => Ok(Vec::from(body)),
            Some(wire::peer_reply::Result::Refusal(refusal)) => Err(Refusal::from(refusal).into()),
            None => Err(no_result()),
        }
    }

    async fn open_sync(
        &self,
        to: NodeId,
        address: &NodeAddress,
    ) -> Result<SyncPipe, TransportError> {
        let channel = self.connector.connect(&address.node).await?;
        sync_stream::open(client(channel), self.envelope.clone(), to).await
    }
}

impl NodeTransport {
    /// A refusal may come from a node of another cluster; an answer may not.
    fn check_reply(
        &self,
        to: NodeId,
        header: Option<&wire::Header>,
        is_refusal: bool,
    ) -> Result<(), TransportError> {
        if is_refusal {
            return Ok(());
        }
        match self.envelope.check(header)? {
            from if from == to => Ok(()),
            from => {
                let reason = format!("node {from} answered for node {to}");
                Err(Refusal::new(wire::RefusalCode::WrongNode, reason).into())
            }
        }
    }
}

fn client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX)
}

fn no_result() -> TransportError {
    Refusal::new(
        wire::RefusalCode::Malformed,
        "the reply holds neither an answer nor a refusal",
    )
    .into()
}

async fn within<T>(
    timeout: Option<Duration>,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, TransportError> {
    let answer = match timeout {
        Some(after) => tokio::time::timeout(after, call)
            .await
            .map_err(|_| TransportError::Timeout { after })?,
        None => call.await,
    };
    match answer {
        Ok(reply) => Ok(reply.into_inner()),
        Err(status) => Err(transport_error(&status)),
    }
}

/// One frame with its header.
pub(super) fn frame(envelope: &Envelope, to: NodeId, frame: Bytes) -> wire::SyncFrame {
    wire::SyncFrame {
        header: Some(envelope.header(to)),
        content: Some(wire::sync_frame::Content::Frame(frame)),
    }
}
