use pando_proto::v1::{self, ErrorKind};

use crate::support::{fresh, inner, kind, linearizable, schema};

fn names(answer: &v1::ListCollectionsResponse) -> Vec<&str> {
    answer.collections.iter().map(|c| c.name.as_str()).collect()
}

#[tokio::test]
async fn collections_are_created_listed_described_and_dropped() {
    let (mut node, _dir) = fresh().await;
    let words = node
        .create("words", 3, v1::Metric::Dot)
        .await
        .expect("created");
    let images = node
        .create("images", 2, v1::Metric::Euclidean)
        .await
        .expect("created");
    assert!(images.log_index > words.log_index);
    assert_ne!(images.tree_id, words.tree_id);

    let list = v1::ListCollectionsRequest {
        consistency: linearizable(),
    };
    let listed = inner(node.collections.list(list).await);
    assert_eq!(names(&listed), ["images", "words"]);
    assert!(listed.log_index >= images.log_index);

    let describe = v1::DescribeCollectionRequest {
        name: "words".into(),
        consistency: None,
    };
    let described = inner(node.collections.describe(describe).await)
        .collection
        .expect("it");
    assert_eq!(described.schema, Some(schema(3, v1::Metric::Dot)));
    assert_eq!((described.points, described.root.len()), (0, 32));

    let drop = |name: &str| v1::DropCollectionRequest {
        name: name.into(),
        request_id: String::new(),
    };
    inner(node.collections.drop(drop("words")).await);
    let listed = inner(node.collections.list(list).await);
    assert_eq!(names(&listed), ["images"]);
    assert_eq!(
        kind(node.collections.drop(drop("words")).await),
        ErrorKind::CollectionNotFound
    );
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn aliases_stand_for_collections() {
    let (mut node, _dir) = fresh().await;
    node.create("v1", 2, v1::Metric::Dot)
        .await
        .expect("created");
    node.create("v2", 2, v1::Metric::Dot)
        .await
        .expect("created");
    let set = |alias: &str, collection: &str| v1::SetAliasRequest {
        alias: alias.into(),
        collection: collection.into(),
        request_id: String::new(),
    };
    for collection in ["v1", "v2"] {
        inner(node.collections.set_alias(set("live", collection)).await);
        let list = v1::ListAliasesRequest { consistency: None };
        let aliases = inner(node.collections.list_aliases(list).await).aliases;
        assert_eq!(
            aliases,
            [v1::Alias {
                alias: "live".into(),
                collection: collection.into()
            }]
        );
    }
    let describe = v1::DescribeCollectionRequest {
        name: "live".into(),
        consistency: None,
    };
    let described = inner(node.collections.describe(describe).await)
        .collection
        .expect("it");
    assert_eq!(
        (described.name.as_str(), described.aliases),
        ("v2", vec!["live".to_owned()])
    );

    let to_nothing = node.collections.set_alias(set("other", "v3")).await;
    assert_eq!(kind(to_nothing), ErrorKind::CollectionNotFound);
    assert_eq!(
        kind(node.collections.set_alias(set("v1", "v2")).await),
        ErrorKind::CollectionExists
    );
    let drop_alias = |alias: &str| v1::DropAliasRequest {
        alias: alias.into(),
        request_id: String::new(),
    };
    let drop = v1::DropCollectionRequest {
        name: "live".into(),
        request_id: String::new(),
    };
    assert_eq!(
        kind(node.collections.drop(drop).await),
        ErrorKind::NameIsAlias
    );
    inner(node.collections.drop_alias(drop_alias("live")).await);
    let again = node.collections.drop_alias(drop_alias("live")).await;
    assert_eq!(kind(again), ErrorKind::AliasNotFound);
    node.stop().await.expect("stopped");
}
