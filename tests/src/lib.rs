//! What several crates or several nodes do together, proved. The tests are in `tests/`; here is what they share.

use anyhow::{Context, Result, ensure};
use pando_client::{BulkOptions, Pando};
use pando_model::{CollectionName, NodeId, Point, PointId, Selector};
use pando_testkit::dataset::WordNet;
use pando_testkit::{FACT_MAX, ProcessCluster, Then, eventually};

/// The collection that holds the WordNet points.
#[must_use]
pub fn words() -> CollectionName {
    CollectionName::parse("words").expect("a good name")
}

/// Creates the collection and writes the first `count` points of the set.
///
/// # Errors
/// When the cluster refuses.
pub async fn import(sdk: &Pando, set: &WordNet, count: usize) -> Result<()> {
    sdk.create_collection(&words(), WordNet::schema())
        .await
        .context("create the collection")?;
    sdk.upsert_all(&words(), set.base(count), BulkOptions::default(), |_| {})
        .await
        .context("import")?;
    Ok(())
}

/// Writes points one by one: each is a log entry of its own.
///
/// # Errors
/// When the cluster refuses.
pub async fn write_each(sdk: &Pando, points: Vec<Point>) -> Result<()> {
    for point in points {
        sdk.upsert(&words(), vec![point])
            .await
            .context("write a point")?;
    }
    Ok(())
}

/// Deletes points by id.
///
/// # Errors
/// When the cluster refuses.
pub async fn delete(sdk: &Pando, ids: impl IntoIterator<Item = u64>) -> Result<()> {
    delete_in(sdk, &words(), ids).await
}

/// Deletes points of any collection by id.
///
/// # Errors
/// When the cluster refuses.
pub async fn delete_in(
    sdk: &Pando,
    collection: &CollectionName,
    ids: impl IntoIterator<Item = u64>,
) -> Result<()> {
    let ids = ids.into_iter().map(PointId::Num).collect();
    sdk.delete(collection, Selector::Ids(ids))
        .await
        .context("delete")?;
    Ok(())
}

/// Purges every running node's log.
///
/// # Errors
/// When a node refuses, or has purged nothing.
pub async fn purge(cluster: &ProcessCluster) -> Result<()> {
    for id in cluster.running() {
        let snapshot = cluster.direct(id)?.snapshot(true).await?;
        ensure!(snapshot.purged_index > 0, "node {id}: {snapshot:?}");
    }
    Ok(())
}

/// Cuts the connection from a leader to a node up to so often, each time after `next` bytes, until the node has pulled
/// all. Returns how often.
///
/// # Errors
/// When the node does not catch up.
pub async fn cut_until_caught_up(
    cluster: &ProcessCluster,
    (leader, node): (NodeId, NodeId),
    cuts_max: u64,
    mut next: impl FnMut() -> u64,
) -> Result<u64> {
    let mut cuts = 0;
    let what = "it has caught up, cut again and again";
    // All of a large collection may be on its way.
    eventually(what, 3 * FACT_MAX, async || {
        if cuts < cuts_max && !cluster.network.is_pending(leader, node) {
            cuts += 1;
            cluster.network.after(leader, node, next(), Then::Cut);
        }
        let status = cluster.status(node).await?;
        let caught_up = status.catch_up.delta_sessions > 0;
        ensure!(caught_up, "{cuts} cuts, {status:?}");
        Ok(())
    })
    .await?;
    cluster.network.heal();
    Ok(cuts)
}
