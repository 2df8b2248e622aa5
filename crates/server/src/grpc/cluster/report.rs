//! How the members are: this node by itself, the others by asking each.

use std::time::Duration;

use futures::future::join_all;
use pando_consensus::MemberStatus;
use pando_proto::{ClusterStatus, NodeReport, NodeStatus, v1};

use super::add::{client, reason};
use crate::error::ServiceError;
use crate::figures::NodeView;
use crate::http::Observed as _;

/// How long another member may take to say how it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// This node's own account.
pub(super) async fn this_node(view: &NodeView) -> Result<ClusterStatus, ServiceError> {
    let figures = view
        .figures()
        .await
        .map_err(|detail| ServiceError::Storage { detail })?;
    let members = view.node.status().await.members;
    let voter = members.iter().any(|m| m.id == figures.node_id && m.voter);
    let own = NodeReport {
        node: figures.node_id,
        node_address: view.address.node.clone(),
        api_address: view.address.api.clone(),
        voter,
        status: Ok(figures.status),
    };
    Ok(ClusterStatus {
        cluster: figures.cluster,
        answered_by: figures.node_id,
        leader: figures.leader,
        nodes: vec![own],
    })
}

/// Every member's account, as far as they answer.
pub(super) async fn all_nodes(view: &NodeView) -> Result<ClusterStatus, ServiceError> {
    let mut status = this_node(view).await?;
    let own = status.answered_by;
    let others = view
        .node
        .status()
        .await
        .members
        .into_iter()
        .filter(|m| m.id != own);
    status.nodes.extend(join_all(others.map(ask)).await);
    status.nodes.sort_by_key(|n| n.node);
    set_lag(&mut status.nodes);
    Ok(status)
}

async fn ask(member: MemberStatus) -> NodeReport {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, account(&member)).await;
    let status = answer.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_TIMEOUT:?}")));
    NodeReport {
        node: member.id,
        node_address: member.address.node,
        api_address: member.address.api,
        voter: member.voter,
        status,
    }
}

async fn account(member: &MemberStatus) -> Result<NodeStatus, String> {
    let mut client = client(&member.address.api).map_err(|e| e.to_string())?;
    let request = v1::StatusRequest {
        only_this_node: true,
    };
    let answer = client
        .status(request)
        .await
        .map_err(|status| reason(&status))?;
    let status = ClusterStatus::try_from(answer.into_inner()).map_err(|e| e.to_string())?;
    let node = status.nodes.into_iter().find(|n| n.node == member.id);
    node.ok_or_else(|| format!("node {} answers at its address", status.answered_by))?
        .status
}

/// How far each node that answered is behind the furthest of them.
fn set_lag(nodes: &mut [NodeReport]) {
    let statuses = || nodes.iter().filter_map(|n| n.status.as_ref().ok());
    let furthest = statuses().map(|s| s.applied).max().unwrap_or(0);
    for status in nodes.iter_mut().filter_map(|n| n.status.as_mut().ok()) {
        status.lag = furthest - status.applied;
    }
}
