//! The server side: judges every message by its envelope, then hands the body to the consensus layer.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use pando_consensus::{NodeAddress, PeerError, PeerRpc, SyncPipe};
use pando_model::NodeId;
use pando_proto::cluster_v1 as wire;
use pando_proto::cluster_v1::RefusalCode;
use pando_proto::cluster_v1::peer_server::Peer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};

use super::SYNC_FRAMES_QUEUED_MAX;
use super::envelope::{Envelope, Refusal};
use super::refusal::{rpc_from_wire, to_wire};
use super::sync_stream::{pump, unwrap};
use super::transport::frame;
use crate::identity::IdentityError;

/// Who answers the calls of peers. The envelope is checked before it is asked.
#[async_trait]
pub trait PeerHandler: Send + Sync + 'static {
    /// Answers one call.
    async fn handle(&self, from: NodeId, rpc: PeerRpc, body: Vec<u8>)
    -> Result<Vec<u8>, PeerError>;

    /// Serves one sync stream to its end.
    async fn serve_sync(&self, from: NodeId, pipe: SyncPipe);
}

/// The node-to-node service.
pub struct PeerService {
    envelope: Envelope,
    address: NodeAddress,
    handler: Arc<dyn PeerHandler>,
    streams: TaskTracker,
    stop: CancellationToken,
}

impl PeerService {
    /// Answers for the node of this envelope, which announces `address`. Sync streams run in `streams` and end
    /// with `stop`.
    #[must_use]
    pub fn new(
        envelope: Envelope,
        address: NodeAddress,
        handler: Arc<dyn PeerHandler>,
        streams: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            envelope,
            address,
            handler,
            streams,
            stop,
        }
    }

    async fn answer(&self, request: wire::PeerRequest) -> Result<Vec<u8>, Refusal> {
        let from = self.envelope.check(request.header.as_ref())?;
        let rpc = rpc_from_wire(request.rpc())
            .ok_or_else(|| Refusal::new(RefusalCode::Malformed, "the call says not what it is"))?;
        let answer = self.handler.handle(from, rpc, request.body.into()).await;
        answer.map_err(|e| Refusal {
            code: to_wire(e.code),
            reason: e.reason,
        })
    }

    async fn take_offer(&self, request: wire::JoinRequest) -> Result<wire::JoinAccepted, Refusal> {
        let cluster = self.envelope.check_join(request.header.as_ref())?;
        let identity = Arc::clone(self.envelope.identity());
        let fresh = identity.cluster_id().is_none();
        let only_ask = request.only_ask;
        let joined = tokio::task::spawn_blocking(move || {
            if only_ask {
                identity.may_join(cluster)
            } else {
                identity.join(cluster)
            }
        })
        .await;
        match joined {
            Ok(Ok(())) => {}
            Ok(Err(error @ (IdentityError::OtherCluster { .. } | IdentityError::Forming))) => {
                return Err(Refusal::new(
                    RefusalCode::AlreadyInitialized,
                    error.to_string(),
                ));
            }
            Ok(Err(error)) => return Err(Refusal::new(RefusalCode::Internal, error.to_string())),
            Err(_) => {
                return Err(Refusal::new(
                    RefusalCode::Stopped,
                    "this node is shutting down",
                ));
            }
        }
        if fresh && !only_ask {
            info!(%cluster, "this node was added to a cluster");
        }
        let identity = self.envelope.identity();
        Ok(wire::JoinAccepted {
            node_id: identity.node_id(),
            node_address: self.address.node.clone(),
            api_address: self.address.api.clone(),
            instance: Bytes::copy_from_slice(identity.instance().as_bytes()),
        })
    }
}

fn sender(header: Option<&wire::Header>) -> NodeId {
    header.map_or(0, |h| h.from)
}

type Outbound = Pin<Box<dyn Stream<Item = Result<wire::SyncFrame, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for PeerService {
    type SyncStream = Outbound;

    async fn call(
        &self,
        request: Request<wire::PeerRequest>,
    ) -> Result<Response<wire::PeerReply>, Status> {
        let request = request.into_inner();
        let header = self.envelope.header(sender(request.header.as_ref()));
        let result = match self.answer(request).await {
            Ok(body) => wire::peer_reply::Result::Body(body.into()),
            Err(refusal) => {
                debug!(%refusal, "a peer's call was refused");
                wire::peer_reply::Result::Refusal(refusal.into())
            }
        };
        Ok(Response::new(wire::PeerReply {
            header: Some(header),
            result: Some(result),
        }))
    }

    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinReply>, Status> {
        let request = request.into_inner();
        let from = sender(request.header.as_ref());
        let result = match self.take_offer(request).await {
            Ok(accepted) => wire::join_reply::Result::Accepted(accepted),
            Err(refusal) => wire::join_reply::Result::Refusal(refusal.into()),
        };
        let header = Some(self.envelope.header(from));
        Ok(Response::new(wire::JoinReply {
            header,
            result: Some(result),
        }))
    }

    async fn sync(
        &self,
        request: Request<Streaming<wire::SyncFrame>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let inbound = request.into_inner();
        let (replies, outbound) = mpsc::channel(SYNC_FRAMES_QUEUED_MAX);
        let session = Session {
            envelope: self.envelope.clone(),
            handler: Arc::clone(&self.handler),
            replies,
        };
        let stop = self.stop.clone();
        self.streams.spawn(async move {
            tokio::select! {
                () = session.run(inbound) => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }
}

/// One sync stream on the side that serves it.
struct Session {
    envelope: Envelope,
    handler: Arc<dyn PeerHandler>,
    replies: mpsc::Sender<Result<wire::SyncFrame, Status>>,
}

impl Session {
    async fn run(self, mut inbound: Streaming<wire::SyncFrame>) {
        // The first message says whose stream this is; all others must agree.
        let first = match inbound.next().await {
            Some(Ok(first)) => first,
            Some(Err(status)) => {
                debug!(%status, "a sync stream broke before its first frame");
                return;
            }
            None => return,
        };
        let from = match self.envelope.check(first.header.as_ref()) {
            Ok(from) => from,
            Err(refusal) => return self.refuse(sender(first.header.as_ref()), refusal).await,
        };
        let (tx, to_peer) = mpsc::channel::<Bytes>(SYNC_FRAMES_QUEUED_MAX);
        let (frames, rx) = mpsc::channel(SYNC_FRAMES_QUEUED_MAX);
        let inbound = futures::stream::iter([Ok(first)]).chain(inbound);
        let serving = async {
            tokio::join!(
                self.handler.serve_sync(from, SyncPipe { tx, rx }),
                self.send(from, to_peer)
            )
        };
        let judged = |message| unwrap(&self.envelope, from, message);
        let receiving = async {
            match pump(inbound, frames, judged).await {
                Some(refusal) => refusal,
                // The peer has said all it had to say; the answer may go on.
                None => std::future::pending().await,
            }
        };
        // Nothing follows a refusal, so what is still being answered is dropped.
        tokio::select! {
            refusal = receiving => self.refuse(from, refusal).await,
            _ = serving => {}
        }
    }

    async fn send(&self, to: NodeId, mut frames: mpsc::Receiver<Bytes>) {
        while let Some(bytes) = frames.recv().await {
            if self
                .replies
                .send(Ok(frame(&self.envelope, to, bytes)))
                .await
                .is_err()
            {
                debug!(peer = to, "the peer of a sync stream is gone");
                return;
            }
        }
    }

    async fn refuse(&self, to: NodeId, refusal: Refusal) {
        debug!(%refusal, peer = to, "a sync stream was refused");
        let message = wire::SyncFrame {
            header: Some(self.envelope.header(to)),
            content: Some(wire::sync_frame::Content::Refusal(refusal.into())),
        };
        if self.replies.send(Ok(message)).await.is_err() {
            debug!(peer = to, "the peer of a refused sync stream is gone");
        }
    }
}
