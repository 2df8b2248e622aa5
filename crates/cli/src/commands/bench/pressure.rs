//! What a user's writes feel of a sync: the same steady load with and without one.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::change::Mix;
use super::load::{Latency, Load, Rate};
use super::row::Account;
use super::stage::{Follower, Stage};
use crate::http::Figures;
use crate::progress;

/// Records a follower is behind: what takes long enough to be seen, and is a small part of the data.
const BEHIND: u64 = 10_000;
const BEHIND_ONE_IN: u64 = 10;
const NO_WRITE: &str = "no write was due: use more --upserts or more --upserts-seconds";
/// Half of the writes take longer: the rate is more than the leader can take.
const QUEUE_MS: f64 = 250.0;
/// The first writes are not counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// The leader's write latency in four situations, one after the other.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Writes {
    pub(super) rate: Rate,
    /// No follower runs.
    pub(super) alone: Latency,
    /// A follower takes part as usual.
    pub(super) in_step: Latency,
    /// A follower catches up by delta; none if no write was due in the meantime.
    pub(super) delta: Option<Latency>,
    /// Records it was behind.
    pub(super) behind: u64,
    /// An empty follower is filled.
    pub(super) full_copy: Option<Latency>,
}

impl Writes {
    /// Whether the leader had enough to do without any sync: then writes wait for each other, and their times say how
    /// long the queue is.
    pub(super) fn is_saturated(&self) -> bool {
        self.alone.p50_ms.max(self.in_step.p50_ms) > QUEUE_MS
    }
}

/// Runs all four; the follower stands still before and after.
pub(super) async fn measure(
    stage: &mut Stage,
    follower: &mut Follower,
    flags: Vec<String>,
    rate: Rate,
    length: Duration,
) -> anyhow::Result<Writes> {
    let spinner = progress::spinner("writing at a steady rate, with and without a sync");
    let behind = BEHIND.min(stage.ids.count() / BEHIND_ONE_IN).max(1);
    stage.change(behind, Mix::Mixed).await?;
    stage.purge().await?;

    let load = Load::start(stage, rate);
    tokio::time::sleep(WARM_UP).await;
    let begun = Instant::now();
    tokio::time::sleep(length).await;
    let ended = Instant::now();
    stage.purge().await?;
    let goal = stage.applied().await?;
    let synced = Instant::now();
    follower.process.restart().await?;
    let seen = stage.reached(&follower.process, goal).await?;
    let (from, to) = window(&seen, synced)?;
    let samples = load.stop().await?;
    let alone = samples.between(begun, ended)?.context(NO_WRITE)?;
    let delta = samples.between(from, to)?;

    let load = Load::start(stage, rate);
    tokio::time::sleep(WARM_UP).await;
    let begun = Instant::now();
    tokio::time::sleep(length).await;
    let ended = Instant::now();
    let in_step = load
        .stop()
        .await?
        .between(begun, ended)?
        .context(NO_WRITE)?;
    stage.equal(follower.id).await?;
    follower.process.stop(stage.patience).await?;

    stage.purge().await?;
    let process = stage.start("under-load", flags).await?;
    let load = Load::start(stage, rate);
    tokio::time::sleep(WARM_UP).await;
    let synced = Instant::now();
    let id = stage.client.add_node(&process.at.node).await?.node;
    let goal = stage.applied().await?;
    let seen = stage.reached(&process, goal).await?;
    let (from, to) = window(&seen, synced)?;
    let full_copy = load.stop().await?.between(from, to)?;
    stage.equal(id).await?;
    stage.remove(Follower { process, id }).await?;
    spinner.finish_and_clear();
    Ok(Writes {
        rate,
        alone,
        in_step,
        delta,
        behind,
        full_copy,
    })
}

/// When the sync ran: it has just ended, and the follower says how long it took.
fn window(seen: &Figures, earliest: Instant) -> anyhow::Result<(Instant, Instant)> {
    let now = Instant::now();
    let took = Duration::from_secs_f64(Account::read(seen)?.seconds);
    let begin = now
        .checked_sub(took)
        .map_or(earliest, |begin| begin.max(earliest));
    Ok((begin, now))
}
