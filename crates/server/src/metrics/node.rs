//! Figures read off the node when somebody asks for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use pando_consensus::SyncFigures;
use pando_model::{ClusterId, NodeId};
use pando_proto::{NodeState, NodeStatus, Role};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::catch_up::CatchUpMetrics;
use super::scrub::ScrubMetrics;
use super::sync::SyncMetrics;
use super::work::{Work, WorkMetrics};
use crate::traffic::Traffic;

pub(super) type Level = Gauge<u64, AtomicU64>;

/// How a node is at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeFigures {
    /// The node.
    pub node_id: NodeId,
    /// The cluster it belongs to.
    pub cluster: Option<ClusterId>,
    /// The leader it sees.
    pub leader: Option<NodeId>,
    /// What it says of itself.
    pub status: NodeStatus,
    /// Frozen views alive.
    pub views: u64,
    /// Bytes kept so that they stay frozen.
    pub overlay_bytes: u64,
    /// Where the replica's time went, in seconds.
    pub(crate) work: Work,
    /// Views served to followers.
    pub views_served: u64,
    /// What syncs cost.
    pub sync: SyncFigures,
    /// Memory of the process, where the system tells.
    pub resident_bytes: Option<u64>,
    /// What comparing the members has found.
    pub trust: pando_consensus::TrustStatus,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Of {
    pub(super) name: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Direction {
    pub(super) direction: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct NodeMetrics {
    node_id: Level,
    leader_id: Level,
    role: Family<Of, Level>,
    state: Family<Of, Level>,
    term: Level,
    index: Family<Of, Level>,
    log_entries: Level,
    log_bytes: Level,
    points: Level,
    point_bytes: Level,
    memory_bytes: Level,
    index_backlog: Level,
    index_indexed: Counter,
    index_reused: Counter,
    resident_bytes: Level,
    disk_bytes: Level,
    views: Level,
    overlay_bytes: Level,
    uptime_seconds: Level,
    node_api_bytes: Family<Direction, Counter>,
    catch_up: CatchUpMetrics,
    sync: SyncMetrics,
    scrub: ScrubMetrics,
    work: WorkMetrics,
}

const ROLES: [(Role, &str); 4] = [
    (Role::Leader, "leader"),
    (Role::Follower, "follower"),
    (Role::Candidate, "candidate"),
    (Role::Learner, "learner"),
];
const STATES: [&str; 4] = ["serving", "syncing", "waiting", "quarantined"];

fn state_name(state: &NodeState) -> &'static str {
    let [serving, syncing, waiting, quarantined] = STATES;
    match state {
        NodeState::Serving => serving,
        NodeState::Syncing(_) => syncing,
        NodeState::Waiting => waiting,
        NodeState::Quarantined { .. } => quarantined,
    }
}

pub(super) fn set(counter: &Counter, value: u64) {
    counter.inner().store(value, Ordering::Relaxed);
}

pub(super) fn set_direction(family: &Family<Direction, Counter>, received: u64, sent: u64) {
    set(
        &family.get_or_create(&Direction {
            direction: "received",
        }),
        received,
    );
    set(
        &family.get_or_create(&Direction { direction: "sent" }),
        sent,
    );
}

pub(super) fn choose(
    family: &Family<Of, Level>,
    names: impl IntoIterator<Item = (&'static str, bool)>,
) {
    for (name, chosen) in names {
        family.get_or_create(&Of { name }).set(chosen.into());
    }
}

impl NodeMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let m = Self {
            catch_up: CatchUpMetrics::register(registry),
            sync: SyncMetrics::register(registry),
            scrub: ScrubMetrics::register(registry),
            work: WorkMetrics::register(registry),
            ..Self::default()
        };
        m.register_raft(registry);
        m.register_state(registry);
        m
    }

    fn register_raft(&self, registry: &mut Registry) {
        let m = self;
        registry.register("node_id", "This node's id", m.node_id.clone());
        registry.register(
            "leader_id",
            "The leader it sees, 0 for none",
            m.leader_id.clone(),
        );
        registry.register("raft_role", "1 for the part it has in Raft", m.role.clone());
        registry.register("node_state", "1 for what it is doing", m.state.clone());
        registry.register("raft_term", "Raft term", m.term.clone());
        registry.register(
            "raft_index",
            "Log indexes: last on disk, committed, applied, snapshot, purged",
            m.index.clone(),
        );
        registry.register(
            "raft_log_entries",
            "Log entries kept",
            m.log_entries.clone(),
        );
        registry.register(
            "raft_log_bytes",
            "Bytes of the log entries kept",
            m.log_bytes.clone(),
        );
    }

    fn register_state(&self, registry: &mut Registry) {
        let m = self;
        registry.register("points", "Points in all collections", m.points.clone());
        registry.register(
            "point_bytes",
            "Canonical bytes of the points",
            m.point_bytes.clone(),
        );
        registry.register(
            "memory_bytes",
            "Memory of indexes and of stored vectors kept for searches, estimated",
            m.memory_bytes.clone(),
        );
        registry.register(
            "index_backlog",
            "Vectors that no graph holds yet; every search scans them",
            m.index_backlog.clone(),
        );
        registry.register(
            "index_indexed",
            "Vectors put into graphs one by one",
            m.index_indexed.clone(),
        );
        registry.register(
            "index_reused",
            "Vectors whose place in a graph was taken from an index checkpoint",
            m.index_reused.clone(),
        );
        registry.register(
            "resident_memory_bytes",
            "Memory of the process, 0 where the system does not tell",
            m.resident_bytes.clone(),
        );
        registry.register(
            "disk_bytes",
            "Bytes on disk, log included",
            m.disk_bytes.clone(),
        );
        registry.register("frozen_views", "Frozen views alive", m.views.clone());
        registry.register(
            "overlay_bytes",
            "Bytes kept for frozen views",
            m.overlay_bytes.clone(),
        );
        registry.register(
            "uptime_seconds",
            "Time since it started",
            m.uptime_seconds.clone(),
        );
        registry.register(
            "node_api_bytes",
            "Bytes between nodes, counted at the socket",
            m.node_api_bytes.clone(),
        );
    }

    pub(super) fn set(&self, figures: &NodeFigures, traffic: &Traffic) {
        self.work.set(&figures.work);
        let s = &figures.status;
        self.node_id.set(figures.node_id);
        self.leader_id.set(figures.leader.unwrap_or(0));
        choose(&self.role, ROLES.map(|(role, name)| (name, role == s.role)));
        choose(
            &self.state,
            STATES.map(|name| (name, name == state_name(&s.state))),
        );
        self.term.set(s.term);
        for (name, index) in [
            ("last_log", s.last_log),
            ("committed", s.committed),
            ("applied", s.applied),
            ("snapshot", s.log.snapshot),
            ("purged", s.log.purged),
        ] {
            self.index.get_or_create(&Of { name }).set(index);
        }
        self.log_entries.set(s.log.entries);
        self.log_bytes.set(s.log.bytes);
        self.points.set(s.points);
        self.point_bytes.set(s.point_bytes);
        self.memory_bytes.set(s.memory_bytes);
        self.index_backlog.set(s.index_backlog);
        set(&self.index_indexed, s.index_indexed);
        set(&self.index_reused, s.index_reused);
        self.resident_bytes.set(figures.resident_bytes.unwrap_or(0));
        self.disk_bytes.set(s.disk_bytes);
        self.views.set(figures.views);
        self.overlay_bytes.set(figures.overlay_bytes);
        self.uptime_seconds.set(s.uptime_seconds);
        self.catch_up.set(&s.catch_up);
        self.sync.set(figures);
        self.scrub.set(&s.scrub);
        set_direction(&self.node_api_bytes, traffic.received(), traffic.sent());
    }
}
