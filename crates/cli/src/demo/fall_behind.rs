//! Step 4: a follower dies, the world moves on, and the log it would need is gone.

use super::data::Data;
use super::drift::{Drift, Drifted};
use super::world::World;

/// A node that was killed, and what it has missed.
pub(super) struct Behind {
    /// Which node.
    pub(super) node: usize,
    /// What changed since.
    pub(super) drifted: Drifted,
}

/// Kills a follower and applies a portion of drift without it.
pub(super) async fn leave_behind(
    world: &mut World,
    data: &Data,
    portion: usize,
) -> anyhow::Result<Behind> {
    let node = world.follower().await?;
    world.nodes[node].kill();
    let drifted = Drift::portion(data, portion)?
        .apply(&world.client()?, &world.collection)
        .await?;
    Ok(Behind { node, drifted })
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
