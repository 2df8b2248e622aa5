//! kill -9, of any node at any moment and of all at once, under load: nothing acknowledged is lost, and the replicas
//! are equal afterwards.

use anyhow::Result;
use pando_testkit::load::{self, Judge, Load};
use pando_testkit::{ClusterOptions, FACT_MAX, ProcessCluster};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

const PANDO: &str = env!("CARGO_BIN_EXE_pando-under-test");
const WRITERS: u64 = 4;

/// Every node holds what was acknowledged, and all hold the same.
async fn judged(cluster: &ProcessCluster, judge: &Judge) -> Result<()> {
    cluster.wait_equal().await?;
    cluster.verify().await?;
    for id in cluster.ids() {
        let evidence = judge.check(&cluster.direct(id)?.all(&load::collection()).await?)?;
        assert!(
            evidence.acknowledged > 500 && evidence.deletes > 50,
            "{evidence:?}"
        );
        assert!(evidence.points > 100 && evidence.reads > 20, "{evidence:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_loses_nothing_while_the_others_go_on() -> Result<()> {
    // Purpose: three nodes take writes.
    let mut cluster = ProcessCluster::start(PANDO, 3, ClusterOptions::default()).await?;
    load::create(&cluster.sdk()?).await?;
    let load = Load::start(cluster.sdk()?, WRITERS);
    let mut random = StdRng::seed_from_u64(1);

    // Purpose: one node after the other is killed in the middle of its work, every second time the leader; the other
    // two go on, and it comes back into a cluster that is busy.
    for round in 0..6 {
        load.progress(random.random_range(10..60), FACT_MAX).await?;
        let leader = cluster.leader().await?;
        let followers = cluster.others(leader);
        let follower = *followers.choose(&mut random).expect("there are two");
        let victim = if round % 2 == 0 { leader } else { follower };
        cluster.kill(victim)?;
        load.progress(20, FACT_MAX).await?;
        cluster.restart(victim).await?;
    }

    // Purpose: nothing acknowledged is lost, nothing deleted is back, all replicas are equal.
    load.progress(20, FACT_MAX).await?;
    judged(&cluster, &load.stop().await?).await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_killed_at_once_lose_nothing() -> Result<()> {
    // Purpose: three nodes take writes.
    let mut cluster = ProcessCluster::start(PANDO, 3, ClusterOptions::default()).await?;
    load::create(&cluster.sdk()?).await?;
    let load = Load::start(cluster.sdk()?, WRITERS);
    let mut random = StdRng::seed_from_u64(2);

    // Purpose: all of them die in the same moment, in the middle of their work, again and again.
    for _ in 0..4 {
        load.progress(random.random_range(40..120), FACT_MAX)
            .await?;
        for id in cluster.ids() {
            cluster.kill(id)?;
        }
        for id in cluster.ids() {
            cluster.restart(id).await?;
        }
    }

    // Purpose: what they acknowledged was on disk.
    load.progress(100, FACT_MAX).await?;
    judged(&cluster, &load.stop().await?).await?;
    cluster.finish().await
}
