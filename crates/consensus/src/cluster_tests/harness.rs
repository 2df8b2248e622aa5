//! Nodes with stores in memory, and what tests do with them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pando_model::{
    CollectionName, CollectionSchema, Command, Consistency, CountQuery, Effect, Metric, NodeId,
    Payload, Point, PointId, Selector, TreeId, Value,
};
use pando_replica::{Replica, ReplicaOptions};
use pando_storage::{KvStore, MemoryStore};

use crate::cluster_tests::frail::FrailStore;
use crate::testing::Net;
use crate::{CatchUpCounters, Node, NodeAddress, NodeOptions, Receipt, purged_index};

/// What hangs longer than this has failed.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);
const DIMENSION: u32 = 64;
/// Of the collection all tests use.
pub(super) const SALT: [u8; 16] = [7; 16];

struct Member {
    log: Arc<MemoryStore>,
    data: Arc<FrailStore>,
    node: Option<Arc<Node>>,
}

pub(super) struct Cluster {
    pub(super) net: Net,
    /// Where nodes write down what differs, a directory each.
    evidence: tempfile::TempDir,
    members: BTreeMap<NodeId, Member>,
    adjust: fn(&mut NodeOptions),
}

pub(super) fn address(id: NodeId) -> NodeAddress {
    NodeAddress {
        node: format!("node-{id}:7701"),
        api: format!("node-{id}:7700"),
    }
}

impl Cluster {
    /// A cluster of `size` voters, ids from 1 on.
    pub(super) async fn start(size: NodeId) -> Self {
        Self::start_with(size, |_| {}).await
    }

    pub(super) async fn start_with(size: NodeId, adjust: fn(&mut NodeOptions)) -> Self {
        let mut cluster = Self {
            net: Net::new(),
            evidence: tempfile::tempdir().unwrap(),
            members: BTreeMap::new(),
            adjust,
        };
        for id in 1..=size {
            cluster.boot(id).await;
        }
        cluster.node(1).initialize(address(1)).await.unwrap();
        for id in 2..=size {
            cluster.node(1).add_learner(id, address(id)).await.unwrap();
            cluster.node(1).promote(id).await.unwrap();
        }
        cluster
    }

    /// Starts a node on the stores it left, or on empty ones.
    pub(super) async fn boot(&mut self, id: NodeId) {
        let evidence_dir = self.evidence_dir(id);
        let member = self.members.entry(id).or_insert_with(|| Member {
            log: Arc::default(),
            data: Arc::default(),
            node: None,
        });
        let mut options = NodeOptions::new(id);
        options.heartbeat = Duration::from_millis(100);
        options.election_min = Duration::from_millis(500);
        options.election_max = Duration::from_millis(1_000);
        options.change_timeout = DEADLINE;
        options.check_interval = Duration::ZERO;
        options.evidence_dir = Some(evidence_dir);
        (self.adjust)(&mut options);
        let purged = purged_index(member.log.as_ref(), options.group).unwrap();
        let data: Arc<dyn KvStore> = member.data.clone();
        let replica = Replica::open(data, ReplicaOptions::default(), purged).unwrap();
        let log: Arc<dyn KvStore> = member.log.clone();
        let node = Node::start(options, Arc::new(replica), log, self.net.transport(id)).await;
        let node = node.unwrap();
        self.net.attach(&node);
        member.node = Some(node);
    }

    pub(super) fn evidence_dir(&self, id: NodeId) -> PathBuf {
        self.evidence.path().join(id.to_string())
    }

    /// Stops a node in order. What it stored stays, durable or not.
    pub(super) async fn stop(&mut self, id: NodeId) {
        let node = self.members.get_mut(&id).unwrap().node.take().unwrap();
        self.net.detach(id);
        node.shutdown().await;
    }

    /// Stops a node and loses what it had not flushed.
    pub(super) async fn crash(&mut self, id: NodeId) {
        self.stop(id).await;
        let member = self.members.get_mut(&id).unwrap();
        member.log = Arc::new(member.log.crash());
        member.data = Arc::new(member.data.crash());
    }

    pub(super) fn node(&self, id: NodeId) -> &Arc<Node> {
        self.members
            .get(&id)
            .unwrap()
            .node
            .as_ref()
            .expect("the node is up")
    }

    /// The store of a node's state.
    pub(super) fn data(&self, id: NodeId) -> &FrailStore {
        &self.members.get(&id).unwrap().data
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.members
            .values()
            .filter_map(|member| member.node.as_ref())
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// The leader as one node sees it, once it sees one that runs and is not `not`.
    pub(super) async fn leader_seen_by(&self, id: NodeId, not: Option<NodeId>) -> NodeId {
        let up: Vec<NodeId> = self.running().map(|node| node.id()).collect();
        let waited = self.node(id).raft().wait(Some(DEADLINE));
        let led = waited.metrics(
            |metrics| {
                metrics
                    .current_leader
                    .is_some_and(|id| up.contains(&id) && Some(id) != not)
            },
            "a leader",
        );
        led.await.unwrap().current_leader.unwrap()
    }

    pub(super) async fn leader(&self) -> NodeId {
        let first = self.running().next().unwrap().id();
        self.leader_seen_by(first, None).await
    }

    /// A voter that does not lead.
    pub(super) async fn follower(&self) -> NodeId {
        let leader = self.leader().await;
        self.running()
            .map(|node| node.id())
            .find(|id| *id != leader)
            .unwrap()
    }

    pub(super) async fn write(&self, via: NodeId, command: Command) -> Receipt {
        self.node(via).write(command, None, DEADLINE).await.unwrap()
    }

    /// Creates the collection all tests use.
    pub(super) async fn create(&self) -> TreeId {
        let via = self.leader().await;
        let created = self.write(via, create_command()).await;
        match created.effect {
            Effect::Created { tree } => tree,
            other => panic!("{other:?}"),
        }
    }

    /// Writes points of these ids in batches; `version` varies their content.
    pub(super) async fn upsert(
        &self,
        via: NodeId,
        tree: TreeId,
        ids: impl IntoIterator<Item = u64>,
        version: u64,
    ) -> u64 {
        let points: Vec<Point> = ids.into_iter().map(|id| point(id, version)).collect();
        let mut last = 0;
        for points in points.chunks(250) {
            let command = Command::Upsert {
                tree,
                points: points.to_vec(),
            };
            last = self.write(via, command).await.index;
        }
        last
    }

    pub(super) async fn delete(&self, via: NodeId, tree: TreeId, ids: &[u64]) -> u64 {
        let ids = ids.iter().map(|id| PointId::Num(*id)).collect();
        self.write(
            via,
            Command::Delete {
                tree,
                selector: Selector::Ids(ids),
            },
        )
        .await
        .index
    }

    /// Waits until all running nodes have applied the leader's last entry, then demands equal roots.
    pub(super) async fn settle(&self) {
        let leader = self.leader().await;
        let index = self
            .node(leader)
            .barrier(Consistency::Linearizable, DEADLINE)
            .await
            .unwrap();
        for node in self.running() {
            node.barrier(Consistency::AtLeast(index), DEADLINE)
                .await
                .unwrap();
        }
        let roots: BTreeMap<NodeId, _> = self
            .running()
            .map(|node| (node.id(), node.replica().root()))
            .collect();
        assert!(
            roots
                .values()
                .all(|root| Some(root) == roots.values().next()),
            "{roots:?}"
        );
    }

    pub(super) fn count(&self, id: NodeId) -> u64 {
        self.node(id)
            .replica()
            .count(&name(), &CountQuery::default())
            .unwrap()
    }

    pub(super) fn has(&self, node: NodeId, id: u64) -> bool {
        let ids = [PointId::Num(id)];
        let found = self.node(node).replica();
        !found
            .get(&name(), &ids, false, &pando_model::WithVectors::None)
            .unwrap()
            .is_empty()
    }

    pub(super) async fn catch_up(&self, id: NodeId) -> CatchUpCounters {
        self.node(id).progress.idle().await;
        self.node(id).status().await.catch_up
    }

    /// Has every running node drop its log, so that whoever lacks any of it must sync.
    pub(super) async fn purge_everywhere(&self) {
        for node in self.running() {
            node.snapshot(true).await.unwrap();
        }
    }
}

pub(super) fn name() -> CollectionName {
    CollectionName::parse("words").unwrap()
}

pub(super) fn create_command() -> Command {
    Command::CreateCollection {
        name: name(),
        schema: CollectionSchema::single(DIMENSION, Metric::Dot),
        salt: SALT,
    }
}

/// A point with noise in its vector, so that it does not compress away.
pub(super) fn point(id: u64, version: u64) -> Point {
    let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ version;
    let vector = (0..DIMENSION).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(state >> 48).unwrap()) / 65_536.0 + 0.001
    });
    let fields = BTreeMap::from([("version".to_owned(), Value::Int(version.cast_signed()))]);
    Point::new(id, vector.collect(), Payload(fields))
}
