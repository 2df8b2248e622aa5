//! One catch-up, measured: what both processes use between the moment the leader may speak and the moment the
//! follower serves the leader's state.

use std::time::{Duration, Instant};

use super::row::{Account, Row, Task};
use super::stage::{Follower, Stage};
use super::startup;
use super::usage::Watched;
use crate::exit::Late;
use crate::http::Figures;
use crate::output;
use crate::process::NodeProcess;

/// A process that used no CPU for so long has settled.
const QUIET: Duration = Duration::from_millis(60);
/// It is not waited longer for: a node that has something to do in the background is never quite idle.
const QUIET_PATIENCE: Duration = Duration::from_secs(60);

/// What the processes had when the measurement began. The follower's own counters began with it.
struct Begun {
    leader: Option<Watched>,
    follower: Watched,
    start: Duration,
}

impl Begun {
    fn now(stage: &Stage, follower: &NodeProcess, start: Duration) -> anyhow::Result<Self> {
        let watch = |node: &NodeProcess| Watched::new(node.pid()?);
        Ok(Self {
            leader: stage.leader.as_ref().map(watch).transpose()?,
            follower: watch(follower)?,
            start,
        })
    }

    fn row(&self, task: Task, after: &Figures) -> anyhow::Result<Row> {
        let bytes = |direction: &str| {
            after.count(&format!(
                "pando_node_api_bytes_total{{direction=\"{direction}\"}}"
            ))
        };
        let mut row = Row {
            failed: None,
            task,
            account: Account::read(after)?,
            bytes_in: bytes("received")?,
            bytes_out: bytes("sent")?,
            start_seconds: self.start.as_secs_f64(),
            leader: self.leader.as_ref().map(Watched::used).transpose()?,
            follower: self.follower.used()?,
        };
        row.failed = row.check();
        Ok(row)
    }
}

/// An empty node joins, and gets everything.
pub(super) async fn full_copy(
    stage: &Stage,
    name: &str,
    flags: Vec<String>,
    task: Task,
) -> anyhow::Result<(Follower, Row)> {
    (stage.steps).set_message(format!("full copy to {name}"));
    let begun = Instant::now();
    let process = stage.start(name, flags).await?;
    let start = begun.elapsed();
    settle(stage, &process).await?;
    let measured = Begun::now(stage, &process, start)?;
    let added = stage.client.add_node(&process.at.node).await?;
    let goal = stage.applied().await?;
    let after = stage.reached(&process, goal).await?;
    let row = measured.row(task, &after)?;
    stage.equal(added.node).await?;
    stage.steps.inc(1);
    let mut follower = Follower {
        process,
        id: added.node,
    };
    follower.process.stop(stage.patience).await?;
    Ok((follower, row))
}

/// A follower that was left behind comes back.
pub(super) async fn catch_up(
    stage: &Stage,
    follower: &mut Follower,
    task: Task,
) -> anyhow::Result<Row> {
    let records = output::plural(task.changed, "record");
    (stage.steps).set_message(format!("{}, {records} changed", task.method.name()));
    let goal = stage.applied().await?;
    if let Some(leader) = &stage.leader {
        leader.pause()?;
    }
    let begun = Instant::now();
    follower.process.restart().await?;
    let start = begun.elapsed();
    // A leader that cannot be held speaks at once.
    if stage.leader.is_some() {
        settle(stage, &follower.process).await?;
    }
    let measured = Begun::now(stage, &follower.process, start)?;
    if let Some(leader) = &stage.leader {
        leader.resume()?;
    }
    let after = stage.reached(&follower.process, goal).await?;
    let row = measured.row(task, &after)?;
    stage.equal(follower.id).await?;
    stage.steps.inc(1);
    follower.process.stop(stage.patience).await?;
    Ok(row)
}

/// Waits until a process that came up has loaded its points and does nothing any more.
async fn settle(stage: &Stage, node: &NodeProcess) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !startup::is_loaded(node).await? {
        // One that waits for the disk does nothing, either.
        if begun.elapsed() > stage.patience {
            let (name, patience) = (&node.name, stage.patience);
            return Err(Late(format!("{name} was not loaded within {patience:?}")).into());
        }
        tokio::time::sleep(QUIET).await;
    }
    let begun = Instant::now();
    let watched = Watched::new(node.pid()?)?;
    let mut seen = watched.ticks()?;
    while begun.elapsed() < QUIET_PATIENCE {
        tokio::time::sleep(QUIET).await;
        let now = watched.ticks()?;
        if now == seen {
            break;
        }
        seen = now;
    }
    Ok(())
}
