//! One node asked directly. The SDK asks another member when one cannot help; a test that wants to know what *this*
//! node answers must not be helped.

use std::time::Duration;

use anyhow::{Context, Result};
use pando_model::{
    CollectionName, Consistency, CountQuery, Point, PointId, ScrollQuery, StoredPoint, WithVectors,
};
use pando_proto::v1::cluster_client::ClusterClient;
use pando_proto::v1::points_client::PointsClient;
use pando_proto::{
    ClusterStatus, GRPC_MESSAGE_BYTES_MAX, NodeReport, NodeStatus, detail, encode_scroll, v1,
};
use thiserror::Error;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Points per page.
const PAGE: usize = 500;

/// A node's refusal: its code and, if it was Pando that refused, the typed detail.
#[derive(Clone, Debug, Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// What it says.
    pub message: String,
    /// What Pando says. `None`: the call failed on the way.
    pub detail: Option<v1::ErrorDetail>,
}

impl Refusal {
    /// What went wrong; `Unspecified` if the call failed on the way.
    #[must_use]
    pub fn kind(&self) -> v1::ErrorKind {
        self.detail
            .as_ref()
            .map_or(v1::ErrorKind::Unspecified, v1::ErrorDetail::kind)
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            detail: detail::from_status(&status),
        }
    }
}

/// A connection to one node's public API.
#[derive(Clone, Debug)]
pub struct Direct {
    channel: Channel,
}

impl Direct {
    /// A node at host:port, which need not run yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(api: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{api}"))?;
        Ok(Self {
            channel: endpoint.connect_timeout(CONNECT_MAX).connect_lazy(),
        })
    }

    fn points(&self) -> PointsClient<Channel> {
        PointsClient::new(self.channel.clone()).max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
    }

    /// The generated client of the Cluster service.
    #[must_use]
    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    /// How the cluster looks to this node, which asks no other.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn view(&self) -> Result<ClusterStatus> {
        let request = v1::StatusRequest {
            only_this_node: true,
        };
        let reply = self
            .cluster()
            .status(request)
            .await
            .map_err(Refusal::from)?;
        Ok(ClusterStatus::try_from(reply.into_inner())?)
    }

    /// How the node is, by its own account.
    ///
    /// # Errors
    /// When the node does not answer or is in no cluster.
    pub async fn status(&self) -> Result<NodeStatus> {
        let view = self.view().await?;
        let own = |report: &NodeReport| report.node == view.answered_by;
        let report = view
            .nodes
            .iter()
            .find(|r| own(r))
            .context("it is no member")?;
        report.status.clone().map_err(anyhow::Error::msg)
    }

    /// Makes the node freeze a snapshot.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn snapshot(&self, purge_log: bool) -> Result<v1::SnapshotResponse, Refusal> {
        let request = v1::SnapshotRequest { purge_log };
        Ok(self.cluster().snapshot(request).await?.into_inner())
    }

    /// Puts points through this node; returns the log index.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn upsert(
        &self,
        collection: &CollectionName,
        points: Vec<Point>,
        timeout: Duration,
    ) -> Result<u64, Refusal> {
        self.upsert_as(uuid::Uuid::new_v4(), collection, points, timeout)
            .await
    }

    /// The same under a request id of one's own.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn upsert_as(
        &self,
        request_id: uuid::Uuid,
        collection: &CollectionName,
        points: Vec<Point>,
        timeout: Duration,
    ) -> Result<u64, Refusal> {
        let mut request = tonic::Request::new(v1::UpsertRequest {
            collection: collection.as_str().to_owned(),
            points: points.into_iter().map(Into::into).collect(),
            request_id: request_id.to_string(),
        });
        request.set_timeout(timeout);
        Ok(self.points().upsert(request).await?.into_inner().log_index)
    }

    /// Counts the points of a collection.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn count(
        &self,
        collection: &CollectionName,
        query: CountQuery,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<u64, Refusal> {
        let mut request = tonic::Request::new(v1::CountRequest {
            collection: collection.as_str().to_owned(),
            filter: query.filter.map(Into::into),
            consistency: Some(consistency.into()),
        });
        request.set_timeout(timeout);
        Ok(self.points().count(request).await?.into_inner().count)
    }

    /// Points by id, with payload and vectors.
    ///
    /// # Errors
    /// When it refuses, or its reply cannot be read.
    pub async fn get(
        &self,
        collection: &CollectionName,
        ids: &[PointId],
        consistency: Consistency,
    ) -> Result<Vec<StoredPoint>> {
        let request = v1::GetRequest {
            collection: collection.as_str().to_owned(),
            ids: ids.iter().copied().map(Into::into).collect(),
            with_payload: Some(true.into()),
            with_vectors: Some(WithVectors::All.into()),
            consistency: Some(consistency.into()),
        };
        let reply = self.points().get(request).await.map_err(Refusal::from)?;
        Ok(reply.into_inner().try_into()?)
    }

    /// All points this node has applied, with payload and vectors, in id order.
    ///
    /// # Errors
    /// When it refuses, or its reply cannot be read.
    pub async fn all(&self, collection: &CollectionName) -> Result<Vec<StoredPoint>> {
        let mut points = Vec::new();
        let mut from = None;
        loop {
            let query = ScrollQuery {
                filter: None,
                from,
                limit: PAGE,
                with_payload: true,
                with_vectors: WithVectors::All,
            };
            let request = encode_scroll(collection, query, Consistency::Local);
            let reply = self.points().scroll(request).await.map_err(Refusal::from)?;
            let page = pando_model::ScrollPage::try_from(reply.into_inner())?;
            points.extend(page.points);
            from = page.next;
            if from.is_none() {
                return Ok(points);
            }
        }
    }
}
