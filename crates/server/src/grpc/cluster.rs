//! The Cluster service: forming, membership, status, verification.

mod add;
mod form;
mod report;
mod verify;

use std::sync::Arc;

use pando_consensus::AdminFailure;
use pando_proto::v1::{self, cluster_server::Cluster};
use tonic::{Request, Response, Status};

use super::api::{accept, reply};
use super::{Api, Deadline};
use crate::error::ServiceError;
use crate::figures::NodeView;
use crate::peer::NodeTransport;

pub(crate) use form::form;

pub(crate) struct ClusterService {
    pub(crate) api: Api,
    pub(crate) view: Arc<NodeView>,
    pub(crate) transport: Arc<NodeTransport>,
}

/// Waits for a change as long as there is time; it may still come about after that.
async fn changed<T>(
    deadline: Deadline,
    change: impl Future<Output = Result<T, AdminFailure>>,
) -> Result<T, ServiceError> {
    match tokio::time::timeout(deadline.left(), change).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(ServiceError::Timeout {
            outcome_unknown: true,
        }),
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn init(
        &self,
        request: Request<v1::InitRequest>,
    ) -> Result<Response<v1::InitResponse>, Status> {
        accept(request)?;
        let identity = &self.api.identity;
        let cluster = form(&self.api.node, identity, self.view.address.clone()).await?;
        reply(v1::InitResponse {
            cluster_id: cluster.to_string(),
            node_id: identity.node_id(),
        })
    }

    async fn add(
        &self,
        request: Request<v1::AddRequest>,
    ) -> Result<Response<v1::AddResponse>, Status> {
        let (request, deadline) = self.api.begin(request)?;
        let added = add::add(&self.api, &self.transport, &request.node_address, deadline).await?;
        let address = v1::NodeAddress {
            node: added.address.node,
            api: added.address.api,
        };
        reply(v1::AddResponse {
            node_id: added.node_id,
            address: Some(address),
        })
    }

    async fn promote(
        &self,
        request: Request<v1::PromoteRequest>,
    ) -> Result<Response<v1::PromoteResponse>, Status> {
        let (request, deadline) = self.api.begin(request)?;
        changed(deadline, self.api.node.promote(request.node_id)).await?;
        reply(v1::PromoteResponse {})
    }

    async fn demote(
        &self,
        request: Request<v1::DemoteRequest>,
    ) -> Result<Response<v1::DemoteResponse>, Status> {
        let (request, deadline) = self.api.begin(request)?;
        changed(deadline, self.api.node.demote(request.node_id)).await?;
        reply(v1::DemoteResponse {})
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveRequest>,
    ) -> Result<Response<v1::RemoveResponse>, Status> {
        let (request, deadline) = self.api.begin(request)?;
        let v1::RemoveRequest { node_id, force } = request;
        changed(deadline, self.api.node.remove(node_id, force)).await?;
        reply(v1::RemoveResponse {})
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let (request, deadline) = self.api.begin(request)?;
        changed(deadline, self.api.node.transfer_leader(request.node_id)).await?;
        reply(v1::TransferLeaderResponse {})
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let (request, _) = accept(request)?;
        let report = if request.only_this_node {
            report::this_node(&self.view).await
        } else {
            report::all_nodes(&self.view).await
        };
        reply(report?.into())
    }

    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> Result<Response<v1::VerifyResponse>, Status> {
        let (_, deadline) = self.api.begin(request)?;
        let report = self
            .api
            .node
            .verify(deadline.left())
            .await
            .map_err(ServiceError::from)?;
        reply(verify::report(report).into())
    }

    async fn snapshot(
        &self,
        request: Request<v1::SnapshotRequest>,
    ) -> Result<Response<v1::SnapshotResponse>, Status> {
        let (request, deadline) = self.api.begin(request)?;
        let node = &self.api.node;
        changed(deadline, node.snapshot(request.purge_log)).await?;
        let status = node.status().await;
        reply(v1::SnapshotResponse {
            node_id: status.id,
            log_index: status.snapshot.unwrap_or(0),
            purged_index: status.purged.unwrap_or(0),
        })
    }
}
