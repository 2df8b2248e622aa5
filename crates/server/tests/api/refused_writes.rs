//! Bad writes: each refused with a typed error that names the limit or the expectation, and nothing applied.

use std::collections::BTreeMap;

use pando_model::limits::{
    DIMENSION_MAX, PAYLOAD_BYTES_MAX, POINTS_PER_WRITE_MAX, WRITE_BYTES_MAX,
};
use pando_proto::GRPC_MESSAGE_BYTES_MAX;
use pando_proto::v1::{self, ErrorDetail, ErrorKind};

use crate::support::{
    TestNode, assert_invalid, inner, kind, point, refused, schema, vector, with_words,
};

async fn refuse(node: &mut TestNode, points: Vec<v1::Point>) -> ErrorDetail {
    refused(node.upsert("words", points).await)
}

/// Nothing was written, and nothing came into the log.
async fn assert_untouched(mut node: TestNode, applied: u64) {
    assert_eq!(node.count("words").await, 0);
    assert_eq!(node.applied().await, applied);
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn bad_vectors_change_nothing() {
    let (mut node, _dir) = with_words().await;
    let applied = node.applied().await;
    let wrong = refuse(&mut node, vec![point(1, &[1.0, 2.0, 3.0], &[])]).await;
    assert_invalid(
        &wrong,
        Some((2, 3)),
        "3 dimensions, the collection expects 2",
    );
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let refused = refuse(&mut node, vec![point(1, &[1.0, bad], &[])]).await;
        assert_invalid(&refused, None, "finite");
    }
    let zero = refuse(&mut node, vec![point(1, &[0.0, 0.0], &[])]).await;
    assert_invalid(&zero, None, "cosine");
    let with = |vectors| v1::Point {
        vectors,
        ..point(1, &[], &[])
    };
    let none = refuse(&mut node, vec![with(BTreeMap::new())]).await;
    assert_invalid(&none, None, "at least one");
    let title = BTreeMap::from([("title".to_owned(), vector(&[1.0, 0.0]))]);
    let unknown = refuse(&mut node, vec![with(title)]).await;
    assert_invalid(&unknown, None, "title");
    // A good point beside a bad one is not written either.
    let mixed = vec![point(1, &[1.0, 0.0], &[]), point(2, &[f32::NAN, 0.0], &[])];
    assert_invalid(&refuse(&mut node, mixed).await, None, "finite");
    assert_untouched(node, applied).await;
}

#[tokio::test]
async fn bad_counts_and_sizes_change_nothing() {
    let (mut node, _dir) = with_words().await;
    let applied = node.applied().await;
    assert_invalid(&refuse(&mut node, vec![]).await, None, "at least one");
    let many = (0..=POINTS_PER_WRITE_MAX as u64).map(|n| point(n, &[1.0, 0.0], &[]));
    let many = refuse(&mut node, many.collect()).await;
    let numbers = (POINTS_PER_WRITE_MAX, POINTS_PER_WRITE_MAX + 1);
    assert_invalid(&many, Some(numbers), "limit");

    let long = "x".repeat(PAYLOAD_BYTES_MAX);
    let oversized = refuse(&mut node, vec![point(1, &[1.0, 0.0], &[("text", &long)])]).await;
    assert_eq!(
        oversized.limit,
        Some(PAYLOAD_BYTES_MAX as u64),
        "{oversized:?}"
    );
    assert!(oversized.actual > oversized.limit, "{oversized:?}");
    let half = "x".repeat(PAYLOAD_BYTES_MAX / 2);
    let heavy = (0..40).map(|n| point(n, &[1.0, 0.0], &[("text", &half)]));
    let heavy = refuse(&mut node, heavy.collect()).await;
    assert_eq!(heavy.limit, Some(WRITE_BYTES_MAX as u64), "{heavy:?}");
    assert!(heavy.message.contains("smaller batches"), "{heavy:?}");
    let huge = "x".repeat(GRPC_MESSAGE_BYTES_MAX);
    let huge = refuse(&mut node, vec![point(1, &[1.0, 0.0], &[("text", &huge)])]).await;
    assert_eq!(huge.kind(), ErrorKind::InvalidInput, "{huge:?}");
    assert_eq!(huge.limit, Some(GRPC_MESSAGE_BYTES_MAX as u64), "{huge:?}");
    assert_untouched(node, applied).await;
}

#[tokio::test]
async fn bad_ids_and_names_change_nothing() {
    let (mut node, _dir) = with_words().await;
    let applied = node.applied().await;
    let good = point(1, &[1.0, 0.0], &[]);
    let twice = refuse(&mut node, vec![good.clone(), good.clone()]).await;
    assert_invalid(&twice, None, "twice");
    let uuid = v1::point_id::Id::Uuid("not a uuid".into());
    for (id, says) in [
        (None, "points[0].id"),
        (Some(v1::PointId { id: None }), "points[0].id"),
        (Some(v1::PointId { id: Some(uuid) }), "not a uuid"),
    ] {
        let refused = refuse(&mut node, vec![v1::Point { id, ..good.clone() }]).await;
        assert_invalid(&refused, None, says);
    }
    let request = v1::UpsertRequest {
        collection: "words".into(),
        points: vec![good.clone()],
        request_id: "not a uuid".into(),
    };
    assert_invalid(
        &refused(node.points.upsert(request).await),
        None,
        "request_id",
    );
    let bad_name = refused(node.upsert("a b", vec![good.clone()]).await);
    assert_invalid(&bad_name, None, "1 to 128 bytes");
    assert_eq!(
        kind(node.upsert("nothing", vec![good]).await),
        ErrorKind::CollectionNotFound
    );
    assert_untouched(node, applied).await;
}

#[tokio::test]
async fn bad_collections_are_not_created() {
    let (mut node, _dir) = with_words().await;
    for bad in ["", "a b", "-a", "a/b", &"x".repeat(129)] {
        let refused = refused(node.create(bad, 2, v1::Metric::Dot).await);
        assert_invalid(&refused, None, "1 to 128 bytes");
    }
    for bad in [0, u32::try_from(DIMENSION_MAX).expect("small") + 1] {
        let refused = refused(node.create("other", bad, v1::Metric::Dot).await);
        assert_invalid(&refused, Some((DIMENSION_MAX, bad as usize)), "dimension");
    }
    let no_metric = refused(node.create("other", 2, v1::Metric::Unspecified).await);
    assert_invalid(&no_metric, None, "metric");
    for (schema, numbers) in [
        (None, None),
        (Some(v1::CollectionSchema::default()), Some((16, 0))),
    ] {
        let request = v1::CreateCollectionRequest {
            name: "other".into(),
            schema,
            request_id: String::new(),
        };
        assert_invalid(
            &refused(node.collections.create(request).await),
            numbers,
            "",
        );
    }
    let again = node.create("words", 2, v1::Metric::Cosine).await;
    assert_eq!(kind(again), ErrorKind::CollectionExists);

    let list = v1::ListCollectionsRequest { consistency: None };
    let listed = inner(node.collections.list(list).await).collections;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].schema, Some(schema(2, v1::Metric::Cosine)));
    node.stop().await.expect("stopped");
}
