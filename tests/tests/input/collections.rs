//! Collections and aliases.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use pando_client::{ErrorKind, Pando};
use pando_model::limits::DIMENSION_MAX;
use pando_model::{CollectionInfo, CollectionSchema, Consistency, CountQuery, Metric, VectorName};

use super::expected::{Expected, catalogue, check, invalid, over};
use super::{DIMENSION, good, name, node};

/// What a client can see of the state.
async fn visible(sdk: &Pando) -> Result<Vec<CollectionInfo>> {
    Ok(sdk.list_collections(Consistency::Linearizable).await?)
}

fn bad_schemas() -> Result<Vec<(&'static str, CollectionSchema, Expected)>> {
    let dot = |dimension| CollectionSchema::single(dimension, Metric::Dot);
    let none = CollectionSchema {
        vectors: BTreeMap::new(),
        sparse_vectors: BTreeSet::new(),
    };
    let wide = u32::try_from(DIMENSION_MAX)? + 1;
    Ok(vec![
        ("no dimension", dot(0), over(DIMENSION_MAX, "1 to 16384")),
        (
            "too many dimensions",
            dot(wide),
            over(DIMENSION_MAX, "1 to 16384"),
        ),
        ("no vectors", none, over(16, "at least one vector")),
        (
            "a name for a dense and a sparse vector",
            dot(DIMENSION).with_sparse(VectorName::default()),
            invalid("both dense and sparse"),
        ),
    ])
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
    for (what, schema, expected) in bad_schemas()? {
        check(what, create("a", schema).await, &expected);
    }
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
