//! How this node is, put together from what consensus, the replica and the stores say: one account for the
//! status call, the readiness check and the metrics.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use pando_consensus::{self as consensus, Node, NodeAddress};
use pando_proto::{
    CatchUp, CatchUpPath, CatchUpWhy, LastCatchUp, LogKept, NodeState, NodeStatus, Role, Scrub,
    SyncProgress, Verified,
};
use pando_replica::Part;
use pando_storage::KvStore;

use crate::http::Observed;
use crate::identity::Identity;
use crate::metrics::NodeFigures;

/// One node, to be looked at.
pub(crate) struct NodeView {
    pub(crate) node: Arc<Node>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) address: NodeAddress,
    pub(crate) log: Arc<dyn KvStore>,
    pub(crate) started: Instant,
}

impl NodeView {
    /// Whether this node answers reads and passes writes on.
    pub(crate) async fn is_ready(&self) -> bool {
        let status = self.node.status().await;
        self.identity.cluster_id().is_some()
            && status.leader.is_some()
            && status.state == consensus::NodeState::Serving
    }
}

#[async_trait]
impl Observed for NodeView {
    async fn figures(&self) -> Result<NodeFigures, String> {
        let replica = Arc::clone(self.node.replica());
        let log = Arc::clone(&self.log);
        // Sizes are read off the disk.
        let measured = tokio::task::spawn_blocking(move || {
            let stats = replica.stats().map_err(|e| e.to_string())?;
            let log_bytes = log.size_on_disk().map_err(|e| e.to_string())?;
            let work = Part::ALL.map(|part| (part, replica.time(part).as_secs_f64()));
            Ok::<_, String>((stats, log_bytes, resident_bytes(), work))
        });
        let (stats, log_disk_bytes, resident_bytes, work) = measured
            .await
            .map_err(|_| "the node is shutting down".to_owned())??;
        let status = self.node.status().await;
        Ok(NodeFigures {
            node_id: self.identity.node_id(),
            cluster: self.identity.cluster_id(),
            leader: status.leader.as_ref().map(|(id, _)| *id),
            views: stats.views,
            overlay_bytes: stats.overlay_bytes,
            views_served: status.views_served as u64,
            sync: status.sync,
            resident_bytes,
            work,
            trust: status.trust.clone(),
            status: NodeStatus {
                role: role(status.role),
                term: status.term,
                last_log: status.last_log.unwrap_or(0),
                committed: status.committed.unwrap_or(0),
                applied: status.applied.unwrap_or(0),
                lag: 0,
                root: status.root.0,
                state: state(status.state),
                log: LogKept {
                    entries: status.log_entries,
                    bytes: status.log_bytes,
                    snapshot: status.snapshot.unwrap_or(0),
                    purged: status.purged.unwrap_or(0),
                },
                catch_up: catch_up(status.catch_up),
                scrub: scrub(status.scrub),
                verified: verified(&status.trust),
                points: stats.points,
                point_bytes: stats.bytes,
                disk_bytes: stats.disk_bytes + log_disk_bytes,
                memory_bytes: stats.index_bytes + stats.vector_cache_bytes,
                index_backlog: stats.index_backlog,
                index_indexed: stats.index_indexed,
                index_reused: stats.index_reused,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime_seconds: self.started.elapsed().as_secs(),
            },
        })
    }
}

fn role(role: consensus::Role) -> Role {
    match role {
        consensus::Role::Leader => Role::Leader,
        consensus::Role::Follower => Role::Follower,
        consensus::Role::Candidate => Role::Candidate,
        // A node that has stopped follows nobody and votes for nobody; its state says more.
        consensus::Role::Learner | consensus::Role::Stopped => Role::Learner,
    }
}

fn state(state: consensus::NodeState) -> NodeState {
    match state {
        consensus::NodeState::Serving => NodeState::Serving,
        consensus::NodeState::Syncing(sync) => NodeState::Syncing(progress(sync)),
        consensus::NodeState::Waiting { .. } => NodeState::Waiting,
        consensus::NodeState::Quarantined { reason, repair } => NodeState::Quarantined {
            reason,
            repair: repair.map(progress),
        },
    }
}

fn progress(sync: consensus::SyncStatus) -> SyncProgress {
    SyncProgress {
        done: sync.done,
        total: sync.total,
        leader: sync.leader,
        index: sync.index,
        received_bytes: sync.received_bytes,
        elapsed_seconds: sync.elapsed.as_secs(),
        left_seconds: sync.left.map(|left| left.as_secs()),
        installing: sync.installing,
        why: sync.why.map(why),
    }
}

fn path(path: consensus::CatchUpPath) -> CatchUpPath {
    match path {
        consensus::CatchUpPath::Log => CatchUpPath::Log,
        consensus::CatchUpPath::Equal => CatchUpPath::Equal,
        consensus::CatchUpPath::Lineage => CatchUpPath::Lineage,
        consensus::CatchUpPath::Walk => CatchUpPath::Walk,
        consensus::CatchUpPath::Bulk => CatchUpPath::Bulk,
        consensus::CatchUpPath::Delta => CatchUpPath::Delta,
    }
}

fn why(why: consensus::CatchUpWhy) -> CatchUpWhy {
    CatchUpWhy {
        reason: why.reason.code().to_owned(),
        had_index: why.had,
        log_kept_from: why.kept_from,
        replay_bytes: why.replay_bytes,
    }
}

fn last_catch_up(last: consensus::LastCatchUp) -> LastCatchUp {
    LastCatchUp {
        path: path(last.path),
        why: why(last.why),
        index: last.index,
        seconds: last.took.as_secs_f64(),
        install_seconds: last.install.as_secs_f64(),
        rows_put: last.rows_put,
        rows_deleted: last.rows_deleted,
        row_bytes: last.row_bytes,
        metadata_bytes: last.metadata_bytes,
        received_bytes: last.received_bytes,
        sent_bytes: last.sent_bytes,
        round_trips: last.round_trips,
        entries: last.entries,
    }
}

fn catch_up(counters: consensus::CatchUpCounters) -> CatchUp {
    CatchUp {
        entries_replayed: counters.log_entries_replayed,
        delta_sessions: counters.delta_sessions,
        rows_put: counters.rows_put,
        rows_deleted: counters.rows_deleted,
        sync_bytes_in: counters.sync_bytes_in,
        sync_bytes_out: counters.sync_bytes_out,
        resumed: counters.resumed,
        count: counters.count,
        last: counters.last.map(last_catch_up),
    }
}

fn verified(trust: &consensus::TrustStatus) -> Verified {
    let (last, compared) = (trust.verified.as_ref(), trust.compared.as_ref());
    let no_majority =
        |last: &consensus::Verified| matches!(last.verdict, consensus::Verdict::NoMajority { .. });
    Verified {
        log_index: last.map_or(0, |last| last.index),
        at_ms: last.map_or(0, |last| last.at_ms),
        no_majority: compared.is_some_and(no_majority),
        divergences: trust.divergences,
        compared_index: compared.map_or(0, |last| last.index),
    }
}

fn scrub(scrub: consensus::ScrubStatus) -> Scrub {
    Scrub {
        rows: scrub.rows,
        bytes: scrub.bytes,
        passes: scrub.passes,
        last_pass_ms: scrub.last_pass_ms.unwrap_or(0),
        permille: scrub.permille,
        damaged: scrub.damaged,
        found: scrub.found,
        mended: scrub.mended,
        rebuilds: scrub.rebuilds,
        rebuilding: scrub.rebuilding,
    }
}

/// Memory of this process, on systems that keep it in `/proc`.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_has_memory() {
        let bytes = super::resident_bytes().expect("/proc");
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}
