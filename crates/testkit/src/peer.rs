//! Node-to-node messages made by hand, to see what a node refuses.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use pando_model::NodeId;
use pando_proto::cluster_v1::peer_client::PeerClient;
use pando_proto::cluster_v1::{self as wire, RefusalCode};
use tonic::transport::Endpoint;
use uuid::Uuid;

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// The header of a message.
#[must_use]
pub fn header(cluster: Uuid, protocol_version: u32, from: NodeId, to: NodeId) -> wire::Header {
    wire::Header {
        cluster_id: cluster.as_bytes().to_vec().into(),
        protocol_version,
        group: 0,
        from,
        to,
    }
}

/// Sends a Raft message with this header and no body to a node API, and returns why it was refused.
///
/// # Errors
/// When the node cannot be reached, or answers.
pub async fn refusal(node: &str, header: wire::Header) -> Result<(RefusalCode, String)> {
    let endpoint = Endpoint::from_shared(format!("http://{node}"))?.connect_timeout(CONNECT_MAX);
    let mut client = PeerClient::new(endpoint.connect().await?);
    let request = wire::PeerRequest {
        header: Some(header),
        rpc: wire::PeerRpc::Append.into(),
        body: Vec::new().into(),
    };
    let reply = client.call(request).await?.into_inner();
    match reply.result.context("an answer or a refusal")? {
        wire::peer_reply::Result::Refusal(refusal) => Ok((refusal.code(), refusal.reason)),
        wire::peer_reply::Result::Body(body) => bail!("it answered with {} bytes", body.len()),
    }
}
