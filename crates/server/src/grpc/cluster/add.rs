//! Adds a running node that belongs to no cluster.

use std::error::Error as _;
use std::time::Duration;

use pando_consensus::TransportError;
use pando_model::{ClusterId, Command, NodeId};
use pando_proto::cluster_v1::RefusalCode;
use pando_proto::v1::{self, cluster_client::ClusterClient};
use pando_proto::{ClusterStatus, detail};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::info;

use super::changed;
use crate::error::ServiceError;
use crate::grpc::{Api, Deadline};
use crate::peer::{JoinError, Joined, NodeTransport};

/// How long a new node may take to say who it is.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Adds the node at `address` (of its public API or of its node API) as a learner.
///
/// In this order: the node says who it is, its id is reserved for its data directory, it takes the cluster's id, and
/// only then it becomes a member. Each step may be repeated, so a call that failed halfway can be. A node that was
/// wiped and comes back under its old id must not get the cluster's id: it would take part as the member it was,
/// without the log it has acknowledged.
pub(super) async fn add(
    api: &Api,
    transport: &NodeTransport,
    address: &str,
    deadline: Deadline,
) -> Result<Joined, ServiceError> {
    let (to, node_address) = match probe(api, address, deadline).await? {
        Some((id, node_address)) => (id, node_address),
        // No public API: the address is that of the node API, which tells who answers.
        None => (0, address.to_owned()),
    };
    let timeout = || deadline.left().min(PROBE_TIMEOUT);
    let refused = |error| refused(&node_address, error);
    let asked = transport
        .ask_who(to, &node_address, timeout())
        .await
        .map_err(refused)?;
    let command = Command::RegisterNode {
        id: asked.node_id,
        instance: asked.instance,
    };
    api.write(command, None, deadline).await?;
    let joined = transport
        .join(asked.node_id, &node_address, timeout())
        .await
        .map_err(refused)?;
    if joined.instance != asked.instance {
        return Err(ServiceError::Membership {
            reason: format!(
                "the node at {node_address} was replaced while it was added; add it again"
            ),
        });
    }
    let node = &api.node;
    changed(
        deadline,
        node.add_learner(joined.node_id, joined.address.clone()),
    )
    .await?;
    info!(node = joined.node_id, address = %joined.address, "a node was added");
    Ok(joined)
}

/// Who answers at an address of a public API, and where its node API is.
async fn probe(
    api: &Api,
    address: &str,
    deadline: Deadline,
) -> Result<Option<(NodeId, String)>, ServiceError> {
    let unreachable = |reason: String| ServiceError::Unreachable {
        address: address.to_owned(),
        reason,
    };
    let mut client = client(address).map_err(|e| unreachable(e.to_string()))?;
    let timeout = deadline.left().min(PROBE_TIMEOUT);
    let request = v1::StatusRequest {
        only_this_node: true,
    };
    let answer = match tokio::time::timeout(timeout, client.status(request)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) if status.code() == Code::Unimplemented => return Ok(None),
        Ok(Err(status)) => return Err(unreachable(reason(&status))),
        Err(_) => return Err(unreachable(format!("no answer within {timeout:?}"))),
    };
    let status = ClusterStatus::try_from(answer).map_err(|e| unreachable(e.to_string()))?;
    check_cluster(api.identity.cluster_id(), &status)?;
    let own = status
        .nodes
        .into_iter()
        .find(|n| n.node == status.answered_by);
    let own = own.ok_or_else(|| unreachable("the node does not say who it is".to_owned()))?;
    Ok(Some((own.node, own.node_address)))
}

fn check_cluster(ours: Option<ClusterId>, status: &ClusterStatus) -> Result<(), ServiceError> {
    match status.cluster {
        Some(theirs) if Some(theirs) != ours => Err(ServiceError::ForeignCluster {
            reason: format!(
                "node {} belongs to cluster {theirs}; start it on an empty data directory with bootstrap = false",
                status.answered_by
            ),
        }),
        Some(_) | None => Ok(()),
    }
}

fn refused(address: &str, error: JoinError) -> ServiceError {
    match error {
        JoinError::Refused(refusal) => match refusal.code {
            RefusalCode::ProtocolVersion => ServiceError::ProtocolVersion {
                reason: refusal.reason,
            },
            RefusalCode::AlreadyInitialized | RefusalCode::ForeignCluster => {
                ServiceError::ForeignCluster {
                    reason: refusal.reason,
                }
            }
            RefusalCode::Unspecified
            | RefusalCode::WrongNode
            | RefusalCode::NotInitialized
            | RefusalCode::Busy
            | RefusalCode::Stale
            | RefusalCode::Stopped
            | RefusalCode::Malformed
            | RefusalCode::Internal => ServiceError::Membership {
                reason: format!("the node at {address} refused: {refusal}"),
            },
        },
        JoinError::Transport(
            error @ (TransportError::Unreachable { .. }
            | TransportError::Broken { .. }
            | TransportError::Timeout { .. }
            | TransportError::Refused { .. }),
        ) => ServiceError::Unreachable {
            address: address.to_owned(),
            reason: error.to_string(),
        },
    }
}

/// A client of another node's public API.
pub(super) fn client(address: &str) -> Result<ClusterClient<Channel>, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(ClusterClient::new(
        endpoint.connect_timeout(PROBE_TIMEOUT).connect_lazy(),
    ))
}

/// What a failed call says, in one line.
pub(super) fn reason(status: &Status) -> String {
    match detail::from_status(status) {
        Some(detail) => detail.message,
        None => {
            // A broken connection says what broke it only in its source.
            let mut said = status.message().to_owned();
            let mut cause = status.source();
            while let Some(error) = cause {
                said = format!("{said}: {error}");
                cause = error.source();
            }
            said
        }
    }
}
