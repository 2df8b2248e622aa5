//! Members come and go: added, promoted, demoted, removed, led by another; and what a node that lost its disk, or
//! belongs elsewhere, is refused.

use anyhow::{Context, Result, ensure};
use pando_client::model::limits::POINTS_PER_WRITE_MAX;
use pando_client::{ErrorKind, Role};
use pando_model::{Consistency, CountQuery, NodeId};
use pando_proto::cluster_v1::RefusalCode;
use pando_server::PROTOCOL_VERSION;
use pando_testkit::dataset::WordNet;
use pando_testkit::peer;
use pando_testkit::{ClusterOptions, FACT_MAX, ProcessCluster, eventually};
use pando_tests::{delete, import, purge, words};

const PANDO: &str = env!("CARGO_BIN_EXE_pando-under-test");
const POINTS: usize = POINTS_PER_WRITE_MAX;

/// The members as the leader sees them: id and whether it votes.
async fn members(cluster: &ProcessCluster) -> Result<Vec<(NodeId, bool)>> {
    let leader = cluster.leader().await?;
    let status = cluster.sdk_of(leader)?.cluster_status().await?;
    Ok(status
        .nodes
        .iter()
        .map(|node| (node.node, node.voter))
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_and_leadership_moves() -> Result<()> {
    // Purpose: a cluster of one grows to three voters and a learner, which all hold the same.
    let set = WordNet::load()?;
    let mut cluster = ProcessCluster::start(PANDO, 1, ClusterOptions::default()).await?;
    import(&cluster.sdk()?, &set, POINTS).await?;
    for id in [2, 3, 4] {
        cluster.spawn(id).await?;
        cluster.join(id).await?;
    }
    cluster.wait_equal().await?;
    assert_eq!(
        members(&cluster).await?,
        [(1, true), (2, false), (3, false), (4, false)]
    );
    for id in [2, 3] {
        cluster.promote(id).await?;
    }
    assert_eq!(
        members(&cluster).await?,
        [(1, true), (2, true), (3, true), (4, false)]
    );

    // Purpose: leadership goes to whom it is handed; not to a learner, nor to nobody.
    let sdk = cluster.sdk()?;
    for to in [2, 3] {
        sdk.transfer_leader(to).await?;
        assert_eq!(cluster.leader().await?, to);
    }
    let refused = sdk
        .transfer_leader(4)
        .await
        .expect_err("a learner cannot lead");
    assert_eq!(refused.kind(), ErrorKind::Membership, "{refused}");
    let refused = sdk
        .transfer_leader(99)
        .await
        .expect_err("there is no node 99");
    assert_eq!(refused.kind(), ErrorKind::NodeNotFound, "{refused}");

    // Purpose: a demoted voter follows on, and can be promoted again.
    sdk.demote_node(2).await?;
    delete(&sdk, 0..10).await?;
    cluster.wait_equal().await?;
    cluster
        .wait_status(2, "it is a learner", |status| status.role == Role::Learner)
        .await?;
    cluster.promote(2).await?;

    // Purpose: the leader itself is removed; the others go on without it.
    let removed = cluster.leader().await?;
    assert_eq!(removed, 3);
    sdk.remove_node(removed, false).await?;
    let rest = [1, 2, 4];
    let leader = cluster.leader_among(&rest).await?;
    assert_ne!(leader, removed);
    cluster.node_mut(removed)?.kill()?;
    delete(&cluster.sdk()?, 10..20).await?;
    cluster.wait_equal().await?;
    assert_eq!(members(&cluster).await?, [(1, true), (2, true), (4, false)]);
    cluster.verify().await?;

    // Purpose: the last voters are not removed by mistake.
    let sdk = cluster.sdk()?;
    sdk.remove_node(if leader == 1 { 2 } else { 1 }, true)
        .await?;
    let refused = sdk
        .remove_node(leader, true)
        .await
        .expect_err("it is the last voter");
    assert_eq!(refused.kind(), ErrorKind::Membership, "{refused}");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_is_refused_under_its_old_id_and_rejoins_under_a_new_one() -> Result<()> {
    wiped_and_replaced(3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_the_node_that_formed_the_cluster() -> Result<()> {
    wiped_and_replaced(1).await
}

async fn wiped_and_replaced(wiped: NodeId) -> Result<()> {
    // Purpose: one of three nodes loses its disk and comes back under its old id, empty.
    let set = WordNet::load()?;
    let mut cluster = ProcessCluster::start(PANDO, 3, ClusterOptions::default()).await?;
    import(&cluster.sdk()?, &set, POINTS).await?;
    cluster.kill(wiped)?;
    let leader = cluster.leader().await?;
    std::fs::remove_dir_all(cluster.node(wiped)?.setup.data.clone())?;
    cluster.restart(wiped).await?;

    // Purpose: it takes no part in the cluster it has forgotten: what it has acknowledged before it would deny now.
    let id = cluster
        .direct(leader)?
        .view()
        .await?
        .cluster
        .context("a cluster")?;
    let address = cluster.node(wiped)?.node_address();
    let refusal = || {
        peer::refusal(
            &address,
            peer::header(id.0, PROTOCOL_VERSION, leader, wiped),
        )
    };
    let (code, reason) = refusal().await?;
    assert_eq!(code, RefusalCode::NotInitialized, "{reason}");

    // Purpose: it cannot be added under the old id, neither while that is a member nor when it is removed; and the
    // attempt does not make it part of the cluster.
    let sdk = cluster.sdk_of(leader)?;
    let refused = sdk.add_node(&address).await.expect_err("the id is used");
    assert_eq!(refused.kind(), ErrorKind::NodeIdUsed, "{refused}");
    let (code, reason) = refusal().await?;
    assert_eq!(code, RefusalCode::NotInitialized, "{reason}");
    sdk.remove_node(wiped, true).await?;
    let refused = sdk.add_node(&address).await.expect_err("the id stays used");
    assert_eq!(refused.kind(), ErrorKind::NodeIdUsed, "{refused}");
    assert!(refused.to_string().contains("new id"), "{refused}");
    assert_eq!(cluster.status(wiped).await?.points, 0);
    cluster.kill(wiped)?;

    // Purpose: under a new id it is a new node, gets everything, and what was deleted stays deleted.
    delete(&cluster.sdk()?, 0..50).await?;
    purge(&cluster).await?;
    cluster.spawn(4).await?;
    cluster.join(4).await?;
    cluster.promote(4).await?;
    cluster.wait_equal().await?;
    let query = CountQuery { filter: None };
    let count = cluster
        .direct(4)?
        .count(&words(), query, Consistency::Local, FACT_MAX)
        .await?;
    assert_eq!(count, (POINTS - 50) as u64);
    cluster.verify().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_is_refused() -> Result<()> {
    // Purpose: two clusters.
    let mut cluster = ProcessCluster::start(PANDO, 1, ClusterOptions::default()).await?;
    cluster.spawn(9).await?;
    cluster.sdk_of(9)?.init_cluster().await?;
    let refused = cluster
        .sdk_of(9)?
        .init_cluster()
        .await
        .expect_err("it is formed");
    assert_eq!(refused.kind(), ErrorKind::AlreadyInitialized, "{refused}");
    let ids = [1, 9].map(|id| cluster.direct(id));
    let [one, nine] = ids;
    let [one, nine] = [one?.view().await?.cluster, nine?.view().await?.cluster];
    assert!(one.is_some() && nine.is_some() && one != nine);

    // Purpose: a node of the one cannot be added to the other, whichever of its addresses is named.
    let sdk = cluster.sdk_of(1)?;
    let process = cluster.node(9)?;
    for address in [process.node_address(), process.api()] {
        let refused = sdk
            .add_node(&address)
            .await
            .expect_err("it belongs elsewhere");
        assert_eq!(refused.kind(), ErrorKind::ForeignCluster, "{refused}");
        let theirs = nine.context("a cluster")?.to_string();
        assert!(
            refused.to_string().contains(&theirs),
            "it says which: {refused}"
        );
    }

    // Purpose: nothing of it stays: the membership is as it was, and node 9 answers to its own cluster only.
    eventually("node 1 is alone", FACT_MAX, async || {
        let members = cluster.sdk_of(1)?.cluster_status().await?.nodes;
        ensure!(members.len() == 1, "{members:?}");
        Ok(())
    })
    .await?;
    let foreign = peer::header(one.context("a cluster")?.0, PROTOCOL_VERSION, 1, 9);
    let (code, reason) = peer::refusal(&cluster.node(9)?.node_address(), foreign).await?;
    assert_eq!(code, RefusalCode::ForeignCluster, "{reason}");
    cluster.finish().await
}
