//! A replica that differs: found, quarantined, its differences written down, repaired, proved equal.

use std::time::Duration;

use pando_merkle::{Digest, leaf_digest, value_digest};
use pando_model::{
    Command, Consistency, GroupId, NodeId, PointId, Proposal, Record, Selector, Stamp, TreeId,
};
use serde_json::Value;
use tokio::time::timeout;

use super::harness::{Cluster, DEADLINE, point};
use crate::{NodeOptions, NodeState, PeerRpc, ReadFailure, Verdict};

fn proposal(command: Command) -> Proposal {
    Proposal {
        group: GroupId::CATALOGUE,
        stamp: Stamp::at(u64::from(u32::MAX)),
        request: None,
        command,
    }
}

/// Has a replica hold another content of one point, lack a second, and hold a third that nobody else has.
fn diverge(cluster: &Cluster, id: NodeId, tree: TreeId) {
    let replica = cluster.node(id).replica();
    let points = vec![point(3, 99), point(777, 1)];
    let upsert = Command::Upsert { tree, points };
    let selector = Selector::Ids([PointId::Num(5)].into());
    replica.diverge(proposal(upsert)).unwrap();
    let delete = Command::Delete { tree, selector };
    replica.diverge(proposal(delete)).unwrap();
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"));
}

fn is_quarantined(cluster: &Cluster, id: NodeId) -> bool {
    cluster.node(id).trust().is_quarantined()
}

/// The digest that the leaf of a stored point must have.
fn digest_of(id: u64, version: u64, stamp: &str) -> String {
    let stamp: Stamp = stamp.parse().unwrap();
    let point = point(id, version);
    let record = Record {
        vectors: point.vectors,
        payload: point.payload.encode(),
    };
    let value = value_digest(&record.encode());
    let id = PointId::Num(id).to_bytes();
    leaf_digest(&id, &stamp.to_bytes(), &value).to_string()
}

/// The evidence a node has written: the header, and the lines of the collection in the order of their ids.
fn evidence(cluster: &Cluster, id: NodeId) -> (Value, Vec<Value>) {
    let files: Vec<_> = std::fs::read_dir(cluster.evidence_dir(id))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = std::fs::read_to_string(&files[0]).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let header: Value = lines.next().unwrap();
    let mut points: Vec<Value> = lines
        .filter(|line: &Value| line["collection"] == "words")
        .collect();
    points.sort_by_key(|line| line["id"].as_str().unwrap().parse::<u64>().unwrap());
    (header, points)
}

fn assert_evidence(cluster: &Cluster, wrong: NodeId) {
    let (header, points) = evidence(cluster, wrong);
    assert_eq!(header["node"], wrong);
    assert_ne!(header["root_here"], header["root_majority"]);
    let ids: Vec<_> = points.iter().map(|line| line["id"].clone()).collect();
    assert_eq!(ids, ["3", "5", "777"], "exactly what differs");
    let text = |line: &Value, field: &str| line[field].as_str().map(str::to_owned);
    let [changed, lost, extra] = &points[..] else {
        unreachable!()
    };
    for (line, side, version) in [
        (changed, "here", 99),
        (changed, "majority", 1),
        (lost, "majority", 1),
        (extra, "here", 1),
    ] {
        let id = line["id"].as_str().unwrap().parse().unwrap();
        let stamp = text(line, &format!("version_{side}")).unwrap();
        let expected = digest_of(id, version, &stamp);
        assert_eq!(text(line, side).unwrap(), expected, "{line}");
    }
    assert!(lost["here"].is_null() && extra["majority"].is_null());
    assert_eq!(expected_keys(&header), header["listed"]);
}

fn expected_keys(header: &Value) -> Value {
    header["keys"].clone()
}

async fn repaired(cluster: &Cluster, wrong: NodeId, tree: TreeId) {
    until("its quarantine ends", || !is_quarantined(cluster, wrong)).await;
    let leader = cluster.leader().await;
    cluster.upsert(leader, tree, 900..910, 1).await;
    cluster.settle().await;
    let verified = cluster.node(leader).verify(DEADLINE).await.unwrap();
    assert!(verified.equal, "{verified:?}");
    assert_eq!(cluster.node(wrong).status().await.state, NodeState::Serving);
    assert!(cluster.has(wrong, 5) && !cluster.has(wrong, 777));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_differs_is_found_on_schedule_and_repaired_from_the_majority() {
    let cluster = Cluster::start_with(3, |options: &mut NodeOptions| {
        options.check_interval = Duration::from_millis(300);
    })
    .await;
    let tree = cluster.create().await;
    let (leader, wrong) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..500, 1).await;
    cluster.settle().await;
    diverge(&cluster, wrong, tree);
    // The schedule looks again only when something was written.
    cluster.upsert(leader, tree, 600..601, 1).await;
    let found = || cluster.node(leader).trust().status().divergences > 0;
    until("the difference is found", found).await;
    repaired(&cluster, wrong, tree).await;
    assert_evidence(&cluster, wrong);
    let cost = cluster.catch_up(wrong).await;
    assert_eq!(cost.delta_sessions, 1, "{cost:?}");
    assert!(cost.rows_put <= 4, "only what differed moved: {cost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_differs_hands_over_the_lead_first() {
    let cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let wrong = cluster.leader().await;
    cluster.upsert(wrong, tree, 0..500, 1).await;
    cluster.settle().await;
    diverge(&cluster, wrong, tree);
    let verified = cluster.node(wrong).verify(DEADLINE).await.unwrap();
    assert!(verified.resigning && verified.quarantined.is_empty());
    assert_eq!(verified.verdict.minority().collect::<Vec<_>>(), [wrong]);
    let right = cluster.ids().into_iter().find(|id| *id != wrong).unwrap();
    let new = cluster.leader_seen_by(right, Some(wrong)).await;
    assert_ne!(new, wrong);
    let has_evidence = || cluster.evidence_dir(wrong).exists();
    until("what differs is written down", has_evidence).await;
    repaired(&cluster, wrong, tree).await;
    assert_evidence(&cluster, wrong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantined_node_serves_nothing_and_stays_so_over_a_crash() {
    let mut cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let (leader, wrong) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..500, 1).await;
    cluster.settle().await;
    diverge(&cluster, wrong, tree);
    // The repair's session is held before anything of it is staged, then behind its first frames.
    let gate = cluster.net.hold_sync(wrong, 0);
    let verified = cluster.node(leader).verify(DEADLINE).await.unwrap();
    assert_eq!(verified.quarantined, [(wrong, Ok(()))]);
    gate.reached().await;
    let node = cluster.node(wrong);
    let refused = node.barrier(Consistency::Local, DEADLINE).await;
    let index = verified.index;
    assert!(
        matches!(refused, Err(ReadFailure::Quarantined { index: at, .. }) if at == index),
        "{refused:?}"
    );
    let state = node.status().await.state;
    assert!(matches!(state, NodeState::Quarantined { .. }), "{state:?}");
    let stood = cluster.node(leader).transfer_leader(wrong).await;
    assert!(stood.is_err(), "it must not lead");
    assert_evidence(&cluster, wrong);
    // Its log is as good as any: what is written meanwhile is safe there, though not applied.
    let before = node.replica().applied().index();
    let written = cluster.upsert(leader, tree, 600..650, 1).await;
    until("the entries are in its log", || {
        node.raft().metrics().borrow().last_log_index >= Some(written)
    })
    .await;
    assert_eq!(node.replica().applied().index(), before);
    cluster.crash(wrong).await;
    gate.open();
    let gate = cluster.net.hold_sync(wrong, 0);
    cluster.boot(wrong).await;
    assert!(is_quarantined(&cluster, wrong), "still");
    gate.reached().await;
    assert!(is_quarantined(&cluster, wrong), "until it is installed");
    gate.open();
    repaired(&cluster, wrong, tree).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_disagree_have_no_majority_and_nothing_is_repaired() {
    let cluster = Cluster::start(2).await;
    let tree = cluster.create().await;
    let (leader, other) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..50, 1).await;
    cluster.settle().await;
    diverge(&cluster, other, tree);
    let root = cluster.node(other).replica().root();
    let streams = cluster.net.streams();
    let verified = cluster.node(other).verify(DEADLINE).await.unwrap();
    assert_eq!(verified.verdict, Verdict::NoMajority { roots: 2 });
    assert!(!verified.equal && verified.quarantined.is_empty() && !verified.resigning);
    let status = cluster.node(leader).status().await.trust;
    assert_eq!(status.divergences, 1);
    assert_eq!(status.verified.unwrap().verdict.name(), "no_majority");
    for id in [leader, other] {
        assert!(!is_quarantined(&cluster, id));
        assert_eq!(cluster.node(id).status().await.state, NodeState::Serving);
    }
    assert_eq!(cluster.node(other).replica().root(), root, "as it was");
    assert_eq!(cluster.net.streams(), streams);
    assert_eq!(cluster.net.calls(leader, other, PeerRpc::Trust), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_compared_again_while_nothing_is_written() {
    let cluster = Cluster::start_with(3, |options: &mut NodeOptions| {
        options.check_interval = Duration::from_millis(50);
    })
    .await;
    let tree = cluster.create().await;
    let leader = cluster.leader().await;
    cluster.upsert(leader, tree, 0..50, 1).await;
    let last = || cluster.node(leader).replica().applied().index();
    let equal_at = || cluster.node(leader).trust().equal_at();
    until("all are compared", || equal_at() == Some(last())).await;
    let index = last();
    let later = || cluster.node(leader).trust().rounds_skipped() >= 5;
    until("the schedule comes round", later).await;
    assert_eq!(last(), index, "five times over, and no entry more");
    cluster.upsert(leader, tree, 50..51, 1).await;
    until("what was written is compared", || equal_at() > Some(index)).await;
}

#[test]
fn a_digest_is_the_one_the_tree_has() {
    // Guards the helper above: another version is another digest.
    let (a, b) = (digest_of(3, 1, "5.0@0"), digest_of(3, 1, "6.0@0"));
    assert!(a != b && a.len() == Digest([0; 32]).to_string().len());
}
