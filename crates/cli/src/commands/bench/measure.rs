//! One catch-up, measured: what both processes use between the moment the leader may speak and the moment the
//! follower serves the leader's state.

use std::time::{Duration, Instant};

use super::row::{Account, Row, Task};
use super::stage::{Follower, Stage, figures};
use super::usage::Watched;
use crate::http::Figures;
use crate::process::NodeProcess;
use crate::progress;

/// A process that used no CPU for so long has settled.
const QUIET: Duration = Duration::from_millis(60);
/// It is not waited longer for.
const QUIET_PATIENCE: Duration = Duration::from_secs(10);

/// What both processes had when the measurement began.
struct Begun {
    leader: Watched,
    follower: Watched,
    figures: Figures,
    start: Duration,
}

impl Begun {
    async fn now(stage: &Stage, follower: &NodeProcess, start: Duration) -> anyhow::Result<Self> {
        settle(follower).await?;
        let figures = figures(follower).await?;
        Ok(Self {
            figures,
            leader: Watched::new(stage.leader.pid()?)?,
            follower: Watched::new(follower.pid()?)?,
            start,
        })
    }

    fn row(&self, task: Task, after: &Figures) -> anyhow::Result<Row> {
        let bytes = |direction: &str| {
            let name = format!("pando_node_api_bytes_total{{direction=\"{direction}\"}}");
            Ok::<_, anyhow::Error>(after.count(&name)? - self.figures.count(&name)?)
        };
        let row = Row {
            task,
            account: Account::read(after)?,
            bytes_in: bytes("received")?,
            bytes_out: bytes("sent")?,
            start_seconds: self.start.as_secs_f64(),
            leader: self.leader.used()?,
            follower: self.follower.used()?,
        };
        row.check()?;
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
    let spinner = progress::spinner(&format!("full copy to {name}"));
    let begun = Instant::now();
    let process = stage.start(name, flags).await?;
    let measured = Begun::now(stage, &process, begun.elapsed()).await?;
    let added = stage.client.add_node(&process.at.node).await?;
    let goal = stage.applied().await?;
    let after = stage.reached(&process, goal).await?;
    let row = measured.row(task, &after)?;
    stage.equal(added.node).await?;
    spinner.finish_and_clear();
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
    let spinner = progress::spinner(task.method.name());
    let goal = stage.applied().await?;
    stage.leader.pause()?;
    let begun = Instant::now();
    follower.process.restart().await?;
    let measured = Begun::now(stage, &follower.process, begun.elapsed()).await?;
    stage.leader.resume()?;
    let after = stage.reached(&follower.process, goal).await?;
    let row = measured.row(task, &after)?;
    stage.equal(follower.id).await?;
    spinner.finish_and_clear();
    follower.process.stop(stage.patience).await?;
    Ok(row)
}

/// Waits until a process that came up does nothing any more.
async fn settle(node: &NodeProcess) -> anyhow::Result<()> {
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
