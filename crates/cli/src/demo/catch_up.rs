//! Step 5: the same backlog made up three ways, each really executed, and proved by the node's own counters.
//!
//! Bytes are those of the follower's node API, counted at the socket, both ways; a fresh process counts from 0.

use std::time::{Duration, Instant};

use anyhow::ensure;
use pando_client::ClusterStatus;
use serde_json::{Value, json};

use super::data::Data;
use super::drift::Drifted;
use super::fall_behind::{Behind, leave_behind, purge};
use super::world::{LOOK_EVERY, PATIENCE, World};
use crate::commands::cluster::promote;
use crate::exit::Late;
use crate::http::Figures;
use crate::output;
use crate::process::NodeProcess;
use crate::progress;

/// How long one look at a node's metrics may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Rows a delta may move besides the drift and one remembered request per write: the system's own.
const SYSTEM_ROWS: u64 = 16;

/// A follower's own figures.
#[derive(Clone, Copy, Debug)]
struct Counters {
    applied: u64,
    /// Nothing is being installed any more, and all counters say so.
    serving: bool,
    sessions: u64,
    replayed: u64,
    rows_put: u64,
    rows_deleted: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Counters {
    async fn of(node: &NodeProcess) -> anyhow::Result<Self> {
        let figures = Figures::of(&node.at.http, LOOK_TIMEOUT).await?;
        Ok(Self {
            applied: figures.count("pando_raft_index{name=\"applied\"}")?,
            serving: figures.count("pando_node_state{name=\"serving\"}")? == 1,
            sessions: figures.count("pando_catch_up_sessions_total")?,
            replayed: figures.count("pando_catch_up_log_entries_total")?,
            rows_put: figures.count("pando_catch_up_rows_put_total")?,
            rows_deleted: figures.count("pando_catch_up_rows_deleted_total")?,
            bytes_in: figures.count("pando_node_api_bytes_total{direction=\"received\"}")?,
            bytes_out: figures.count("pando_node_api_bytes_total{direction=\"sent\"}")?,
        })
    }

    fn rows(&self) -> u64 {
        self.rows_put + self.rows_deleted
    }
}

/// One way of catching up, executed.
struct Run {
    method: &'static str,
    records: u64,
    drifted: Drifted,
    counters: Counters,
    took: Duration,
}

impl Run {
    fn per_changed_byte(&self) -> f64 {
        (self.counters.bytes_in + self.counters.bytes_out) as f64 / self.drifted.bytes as f64
    }

    fn json(&self) -> Value {
        json!({
            "method": self.method,
            "records_moved": self.records,
            "records_changed": self.drifted.records,
            "changed_bytes": self.drifted.bytes,
            "bytes_in": self.counters.bytes_in,
            "bytes_out": self.counters.bytes_out,
            "bytes_per_changed_byte": self.per_changed_byte(),
            "seconds": self.took.as_secs_f64(),
        })
    }
}

pub(super) async fn run(world: &mut World, data: &Data, behind: Behind) -> anyhow::Result<()> {
    world.step(5, "three ways to catch up with the same amount of drift")?;
    let runs = [
        delta(world, behind).await?,
        full_copy(world, data).await?,
        replay(world, data).await?,
    ];
    world.say(table(&runs))?;
    world.note("catch_up", runs.iter().map(Run::json).collect());
    Ok(())
}

/// The follower comes back with all it had; the log it would need is gone.
async fn delta(world: &mut World, behind: Behind) -> anyhow::Result<Run> {
    let Behind { node, drifted } = behind;
    let bar = progress::spinner("catching up by Merkle delta");
    let begun = Instant::now();
    world.nodes[node].restart().await?;
    let counters = reached_leader(world, node).await?;
    let took = begun.elapsed();
    bar.finish_and_clear();
    let rows = counters.rows();
    let expected = drifted.records..=drifted.records + drifted.writes + SYSTEM_ROWS;
    ensure!(
        counters.sessions > 0,
        "no delta session was used: {counters:?}"
    );
    ensure!(
        expected.contains(&rows),
        "the delta moved {rows} rows instead of {expected:?}"
    );
    ensure!(
        counters.replayed < drifted.writes,
        "the log was replayed: {counters:?}"
    );
    Ok(Run {
        method: "Merkle delta",
        records: rows,
        drifted,
        counters,
        took,
    })
}

/// The follower's disk is gone: it comes back empty, as a new node.
async fn full_copy(world: &mut World, data: &Data) -> anyhow::Result<Run> {
    let Behind { node, drifted } = leave_behind(world, data, 1).await?;
    purge(world).await?;
    let client = world.client()?;
    let old = world.nodes[node].at.node_id;
    client.remove_node(old, true).await?;
    world.nodes[node].wipe()?;
    let bar = progress::spinner("catching up by full copy");
    let begun = Instant::now();
    world.nodes[node].restart().await?;
    let added = client.add_node(&world.nodes[node].at.node).await?;
    ensure!(
        added.node != old,
        "the wiped node came back under its old id {old}"
    );
    let counters = reached_leader(world, node).await?;
    let took = begun.elapsed();
    bar.finish_and_clear();
    let points = data.base.len() as u64;
    ensure!(counters.sessions > 0, "no session was used: {counters:?}");
    ensure!(
        counters.rows_put >= points,
        "only {} rows came: {counters:?}",
        counters.rows_put
    );
    promote(&client, added.node, PATIENCE).await?;
    Ok(Run {
        method: "full copy",
        records: counters.rows(),
        drifted,
        counters,
        took,
    })
}

/// The follower comes back and the log is still there.
async fn replay(world: &mut World, data: &Data) -> anyhow::Result<Run> {
    let Behind { node, drifted } = leave_behind(world, data, 2).await?;
    let bar = progress::spinner("catching up by log replay");
    let begun = Instant::now();
    world.nodes[node].restart().await?;
    let counters = reached_leader(world, node).await?;
    let took = begun.elapsed();
    bar.finish_and_clear();
    // Equal roots without a session: whatever it had missed, it took from the log.
    ensure!(
        counters.sessions == 0,
        "a session was used although the log was there: {counters:?}"
    );
    ensure!(
        counters.rows() == 0,
        "rows came although no session was used: {counters:?}"
    );
    ensure!(
        counters.replayed > 0,
        "no log entry was replayed: {counters:?}"
    );
    Ok(Run {
        method: "log replay",
        records: drifted.records,
        drifted,
        counters,
        took,
    })
}

/// Waits until a node has applied what the leader has, then checks that their roots are equal. Returns the node's
/// counters as they were when it had caught up.
async fn reached_leader(world: &World, node: usize) -> anyhow::Result<Counters> {
    let leader = world.leader().await?;
    let begun = Instant::now();
    let counters = loop {
        // Asked over HTTP, so that looking adds nothing to the bytes between the nodes.
        let there = Counters::of(&world.nodes[node]).await;
        let goal = Counters::of(&world.nodes[leader]).await?.applied;
        match there {
            Ok(counters) if counters.serving && counters.applied >= goal => break counters,
            seen if begun.elapsed() > PATIENCE => {
                let name = &world.nodes[node].name;
                return Err(Late(format!(
                    "{name} did not reach log index {goal} within {PATIENCE:?}; last seen: {seen:?}"
                ))
                .into());
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    };
    let ids = [world.nodes[node].at.node_id, world.nodes[leader].at.node_id];
    let client = world.client_of(leader)?;
    world
        .wait_for(&client, "equal roots at one log index", |status| {
            equal(status, ids)
        })
        .await?;
    Ok(counters)
}

fn equal(status: &ClusterStatus, ids: [u64; 2]) -> Option<()> {
    let state = |id| {
        let report = status.nodes.iter().find(|n| n.node == id)?;
        let status = report.status.as_ref().ok()?;
        Some((status.applied, status.root))
    };
    let [a, b] = ids.map(state);
    (a.is_some() && a == b).then_some(())
}

fn table(runs: &[Run]) -> String {
    let mut table = output::table([
        "method",
        "records moved",
        "bytes in",
        "bytes out",
        "bytes / changed bytes",
        "seconds",
    ]);
    for run in runs {
        table.add_row([
            run.method.to_owned(),
            run.records.to_string(),
            output::bytes(run.counters.bytes_in),
            output::bytes(run.counters.bytes_out),
            format!("{:.2}", run.per_changed_byte()),
            format!("{:.2}", run.took.as_secs_f64()),
        ]);
    }
    let changed = runs.first().map_or(0, |run| run.drifted.records);
    let bytes = runs.first().map_or(0, |run| run.drifted.bytes);
    format!(
        "{table}\n   {changed} records ({}) had changed each time; seconds from the start of the process",
        output::bytes(bytes)
    )
}
