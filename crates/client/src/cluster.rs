//! The cluster and its members.
//!
//! Membership changes carry no request id: they are attempted again only if nothing happened for certain.

use pando_model::{ClusterId, NodeId};
use pando_proto::{ClusterStatus, DecodeError, VerifyReport, v1};

use crate::builder::Pando;
use crate::call::{Safety, cluster};
use crate::error::ClientError;

/// A cluster was formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormedCluster {
    /// Its identity.
    pub cluster: ClusterId,
    /// Its first member.
    pub node: NodeId,
}

/// A node was added as a learner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedNode {
    /// Its id.
    pub node: NodeId,
    /// host:port of its node-to-node API.
    pub node_address: String,
    /// host:port of its public API.
    pub api_address: String,
}

/// A node froze a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrozenSnapshot {
    /// The node that was asked.
    pub node: NodeId,
    /// The log index the snapshot stands for.
    pub log_index: u64,
    /// Entries up to here are gone from its log; 0 if none are.
    pub purged_index: u64,
}

impl Pando {
    /// Makes the asked node a cluster of one. For a client with one endpoint, the node's.
    ///
    /// # Errors
    /// `AlreadyInitialized`; see [`ClientError::kind`].
    pub async fn init_cluster(&self) -> Result<FormedCluster, ClientError> {
        let send = |channel, request| async move { cluster(channel).init(request).await };
        let reply = self.call(Safety::Once, v1::InitRequest {}, send).await?;
        let bad = |_| DecodeError::malformed("cluster_id", "it is not a UUID");
        Ok(FormedCluster {
            cluster: reply.cluster_id.parse().map_err(bad)?,
            node: reply.node_id,
        })
    }

    /// Adds a running node that belongs to no cluster, as a learner. `node_address` is the host:port of its
    /// node-to-node API.
    ///
    /// # Errors
    /// `ForeignCluster`, `Membership`, `ProtocolVersion`, `NodeIdUsed`; see [`ClientError::kind`].
    pub async fn add_node(&self, node_address: &str) -> Result<AddedNode, ClientError> {
        let request = v1::AddRequest {
            node_address: node_address.to_owned(),
        };
        let send = |channel, request| async move { cluster(channel).add(request).await };
        let reply = self.call(Safety::Once, request, send).await?;
        let address = reply.address.unwrap_or_default();
        Ok(AddedNode {
            node: reply.node_id,
            node_address: address.node,
            api_address: address.api,
        })
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// `NodeNotFound`, `Membership`; see [`ClientError::kind`].
    pub async fn promote_node(&self, node: NodeId) -> Result<(), ClientError> {
        let request = v1::PromoteRequest { node_id: node };
        let send = |channel, request| async move { cluster(channel).promote(request).await };
        self.call(Safety::Once, request, send).await.map(drop)
    }

    /// Makes a voter a learner.
    ///
    /// # Errors
    /// `NodeNotFound`, `Membership`; see [`ClientError::kind`].
    pub async fn demote_node(&self, node: NodeId) -> Result<(), ClientError> {
        let request = v1::DemoteRequest { node_id: node };
        let send = |channel, request| async move { cluster(channel).demote(request).await };
        self.call(Safety::Once, request, send).await.map(drop)
    }

    /// Removes a member for good; a majority of the voters that remain must be reachable. It is refused when too few
    /// of them are up to date, which `force` does not check.
    ///
    /// # Errors
    /// `NodeNotFound`, `Membership`; see [`ClientError::kind`].
    pub async fn remove_node(&self, node: NodeId, force: bool) -> Result<(), ClientError> {
        let request = v1::RemoveRequest {
            node_id: node,
            force,
        };
        let send = |channel, request| async move { cluster(channel).remove(request).await };
        self.call(Safety::Once, request, send).await.map(drop)
    }

    /// Hands leadership to a voter.
    ///
    /// # Errors
    /// `NodeNotFound`, `Membership`; see [`ClientError::kind`].
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), ClientError> {
        let request = v1::TransferLeaderRequest { node_id: to };
        let send =
            |channel, request| async move { cluster(channel).transfer_leader(request).await };
        self.call(Safety::Once, request, send).await.map(drop)
    }

    /// How every member is, as seen by the asked one.
    ///
    /// # Errors
    /// If no member answers in time; see [`ClientError::kind`].
    pub async fn cluster_status(&self) -> Result<ClusterStatus, ClientError> {
        let request = v1::StatusRequest {
            only_this_node: false,
        };
        let send = |channel, request| async move { cluster(channel).status(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        self.endpoints.learned(&reply);
        Ok(reply.try_into()?)
    }

    /// Compares the roots of all members at one log index.
    ///
    /// # Errors
    /// `NoLeader`, `Timeout`; see [`ClientError::kind`].
    pub async fn verify_cluster(&self) -> Result<VerifyReport, ClientError> {
        // It writes a log entry that changes no data: doing it twice does no harm.
        let send = |channel, request| async move { cluster(channel).verify(request).await };
        let reply = self.call(Safety::Read, v1::VerifyRequest {}, send).await?;
        Ok(reply.try_into()?)
    }

    /// Makes the asked node freeze a snapshot. `purge_log`: and drop its log up to there. For a client with one
    /// endpoint, the node's, and without [`follow_members`](crate::PandoBuilder::follow_members).
    ///
    /// # Errors
    /// `NotServing`, `Storage`; see [`ClientError::kind`].
    pub async fn snapshot(&self, purge_log: bool) -> Result<FrozenSnapshot, ClientError> {
        let request = v1::SnapshotRequest { purge_log };
        let send = |channel, request| async move { cluster(channel).snapshot(request).await };
        let reply = self.call(Safety::Once, request, send).await?;
        Ok(FrozenSnapshot {
            node: reply.node_id,
            log_index: reply.log_index,
            purged_index: reply.purged_index,
        })
    }
}
