//! Makes a node that belongs to no cluster a cluster of one.

use std::sync::Arc;

use pando_consensus::{Node, NodeAddress};
use pando_model::{ClusterId, Command};
use tracing::info;
use uuid::Uuid;

use crate::error::ServiceError;
use crate::grpc::ADMIN_TIMEOUT;
use crate::identity::{Identity, IdentityError};

/// Forms a cluster of this node alone.
///
/// Consensus comes first and the cluster id second: a crash in between leaves a node that nobody can talk to
/// yet, and that takes up an id when it starts again (consensus says it has been initialised).
pub(crate) async fn form(
    node: &Arc<Node>,
    identity: &Arc<Identity>,
    address: NodeAddress,
) -> Result<ClusterId, ServiceError> {
    let forming = identity.form()?;
    if node.status().await.members.is_empty() {
        node.initialize(address).await?;
    }
    // Like that of every other member: should this disk be lost, its id is not given to another.
    let command = Command::RegisterNode {
        id: identity.node_id(),
        instance: identity.instance(),
    };
    node.write(command, None, ADMIN_TIMEOUT).await?;
    let cluster = ClusterId(Uuid::new_v4());
    let stored = tokio::task::spawn_blocking(move || forming.done(cluster)).await;
    stored.map_err(|_| ServiceError::Stopped {
        reason: "the task was dropped".to_owned(),
        outcome_unknown: true,
    })??;
    info!(%cluster, node = identity.node_id(), "a cluster of one was formed");
    Ok(cluster)
}

impl From<IdentityError> for ServiceError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Member { cluster } => Self::AlreadyInitialized {
                cluster: Some(cluster),
            },
            IdentityError::Forming => Self::AlreadyInitialized { cluster: None },
            IdentityError::OtherCluster { .. } => Self::ForeignCluster {
                reason: error.to_string(),
            },
            IdentityError::InUse { .. }
            | IdentityError::OtherNode { .. }
            | IdentityError::Damaged { .. }
            | IdentityError::Io { .. } => Self::Storage {
                detail: error.to_string(),
            },
        }
    }
}
