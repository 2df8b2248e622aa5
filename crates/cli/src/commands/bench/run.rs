//! One stage with its followers: filled, left behind, and brought back round by round.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::change::{Mix, record_bytes};
use super::measure::{catch_up, full_copy};
use super::plan::Round;
use super::row::{Method, Row, Task};
use super::settings;
use super::stage::{Follower, Stage};

/// A follower that catches up by delta: its method, whether it asks for compression, its name.
pub(super) type Kind = (Method, bool, &'static str);

/// One size: the stage with its followers, and what was measured so far.
pub(super) struct Run {
    pub(super) followers: Vec<(Kind, Follower)>,
    /// The one that replays; gone when no more rounds need it.
    replayer: Option<Follower>,
    pub(super) stage: Stage,
    pub(super) rows: Vec<Row>,
    // Last: the processes end first, then what they write to is removed.
    _directory: TempDir,
}

impl Run {
    /// Nothing has happened yet.
    pub(super) fn on(stage: Stage, directory: TempDir) -> Self {
        Self {
            followers: Vec::new(),
            replayer: None,
            stage,
            rows: Vec::new(),
            _directory: directory,
        }
    }

    /// Counts the steps to come: filling the followers, and these rounds.
    pub(super) fn announce(&self, kinds: &[Kind], replay: bool, rounds: &[Round]) {
        let deltas = kinds.len() as u64;
        let catch_ups = rounds
            .iter()
            .map(|it| deltas + u64::from(replay && it.replay));
        let steps = deltas + u64::from(replay) + catch_ups.sum::<u64>();
        self.stage.steps.inc_length(steps);
    }

    /// Loads the leader and fills the followers, which are the full copies. Returns how long loading took.
    pub(super) async fn fill(&mut self, kinds: &[Kind], replay: bool) -> anyhow::Result<Duration> {
        let Self { stage, rows, .. } = self;
        let load = stage.load().await?;
        stage.purge().await?;
        let (source, points) = (Arc::clone(&stage.source), stage.ids.count());
        let changed_bytes = record_bytes(&source, source.point(0, 0))? * points;
        let task = |zstd| Task {
            method: Method::FullCopy,
            zstd,
            points,
            changed: points,
            changed_bytes,
            times: 1,
        };
        for kind @ (method, zstd, name) in kinds {
            let flags = settings::follower(*method, *zstd);
            let (follower, row) = full_copy(stage, name, flags, task(*zstd)).await?;
            self.followers.push((*kind, follower));
            // The first of each kind is the row; the others are filled the same way.
            if rows.iter().all(|row| row.task.zstd != *zstd) {
                rows.push(row);
            }
            stage.purge().await?;
        }
        if replay {
            let flags = settings::follower(Method::Replay, false);
            let (follower, _) = full_copy(stage, "replay", flags, task(false)).await?;
            self.replayer = Some(follower);
        }
        Ok(load)
    }

    /// Changes the data, then lets every follower catch up in its way.
    pub(super) async fn round(&mut self, round: Round) -> anyhow::Result<()> {
        let Self {
            stage,
            followers,
            replayer,
            rows,
            ..
        } = self;
        let points = stage.ids.count();
        let change = stage.change(round.changed, round.mix).await?;
        let changed_bytes = change.bytes(&stage.source)?;
        let task = |method, zstd| Task {
            method,
            zstd,
            points,
            changed: change.records(),
            changed_bytes,
            times: change.times,
        };
        if let Some(follower) = replayer.as_mut().filter(|_| round.replay) {
            rows.push(catch_up(stage, follower, task(Method::Replay, false)).await?);
        }
        if !matches!(round.mix, Mix::Mixed)
            && let Some(follower) = replayer.take()
        {
            stage.remove(follower).await?;
        }
        stage.purge().await?;
        for ((method, zstd, _), follower) in followers {
            rows.push(catch_up(stage, follower, task(*method, *zstd)).await?);
        }
        Ok(())
    }
}
