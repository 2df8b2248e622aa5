//! Which way a catch-up takes and when: what of the log is kept, for whom, and who is served first.

use std::time::Duration;

use tokio::time::timeout;

use crate::cluster_tests::harness::{Cluster, DEADLINE, address};
use crate::cluster_tests::trust;
use crate::session::{done_frame, hello_frame, is_refusal, open_frame};
use crate::status::SyncFigures;
use crate::{CatchUpPath, CatchUpReason, NodeOptions, PeerRpc, PurgeCause, RefusalCode};

/// Waits until the figures of a node are as wanted, doing something in between.
async fn until(
    cluster: &Cluster,
    node: u64,
    what: &str,
    wanted: impl Fn(&SyncFigures) -> bool,
    mut between: impl AsyncFnMut(),
) {
    let waiting = async {
        while !wanted(&cluster.node(node).status().await.sync) {
            between().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, waiting).await.expect(what);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_overwrites_is_cut_where_a_delta_is_cheaper() {
    let mut cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let (leader, away) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(leader, tree, 0..250, 1).await;
    cluster.settle().await;
    cluster.stop(away).await;
    // The same points again and again: about 9 MiB of log, of which a delta would move 70 KiB.
    for version in 2..120 {
        cluster.upsert(leader, tree, 0..250, version).await;
    }
    let cut = |figures: &SyncFigures| figures.log.purges[2] > 0;
    let write = async || {
        cluster.upsert(leader, tree, [0], 1_000).await;
    };
    until(&cluster, leader, "the log is cut for its cost", cut, write).await;
    let status = cluster.node(leader).status().await;
    assert_eq!(PurgeCause::ALL[2], PurgeCause::Cost);
    assert!(status.log_entries >= 64, "{status:?}");
    assert!(status.sync.log.delta_bytes < 1 << 20, "{status:?}");

    cluster.boot(away).await;
    cluster.settle().await;
    let cost = cluster.catch_up(away).await;
    let last = cost.last.expect("it caught up");
    assert_eq!(last.why.reason, CatchUpReason::LogPurged(PurgeCause::Cost));
    let replay = last.why.replay_bytes.expect("the leader cut it");
    assert!(
        replay > 4 << 20 && last.received_bytes < 1 << 20,
        "the delta was cheaper: {last:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_distinct_keys_is_kept_and_replayed() {
    let mut cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let (leader, away) = (cluster.leader().await, cluster.follower().await);
    cluster.settle().await;
    cluster.stop(away).await;
    cluster.upsert(leader, tree, 0..25_000, 1).await;
    // It was looked at, and left.
    let looked = |figures: &SyncFigures| figures.log.delta_bytes > 4 << 20;
    let mut next = 30_000;
    let write = async || {
        next += 1;
        cluster.upsert(leader, tree, [next], 1).await;
    };
    until(&cluster, leader, "the log is looked at", looked, write).await;
    let figures = cluster.node(leader).status().await.sync;
    assert_eq!(figures.log.purges, [0; 4], "{figures:?}");
    cluster.boot(away).await;
    cluster.settle().await;
    let last = cluster.catch_up(away).await.last.expect("it caught up");
    assert_eq!(last.path, CatchUpPath::Log, "{last:?}");
}

fn short_log(options: &mut NodeOptions) {
    options.log_entries_max = 100;
    options.log_entries_keep = 10;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_behind_a_view_is_kept_while_it_is_served() {
    let mut cluster = Cluster::start_with(1, short_log).await;
    let tree = cluster.create().await;
    cluster.upsert(1, tree, 0..4_000, 1).await;
    cluster.purge_everywhere().await;
    cluster.boot(2).await;
    let gate = cluster.net.hold_sync(2, 2);
    cluster.node(1).add_learner(2, address(2)).await.unwrap();
    gate.reached().await;
    let frozen_at = cluster.node(1).replica().applied().index();
    for id in 0..200 {
        cluster.upsert(1, tree, [id], 2).await;
    }
    let held = |figures: &SyncFigures| figures.log.holding;
    until(&cluster, 1, "the purge stops short", held, async || {}).await;
    let status = cluster.node(1).status().await;
    assert!(status.purged <= Some(frozen_at), "{status:?}");
    gate.open();
    cluster.settle().await;
    let cost = cluster.catch_up(2).await;
    assert_eq!(cost.delta_sessions, 1, "the log led on from it: {cost:?}");
    assert!(cost.log_entries_replayed >= 190, "{cost:?}");
    // Nobody needs it any more.
    let write = async || {
        cluster.upsert(1, tree, [0], 3).await;
    };
    let let_go = |figures: &SyncFigures| !figures.log.holding;
    until(&cluster, 1, "the purge goes on", let_go, write).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_not_kept_for_a_sync_beyond_its_cap() {
    let mut cluster = Cluster::start_with(1, short_log).await;
    let tree = cluster.create().await;
    cluster.upsert(1, tree, 0..4_000, 1).await;
    cluster.purge_everywhere().await;
    cluster.boot(2).await;
    let gate = cluster.net.hold_sync(2, 2);
    cluster.node(1).add_learner(2, address(2)).await.unwrap();
    gate.reached().await;
    let frozen_at = cluster.node(1).replica().applied().index();
    let capped = async {
        while cluster.node(1).status().await.purged <= Some(frozen_at) {
            cluster.upsert(1, tree, [0], 2).await;
        }
    };
    timeout(DEADLINE, capped).await.expect("the log is cut");
    gate.open();
    cluster.settle().await;
    let cost = cluster.catch_up(2).await;
    assert_eq!(cost.delta_sessions, 2, "the log was gone: {cost:?}");
}

fn one_at_a_time(options: &mut NodeOptions) {
    options.syncs_outgoing_max = 1;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_waits_for_its_turn_without_a_view_and_hears_its_leader() {
    let mut cluster = Cluster::start_with(1, one_at_a_time).await;
    let tree = cluster.create().await;
    for learner in [2, 3] {
        cluster.boot(learner).await;
        let added = cluster.node(1).add_learner(learner, address(learner));
        added.await.unwrap();
    }
    cluster.settle().await;
    cluster.stop(2).await;
    cluster.stop(3).await;
    cluster.upsert(1, tree, 0..2_000, 1).await;
    cluster.purge_everywhere().await;
    let gates = [cluster.net.hold_sync(2, 1), cluster.net.hold_sync(3, 1)];
    cluster.boot(2).await;
    cluster.boot(3).await;
    tokio::select! {
        () = gates[0].reached() => {}
        () = gates[1].reached() => {}
    }
    let queued = |figures: &SyncFigures| figures.waiting == 1;
    until(&cluster, 1, "one waits", queued, async || {}).await;
    let is_served = |id: u64| cluster.node(id).progress.running().is_some();
    assert_ne!(is_served(2), is_served(3), "one at a time");
    let waiting = if is_served(2) { 3 } else { 2 };
    let beats = || cluster.net.calls(1, waiting, PeerRpc::Append);
    let enough = beats() + 10;
    let heard = async {
        while beats() < enough {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, heard).await.expect("heartbeats go on");
    let leader = cluster.node(1);
    assert_eq!(leader.status().await.views_served, 1);
    assert_eq!(leader.replica().stats().unwrap().views, 1, "one is frozen");
    // Frozen when its turn comes: this is in it.
    let newest = cluster.upsert(1, tree, 5_000..5_010, 1).await;
    gates.iter().for_each(|gate| gate.open());
    cluster.settle().await;
    let cost = cluster.catch_up(waiting).await;
    assert_eq!(cost.delta_sessions, 1, "{cost:?}");
    let last = cost.last.expect("it caught up");
    assert!(last.index >= newest, "{last:?}");
    assert_eq!(leader.status().await.sync.waiting, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_waits_for_its_turn() {
    let cluster = Cluster::start_with(3, one_at_a_time).await;
    let tree = cluster.create().await;
    let (leader, wrong) = (cluster.leader().await, cluster.follower().await);
    let mut ids = cluster.ids().into_iter();
    let other = ids.find(|id| ![leader, wrong].contains(id)).unwrap();
    cluster.upsert(leader, tree, 0..500, 1).await;
    cluster.settle().await;
    let node = cluster.node(leader);
    let given = node.give_view(other).await.unwrap();
    trust::diverge(&cluster, wrong, tree);
    let verified = node.verify(DEADLINE).await.unwrap();
    assert_eq!(verified.verdict.minority().collect::<Vec<_>>(), [wrong]);
    let queued = |figures: &SyncFigures| figures.waiting == 1;
    until(&cluster, leader, "it waits", queued, async || {}).await;
    assert_eq!(node.status().await.views_served, 1);
    assert!(cluster.node(wrong).progress.running().is_none());
    // The other has all it wants.
    let transport = cluster.net.transport(other);
    let pipe = transport.open_sync(leader, &address(leader)).await.unwrap();
    for frame in [open_frame(given.token), done_frame()] {
        pipe.tx.send(frame).await.unwrap();
    }
    trust::repaired(&cluster, wrong, tree).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_asks_for_a_view_again_has_one_and_others_are_refused() {
    let cluster = Cluster::start_with(3, one_at_a_time).await;
    let tree = cluster.create().await;
    let giver = cluster.leader().await;
    let others: Vec<_> = cluster
        .ids()
        .into_iter()
        .filter(|id| *id != giver)
        .collect();
    cluster.upsert(giver, tree, 0..100, 1).await;
    let node = cluster.node(giver);
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(node.give_view(others[0]).await.unwrap().token);
        let (status, stats) = (node.status().await, node.replica().stats().unwrap());
        assert_eq!((status.views_served, stats.views), (1, 1), "{tokens:?}");
    }
    let refused = node.give_view(others[1]).await.unwrap_err();
    assert_eq!(refused.code, RefusalCode::Busy, "{refused}");
    // The last is served, those before are not.
    for token in tokens.clone() {
        let frames = [open_frame(token), hello_frame()];
        let transport = cluster.net.transport(others[0]);
        let mut pipe = transport.open_sync(giver, &address(giver)).await.unwrap();
        for frame in frames {
            pipe.tx.send(frame).await.unwrap();
        }
        let answer = pipe.rx.recv().await.unwrap().unwrap();
        assert_eq!(is_refusal(&answer), Some(&token) != tokens.last());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_stream_that_came_to_its_end_counts_as_served() {
    let cluster = Cluster::start(2).await;
    let tree = cluster.create().await;
    let (giver, other) = (cluster.leader().await, cluster.follower().await);
    cluster.upsert(giver, tree, 0..100, 1).await;
    let node = cluster.node(giver);
    let transport = cluster.net.transport(other);
    let ends = |figures: &SyncFigures| (figures.streams_served, figures.streams_cut);
    let before = ends(&node.status().await.sync);
    for done in [None, Some(done_frame())] {
        let token = node.give_view(other).await.unwrap().token;
        let mut pipe = transport.open_sync(giver, &address(giver)).await.unwrap();
        for frame in [open_frame(token), hello_frame()] {
            pipe.tx.send(frame).await.unwrap();
        }
        assert!(!is_refusal(&pipe.rx.recv().await.unwrap().unwrap()));
        let said_so = done.is_some();
        if let Some(done) = done {
            pipe.tx.send(done).await.unwrap();
            assert!(pipe.rx.recv().await.is_none(), "the stream is over");
        }
        drop(pipe);
        let wanted = (before.0 + u64::from(said_so), before.1 + 1);
        let ended = |figures: &SyncFigures| ends(figures) == wanted;
        until(&cluster, giver, "its end", ended, async || {}).await;
        // A view that was cut may be asked for again; one that was read is closed.
        assert_eq!(node.status().await.views_served, usize::from(!said_so));
    }
}

fn slow(options: &mut NodeOptions) {
    options.syncs_outgoing_max = 1;
    options.sync_bytes_per_second = 1 << 20;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_at_a_low_rate_takes_its_time_and_nobody_stands_for_election() {
    let mut cluster = Cluster::start_with(3, slow).await;
    let tree = cluster.create().await;
    let (leader, away) = (cluster.leader().await, cluster.follower().await);
    cluster.settle().await;
    cluster.stop(away).await;
    cluster.upsert(leader, tree, 0..25_000, 1).await;
    cluster.purge_everywhere().await;
    let term = cluster.node(leader).status().await.term;
    cluster.boot(away).await;
    cluster.settle().await;
    let last = cluster.catch_up(away).await.last.expect("it caught up");
    // More than three of the longest election timeouts at the rate.
    assert!(last.received_bytes > 3 << 20, "{last:?}");
    let throttled = cluster.node(leader).status().await.sync.throttled;
    assert!(throttled > Duration::from_secs(2), "{throttled:?}");
    assert_eq!(cluster.node(leader).status().await.term, term);
    assert_eq!(cluster.node(away).status().await.term, term);
}
