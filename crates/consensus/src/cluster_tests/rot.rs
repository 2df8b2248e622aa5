//! Rot in a node's storage: found while it runs, mended from the others, never served, never sent on.

use std::sync::Arc;
use std::time::Duration;

use pando_model::{NodeId, PointId, WithVectors};
use pando_replica::{Replica, ReplicaOptions};
use pando_storage::{Batch, KvStore as _, MemoryStore};
use tokio::time::{Instant, sleep};

use crate::cluster_tests::harness::{Cluster, DEADLINE, address, name, point};
use crate::cluster_tests::trust;
use crate::{CatchUpPath, CatchUpReason, CatchUps, NodeOptions, Repair, ScrubStatus};

/// Kind bytes of what belongs to rows: digests and contents.
const ROW_KINDS: [u8; 3] = [2, 3, 9];
const POINTS: u64 = 500;

fn fast(options: &mut NodeOptions) {
    options.scrub_bytes_per_second = 1 << 30;
}

/// Flips a bit in every `nth` stored value of rows.
fn rot(cluster: &Cluster, id: NodeId, nth: usize) -> usize {
    let store = cluster.data(id);
    let pairs = store.scan(b"", None, usize::MAX).unwrap();
    let rows = pairs
        .into_iter()
        .filter(|(key, _)| ROW_KINDS.contains(&key[4]));
    let mut flipped = 0;
    for (key, mut value) in rows.step_by(nth) {
        // The last byte of a digest row is a hint; one in the middle is of the id, the version or the digest.
        let middle = value.len() / 2;
        value[middle] ^= 0x40;
        let mut batch = Batch::new();
        batch.put(key, value);
        store.apply(batch).unwrap();
        flipped += 1;
    }
    flipped
}

/// Waits for a scrub figure.
async fn until(cluster: &Cluster, id: NodeId, is: impl Fn(&ScrubStatus) -> bool) -> ScrubStatus {
    let end = Instant::now() + DEADLINE;
    loop {
        let status = cluster.node(id).status().await.scrub;
        if is(&status) {
            return status;
        }
        assert!(Instant::now() < end, "{status:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Every point of a node: right, or refused. Returns how many were refused.
fn read_all(cluster: &Cluster, id: NodeId, right: NodeId) -> usize {
    let read = |node, id| {
        let ids = [PointId::Num(id)];
        let replica = cluster.node(node).replica();
        replica.get(&name(), &ids, true, &WithVectors::All)
    };
    let mut refused = 0;
    for point in 0..POINTS {
        match read(id, point) {
            Ok(found) => assert_eq!(found, read(right, point).unwrap()),
            Err(_) => refused += 1,
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rot_under_any_running_node_is_found_and_mended() {
    let mut cluster = Cluster::start_with(3, fast).await;
    let tree = cluster.create().await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..POINTS, 1).await;
    cluster.settle().await;
    for (sick, right) in [(follower, leader), (leader, follower)] {
        let mended = cluster.node(sick).status().await.scrub.mended;
        let flipped = rot(&cluster, sick, 7);
        read_all(&cluster, sick, right);
        let status = until(&cluster, sick, |s| s.mended > mended && s.damaged == 0).await;
        // Two passes that begin after the flips have read everything since.
        let passes = status.passes;
        let status = until(&cluster, sick, |s| s.passes >= passes + 2 && s.damaged == 0).await;
        assert!(status.found <= flipped as u64 + mended, "{status:?}");
        assert_eq!(read_all(&cluster, sick, right), 0);
        // What is on disk is what the trees say, and leads to the same root.
        cluster.stop(sick).await;
        cluster.boot(sick).await;
        cluster.settle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_rot_mends_it_and_syncs_a_new_node() {
    // Not by the scrubber: the sync itself comes upon it.
    let mut cluster = Cluster::start_with(3, |options| options.scrub_bytes_per_second = 0).await;
    let tree = cluster.create().await;
    let leader = cluster.leader().await;
    cluster.upsert(leader, tree, 0..POINTS, 1).await;
    cluster.settle().await;
    rot(&cluster, leader, 50);
    cluster.purge_everywhere().await;
    cluster.boot(4).await;
    cluster
        .node(leader)
        .add_learner(4, address(4))
        .await
        .unwrap();
    cluster.settle().await;
    assert_eq!(read_all(&cluster, 4, leader), 0);
    assert!(cluster.node(leader).status().await.scrub.mended > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_nobody_can_give_do_not_keep_others_from_being_mended() {
    let cluster = Cluster::start_with(3, fast).await;
    let tree = cluster.create().await;
    let (leader, sick) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..POINTS, 1).await;
    cluster.settle().await;
    // More than are asked for in one call; nobody has compared the members yet.
    for ids in [10_000..10_200, 10_200..10_400] {
        trust::diverge_by(&cluster, sick, tree, ids.map(|id| point(id, 1)));
    }
    rot(&cluster, sick, 1);
    until(&cluster, sick, |s| s.passes > 0 && s.mended >= POINTS).await;
    assert_eq!(read_all(&cluster, sick, leader), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_got_anew_is_shown_and_counted_like_a_catch_up() {
    let cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let (giver, lost) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(giver, tree, 0..POINTS, 1).await;
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::open(store, ReplicaOptions::default(), None).unwrap();
    let catch_ups = CatchUps::default();
    let repair = Repair {
        replica: Arc::new(replica),
        transport: cluster.net.transport(lost),
        options: NodeOptions::new(lost),
        peers: vec![(giver, address(giver))],
        at_least: 1,
        catch_ups: catch_ups.clone(),
    };
    let gate = cluster.net.hold_sync(lost, 1);
    let repairing = tokio::spawn(repair.run());
    gate.reached().await;
    let sync = catch_ups.running().expect("it is shown");
    let why = sync.why.expect("and why");
    assert_eq!((sync.leader, why.reason), (giver, CatchUpReason::Repair));
    gate.open();
    let index = repairing.await.unwrap();
    assert_eq!(catch_ups.running(), None);
    let (count, last) = catch_ups.0.finished();
    let last = last.expect("it counts");
    assert_eq!((count, last.index, last.why), (1, index, why));
    assert_eq!(last.path, CatchUpPath::Bulk);
    assert!(
        last.rows_put > POINTS && last.received_bytes > 0,
        "{last:?}"
    );
    let views = cluster.node(giver).status().await.views_served;
    assert_eq!(views, 0, "what was read is closed");
}
