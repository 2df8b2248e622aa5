//! A replica that differs: found, quarantined, its differences written down, repaired, proved equal.

use std::time::Duration;

use pando_merkle::{Digest, Key, leaf_digest, value_digest};
use pando_model::{
    Command, Consistency, GroupId, NodeId, Point, PointId, Proposal, Record, Selector, Stamp,
    TreeId,
};
use pando_storage::{Batch, KvStore as _, RowAddress, StoredKey};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::timeout;

use super::harness::{Cluster, DEADLINE, SALT, point};
use crate::testing::Gate;
use crate::{CatchUpReason, NodeOptions, NodeState, PeerRpc, ReadFailure, Verdict};

fn proposal(command: Command) -> Proposal {
    Proposal {
        group: GroupId::CATALOGUE,
        stamp: Stamp::at(u64::from(u32::MAX)),
        request: None,
        command,
    }
}

/// Has a replica hold another content of one point, lack a second, and hold a third that nobody else has.
pub(super) fn diverge(cluster: &Cluster, id: NodeId, tree: TreeId) {
    diverge_by(cluster, id, tree, [point(3, 99), point(777, 1)]);
    let replica = cluster.node(id).replica();
    let selector = Selector::Ids([PointId::Num(5)].into());
    let delete = Command::Delete { tree, selector };
    replica.diverge(proposal(delete)).unwrap();
}

/// Has a replica hold points that nobody else has.
pub(super) fn diverge_by(
    cluster: &Cluster,
    id: NodeId,
    tree: TreeId,
    points: impl IntoIterator<Item = Point>,
) {
    let points = points.into_iter().collect();
    let upsert = proposal(Command::Upsert { tree, points });
    cluster.node(id).replica().diverge(upsert).unwrap();
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
    let record = Record::from(point);
    let value = value_digest(&record.encode());
    let id = PointId::Num(id).to_bytes();
    leaf_digest(&id, &stamp.to_bytes(), &value).to_string()
}

/// The evidence a node has written: the header, and the lines.
fn evidence_lines(cluster: &Cluster, id: NodeId) -> (Value, Vec<Value>) {
    let files: Vec<_> = std::fs::read_dir(cluster.evidence_dir(id))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = std::fs::read_to_string(&files[0]).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let header: Value = lines.next().unwrap();
    (header, lines.collect())
}

/// The header, and the lines of the collection in the order of their ids.
fn evidence(cluster: &Cluster, id: NodeId) -> (Value, Vec<Value>) {
    let (header, lines) = evidence_lines(cluster, id);
    let mut points: Vec<Value> = lines
        .into_iter()
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

pub(super) async fn repaired(cluster: &Cluster, wrong: NodeId, tree: TreeId) {
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
    let NodeState::Quarantined { repair, .. } = state else {
        panic!("{state:?}")
    };
    let repair = repair.expect("the session is shown");
    let why = repair.why.expect("and why there is one");
    assert_eq!((repair.leader, why.reason), (leader, CatchUpReason::Repair));
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

/// Where the digest of a point's row is stored.
fn digest_key(tree: TreeId, id: u64) -> Vec<u8> {
    let key = Key::derive(&SALT, &PointId::Num(id).to_bytes());
    StoredKey::Digest(RowAddress::new(tree, key)).encode(GroupId::CATALOGUE)
}

/// A cluster with a follower that differs, told so, whose repair is held where it begins.
async fn held_repair(damage: impl Fn(&Cluster, NodeId, TreeId)) -> (Cluster, NodeId, Gate) {
    let cluster = Cluster::start_with(3, |options: &mut NodeOptions| {
        options.scrub_bytes_per_second = 0;
    })
    .await;
    let tree = cluster.create().await;
    let (leader, wrong) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..500, 1).await;
    cluster.settle().await;
    diverge(&cluster, wrong, tree);
    damage(&cluster, wrong, tree);
    let gate = cluster.net.hold_sync(wrong, 0);
    let verified = cluster.node(leader).verify(DEADLINE).await.unwrap();
    assert_eq!(verified.quarantined, [(wrong, Ok(()))]);
    gate.reached().await;
    (cluster, wrong, gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotten_row_of_what_differs_is_named_and_the_rest_with_it() {
    let put = |cluster: &Cluster, node, key: Vec<u8>, value: Vec<u8>| {
        let mut batch = Batch::new();
        batch.put(key, value);
        cluster.data(node).apply(batch).unwrap();
    };
    let sound = Mutex::new(None);
    let (cluster, wrong, gate) = held_repair(|cluster, wrong, tree| {
        let key = digest_key(tree, 777);
        let value = cluster.data(wrong).get(&key).unwrap().unwrap();
        put(cluster, wrong, key.clone(), b"rot".to_vec());
        *sound.lock() = Some((key, value));
    })
    .await;
    let (header, lines) = evidence_lines(&cluster, wrong);
    assert!(header["unknown"].is_null() && header["incomplete"].is_null());
    assert_eq!(header["keys"], header["listed"]);
    let points = lines.iter().filter(|line| line["collection"] == "words");
    let rotten = |line: &&Value| line["unreadable_here"] == true;
    let (rotten, read): (Vec<_>, Vec<_>) = points.partition(rotten);
    assert_eq!((rotten.len(), read.len()), (1, 2), "{lines:?}");
    let key = Key::derive(&SALT, &PointId::Num(777).to_bytes());
    assert_eq!(rotten[0]["key"], key.to_string());
    assert!(!rotten[0]["here"].is_null(), "the tree knows its digest");
    let (key, value) = sound.lock().take().unwrap();
    put(&cluster, wrong, key, value);
    gate.open();
    until("its quarantine ends", || !is_quarantined(&cluster, wrong)).await;
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_storage_does_not_give_is_asked_for_again_and_then_said_to_be_missing() {
    let (cluster, wrong, gate) = held_repair(|cluster, wrong, tree| {
        cluster.data(wrong).refuse([digest_key(tree, 777)]);
    })
    .await;
    let (header, lines) = evidence_lines(&cluster, wrong);
    let why = header["incomplete"].as_str().expect("why");
    assert!(why.contains("the test refuses this key"), "{why}");
    let ids: Vec<_> = lines
        .iter()
        .filter_map(|line| line["id"].as_str())
        .collect();
    assert!(ids.contains(&"3") && ids.contains(&"5"), "{lines:?}");
    assert!(!ids.contains(&"777"), "{lines:?}");
    cluster.data(wrong).refuse([]);
    gate.open();
    until("its quarantine ends", || !is_quarantined(&cluster, wrong)).await;
    cluster.settle().await;
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
    assert_eq!(status.compared.unwrap().verdict.name(), "no_majority");
    assert_eq!(status.verified, None, "nothing was");
    for id in [leader, other] {
        assert!(!is_quarantined(&cluster, id));
        assert_eq!(cluster.node(id).status().await.state, NodeState::Serving);
    }
    assert_eq!(cluster.node(other).replica().root(), root, "as it was");
    assert_eq!(cluster.net.streams(), streams);
    assert_eq!(cluster.net.calls(leader, other, PeerRpc::Trust), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_compared_also_while_nothing_is_written() {
    let cluster = Cluster::start_with(3, |options: &mut NodeOptions| {
        options.check_interval = Duration::from_millis(50);
    })
    .await;
    let tree = cluster.create().await;
    let leader = cluster.leader().await;
    let written = cluster.upsert(leader, tree, 0..50, 1).await;
    let verified = || cluster.node(leader).trust().status().verified;
    let mut last = written;
    for _ in 0..5 {
        let later = || verified().is_some_and(|found| found.index > last);
        until("the schedule comes round", later).await;
        last = verified().expect("just seen").index;
    }
}

#[test]
fn a_digest_is_the_one_the_tree_has() {
    // Guards the helper above: another version is another digest.
    let (a, b) = (digest_of(3, 1, "5.0@0"), digest_of(3, 1, "6.0@0"));
    assert!(a != b && a.len() == Digest([0; 32]).to_string().len());
}
