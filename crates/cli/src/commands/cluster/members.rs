//! Forming the cluster and changing who belongs to it.

use std::time::{Duration, Instant};

use pando_client::{ClientError, ClusterStatus, ErrorKind, NodeState, Pando, Role};
use pando_model::NodeId;
use serde_json::json;

use crate::context::Context;
use crate::exit::{Late, No};
use crate::progress;

/// Pause between two looks at a state that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Makes the first node a cluster, then adds and promotes the others one by one.
pub(super) async fn init(context: &Context, join: &[String]) -> anyhow::Result<()> {
    let client = context.client()?;
    let formed = client.init_cluster().await?;
    let mut nodes = vec![formed.node];
    for address in join {
        let bar = progress::spinner(&format!("adding {address}"));
        let added = client.add_node(address).await?;
        caught_up(&client, added.node, context.timeout).await?;
        promote(&client, added.node, context.timeout).await?;
        bar.finish_and_clear();
        nodes.push(added.node);
    }
    let json = || json!({ "cluster": formed.cluster.to_string(), "nodes": nodes });
    let text = || {
        let voters = nodes
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        format!("cluster {} is formed; voters: {voters}", formed.cluster)
    };
    context.format.show(json, text)?;
    Ok(())
}

/// Waits until a member has applied what the leader has applied by now.
pub(crate) async fn caught_up(client: &Pando, node: NodeId, limit: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut target = None;
    loop {
        let status = client.cluster_status().await?;
        target = target.or_else(|| leader_applied(&status));
        let member = status.nodes.iter().find(|n| n.node == node);
        let state = member.map(|n| n.status.as_ref());
        if let (Some(target), Some(Ok(state))) = (target, state)
            && state.applied >= target
            && state.state == NodeState::Serving
        {
            return Ok(());
        }
        if begun.elapsed() > limit {
            let seen = match state {
                None => "it is not a member".to_owned(),
                Some(Err(reason)) => reason.clone(),
                Some(Ok(state)) => format!("it is at log index {}", state.applied),
            };
            return Err(Late(format!(
                "node {node} did not catch up within {limit:?}: {seen}"
            ))
            .into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn leader_applied(status: &ClusterStatus) -> Option<u64> {
    let leader = status
        .nodes
        .iter()
        .find(|n| Some(n.node) == status.leader)?;
    Some(leader.status.as_ref().ok()?.applied)
}

/// Promotes a learner; while another membership change is going on, or the learner is thought to be behind,
/// again until the limit.
pub(crate) async fn promote(
    client: &Pando,
    node: NodeId,
    limit: Duration,
) -> Result<(), ClientError> {
    let begun = Instant::now();
    loop {
        match client.promote_node(node).await {
            Err(e) if e.kind() == ErrorKind::Membership && begun.elapsed() < limit => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            result => return result,
        }
    }
}

/// Hands leadership over.
pub(super) async fn transfer(context: &Context, id: Option<NodeId>) -> anyhow::Result<()> {
    let client = context.client()?;
    let to = match id {
        Some(id) => id,
        None => successor(&client.cluster_status().await?)?,
    };
    client.transfer_leader(to).await?;
    context
        .format
        .show(|| json!({ "leader": to }), || format!("node {to} leads"))?;
    Ok(())
}

/// The serving voter, other than the leader, that is least behind.
fn successor(status: &ClusterStatus) -> Result<NodeId, No> {
    let voters = status
        .nodes
        .iter()
        .filter(|n| n.voter && Some(n.node) != status.leader);
    let serving = voters.filter_map(|n| {
        let s = n.status.as_ref().ok()?;
        (s.state == NodeState::Serving && s.role != Role::Leader).then_some((s.lag, n.node))
    });
    let least = serving.min();
    least
        .map(|(_, node)| node)
        .ok_or_else(|| No("there is no other voter that is serving".to_owned()))
}
