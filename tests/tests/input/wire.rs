//! What the SDK would not send: the node must not count on it.

use anyhow::Result;
use pando_model::{CollectionSchema, Metric};
use pando_proto::v1::collections_client::CollectionsClient;
use pando_proto::v1::points_client::PointsClient;
use pando_proto::v1::{self, selector};
use pando_testkit::Refusal;
use tonic::transport::{Channel, Endpoint};

use super::{DIMENSION, good, node};

/// A request the SDK cannot make, refused by the node.
fn refused<T: std::fmt::Debug>(what: &str, result: Result<T, tonic::Status>, says: &str) {
    let refusal = Refusal::from(result.expect_err(what));
    assert_eq!(
        refusal.kind(),
        v1::ErrorKind::InvalidInput,
        "{what}: {refusal:?}"
    );
    assert_eq!(
        refusal.code,
        tonic::Code::InvalidArgument,
        "{what}: {refusal:?}"
    );
    assert!(refusal.message.contains(says), "{what}: {refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_the_sdk_would_not_ask_for_are_refused() -> Result<()> {
    let cluster = node().await?;
    let before = cluster.status(1).await?;
    let channel: Channel = Endpoint::from_shared(format!("http://{}", cluster.node(1)?.api()))?
        .connect()
        .await?;
    let mut collections = CollectionsClient::new(channel);

    let long = "x".repeat(129);
    for bad in ["", "-words", "two words", "a/b", "\u{e4}", long.as_str()] {
        let schema = CollectionSchema::single(DIMENSION, Metric::Cosine);
        let create = v1::CreateCollectionRequest {
            name: bad.to_owned(),
            schema: Some(schema.into()),
            request_id: String::new(),
        };
        refused(
            "a bad name",
            collections.create(create).await,
            "1 to 128 bytes",
        );
    }
    let metric = v1::VectorParams {
        dimension: 4,
        metric: 0,
        quantization: 0,
    };
    let vectors = [(String::new(), metric)].into_iter().collect();
    let create = v1::CreateCollectionRequest {
        name: "a".to_owned(),
        schema: Some(v1::CollectionSchema {
            vectors,
            ..v1::CollectionSchema::default()
        }),
        request_id: String::new(),
    };
    refused("no metric", collections.create(create).await, "metric");

    // Purpose: none of it reached the log, let alone the state.
    let after = cluster.status(1).await?;
    assert_eq!((after.last_log, after.root), (before.last_log, before.root));
    cluster.finish().await
}

/// Indices and values that are no sparse vector: the SDK has a type for them.
async fn refuse_sparse_vectors(points: &mut PointsClient<Channel>) {
    for (what, indices, values, says) in [
        (
            "an unsorted sparse vector",
            vec![5, 2],
            vec![1.0; 2],
            "increasing",
        ),
        ("an index twice", vec![5, 5], vec![1.0; 2], "given twice"),
        (
            "fewer values than indices",
            vec![5, 6],
            vec![1.0],
            "2 indices and 1 values",
        ),
        (
            "an infinite value",
            vec![5],
            vec![f32::INFINITY],
            "must be finite",
        ),
        ("a zero", vec![5], vec![0.0], "leave the index out"),
        ("no entries", vec![], vec![], "at least one index"),
        (
            "too many entries",
            (0..16_385).collect(),
            vec![1.0; 16_385],
            "limit of 16384",
        ),
    ] {
        let sparse = v1::SparseVector { indices, values };
        let data = Some(v1::vector::Data::Sparse(sparse));
        let mut point = v1::Point::from(good(1));
        point.vectors.insert("t".to_owned(), v1::Vector { data });
        let upsert = v1::UpsertRequest {
            collection: "words".to_owned(),
            points: vec![point],
            request_id: String::new(),
        };
        refused(what, points.upsert(upsert).await, says);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_are_such_points_and_selectors() -> Result<()> {
    let cluster = node().await?;
    let before = cluster.status(1).await?;
    let channel: Channel = Endpoint::from_shared(format!("http://{}", cluster.node(1)?.api()))?
        .connect()
        .await?;
    let mut points = PointsClient::new(channel);
    let upsert = |point: v1::Point, request_id: &str| v1::UpsertRequest {
        collection: "words".to_owned(),
        points: vec![point],
        request_id: request_id.to_owned(),
    };
    let point = || v1::Point::from(good(1));
    let no_id = v1::Point {
        id: None,
        ..point()
    };
    refused("no id", points.upsert(upsert(no_id, "")).await, "id");
    let uuid = v1::PointId {
        id: Some(v1::point_id::Id::Uuid("not-a-uuid".to_owned())),
    };
    let bad_id = v1::Point {
        id: Some(uuid),
        ..point()
    };
    refused("a bad id", points.upsert(upsert(bad_id, "")).await, "UUID");
    let bad_request = points.upsert(upsert(point(), "not-a-uuid")).await;
    refused("a bad request id", bad_request, "request_id");
    let empty = v1::Point {
        vectors: [(String::new(), v1::Vector { data: None })]
            .into_iter()
            .collect(),
        ..point()
    };
    refused(
        "a vector without data",
        points.upsert(upsert(empty, "")).await,
        "vector",
    );
    refuse_sparse_vectors(&mut points).await;
    let nothing = v1::Condition { condition: None };
    let filter = v1::Filter {
        must: vec![nothing],
        ..v1::Filter::default()
    };
    let filter = v1::FilterSelector {
        filter: Some(filter),
        from: None,
    };
    let delete = |selector| v1::DeleteRequest {
        collection: "words".to_owned(),
        selector,
        request_id: String::new(),
    };
    let selected = v1::Selector {
        selector: Some(selector::Selector::Filter(filter)),
    };
    refused(
        "an empty condition",
        points.delete(delete(Some(selected))).await,
        "condition",
    );
    refused("no selector", points.delete(delete(None)).await, "selector");
    let unset = v1::Selector { selector: None };
    refused(
        "an empty selector",
        points.delete(delete(Some(unset))).await,
        "selector",
    );

    // Purpose: none of it reached the log, let alone the state.
    let after = cluster.status(1).await?;
    assert_eq!((after.last_log, after.root), (before.last_log, before.root));
    cluster.finish().await
}
