//! Both ends of a sync stream: frames in envelopes over gRPC, bounded in both directions.

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use pando_consensus::{SyncPipe, TransportError};
use pando_model::NodeId;
use pando_proto::cluster_v1::peer_client::PeerClient;
use pando_proto::cluster_v1::{RefusalCode, SyncFrame, sync_frame::Content};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;
use tracing::{Instrument as _, debug};

use super::SYNC_FRAMES_QUEUED_MAX;
use super::connect::transport_error;
use super::envelope::{Envelope, Refusal};
use super::transport::frame;

/// The frames of a peer.
pub(super) type Frames = mpsc::Sender<Result<Bytes, TransportError>>;

/// Opens a stream to a peer; it ends when the pipe is dropped.
pub(super) async fn open(
    mut client: PeerClient<Channel>,
    envelope: Envelope,
    to: NodeId,
) -> Result<SyncPipe, TransportError> {
    let (tx, outbound) = mpsc::channel(SYNC_FRAMES_QUEUED_MAX);
    let (frames, rx) = mpsc::channel(SYNC_FRAMES_QUEUED_MAX);
    let enveloped = {
        let envelope = envelope.clone();
        ReceiverStream::new(outbound).map(move |bytes| frame(&envelope, to, bytes))
    };
    let reply = client
        .sync(enveloped)
        .await
        .map_err(|status| transport_error(&status))?;
    let handing_on = async move {
        let inbound = reply.into_inner();
        let refusal = pump(inbound, frames, |message| unwrap(&envelope, to, message)).await;
        if let Some(refusal) = refusal {
            debug!(peer = to, %refusal, "a sync stream ended with a refusal");
        }
    };
    tokio::spawn(handing_on.in_current_span());
    Ok(SyncPipe { tx, rx })
}

/// Hands on the frames of a stream until it ends, fails, or nobody wants them. Returns why a message was
/// refused, if one was.
pub(super) async fn pump(
    inbound: impl Stream<Item = Result<SyncFrame, Status>>,
    frames: Frames,
    unwrap: impl Fn(SyncFrame) -> Result<Bytes, Refusal>,
) -> Option<Refusal> {
    let mut inbound = std::pin::pin!(inbound);
    loop {
        let message = tokio::select! {
            message = inbound.next() => message,
            () = frames.closed() => None,
        };
        let (frame, refusal) = match message {
            None => return None,
            Some(Ok(message)) => match unwrap(message) {
                Ok(frame) => (Ok(frame), None),
                Err(refusal) => (Err(refusal.clone().into()), Some(refusal)),
            },
            Some(Err(status)) => (Err(transport_error(&status)), None),
        };
        let last = frame.is_err();
        if frames.send(frame).await.is_err() {
            debug!("a sync stream was dropped with frames under way");
            return refusal;
        }
        if last {
            return refusal;
        }
    }
}

/// The frame of a message, once its header is found good.
pub(super) fn unwrap(
    envelope: &Envelope,
    peer: NodeId,
    message: SyncFrame,
) -> Result<Bytes, Refusal> {
    if let Some(Content::Refusal(refusal)) = message.content {
        return Err(refusal.into());
    }
    let from = envelope.check(message.header.as_ref())?;
    if from != peer {
        let reason = format!("node {from} speaks on a stream of node {peer}");
        return Err(Refusal::new(RefusalCode::WrongNode, reason));
    }
    match message.content {
        Some(Content::Frame(bytes)) => Ok(bytes),
        Some(Content::Refusal(_)) | None => Err(Refusal::new(
            RefusalCode::Malformed,
            "a sync message holds nothing",
        )),
    }
}
