//! What must hold of a sync, at a hundred thousand points and while writers are at work: no wrong root is installed,
//! nothing acknowledged is lost, and what was staged is not sent again.

use anyhow::{Context as _, Result, ensure};
use pando_client::{BulkOptions, Pando};
use pando_model::{
    CollectionName, CollectionSchema, Consistency, CountQuery, Metric, NodeId, Payload, Point,
};
use pando_testkit::load::{self, Load};
use pando_testkit::{ClusterOptions, FACT_MAX, ProcessCluster, Then, eventually};
use pando_tests::{cut_until_caught_up, delete_in, purge};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const PANDO: &str = env!("CARGO_BIN_EXE_pando-under-test");
const POINTS: u64 = 100_000;
/// Points changed while a node is away.
const UPDATES: u64 = 8_000;
const INSERTS: u64 = 1_000;
const DELETES: u64 = 1_000;
/// Changed points are spread over all: this many ids apart.
const STRIDE: u64 = 11;
/// How often a session's connection is cut.
const CUTS: u64 = 4;

fn many() -> CollectionName {
    CollectionName::parse("many").expect("a good name")
}

/// A short vector, so that rows count and not their bytes.
fn point(id: u64, generation: u8) -> Point {
    let value = |n: usize| f32::from(id.to_le_bytes()[n] & 0x7f) + f32::from(generation);
    Point::new(id, (0..8).map(value).collect(), Payload::default())
}

async fn write(sdk: &Pando, points: Vec<Point>) -> Result<()> {
    sdk.upsert_all(&many(), points, BulkOptions::default(), |_| {})
        .await
        .context("write many points")?;
    Ok(())
}

/// Updates, inserts and deletes all over the collection.
async fn change(sdk: &Pando, generation: u8) -> Result<()> {
    let updated = (0..UPDATES).map(|n| point(n * STRIDE, generation));
    let first = POINTS * u64::from(generation);
    let inserted = (first..first + INSERTS).map(|id| point(id, generation));
    write(sdk, updated.chain(inserted).collect()).await?;
    let first = POINTS - u64::from(generation) * DELETES;
    delete_in(sdk, &many(), first..first + DELETES).await
}

/// What a node was sent is what it lacked, and what writers wrote meanwhile.
async fn sent_once(
    cluster: &ProcessCluster,
    (node, lacked): (NodeId, u64),
    (cuts, writes): (u64, u64),
) -> Result<()> {
    let status = cluster.status(node).await?;
    let views = cuts + status.catch_up.delta_sessions;
    // Each view may bring every row that writers are at work on; each write has left its request id.
    let rows_max = lacked + views * load::IDS + 2 * writes;
    let put = status.catch_up.rows_put;
    ensure!(put >= lacked, "{put} rows put of {lacked}: {status:?}");
    ensure!(
        put <= rows_max,
        "{put} rows put, {rows_max} at most: {status:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_of_many_points_under_writes_holds_what_it_promises() -> Result<()> {
    // Purpose: three nodes with many points, and writers at work all the time.
    let options = ClusterOptions::default().proxied();
    let mut cluster = ProcessCluster::start(PANDO, 3, options).await?;
    let sdk = cluster.sdk()?;
    sdk.create_collection(&many(), CollectionSchema::single(8, Metric::Dot))
        .await?;
    write(&sdk, (0..POINTS).map(|id| point(id, 0)).collect()).await?;
    load::create(&sdk).await?;
    let load = Load::start(cluster.sdk()?, 2);
    load.progress(20, FACT_MAX).await?;
    let leader = cluster.leader().await?;
    let [node, other] = <[NodeId; 2]>::try_from(cluster.others(leader)).expect("two followers");

    // Purpose: a node that was away pulls a tenth, over connections that break, and is sent nothing twice.
    cluster
        .wait_applied(node, cluster.status(leader).await?.applied)
        .await?;
    cluster.stop(node).await?;
    change(&sdk, 1).await?;
    purge(&cluster).await?;
    let before = load.acknowledged();
    cluster.network.after(leader, node, 100_000, Then::Cut);
    cluster.restart(node).await?;
    let mut random = StdRng::seed_from_u64(node);
    let next = || random.random_range(20_000..200_000);
    let cuts = cut_until_caught_up(&cluster, (leader, node), CUTS, next).await?;
    let writes = load.acknowledged() - before;
    sent_once(&cluster, (node, UPDATES + INSERTS), (cuts, writes)).await?;

    // Purpose: a node that is killed in the middle of its sync, and again, ends up equal all the same.
    cluster.stop(node).await?;
    change(&sdk, 2).await?;
    purge(&cluster).await?;
    for bytes in [150_000, 300_000] {
        cluster.network.after(leader, node, bytes, Then::Hold);
        cluster.restart(node).await?;
        eventually("the session is in its middle", FACT_MAX, async || {
            ensure!(!cluster.network.is_pending(leader, node), "not yet");
            Ok(())
        })
        .await?;
        cluster.kill(node)?;
        cluster.network.sever(leader, node);
        cluster.network.heal();
    }
    cluster.restart(node).await?;
    cluster.wait_caught_up(node).await?;

    // Purpose: a new node pulls everything over connections that break, and is sent nothing twice.
    purge(&cluster).await?;
    cluster.spawn(4).await?;
    cluster.network.after(leader, 4, 1_000_000, Then::Cut);
    cluster.join(4).await?;
    let next = || random.random_range(500_000..3_000_000);
    let cuts = cut_until_caught_up(&cluster, (leader, 4), CUTS, next).await?;
    // The request ids of all writes so far.
    let writes = load.acknowledged();
    let points = POINTS + 2 * INSERTS - 2 * DELETES;
    sent_once(&cluster, (4, points), (cuts, writes)).await?;

    // Purpose: nothing acknowledged is lost, nothing deleted is back, and all replicas have one root.
    let judge = load.stop().await?;
    cluster.wait_equal().await?;
    for id in [leader, node, other, 4] {
        judge.check(&cluster.direct(id)?.all(&load::collection()).await?)?;
        let count = cluster
            .direct(id)?
            .count(&many(), CountQuery::default(), Consistency::Local, FACT_MAX)
            .await?;
        ensure!(count == points, "{count} points on node {id}, not {points}");
    }
    cluster.verify().await?;
    cluster.finish().await
}
