//! Step 1: three processes become one cluster.

use std::time::Instant;

use pando_client::{ClusterStatus, NodeState};
use serde_json::json;

use super::world::{PATIENCE, World};
use crate::commands::cluster::{caught_up, promote};
use crate::process::{Launch, NodeProcess};

const NODES: usize = 3;

pub(super) async fn run(world: &mut World) -> anyhow::Result<()> {
    world.step(1, "three nodes form a cluster")?;
    let begun = Instant::now();
    for number in 1..=NODES {
        let node =
            NodeProcess::start(format!("node{number}"), world.root(), Launch::default()).await?;
        let at = &node.at;
        world.say(format_args!(
            "   {} is up: gRPC {}, nodes {}, HTTP {}",
            node.name, at.api, at.node, at.http
        ))?;
        world.nodes.push(node);
    }
    let first = world.client_of(0)?;
    let formed = first.init_cluster().await?;
    for joining in 1..NODES {
        let added = first.add_node(&world.nodes[joining].at.node).await?;
        caught_up(&first, added.node, PATIENCE).await?;
        promote(&first, added.node, PATIENCE).await?;
    }
    world
        .wait_for(&first, "three serving voters", all_serve)
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    world.say(format_args!(
        "   cluster {}: {NODES} voters serving after {seconds:.2} s",
        formed.cluster
    ))?;
    world.note(
        "cluster",
        json!({ "id": formed.cluster.to_string(), "seconds": seconds }),
    );
    Ok(())
}

fn all_serve(status: &ClusterStatus) -> Option<()> {
    let serving = status.nodes.iter().filter(|n| {
        n.voter
            && n.status
                .as_ref()
                .is_ok_and(|s| s.state == NodeState::Serving)
    });
    (serving.count() == NODES).then_some(())
}
