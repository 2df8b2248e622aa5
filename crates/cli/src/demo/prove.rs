//! Step 6: the proof.

use serde_json::json;

use super::world::World;
use crate::commands::cluster::{verify_json, verify_text};

pub(super) async fn run(world: &mut World) -> anyhow::Result<()> {
    world.step(6, "are the replicas equal?")?;
    let verified = world.client()?.verify_cluster().await?;
    anyhow::ensure!(
        verified.nodes.len() == world.nodes.len(),
        "{} nodes were compared instead of {}",
        verified.nodes.len(),
        world.nodes.len()
    );
    world.note("verify", json!(verify_json(&verified)));
    world.say(verify_text(&verified))?;
    crate::commands::cluster::check(&verified)
}
