//! Bad reads: refused with a typed error that names the limit or the expectation, within their deadline.

use std::time::Duration;

use pando_model::limits::{QUERIES_PER_BATCH_MAX, RESULTS_MAX, VALUES_PER_CONDITION_MAX};
use pando_proto::GRPC_MESSAGE_BYTES_MAX;
use pando_proto::v1::{self, ErrorKind};
use tonic::Request;

use crate::support::{assert_invalid, at_least, id, kind, point, refused, vector, with_words};

fn good() -> v1::SearchQuery {
    v1::SearchQuery {
        vector: Some(vector(&[1.0, 0.0])),
        limit: 1,
        ..v1::SearchQuery::default()
    }
}

fn search(collection: &str, query: v1::SearchQuery) -> v1::SearchRequest {
    v1::SearchRequest {
        collection: collection.into(),
        query: Some(query),
        consistency: None,
    }
}

fn results_over() -> u32 {
    u32::try_from(RESULTS_MAX).expect("small") + 1
}

#[tokio::test]
async fn bad_searches_are_refused() {
    let (mut node, _dir) = with_words().await;
    let with = |values: &[f32]| v1::SearchQuery {
        vector: Some(vector(values)),
        ..good()
    };
    let over = results_over();
    for (bad, numbers, says) in [
        (with(&[1.0]), Some((2, 1)), "expects 2"),
        (with(&[0.0, 0.0]), None, "cosine"),
        (with(&[f32::NAN, 0.0]), None, "finite"),
        (
            v1::SearchQuery {
                vector: None,
                ..good()
            },
            None,
            "vector",
        ),
        (
            v1::SearchQuery {
                vector_name: "title".into(),
                ..good()
            },
            None,
            "title",
        ),
        (v1::SearchQuery { limit: 0, ..good() }, None, "limit"),
        (
            v1::SearchQuery {
                ef: Some(0),
                ..good()
            },
            None,
            "use 1 to 10000",
        ),
        (
            v1::SearchQuery {
                oversampling: Some(0.5),
                ..good()
            },
            None,
            "use 1 to 100",
        ),
        (
            v1::SearchQuery {
                limit: over,
                ..good()
            },
            Some((RESULTS_MAX, over as usize)),
            "limit",
        ),
        (
            v1::SearchQuery {
                score_threshold: Some(f32::NAN),
                ..good()
            },
            None,
            "NaN",
        ),
    ] {
        assert_invalid(
            &refused(node.search.search(search("words", bad)).await),
            numbers,
            says,
        );
    }
    let absent = node.search.search(search("nothing", good())).await;
    assert_eq!(kind(absent), ErrorKind::CollectionNotFound);
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn reads_of_nothing_and_of_too_much_are_refused() {
    let (mut node, _dir) = with_words().await;
    let over = |max: usize| [(0, None), (max + 1, Some((max, max + 1)))];
    for (count, numbers) in over(QUERIES_PER_BATCH_MAX) {
        let batch = v1::SearchBatchRequest {
            collection: "words".into(),
            queries: vec![good(); count],
            consistency: None,
        };
        let answer = refused(node.search.search_batch(batch).await);
        assert_invalid(&answer, numbers, "queries");
    }
    for (count, numbers) in over(VALUES_PER_CONDITION_MAX) {
        let get = v1::GetRequest {
            collection: "words".into(),
            ids: (0..count as u64).map(id).collect(),
            ..v1::GetRequest::default()
        };
        assert_invalid(&refused(node.points.get(get).await), numbers, "ids");
    }
    for limit in [0, results_over()] {
        let scroll = v1::ScrollRequest {
            collection: "words".into(),
            limit,
            ..v1::ScrollRequest::default()
        };
        assert_eq!(
            kind(node.points.scroll(scroll).await),
            ErrorKind::InvalidInput
        );
    }
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_read_that_cannot_see_what_it_must_ends_within_its_deadline() {
    let (mut node, _dir) = with_words().await;
    let applied = node.applied().await;
    let mut request = Request::new(v1::CountRequest {
        collection: "words".into(),
        filter: None,
        consistency: at_least(applied + 1_000_000),
    });
    request.set_timeout(Duration::from_millis(500));
    let refused = refused(node.points.count(request).await);
    assert_eq!(refused.kind(), ErrorKind::Timeout);
    assert!(!refused.outcome_unknown);
    assert!(
        refused.message.contains(&(applied + 1_000_000).to_string()),
        "{refused:?}"
    );
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_reply_that_would_not_fit_a_message_is_refused_before_it_is_sent() {
    let (mut node, _dir) = with_words().await;
    let long = "x".repeat(40_000);
    for batch in 0..12_u64 {
        let points = (0..20).map(|n| point(batch * 20 + n, &[1.0, 0.0], &[("text", &long)]));
        node.upsert("words", points.collect())
            .await
            .expect("written");
    }
    let get = v1::GetRequest {
        collection: "words".into(),
        ids: (0..240).map(id).collect(),
        ..v1::GetRequest::default()
    };
    let refused = refused(node.points.get(get).await);
    assert_eq!(refused.kind(), ErrorKind::ResponseTooLarge);
    assert_eq!(refused.limit, Some(GRPC_MESSAGE_BYTES_MAX as u64));
    assert!(refused.actual > refused.limit);
    node.stop().await.expect("stopped");
}
