//! What a node costs when nobody catches up: starting, being in step, keeping its tree.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hyper::StatusCode;
use serde::Serialize;

use super::stage::{Follower, Stage, figures};
use crate::exit::Late;
use crate::http;
use crate::process::NodeProcess;

/// Pause between two looks whether a node is ready.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle follower is listened to.
const IDLE: Duration = Duration::from_secs(3);

/// Starting a node with all its data.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Start {
    /// From the start of the process to `/readyz` saying yes.
    pub(super) ready_seconds: f64,
    /// What the node says of the parts.
    pub(super) phases: BTreeMap<String, f64>,
    /// Bytes per second between the leader and a follower that is in step, both ways.
    pub(super) idle_bytes_per_second: f64,
}

/// Starts a follower that is up to date while the leader is there; leaves it running.
pub(super) async fn measure(stage: &Stage, follower: &mut Follower) -> anyhow::Result<Start> {
    let begun = Instant::now();
    follower.process.restart().await?;
    loop {
        let ready = http::get(&follower.process.at.http, "/readyz", LOOK_TIMEOUT).await;
        if ready.is_ok_and(|(status, _)| status == StatusCode::OK) {
            break;
        }
        if begun.elapsed() > stage.patience {
            let (name, patience) = (&follower.process.name, stage.patience);
            return Err(Late(format!("{name} was not ready within {patience:?}")).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let ready_seconds = begun.elapsed().as_secs_f64();
    stage.equal(follower.id).await?;
    let before = figures(&follower.process).await?;
    tokio::time::sleep(IDLE).await;
    let after = figures(&follower.process).await?;
    let total = |f: &http::Figures| {
        let bytes = f.by_label("pando_node_api_bytes_total", "direction");
        bytes.into_values().sum::<f64>()
    };
    let idle = total(&after) - total(&before);
    ensure!(
        idle > 0.0,
        "a follower in step hears nothing from the leader"
    );
    Ok(Start {
        ready_seconds,
        phases: after.by_label("pando_start_seconds", "part"),
        idle_bytes_per_second: idle / IDLE.as_secs_f64(),
    })
}

/// Whether a node has loaded its points.
pub(super) async fn is_loaded(node: &NodeProcess) -> anyhow::Result<bool> {
    let parts = figures(node).await?.by_label("pando_start_seconds", "part");
    Ok(parts.get("load").is_some_and(|seconds| *seconds > 0.0))
}

/// How the leader's time in applying writes is divided, in seconds by part; empty if it does not tell.
pub(super) async fn apply_seconds(stage: &Stage) -> anyhow::Result<BTreeMap<String, f64>> {
    let Some(leader) = &stage.leader else {
        return Ok(BTreeMap::new());
    };
    let figures = figures(leader).await?;
    Ok(figures.by_label("pando_apply_seconds_total", "part"))
}
