//! Forming the cluster and changing who belongs to it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use pando_client::{ClientError, ClusterStatus, ErrorKind, NodeState, Pando, Role};
use pando_model::NodeId;
use serde_json::json;

use crate::context::Context;
use crate::exit::{Late, No, Refused};
use crate::progress;

/// Pause between two looks at a state that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a node that is to be added may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// What to do when the cluster is there and members are missing.
const GO_ON: &str =
    "go on with `pando cluster add ADDR` and `pando cluster promote ID` for each missing node";

/// Makes the first node a cluster, then adds and promotes the others one by one. Nothing is begun unless all of
/// them wait to be added.
pub(super) async fn init(context: &Context, join: &[String]) -> anyhow::Result<()> {
    let client = context.client()?;
    for address in join {
        is_waiting(context, address).await?;
    }
    let formed = client.init_cluster().await.map_err(|e| {
        let again = e.kind() == ErrorKind::AlreadyInitialized;
        let error = anyhow::Error::new(e);
        if again { error.context(GO_ON) } else { error }
    })?;
    let mut nodes = vec![formed.node];
    for address in join {
        let bar = progress::spinner(&format!("adding {address}"));
        let added = join_one(context, &client, address).await;
        bar.finish_and_clear();
        let formed = || {
            format!(
                "cluster {} is formed, {address} is not a voter; {GO_ON}",
                formed.cluster
            )
        };
        nodes.push(added.with_context(formed)?);
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

async fn join_one(context: &Context, client: &Pando, address: &str) -> anyhow::Result<NodeId> {
    let added = client.add_node(address).await?;
    caught_up(client, added.node, context.timeout).await?;
    promote(client, added.node, context.timeout).await?;
    Ok(added.node)
}

/// Checks that a node runs and belongs to no cluster.
async fn is_waiting(context: &Context, address: &str) -> anyhow::Result<()> {
    let probe = context
        .client_of([address])?
        .with_timeout(context.timeout.min(PROBE_TIMEOUT));
    let status = probe
        .cluster_status()
        .await
        .with_context(|| format!("{address} cannot be added, so no cluster is formed"))?;
    match status.cluster {
        None => Ok(()),
        Some(cluster) => Err(Refused(format!(
            "{address} belongs to cluster {cluster}, so no cluster is formed; start it on an empty data directory \
             with --bootstrap false"
        ))
        .into()),
    }
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
