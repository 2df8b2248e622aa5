//! The stage: one leader that always runs, and followers of which one runs at a time.
//!
//! A follower is left behind by ending its process; the data changes without it. It starts again while the leader is
//! held (SIGSTOP), so that starting up is over, and measured apart, when the leader goes on and the catch-up begins.
//! Holding the follower instead would not do: what the leader sent meanwhile would wait for it in its sockets.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use indicatif::ProgressBar;
use pando_client::{ErrorKind, Pando};
use pando_model::{CollectionName, NodeId, Selector};
use tokio::sync::Mutex;

use super::change::{Change, Ids, Mix};
use super::settings;
use super::vectors::Source;
use crate::commands::import::{ImportOptions, import};
use crate::context::Context;
use crate::exit::Late;
use crate::http::Figures;
use crate::process::{Launch, NodeProcess};
use crate::{output, progress};

/// How long one look at a node's metrics may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between two looks at a node: short at first, then longer, so that looking costs little.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(5);
const LOOK_EVERY_MAX: Duration = Duration::from_millis(200);
/// How long anything may take whatever the size, and how much longer per point.
const PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE_PER_POINT: Duration = Duration::from_micros(600);
/// Ids of one delete.
const IDS_PER_WRITE: usize = 1_024;
/// Lines of a node's log shown when something goes wrong.
const LAST_LINES: usize = 8;

/// A follower: a learner that is up to date whenever it is not being measured.
pub(super) struct Follower {
    pub(super) process: NodeProcess,
    pub(super) id: NodeId,
}

pub(super) struct Stage {
    /// `None`: the cluster is somebody's own.
    pub(super) leader: Option<NodeProcess>,
    leader_id: NodeId,
    ip: IpAddr,
    pub(super) client: Pando,
    pub(super) collection: CollectionName,
    pub(super) source: Arc<Source>,
    pub(super) ids: Ids,
    pub(super) patience: Duration,
    /// The steps of the run, each of which brings a follower up to date.
    pub(super) steps: ProgressBar,
    /// Nodes that were started here.
    started: Mutex<Vec<NodeId>>,
    root: PathBuf,
}

/// How long a node with so many points may take for anything.
pub(super) fn patience(points: u64) -> Duration {
    PATIENCE + PATIENCE_PER_POINT * u32::try_from(points).unwrap_or(u32::MAX)
}

impl Stage {
    /// A cluster of one with the collection, and nothing in it.
    pub(super) async fn set(
        context: &Context,
        root: &Path,
        source: Arc<Source>,
        points: u64,
        log_bytes: u64,
    ) -> anyhow::Result<Self> {
        let patience = patience(points);
        // Replay is measured where the whole change is in the log; deltas where it was purged by hand.
        let log_mib = (log_bytes >> 20) + 256;
        let launch = Launch {
            flags: settings::leader(log_mib, patience.as_millis()),
            patience,
            ..Launch::default()
        };
        let leader = NodeProcess::start("leader".to_owned(), root, launch).await?;
        let client = context.client_of([&leader.at.api])?.with_timeout(patience);
        client.init_cluster().await?;
        let collection = CollectionName::parse("bench")?;
        client
            .create_collection(&collection, source.schema()?)
            .await?;
        Ok(Self {
            leader_id: leader.at.node_id,
            leader: Some(leader),
            ip: Ipv4Addr::LOCALHOST.into(),
            client,
            collection,
            ids: Ids::new(points),
            source,
            patience,
            steps: progress::steps(0),
            started: Mutex::default(),
            root: root.to_owned(),
        })
    }

    /// Somebody's own cluster, with a collection of ours in it; the followers run here and listen on `ip`.
    pub(super) async fn of_cluster(
        context: &Context,
        root: &Path,
        source: Arc<Source>,
        points: u64,
        (endpoint, ip): (&str, IpAddr),
    ) -> anyhow::Result<Self> {
        let patience = patience(points);
        let status = context.client_of([endpoint])?.cluster_status().await?;
        let leader_id = status.leader.context("the cluster has no leader")?;
        let leader = status.nodes.iter().find(|node| node.node == leader_id);
        let leader = leader.context("the cluster does not know its leader")?;
        let client = context
            .client_of([&leader.api_address])?
            .with_timeout(patience);
        let collection = format!("pando-bench-{}", uuid::Uuid::new_v4().simple());
        let collection = CollectionName::parse(&collection)?;
        client
            .create_collection(&collection, source.schema()?)
            .await?;
        Ok(Self {
            leader_id,
            leader: None,
            ip,
            client,
            collection,
            ids: Ids::new(points),
            source,
            patience,
            steps: progress::steps(0),
            started: Mutex::default(),
            root: root.to_owned(),
        })
    }

    /// Writes points; returns how many were written and how long it took.
    async fn write(
        &self,
        what: &str,
        total: u64,
        ids: impl Iterator<Item = (u64, u64)> + Send + 'static,
    ) -> anyhow::Result<Duration> {
        let bar = progress::bar(what, Some(total));
        let source = Arc::clone(&self.source);
        let points = ids.map(move |(id, generation)| Ok(source.point(id, generation)));
        let options = ImportOptions::default();
        let written = import(&self.client, &self.collection, points, options, &bar).await;
        bar.finish_and_clear();
        Ok(written?.took)
    }

    /// Writes the points there are at the beginning.
    pub(super) async fn load(&self) -> anyhow::Result<Duration> {
        let points = self.ids.count();
        self.write("loading", points, (0..points).map(|id| (id, 0)))
            .await
    }

    /// Changes data while no follower runs.
    pub(super) async fn change(&mut self, records: u64, mix: Mix) -> anyhow::Result<Change> {
        let change = self.ids.change(records, mix);
        let what = format!("changing {}", output::plural(records, "record"));
        for time in 0..change.times {
            let total = change.writes() / u64::from(change.times);
            self.write(&what, total, change.pass(time)).await?;
        }
        let ids: Vec<_> = change.deleted().collect();
        for ids in ids.chunks(IDS_PER_WRITE) {
            let selector = Selector::Ids(ids.iter().copied().collect());
            let deleted = self.client.delete(&self.collection, selector).await?;
            ensure!(
                deleted.affected == ids.len() as u64,
                "{} of {} points were deleted",
                deleted.affected,
                ids.len()
            );
        }
        if records == 0 {
            // An entry that changes nothing: the follower is behind, and equal.
            self.client.verify_cluster().await?;
        }
        Ok(change)
    }

    /// Makes the leader drop its log, so that whoever is behind cannot replay it.
    pub(super) async fn purge(&self) -> anyhow::Result<()> {
        let applied = self.applied().await?;
        let snapshot = self.client.snapshot(true).await?;
        ensure!(
            snapshot.node == self.leader_id,
            "node {} answered instead of the leader {}: has leadership moved?",
            snapshot.node,
            self.leader_id
        );
        ensure!(
            snapshot.purged_index >= applied,
            "the leader's log is gone up to {} only, not up to {applied}",
            snapshot.purged_index
        );
        Ok(())
    }

    /// The log index the leader has applied.
    pub(super) async fn applied(&self) -> anyhow::Result<u64> {
        let status = self.client.cluster_status().await?;
        let leader = status.nodes.iter().find(|node| node.node == self.leader_id);
        let leader = leader.context("the leader is no member any more")?;
        match &leader.status {
            Ok(status) => Ok(status.applied),
            Err(reason) => Err(Late(format!("the leader does not answer: {reason}")).into()),
        }
    }

    /// Starts an empty node that belongs to no cluster yet.
    pub(super) async fn start(
        &self,
        name: &str,
        flags: Vec<String>,
    ) -> anyhow::Result<NodeProcess> {
        let launch = Launch {
            flags,
            patience: self.patience,
            ip: self.ip,
        };
        let node = NodeProcess::start(name.to_owned(), &self.root, launch).await?;
        self.started.lock().await.push(node.at.node_id);
        Ok(node)
    }

    /// What the leader has on its disk, if it is ours.
    pub(super) async fn leader_disk_bytes(&self) -> anyhow::Result<Option<u64>> {
        Ok(match &self.leader {
            None => None,
            Some(leader) => Some(figures(leader).await?.count("pando_disk_bytes")?),
        })
    }

    /// Takes what was started here out of the cluster, and the collection, too. Goes on where something fails, and tells
    /// the first failure.
    pub(super) async fn clean(&self) -> anyhow::Result<()> {
        let mut failure = None;
        for node in self.started.lock().await.iter() {
            match self.client.remove_node(*node, true).await {
                Err(e) if e.kind() != ErrorKind::NodeNotFound => {
                    let what = format!(
                        "node {node} is left in the cluster: `pando cluster remove {node} --force`"
                    );
                    failure = failure.or(Some(anyhow::Error::new(e).context(what)));
                }
                _ => {}
            }
        }
        if let Err(e) = self.client.drop_collection(&self.collection).await {
            let what = format!("collection {} is left in the cluster", self.collection);
            failure = failure.or(Some(anyhow::Error::new(e).context(what)));
        }
        failure.map_or(Ok(()), Err)
    }

    /// Waits until a follower has applied `goal` and has accounted for it.
    pub(super) async fn reached(&self, node: &NodeProcess, goal: u64) -> anyhow::Result<Figures> {
        let begun = Instant::now();
        let mut pause = LOOK_EVERY_MIN;
        loop {
            // Asked over HTTP, so that looking adds nothing to the bytes between the nodes.
            let seen = figures(node).await?;
            let serving = seen.count("pando_node_state{name=\"serving\"}")? == 1;
            let accounted = seen.count("pando_catch_up_count")? > 0;
            if serving && accounted && applied(&seen)? >= goal {
                return Ok(seen);
            }
            if begun.elapsed() > self.patience {
                let (name, patience) = (&node.name, self.patience);
                return Err(Late(format!(
                    "{name} did not reach log index {goal} within {patience:?}; it is at {}; the end of its log:\n{}",
                    applied(&seen)?,
                    node.last_lines(LAST_LINES)
                ))
                .into());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 5 / 4).min(LOOK_EVERY_MAX);
        }
    }

    /// Fails unless the leader and a follower have one root at one log index.
    pub(super) async fn equal(&self, follower: NodeId) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let status = self.client.cluster_status().await?;
            let at = |id| {
                let report = status.nodes.iter().find(|n| n.node == id)?;
                let status = report.status.as_ref().ok()?;
                Some((status.applied, status.root))
            };
            if let (Some(leader), Some(follower)) = (at(self.leader_id), at(follower)) {
                if leader == follower {
                    return Ok(());
                }
                ensure!(
                    leader.0 != follower.0,
                    "the roots differ at log index {}: {} and {}",
                    leader.0,
                    output::hex(&leader.1),
                    output::hex(&follower.1)
                );
            }
            if begun.elapsed() > self.patience {
                return Err(Late(format!(
                    "no root of the follower was seen at the leader's index: {status:?}"
                ))
                .into());
            }
            tokio::time::sleep(LOOK_EVERY_MAX).await;
        }
    }

    /// Takes a follower out of the cluster and deletes its data.
    pub(super) async fn remove(&self, follower: Follower) -> anyhow::Result<()> {
        self.client.remove_node(follower.id, true).await?;
        let mut process = follower.process;
        process
            .wipe()
            .with_context(|| format!("the data of {} cannot be deleted", process.name))
    }
}

/// What a node says about itself now.
pub(super) async fn figures(node: &NodeProcess) -> anyhow::Result<Figures> {
    Figures::of(&node.at.http, LOOK_TIMEOUT).await
}

fn applied(figures: &Figures) -> anyhow::Result<u64> {
    figures.count("pando_raft_index{name=\"applied\"}")
}
