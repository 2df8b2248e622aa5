//! Followers that were away: by log while it is kept, by delta once it is not, whatever breaks in between.

use std::time::Duration;

use tokio::time::timeout;

use crate::cluster_tests::harness::{Cluster, DEADLINE, address};
use crate::{AdminFailure, CatchUpPath, CatchUpReason, PeerRpc, PurgeCause};

/// Rows of the system tree: the replicated clock changes with every write, ..
const COUNTERS: u64 = 1;
/// .. the definition of the one collection never.
const DEFINITION: u64 = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_within_the_kept_log_replays_it() {
    let mut cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let (leader, away) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..100, 1).await;
    cluster.settle().await;
    cluster.stop(away).await;
    for id in 0..30 {
        cluster.upsert(leader, tree, [id], 2).await;
    }
    cluster.boot(away).await;
    cluster.settle().await;
    let cost = cluster.catch_up(away).await;
    assert!(cost.log_entries_replayed >= 29, "{cost:?}");
    assert_eq!((cost.delta_sessions, cost.rows_put), (0, 0), "{cost:?}");
    let last = cost.last.expect("it caught up");
    assert_eq!((cost.count, last.path), (1, CatchUpPath::Log), "{last:?}");
    assert_eq!(last.why.reason, CatchUpReason::LogKept);
    assert!((29..=31).contains(&last.entries), "{last:?}");
    assert!(
        last.received_bytes > last.entries * 4 * 64 && last.sent_bytes > 0 && last.round_trips > 0,
        "{last:?}"
    );
    assert!(!last.took.is_zero() && last.install.is_zero(), "{last:?}");
    // Life goes on; a follower that is a little behind all the time does not catch up again.
    for id in 0..30 {
        cluster.upsert(leader, tree, [id], 3).await;
    }
    cluster.settle().await;
    assert_eq!(cluster.catch_up(away).await.count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_beyond_the_kept_log_gets_a_delta_of_what_changed() {
    let mut cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let (leader, away) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..2_000, 1).await;
    cluster.settle().await;
    cluster.stop(away).await;
    cluster.upsert(leader, tree, 0..20, 2).await;
    cluster.upsert(leader, tree, 5_000..5_010, 2).await;
    cluster.delete(leader, tree, &[100, 101, 102]).await;
    cluster.purge_everywhere().await;
    // Written after the snapshot the leader will choose: the view is taken when it is asked for, and is newer.
    let newest = cluster.upsert(leader, tree, 6_000..6_005, 2).await;
    let built = cluster.node(cluster.leader().await).status().await.snapshot;
    assert!(built < Some(newest));

    cluster.boot(away).await;
    cluster.settle().await;
    let cost = cluster.catch_up(away).await;
    assert_eq!(cost.delta_sessions, 1, "{cost:?}");
    assert_eq!(cost.rows_put, 35 + COUNTERS, "only what changed: {cost:?}");
    assert_eq!(cost.rows_deleted, 3, "{cost:?}");
    let last = cost.last.expect("it caught up");
    assert!(
        Some(last.index) > built,
        "openraft takes a snapshot newer than the one it chose: {last:?}"
    );
    let why = last.why;
    assert_eq!(why.reason, CatchUpReason::LogPurged(PurgeCause::Operator));
    assert!(why.had < Some(why.kept_from), "{why:?}");
    // Three entries: 20 points, 10 points, and what deletes three.
    let replay = why.replay_bytes.expect("the leader purged it itself");
    assert!((30 * 4 * 64..100 * 4 * 64).contains(&replay), "{why:?}");
    assert_eq!(cost.count, 1);
    assert_ne!(last.path, CatchUpPath::Log);
    assert_eq!((last.rows_put, last.rows_deleted), (35 + COUNTERS, 3));
    assert!(last.row_bytes > 35 * 4 * 64, "{last:?}");
    assert!(last.metadata_bytes > 0 && last.round_trips >= 2, "{last:?}");
    assert!(last.received_bytes > 0 && last.sent_bytes > 0, "{last:?}");
    assert!(
        !last.install.is_zero() && last.took > last.install,
        "{last:?}"
    );
    assert!(
        !cluster.has(away, 101),
        "what was deleted does not come back"
    );
    assert_eq!(cluster.count(away), 2_012);
    // Nothing is amiss afterwards: the follower goes on with the log.
    cluster.upsert(away, tree, 7_000..7_010, 1).await;
    cluster.settle().await;
    assert_eq!(cluster.catch_up(away).await.delta_sessions, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_cut_again_and_again_resumes_without_sending_anything_twice() {
    let mut cluster = Cluster::start(1).await;
    let tree = cluster.create().await;
    cluster.upsert(1, tree, 0..8_000, 1).await;
    cluster.purge_everywhere().await;
    cluster.boot(2).await;
    let cuts = [1, 2, 3, 2, 4];
    cluster.net.break_syncs(2, cuts);
    cluster.node(1).add_learner(2, address(2)).await.unwrap();
    cluster.settle().await;
    let cost = cluster.catch_up(2).await;
    assert_eq!(cost.delta_sessions, 1, "{cost:?}");
    assert_eq!(cost.resumed, cuts.len() as u64, "{cost:?}");
    assert_eq!(
        cost.rows_put,
        8_000 + COUNTERS + DEFINITION,
        "each row came once: {cost:?}"
    );
    assert_eq!(cluster.count(2), 8_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_broke_before_the_leader_spoke_does_not_tell_the_way() {
    let mut cluster = Cluster::start(1).await;
    let tree = cluster.create().await;
    cluster.upsert(1, tree, 0..500, 1).await;
    cluster.purge_everywhere().await;
    cluster.boot(2).await;
    cluster.net.break_syncs(2, [0, 0]);
    cluster.node(1).add_learner(2, address(2)).await.unwrap();
    cluster.settle().await;
    let cost = cluster.catch_up(2).await;
    assert_eq!((cost.delta_sessions, cost.resumed), (1, 2), "{cost:?}");
    let last = cost.last.expect("it caught up");
    assert_eq!(last.path, CatchUpPath::Bulk, "{last:?}");
    let served = cluster.node(1).status().await.sync;
    assert_eq!((served.streams_served, served.streams_cut), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_during_a_sync_and_the_view_stands_still() {
    let mut cluster = Cluster::start(1).await;
    let tree = cluster.create().await;
    cluster.upsert(1, tree, 0..4_000, 1).await;
    cluster.purge_everywhere().await;
    cluster.boot(2).await;
    let gate = cluster.net.hold_sync(2, 2);
    cluster.node(1).add_learner(2, address(2)).await.unwrap();
    gate.reached().await;
    let frozen_at = cluster.node(1).replica().applied().index();
    // All points are written anew, some go, some come, while the view is being read.
    cluster.upsert(1, tree, 0..4_000, 2).await;
    cluster.delete(1, tree, &[5, 6, 7]).await;
    cluster.upsert(1, tree, 9_000..9_010, 2).await;
    assert_eq!(cluster.node(1).status().await.views_served, 1);
    gate.open();
    cluster.settle().await;
    let cost = cluster.catch_up(2).await;
    assert_eq!(cost.delta_sessions, 1, "{cost:?}");
    assert!(
        cost.log_entries_replayed >= 18,
        "what was written meanwhile came by log: {cost:?}"
    );
    assert!(frozen_at < cluster.node(2).replica().applied().index());
    assert_eq!(cluster.count(2), 4_007);
    assert_eq!(cluster.node(1).status().await.views_served, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_goes_on_with_a_sync_the_old_one_began() {
    let mut cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let old = cluster.leader().await;
    cluster.upsert(old, tree, 0..8_000, 1).await;
    cluster.settle().await;
    cluster.purge_everywhere().await;
    cluster.boot(4).await;
    let gate = cluster.net.hold_sync(4, 4);
    cluster.node(old).add_learner(4, address(4)).await.unwrap();
    gate.reached().await;
    let voter = cluster
        .ids()
        .into_iter()
        .find(|id| ![old, 4].contains(id))
        .unwrap();
    cluster.net.isolate(old, cluster.ids());
    let new = cluster.leader_seen_by(voter, Some(old)).await;
    cluster.upsert(new, tree, 8_000..8_010, 1).await;
    gate.open();
    let index = cluster.node(new).replica().applied().index();
    let caught_up = pando_model::Consistency::AtLeast(index);
    cluster.node(4).barrier(caught_up, DEADLINE).await.unwrap();
    let cost = cluster.catch_up(4).await;
    assert_eq!(
        cost.delta_sessions, 1,
        "the first was never installed: {cost:?}"
    );
    // All rows of the old view, and what is new; nothing that was staged came again.
    assert!(
        cost.rows_put <= 8_010 + 2 * COUNTERS + DEFINITION,
        "{cost:?}"
    );
    assert!(
        cost.resumed >= 1,
        "the old leader's rows were used: {cost:?}"
    );
    let last = cost.last.expect("it caught up");
    assert_eq!(last.rows_put, cost.rows_put, "both belong to it: {last:?}");
    assert_eq!(last.why.reason, CatchUpReason::NewNode);
    assert_eq!(cluster.count(4), 8_010);
    cluster.net.heal();
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_cut_at_random_points_resume_without_sending_anything_twice() {
    let mut cluster = Cluster::start(1).await;
    let tree = cluster.create().await;
    cluster.upsert(1, tree, 0..8_000, 1).await;
    for learner in 2..=4 {
        cluster.purge_everywhere().await;
        cluster.boot(learner).await;
        let mut state = learner;
        let cuts: Vec<usize> = (0..10)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                usize::try_from(state >> 32).unwrap() % 6
            })
            .collect();
        cluster.net.break_syncs(learner, cuts.clone());
        cluster
            .node(1)
            .add_learner(learner, address(learner))
            .await
            .unwrap();
        cluster.settle().await;
        let cost = cluster.catch_up(learner).await;
        assert_eq!(cost.delta_sessions, 1, "{cuts:?}: {cost:?}");
        assert!(cost.resumed > 0, "{cuts:?}: {cost:?}");
        assert_eq!(
            cost.rows_put,
            8_000 + COUNTERS + DEFINITION,
            "{cuts:?}: {cost:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_lacks_only_entries_without_effect_gets_their_position() {
    let mut cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let (leader, away) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..100, 1).await;
    cluster.settle().await;
    cluster.stop(away).await;
    cluster
        .node(leader)
        .add_learner(9, address(9))
        .await
        .unwrap();
    cluster.node(leader).remove(9, false).await.unwrap();
    cluster.purge_everywhere().await;
    cluster.boot(away).await;
    cluster.settle().await;
    let cost = cluster.catch_up(away).await;
    assert_eq!((cost.delta_sessions, cost.rows_put), (1, 0), "{cost:?}");
    let known = cluster.node(away).status().await;
    assert!(
        known.members.iter().all(|member| member.id != 9),
        "{known:?}"
    );
    let reused = cluster.node(away).add_learner(9, address(9)).await;
    assert_eq!(reused.unwrap_err(), AdminFailure::IdUsed { id: 9 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_of_an_offer_that_is_gone_is_not_served() {
    let cluster = Cluster::start(2).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let transport = cluster.net.transport(follower);
    let mut pipe = transport.open_sync(leader, &address(leader)).await.unwrap();
    let open = crate::session::open_frame(7);
    pipe.tx.send(open).await.unwrap();
    let answer = pipe.rx.recv().await.unwrap().unwrap();
    assert!(crate::session::is_refusal(&answer));
    assert!(pipe.rx.recv().await.is_none(), "the stream is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_in_a_long_sync_hears_its_leader_and_does_not_stand_against_it() {
    let mut cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let (leader, away) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..1_000, 1).await;
    cluster.settle().await;
    cluster.stop(away).await;
    cluster.upsert(leader, tree, 0..1_000, 2).await;
    cluster.purge_everywhere().await;
    let gate = cluster.net.hold_sync(away, 1);
    cluster.boot(away).await;
    gate.reached().await;
    let term = || cluster.node(leader).raft().metrics().borrow().current_term;
    let before = term();
    // Nothing is written. More heartbeats than two of the longest election timeouts have room for.
    let beats = || cluster.net.calls(leader, away, PeerRpc::Append);
    let enough = beats() + 25;
    let heard = async {
        while beats() < enough {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, heard)
        .await
        .expect("heartbeats go on while the offer stands");
    assert_eq!(cluster.net.calls(away, leader, PeerRpc::Vote), 0);
    gate.open();
    cluster.settle().await;
    assert_eq!(term(), before, "nobody stood for election");
    assert_eq!(cluster.catch_up(away).await.delta_sessions, 1);
}
