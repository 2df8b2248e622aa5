//! Step 4: a follower dies, the world moves on, and the log it would need is gone.

use super::data::Data;
use super::drift::{Drift, Drifted};
use super::world::{PATIENCE, World};
use crate::commands::cluster::caught_up;

/// A node that was killed, and what it has missed.
pub(super) struct Behind {
    /// Which node.
    pub(super) node: usize,
    /// What changed since.
    pub(super) drifted: Drifted,
}

/// Makes a follower keep all there is, kills it and applies a portion of drift without it. What it had applied but
/// not flushed would be lost with it and come again with the drift.
pub(super) async fn leave_behind(
    world: &mut World,
    data: &Data,
    portion: usize,
) -> anyhow::Result<Behind> {
    let node = world.follower().await?;
    make_durable(world, node).await?;
    world.nodes[node].kill();
    let drifted = Drift::portion(data, portion)?
        .apply(&world.client()?, &world.collection)
        .await?;
    Ok(Behind { node, drifted })
}

async fn make_durable(world: &World, node: usize) -> anyhow::Result<()> {
    let id = world.nodes[node].at.node_id;
    caught_up(&world.client()?, id, PATIENCE).await?;
    let client = world.client_of(node)?;
    let status = client.cluster_status().await?;
    let own = status.nodes.into_iter().find(|n| n.node == id);
    let applied = own.and_then(|n| n.status.ok()).map(|s| s.applied);
    let snapshot = client.snapshot(false).await?;
    anyhow::ensure!(
        snapshot.node == id && applied.is_some_and(|applied| snapshot.log_index >= applied),
        "node {id} is not durable up to {applied:?}: {snapshot:?}"
    );
    Ok(())
}

/// Makes the leader drop its log up to now.
pub(super) async fn purge(world: &World) -> anyhow::Result<u64> {
    let leader = world.leader().await?;
    let snapshot = world.client_of(leader)?.snapshot(true).await?;
    anyhow::ensure!(
        snapshot.node == world.nodes[leader].at.node_id,
        "node {} answered instead of the leader",
        snapshot.node
    );
    Ok(snapshot.purged_index)
}

pub(super) async fn run(world: &mut World, data: &Data) -> anyhow::Result<Behind> {
    world.step(
        4,
        "a follower is killed (SIGKILL), the data drifts, the leader drops its log",
    )?;
    let behind = leave_behind(world, data, 0).await?;
    let Drifted {
        records,
        deleted,
        writes,
        ..
    } = behind.drifted;
    world.say(format_args!(
        "   without {}: {records} points changed ({deleted} of them deleted) in {writes} writes",
        world.nodes[behind.node].name
    ))?;
    let purged = purge(world).await?;
    world.say(format_args!(
        "   the leader's log is gone up to index {purged}: nothing is left to replay"
    ))?;
    Ok(behind)
}
