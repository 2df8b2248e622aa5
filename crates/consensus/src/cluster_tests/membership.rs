//! Adding, promoting, demoting, removing; handing over the leadership; bounding the log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::{ChangeMembers, LogIdOptionExt};
use pando_model::NodeId;

use crate::cluster_tests::harness::{Cluster, DEADLINE, address};
use crate::types::RaftMetrics;
use crate::{AdminFailure, Node, NodeState, PeerRpc, Role};

fn is_joint(metrics: &RaftMetrics) -> bool {
    let membership = metrics.membership_config.membership();
    membership.get_joint_config().len() > 1
}

fn voters(metrics: &RaftMetrics) -> BTreeSet<NodeId> {
    metrics.membership_config.membership().voter_ids().collect()
}

async fn until(node: &Node, what: &str, holds: impl Fn(&RaftMetrics) -> bool + Send) {
    let waited = node.raft().wait(Some(DEADLINE));
    waited.metrics(holds, what).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_come_and_go_and_ids_are_never_used_again() {
    let mut cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let follower = cluster.follower().await;
    cluster.upsert(follower, tree, 0..50, 1).await;
    let again = cluster.node(1).initialize(address(1)).await;
    assert_eq!(again.unwrap_err(), AdminFailure::AlreadyInitialized);

    cluster.boot(4).await;
    let waiting = cluster.node(4).status().await.state;
    assert!(matches!(waiting, NodeState::Waiting { .. }), "{waiting:?}");
    cluster
        .node(follower)
        .add_learner(4, address(4))
        .await
        .unwrap();
    cluster
        .node(follower)
        .add_learner(4, address(4))
        .await
        .expect("asking twice is harmless");
    cluster.node(follower).promote(4).await.unwrap();
    cluster.settle().await;
    let status = cluster.node(4).status().await;
    assert_eq!(
        (status.role, status.state),
        (Role::Follower, NodeState::Serving)
    );
    assert_eq!(
        status.members.iter().filter(|member| member.voter).count(),
        4
    );

    let other = cluster.node(follower).add_learner(4, address(9)).await;
    assert_eq!(
        other.unwrap_err(),
        AdminFailure::IdUsed { id: 4 },
        "the id is taken"
    );
    let taken = cluster.node(follower).add_learner(9, address(4)).await;
    assert!(
        matches!(taken, Err(AdminFailure::Refused { .. })),
        "the address is taken: {taken:?}"
    );

    cluster.node(follower).demote(4).await.unwrap();
    cluster.node(follower).remove(4, false).await.unwrap();
    cluster.stop(4).await;
    let back = cluster.node(follower).add_learner(4, address(4)).await;
    assert_eq!(
        back.unwrap_err(),
        AdminFailure::IdUsed { id: 4 },
        "the id was used before"
    );
    let gone = cluster.node(follower).promote(4).await;
    assert_eq!(gone.unwrap_err(), AdminFailure::UnknownNode { id: 4 });
    cluster.upsert(follower, tree, 50..60, 1).await;
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_would_cost_the_quorum_is_refused_unless_forced() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let mut others = cluster.ids().into_iter().filter(|id| *id != leader);
    let (down, healthy) = (others.next().unwrap(), others.next().unwrap());
    cluster.stop(down).await;
    let risky = cluster.node(leader).remove(healthy, false).await;
    let expected = AdminFailure::QuorumAtRisk {
        id: healthy,
        up: 1,
        voters: 2,
        needed: 2,
    };
    assert_eq!(risky.unwrap_err(), expected);
    cluster
        .node(leader)
        .remove(down, false)
        .await
        .expect("the two others are up");
    cluster
        .node(leader)
        .remove(healthy, true)
        .await
        .expect("forced");
    let last = cluster.node(leader).remove(leader, true).await;
    assert_eq!(last.unwrap_err(), AdminFailure::LastVoter { id: leader });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leadership_is_handed_over_and_writes_go_on() {
    let cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let (leader, to) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..10, 1).await;
    let moved = cluster.node(to).transfer_leader(to);
    let during = cluster.upsert(leader, tree, 10..20, 1);
    let (moved, index) = tokio::join!(moved, during);
    moved.unwrap();
    assert!(
        index > 0,
        "a write during the hand-over waits for the new leader"
    );
    assert_eq!(cluster.leader_seen_by(leader, None).await, to);
    cluster.upsert(leader, tree, 20..30, 1).await;
    cluster.settle().await;
    assert_eq!(cluster.count(leader), 30);
    let nobody = cluster.node(to).transfer_leader(99).await;
    assert_eq!(nobody.unwrap_err(), AdminFailure::UnknownNode { id: 99 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_within_its_bound_on_every_node() {
    let cluster = Cluster::start_with(3, |options| {
        options.log_entries_max = 60;
        options.log_entries_keep = 20;
    })
    .await;
    let tree = cluster.create().await;
    let leader = cluster.leader().await;
    let mut last = 0;
    for id in 0..200 {
        last = cluster.upsert(leader, tree, [id], 1).await;
        // Nobody is ever further behind than what is kept.
        if id % 10 == 9 {
            cluster.settle().await;
        }
    }
    for node in cluster.running() {
        let waited = node.raft().wait(Some(DEADLINE));
        let bounded = waited.metrics(
            |m| {
                m.last_log_index >= Some(last)
                    && m.last_log_index <= m.purged.index().map(|p| p + 60)
            },
            "the log is purged",
        );
        bounded.await.unwrap();
        let status = node.status().await;
        assert!(status.log_entries <= 60, "{status:?}");
        assert!(status.log_entries >= 20, "the tail is kept: {status:?}");
        assert_eq!(status.catch_up.delta_sessions, 0, "nobody was behind");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_given_up_halfway_leaves_no_joint_configuration() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.boot(4).await;
    let node = Arc::clone(cluster.node(leader));
    node.add_learner(4, address(4)).await.unwrap();
    cluster.settle().await;
    // Keeps the first step from being committed before the request is dropped.
    for other in cluster.ids().into_iter().filter(|id| *id != leader) {
        cluster.net.delay(other, leader, Duration::from_millis(40));
    }
    let asking = Arc::clone(&node);
    let request = tokio::spawn(async move { asking.promote(4).await });
    until(&node, "the first step", is_joint).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    cluster.net.heal();
    let done = |metrics: &RaftMetrics| !is_joint(metrics) && voters(metrics).contains(&4);
    until(&node, "the second step", done).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joint_configuration_left_behind_is_ended_before_the_next_change() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let node = Arc::clone(cluster.node(leader));
    for id in [4, 5] {
        cluster.boot(id).await;
        node.add_learner(id, address(id)).await.unwrap();
    }
    cluster.settle().await;
    for other in cluster.ids().into_iter().filter(|id| *id != leader) {
        cluster.net.delay(other, leader, Duration::from_millis(40));
    }
    // As a leader leaves it that stops between the two steps.
    let raft = node.raft().clone();
    let change = ChangeMembers::AddVoterIds(BTreeSet::from([4]));
    let stopped = tokio::spawn(async move { raft.change_membership(change, true).await });
    until(&node, "the first step", is_joint).await;
    stopped.abort();
    assert!(stopped.await.unwrap_err().is_cancelled());
    cluster.net.heal();
    let committed =
        |metrics: &RaftMetrics| metrics.last_applied >= *metrics.membership_config.log_id();
    until(&node, "the first step is committed", committed).await;
    let left = node.raft().metrics().borrow().clone();
    assert!(is_joint(&left), "nobody takes the second step: {left}");

    node.add_learner(5, address(5)).await.unwrap();
    until(&node, "one set of voters", |metrics| !is_joint(metrics)).await;
    node.promote(5).await.unwrap();
    let settled = node.raft().metrics().borrow().clone();
    assert!(!is_joint(&settled), "{settled}");
    assert_eq!(voters(&settled), BTreeSet::from([1, 2, 3, 4, 5]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_does_not_fall_silent_for_a_successor_that_is_down() {
    let mut cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let (leader, down) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..10, 1).await;
    cluster.settle().await;
    cluster.stop(down).await;
    let moved = cluster.node(leader).transfer_leader(down).await;
    assert!(
        matches!(moved, Err(AdminFailure::NotTransferred { to, .. }) if to == down),
        "{moved:?}"
    );
    assert_eq!(cluster.net.calls(leader, down, PeerRpc::Elect), 0);
    cluster.upsert(leader, tree, 10..20, 1).await;
    assert_eq!(cluster.leader().await, leader);
}
