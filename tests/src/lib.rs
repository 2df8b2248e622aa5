//! What several crates or several nodes do together, proved. The tests are in `tests/`; here is what they share.

use anyhow::{Context, Result};
use pando_client::{BulkOptions, Pando};
use pando_model::{CollectionName, Point, PointId, Selector};
use pando_testkit::dataset::WordNet;

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
