//! Partitions of real sockets, in both directions and in one, and a leader that stands still: a minority refuses
//! clearly and in time, never hangs and never acknowledges; after healing all are equal and nothing is lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use pando_client::Role;
use pando_model::{Consistency, CountQuery, PointId};
use pando_proto::v1::ErrorKind;
use pando_testkit::load::{self, Load, point};
use pando_testkit::{
    ClusterOptions, Direct, FACT_MAX, Partition, ProcessCluster, Refusal, eventually,
};
use tokio::time::{Instant, timeout};

const PANDO: &str = env!("CARGO_BIN_EXE_pando-under-test");
/// How long the asked node may take for one request.
const DEADLINE: Duration = Duration::from_secs(4);
/// How much later its refusal may arrive here, on a busy machine.
const SLACK: Duration = Duration::from_secs(4);
/// An id no writer uses.
const MINE: PointId = PointId::Num(1_000_000);

/// What a node without a quorum says to a request that needs one: within the deadline, and why.
async fn refused<T: std::fmt::Debug>(
    what: &str,
    request: impl Future<Output = Result<T, Refusal>>,
) -> Result<Refusal> {
    let started = Instant::now();
    let answer = timeout(DEADLINE + SLACK, request).await;
    ensure!(
        answer.is_ok(),
        "{what} hangs: no answer after {:?}",
        started.elapsed()
    );
    let refusal = answer?.expect_err("there is no quorum");
    let kinds = [
        ErrorKind::NoLeader,
        ErrorKind::NotLeader,
        ErrorKind::Timeout,
    ];
    assert!(kinds.contains(&refusal.kind()), "{what}: {refusal:?}");
    assert!(!refusal.message.is_empty(), "{what}: {refusal:?}");
    Ok(refusal)
}

/// A node that is cut off from the majority answers what it can and refuses what it cannot.
async fn minority(node: &Direct) -> Result<()> {
    let name = load::collection();
    let count = |level| node.count(&name, CountQuery::default(), level, DEADLINE);
    refused(
        "a write",
        node.upsert(&name, vec![point(MINE, 7)], DEADLINE),
    )
    .await?;
    refused("a linearizable read", count(Consistency::Linearizable)).await?;
    let later = node.status().await?.applied + 1_000_000;
    refused(
        "a read of what is not there",
        count(Consistency::AtLeast(later)),
    )
    .await?;
    let local = timeout(DEADLINE, count(Consistency::Local)).await??;
    assert!(local > 0, "a local read answers from what is there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_refuses_in_time_and_heals() -> Result<()> {
    // Purpose: three nodes take writes.
    let options = ClusterOptions::default().proxied();
    let cluster = ProcessCluster::start(PANDO, 3, options).await?;
    load::create(&cluster.sdk()?).await?;

    for how in [Partition::Hold, Partition::Sever] {
        let leader = cluster.leader().await?;
        let rest = cluster.others(leader);
        let load = Load::start(cluster.sdk()?, 2);
        load.progress(30, FACT_MAX).await?;

        // Purpose: the leader is cut off, by silence or by broken connections. It acknowledges nothing any more.
        cluster.network.partition(&[leader], &rest, how);
        minority(&cluster.direct(leader)?).await?;

        // Purpose: the others have a leader of their own and go on.
        let next = cluster.leader_among(&rest).await?;
        load.progress(20, FACT_MAX).await?;

        // Purpose: back together, all are equal, nothing acknowledged is lost.
        cluster.network.heal();
        cluster
            .wait_status(leader, "it follows", |s| s.role == Role::Follower)
            .await?;
        load.progress(10, FACT_MAX).await?;
        let judge = load.stop().await?;
        cluster.wait_equal().await?;
        cluster.verify().await?;
        let mut points = cluster.direct(next)?.all(&load::collection()).await?;
        // The outcome of the minority's write is unknown; what the writers wrote is judged.
        points.retain(|point| point.id != MINE);
        let evidence = judge.check(&points)?;
        assert!(evidence.acknowledged > 100, "{evidence:?}");
        cluster.sdk()?.drop_collection(&load::collection()).await?;
        load::create(&cluster.sdk()?).await?;

        // Purpose: a follower that is cut off refuses as clearly.
        cluster
            .sdk()?
            .upsert(&load::collection(), vec![point(MINE, 1)])
            .await?;
        cluster.wait_equal().await?;
        let leader = cluster.leader().await?;
        let follower = cluster.follower().await?;
        cluster
            .network
            .partition(&[follower], &cluster.others(follower), how);
        minority(&cluster.direct(follower)?).await?;
        cluster.network.heal();
        cluster.wait_equal().await?;
        assert!(cluster.others(follower).contains(&leader));
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_way_partitions_lose_nothing() -> Result<()> {
    // Purpose: three nodes take writes.
    let options = ClusterOptions::default().proxied();
    let cluster = ProcessCluster::start(PANDO, 3, options).await?;
    load::create(&cluster.sdk()?).await?;
    let load = Load::start(cluster.sdk()?, 2);

    // Purpose: a follower is heard but hears nothing of the leader; then the leader is not heard by anybody, though
    // it hears all. Each time some majority goes on, and all are equal when it is over.
    for deaf in [true, false] {
        load.progress(20, FACT_MAX).await?;
        let leader = cluster.leader().await?;
        let others = cluster.others(leader);
        if deaf {
            cluster.network.hold(leader, others[0]);
        } else {
            others
                .iter()
                .for_each(|other| cluster.network.hold(leader, *other));
        }
        load.progress(30, FACT_MAX).await?;
        cluster.network.heal();
        let ids = cluster.ids();
        let leader = cluster.leader().await?;
        for id in ids {
            cluster
                .wait_applied(id, cluster.status(leader).await?.committed)
                .await?;
        }
    }
    let judge = load.stop().await?;
    cluster.wait_equal().await?;
    cluster.verify().await?;
    for id in cluster.ids() {
        judge.check(&cluster.direct(id)?.all(&load::collection()).await?)?;
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_steps_down() -> Result<()> {
    // Purpose: three nodes take writes.
    let cluster = ProcessCluster::start(PANDO, 3, ClusterOptions::default()).await?;
    load::create(&cluster.sdk()?).await?;
    let load = Load::start(cluster.sdk()?, 3);

    for _ in 0..2 {
        load.progress(30, FACT_MAX).await?;

        // Purpose: the leader stands still in the middle of its work; the others elect another and go on.
        let leader = cluster.leader().await?;
        let term = cluster.status(leader).await?.term;
        cluster.node(leader)?.pause()?;
        let next = cluster.leader_among(&cluster.others(leader)).await?;
        assert_ne!(next, leader);
        load.progress(30, FACT_MAX).await?;

        // Purpose: it wakes up in the belief that it leads, and learns that it does not.
        cluster.node(leader)?.resume()?;
        let down = |s: &pando_client::NodeStatus| s.role == Role::Follower && s.term > term;
        cluster
            .wait_status(leader, "it follows the new leader", down)
            .await?;
    }

    // Purpose: neither what was acknowledged before nor what was after is lost, and no read was stale.
    let judge = load.stop().await?;
    cluster.wait_equal().await?;
    cluster.verify().await?;
    for id in cluster.ids() {
        let evidence = judge.check(&cluster.direct(id)?.all(&load::collection()).await?)?;
        assert!(
            evidence.acknowledged > 300 && evidence.reads > 20,
            "{evidence:?}"
        );
    }
    eventually("nothing is under way any more", FACT_MAX, async || {
        let leader = cluster.leader().await?;
        let status = cluster.status(leader).await?;
        ensure!(status.applied == status.last_log, "{status:?}");
        Ok(())
    })
    .await?;
    cluster.finish().await
}
