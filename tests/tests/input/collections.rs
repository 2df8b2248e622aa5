//! Collections and aliases.

use std::collections::BTreeMap;

use anyhow::Result;
use pando_client::{ErrorKind, Pando};
use pando_model::limits::DIMENSION_MAX;
use pando_model::{CollectionInfo, CollectionSchema, Consistency, CountQuery, Metric};

use super::expected::{catalogue, check, over};
use super::{DIMENSION, good, name, node};

/// What a client can see of the state.
async fn visible(sdk: &Pando) -> Result<Vec<CollectionInfo>> {
    Ok(sdk.list_collections(Consistency::Linearizable).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_collections_are_refused() -> Result<()> {
    let cluster = node().await?;
    let sdk = cluster.sdk()?;
    let before = visible(&sdk).await?;
    let schema = CollectionSchema::single(DIMENSION, Metric::Cosine);
    let create = |text: &str, schema| {
        let (sdk, name) = (sdk.clone(), name(text));
        async move { sdk.create_collection(&name, schema).await }
    };
    let flat = CollectionSchema::single(0, Metric::Dot);
    let wide = CollectionSchema::single(u32::try_from(DIMENSION_MAX)? + 1, Metric::Dot);
    let none = CollectionSchema {
        vectors: BTreeMap::new(),
    };
    check(
        "no dimension",
        create("a", flat).await,
        &over(DIMENSION_MAX, "1 to 16384"),
    );
    check(
        "too many dimensions",
        create("a", wide).await,
        &over(DIMENSION_MAX, "1 to 16384"),
    );
    check(
        "no vectors",
        create("a", none).await,
        &over(16, "at least one vector"),
    );
    let exists = catalogue(ErrorKind::CollectionExists, "exists already");
    check(
        "a duplicate collection",
        create("words", schema.clone()).await,
        &exists,
    );
    let alias = catalogue(ErrorKind::NameIsAlias, "alias");
    check(
        "a collection named like an alias",
        create("alias", schema).await,
        &alias,
    );
    check(
        "to drop an alias as if it were one",
        sdk.drop_collection(&name("alias")).await,
        &alias,
    );
    let unknown = catalogue(ErrorKind::CollectionNotFound, "does not exist");
    check(
        "to drop what is not there",
        sdk.drop_collection(&name("nope")).await,
        &unknown,
    );
    check(
        "an unknown collection",
        sdk.upsert(&name("nope"), vec![good(1)]).await,
        &unknown,
    );
    let count = sdk
        .count(&name("nope"), CountQuery::default(), Consistency::Local)
        .await;
    check("a count in an unknown collection", count, &unknown);
    let set = sdk.set_alias(&name("other"), &name("nope")).await;
    check("an alias of nothing", set, &unknown);
    check(
        "an alias like a collection",
        sdk.set_alias(&name("words"), &name("words")).await,
        &exists,
    );
    let gone = sdk.drop_alias(&name("nope")).await;
    check(
        "no such alias",
        gone,
        &catalogue(ErrorKind::AliasNotFound, "does not exist"),
    );
    assert_eq!(visible(&sdk).await?, before);
    cluster.finish().await
}
