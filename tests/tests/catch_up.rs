//! How a node catches up: by replay where the log is kept, by delta where it is not; whatever happens meanwhile, it
//! ends up equal, and counters say which way it went and what that cost.

use anyhow::{Context, Result, ensure};
use pando_client::{CatchUp, CatchUpPath, NodeState, NodeStatus};
use pando_model::{Consistency, PointId};
use pando_testkit::dataset::WordNet;
use pando_testkit::load::{self, Load};
use pando_testkit::{ClusterOptions, FACT_MAX, ProcessCluster, Then, eventually};
use pando_tests::{cut_until_caught_up, delete, import, purge, words, write_each};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const PANDO: &str = env!("CARGO_BIN_EXE_pando-under-test");
const POINTS: usize = 2_000;
const DRIFT: usize = 40;
const INSERTS: usize = 20;
/// Deleted while the node is away; none of them drifts.
const DELETES: std::ops::Range<u64> = 100..120;
/// More points than that.
const SOME: usize = 200;
/// How often a session is cut.
const CUTS: u64 = 6;
/// Rows of the system tree that writes change besides: remembered requests, the clock.
const SYSTEM_ROWS_MAX: u64 = 20;

/// Drift, inserts and deletes: real changes, most of them entries of their own. Returns the rows that changed, the
/// deleted ones not counted.
async fn change(cluster: &ProcessCluster, set: &WordNet) -> Result<u64> {
    let sdk = cluster.sdk()?;
    let mut drifted = set.drifted(POINTS, DRIFT + 30);
    drifted.retain(|point| !DELETES.map(PointId::Num).any(|id| id == point.id));
    drifted.truncate(DRIFT);
    write_each(&sdk, drifted).await?;
    write_each(&sdk, set.inserts(INSERTS)).await?;
    delete(&sdk, DELETES).await?;
    Ok((DRIFT + INSERTS) as u64)
}

/// What catching up has cost a node that pulled exactly one delta.
async fn pulled(cluster: &ProcessCluster, node: u64) -> Result<CatchUp> {
    let one = |status: &NodeStatus| status.catch_up.delta_sessions > 0;
    let counters = cluster
        .wait_status(node, "it has pulled a delta", one)
        .await?
        .catch_up;
    assert_eq!(counters.delta_sessions, 1, "{counters:?}");
    Ok(counters)
}

/// The deleted points are not there, others are.
async fn gone(cluster: &ProcessCluster, node: u64) -> Result<()> {
    let ids: Vec<PointId> = DELETES.chain([99]).map(PointId::Num).collect();
    let there = cluster
        .direct(node)?
        .get(&words(), &ids, Consistency::Local)
        .await?;
    let there: Vec<PointId> = there.iter().map(|point| point.id).collect();
    assert_eq!(there, [PointId::Num(99)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn within_the_kept_log_a_node_replays_and_beyond_it_pulls_a_delta() -> Result<()> {
    // Purpose: three equal nodes.
    let set = WordNet::load()?;
    let mut cluster = ProcessCluster::start(PANDO, 3, ClusterOptions::default()).await?;
    import(&cluster.sdk()?, &set, POINTS).await?;
    cluster.wait_equal().await?;
    let leader = cluster.leader().await?;
    let [node, other] = <[u64; 2]>::try_from(cluster.others(leader)).expect("two followers");

    // Purpose: a node that missed entries which are kept replays them, each of them and nothing else.
    let before = cluster.status(node).await?.last_log;
    cluster.stop(node).await?;
    change(&cluster, &set).await?;
    let missed = cluster.status(leader).await?.last_log - before;
    cluster.restart(node).await?;
    cluster.wait_equal().await?;
    let replayed = cluster.status(node).await?.catch_up;
    assert_eq!(replayed.entries_replayed, missed, "{replayed:?}");
    assert_eq!(
        (replayed.delta_sessions, replayed.rows_put),
        (0, 0),
        "{replayed:?}"
    );
    let last = replayed.last.as_ref().expect("it caught up");
    assert_eq!(
        (last.path, last.entries),
        (CatchUpPath::Log, missed),
        "{last:?}"
    );
    assert_eq!((replayed.count, last.why.reason.as_str()), (1, "log_kept"));
    gone(&cluster, node).await?;

    // Purpose: a node that missed entries which are purged pulls what differs, and replays none of them. The points
    // deleted meanwhile are among those it has.
    cluster.sdk()?.upsert(&words(), set.base(SOME)).await?;
    cluster.wait_equal().await?;
    cluster.stop(node).await?;
    let changed = change(&cluster, &set).await?;
    purge(&cluster).await?;
    cluster.restart(node).await?;
    cluster.wait_equal().await?;
    let delta = pulled(&cluster, node).await?;
    assert_eq!(delta.entries_replayed, 0, "{delta:?}");
    let last = delta.last.as_ref().expect("it caught up");
    assert_ne!(last.path, CatchUpPath::Log, "{last:?}");
    assert_eq!(
        (last.rows_put, last.rows_deleted),
        (delta.rows_put, delta.rows_deleted)
    );
    assert_eq!(
        (delta.count, last.why.reason.as_str()),
        (1, "purged_operator")
    );
    // Every write leaves its request id, too.
    let rows = changed..=2 * changed + SYSTEM_ROWS_MAX;
    assert!(rows.contains(&delta.rows_put), "{rows:?}: {delta:?}");
    assert!(delta.rows_deleted >= DELETES.count() as u64, "{delta:?}");
    gone(&cluster, node).await?;

    // Purpose: a new node pulls everything, once.
    purge(&cluster).await?;
    cluster.spawn(4).await?;
    cluster.join(4).await?;
    cluster.wait_equal().await?;
    let copied = pulled(&cluster, 4).await?;
    let points = cluster.status(4).await?.points;
    assert!(copied.rows_put >= points, "{points}: {copied:?}");
    gone(&cluster, 4).await?;
    cluster.promote(4).await?;
    cluster.verify().await?;

    // Purpose: what was deleted stays deleted whoever leads.
    for id in [node, other, 4] {
        cluster.sdk()?.transfer_leader(id).await?;
        gone(&cluster, id).await?;
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_while_a_node_pulls() -> Result<()> {
    // Purpose: a node is behind, and writers are at work on a second collection and on the rows it is to pull.
    let set = WordNet::load()?;
    let options = ClusterOptions::default().proxied();
    let mut cluster = ProcessCluster::start(PANDO, 3, options).await?;
    import(&cluster.sdk()?, &set, POINTS).await?;
    load::create(&cluster.sdk()?).await?;
    let load = Load::start(cluster.sdk()?, 2);
    load.progress(20, FACT_MAX).await?;
    purge(&cluster).await?;
    cluster.spawn(4).await?;
    let leader = cluster.leader().await?;

    // Purpose: the session stands still in its middle.
    let bytes = 500_000;
    cluster.network.after(leader, 4, bytes, Then::Hold);
    cluster
        .join(4)
        .await
        .context("an answer to `add` does not wait for the session")?;
    eventually("the session is in its middle", FACT_MAX, async || {
        ensure!(
            !cluster.network.is_pending(leader, 4),
            "{}",
            cluster.network.passed(leader, 4)
        );
        Ok(())
    })
    .await?;

    // Purpose: the leader acknowledges writes all the same, to rows that were sent and to rows that were not.
    let changed = set.drifted(POINTS, 200);
    cluster.sdk()?.upsert(&words(), changed.clone()).await?;
    load.progress(40, FACT_MAX).await?;
    assert_eq!(
        cluster.status(4).await?.applied,
        0,
        "nothing is installed yet"
    );

    // Purpose: the session goes on with the bytes of its index, and the log does the rest.
    cluster.network.heal();
    let judge = load.stop().await?;
    cluster.wait_equal().await?;
    let counters = cluster.status(4).await?.catch_up;
    assert!(
        counters.delta_sessions >= 1 && counters.entries_replayed > 0,
        "{counters:?}"
    );
    judge.check(&cluster.direct(4)?.all(&load::collection()).await?)?;
    let ids: Vec<PointId> = changed.iter().map(|point| point.id).collect();
    let there = cluster
        .direct(4)?
        .get(&words(), &ids, Consistency::Local)
        .await?;
    assert_eq!(there.len(), changed.len());
    cluster.verify().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_cut_at_any_byte_goes_on_from_what_is_staged() -> Result<()> {
    // Purpose: a node is behind by many rows.
    let set = WordNet::load()?;
    let options = ClusterOptions::default().proxied();
    let mut cluster = ProcessCluster::start(PANDO, 3, options).await?;
    import(&cluster.sdk()?, &set, POINTS).await?;
    purge(&cluster).await?;
    let leader = cluster.leader().await?;

    // Purpose: the connection breaks at random bytes while it pulls.
    cluster.spawn(4).await?;
    let mut random = StdRng::seed_from_u64(4);
    let first = random.random_range(2_000..200_000);
    cluster.network.after(leader, 4, first, Then::Cut);
    cluster.join(4).await?;
    let next = || random.random_range(2_000..300_000);
    let cuts = cut_until_caught_up(&cluster, (leader, 4), CUTS, next).await?;
    cluster.wait_equal().await?;

    // Purpose: every row came once, however often the connection broke.
    let status = cluster.status(4).await?;
    assert!(cuts >= CUTS / 2, "{cuts} cuts, {status:?}");
    assert!(status.catch_up.resumed >= 1, "{status:?}");
    let rows = status.points..=status.points + SYSTEM_ROWS_MAX;
    assert!(
        rows.contains(&status.catch_up.rows_put),
        "{rows:?}, {cuts} cuts: {status:?}"
    );
    cluster.verify().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leader_takes_over_a_session() -> Result<()> {
    // Purpose: a node is behind everything that is kept.
    let set = WordNet::load()?;
    let options = ClusterOptions::default().proxied();
    let mut cluster = ProcessCluster::start(PANDO, 3, options).await?;
    import(&cluster.sdk()?, &set, POINTS / 2).await?;
    cluster.wait_equal().await?;
    let leader = cluster.leader().await?;
    let [node, next] = <[u64; 2]>::try_from(cluster.others(leader)).expect("two followers");
    cluster.stop(node).await?;
    let sdk = cluster.sdk()?;
    let missed = set.base(POINTS).split_off(POINTS / 2);
    let missed_rows = missed.len() as u64;
    for points in missed.chunks(250) {
        sdk.upsert(&words(), points.to_vec()).await?;
    }
    cluster.wait_equal().await?;
    purge(&cluster).await?;

    // Purpose: its leader dies when half of what it missed has arrived.
    cluster.network.after(leader, node, 500_000, Then::Hold);
    cluster.restart(node).await?;
    eventually("the session is in its middle", FACT_MAX, async || {
        ensure!(!cluster.network.is_pending(leader, node), "not yet");
        Ok(())
    })
    .await?;
    cluster.kill(leader)?;
    // What it had sent and is still on its way is lost with it.
    cluster.network.sever(leader, node);
    cluster.network.heal();

    // Purpose: the other node leads, with the vote of the one that is behind, which goes on from what it has staged.
    assert_eq!(cluster.leader().await?, next);
    cluster.wait_equal().await?;
    let counters = pulled(&cluster, node).await?;
    let rows = missed_rows..=missed_rows + SYSTEM_ROWS_MAX;
    assert!(rows.contains(&counters.rows_put), "{rows:?}: {counters:?}");

    // Purpose: the old leader comes back as one of three equals.
    cluster.restart(leader).await?;
    cluster.wait_equal().await?;
    cluster.verify().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_session_does_not_unseat_the_leader() -> Result<()> {
    // Purpose: a voter is behind by many rows, and takes its time for each frame.
    let set = WordNet::load()?;
    let mut cluster = ProcessCluster::start(PANDO, 3, ClusterOptions::default()).await?;
    import(&cluster.sdk()?, &set, POINTS / 2).await?;
    cluster.wait_equal().await?;
    let node = cluster.follower().await?;
    cluster.stop(node).await?;
    for points in set.base(POINTS).split_off(POINTS / 2).chunks(250) {
        cluster.sdk()?.upsert(&words(), points.to_vec()).await?;
    }
    purge(&cluster).await?;
    let leader = cluster.leader().await?;
    let term = cluster.status(leader).await?.term;
    cluster.node_mut(node)?.setup.failpoints = "sync::frame=sleep(60)".to_owned();
    cluster.restart(node).await?;

    // Purpose: it hears its leader all the while: there is no election, and it says how far it is.
    let syncing = |s: &NodeStatus| matches!(&s.state, NodeState::Syncing(sync) if sync.total > 0);
    let early = cluster.wait_status(node, "it is pulling", syncing).await?;
    assert_eq!(early.catch_up.delta_sessions, 0);
    pulled(&cluster, node).await?;
    cluster.wait_equal().await?;
    assert_eq!(cluster.leader().await?, leader);
    assert_eq!(cluster.status(leader).await?.term, term);
    cluster.verify().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_at_a_low_rate_does_not_starve_heartbeats() -> Result<()> {
    // Purpose: a voter is behind by more than its leader may send it within several election times.
    let set = WordNet::load()?;
    let mut options = ClusterOptions::default();
    let slow = ["--sync-mib-per-second", "1", "--syncs-outgoing-max", "1"];
    options.args.extend(slow.map(str::to_owned));
    let mut cluster = ProcessCluster::start(PANDO, 3, options).await?;
    cluster.wait_equal().await?;
    let node = cluster.follower().await?;
    cluster.stop(node).await?;
    import(&cluster.sdk()?, &set, 3 * POINTS).await?;
    purge(&cluster).await?;
    let leader = cluster.leader().await?;
    let term = cluster.status(leader).await?.term;
    cluster.restart(node).await?;

    // Purpose: it says from whom it gets how much, and why.
    let moving = |s: &NodeStatus| matches!(&s.state, NodeState::Syncing(sync) if sync.done > 0);
    let status = cluster.wait_status(node, "it is pulling", moving).await?;
    let NodeState::Syncing(sync) = status.state else {
        unreachable!("waited for")
    };
    assert_eq!(sync.leader, leader, "{sync:?}");
    let why = sync.why.context("why there is a session")?;
    assert_eq!(why.reason, "purged_operator");
    assert!(why.replay_bytes > Some(1 << 20), "{why:?}");

    // Purpose: the rate was held, and nobody stood for election meanwhile.
    let last = pulled(&cluster, node).await?.last.context("it is told")?;
    let seconds = last.received_bytes as f64 / f64::from(1 << 20);
    assert!(seconds > 3.0, "long enough to be of worth: {last:?}");
    assert!(last.seconds > 0.8 * seconds, "{last:?}");
    cluster.wait_equal().await?;
    assert_eq!(cluster.leader().await?, leader);
    assert_eq!(cluster.status(leader).await?.term, term);
    cluster.verify().await?;
    cluster.finish().await
}
