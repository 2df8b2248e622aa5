use pando_proto::v1;

use crate::support::{
    TestNode, at_least, config, id, inner, matching, payload, point, refused, schema, start, text,
    vector, with_words,
};

fn query(values: &[f32], limit: u32) -> v1::SearchQuery {
    v1::SearchQuery {
        vector: Some(vector(values)),
        limit,
        ..v1::SearchQuery::default()
    }
}

fn request(query: v1::SearchQuery) -> v1::SearchRequest {
    v1::SearchRequest {
        collection: "words".into(),
        query: Some(query),
        consistency: None,
    }
}

fn ids(hits: &[v1::Hit]) -> Vec<v1::PointId> {
    let points = hits.iter().map(|hit| hit.point.clone().expect("a point"));
    points.map(|p| p.id.expect("an id")).collect()
}

async fn fan(node: &mut TestNode) {
    let points = (0..10_u8).map(|n| {
        let angle = f32::from(n) * 0.1;
        let pos = ["noun", "verb"][usize::from(n % 2)];
        point(n.into(), &[angle.cos(), angle.sin()], &[("pos", pos)])
    });
    node.upsert("words", points.collect())
        .await
        .expect("written");
}

#[tokio::test]
async fn the_nearest_come_first_with_scores_and_payloads() {
    let (mut node, _dir) = with_words().await;
    fan(&mut node).await;
    let hits = inner(node.search.search(request(query(&[2.0, 0.0], 3))).await).hits;
    assert_eq!(ids(&hits), [id(0), id(1), id(2)]);
    assert!((hits[0].score - 1.0).abs() < 1e-6 && hits[0].score > hits[1].score);
    let nearest = hits[0].point.clone().expect("a point");
    assert_eq!(nearest.payload, Some(payload(&[("pos", "noun")])));
    assert!(nearest.vectors.is_empty());

    let filtered = v1::SearchQuery {
        filter: Some(matching("pos", "verb")),
        offset: 1,
        ..query(&[1.0, 0.0], 2)
    };
    let hits = inner(node.search.search(request(filtered)).await).hits;
    assert_eq!(ids(&hits), [id(3), id(5)]);

    let near = v1::SearchQuery {
        score_threshold: Some(0.99),
        ..query(&[1.0, 0.0], 10)
    };
    let hits = inner(node.search.search(request(near)).await).hits;
    assert_eq!(
        ids(&hits),
        [id(0), id(1)],
        "cos 0.1 = 0.995, cos 0.2 = 0.980"
    );
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_batch_answers_its_queries_in_order() {
    let (mut node, _dir) = with_words().await;
    fan(&mut node).await;
    let batch = v1::SearchBatchRequest {
        collection: "words".into(),
        queries: vec![query(&[1.0, 0.0], 1), query(&[0.0, 1.0], 2)],
        consistency: None,
    };
    let results = inner(node.search.search_batch(batch).await).results;
    let found: Vec<_> = results.iter().map(|r| ids(&r.hits)).collect();
    assert_eq!(found, [vec![id(0)], vec![id(9), id(8)]]);
    node.stop().await.expect("stopped");
}

fn like(id_or_vector: &[v1::example::Example], unlike: &[v1::example::Example]) -> v1::SearchQuery {
    let examples = |of: &[v1::example::Example]| {
        let example = |example: &v1::example::Example| v1::Example {
            example: Some(example.clone()),
        };
        of.iter().map(example).collect()
    };
    v1::SearchQuery {
        like: Some(v1::Examples {
            positive: examples(id_or_vector),
            negative: examples(unlike),
        }),
        limit: 3,
        ..v1::SearchQuery::default()
    }
}

#[tokio::test]
async fn examples_stand_for_a_vector_and_are_no_hits() {
    use v1::example::Example;
    let (mut node, _dir) = with_words().await;
    fan(&mut node).await;
    let by_id = |n| Example::Id(id(n));

    let hits = inner(node.search.search(request(like(&[by_id(4)], &[]))).await).hits;
    assert_eq!(ids(&hits), [id(3), id(5), id(2)], "4 itself is left out");
    let second = v1::SearchQuery {
        offset: 1,
        ..like(&[by_id(4)], &[])
    };
    let hits = inner(node.search.search(request(second)).await).hits;
    assert_eq!(ids(&hits), [id(5), id(2), id(6)], "the offset counts hits");

    // Halfway between 0 and 8, then pushed beyond 4 by what is unlike it.
    let two = like(
        &[
            by_id(0),
            Example::Vector(vector(&[0.8_f32.cos(), 0.8_f32.sin()])),
        ],
        &[],
    );
    let hits = inner(node.search.search(request(two)).await).hits;
    assert_eq!(ids(&hits), [id(4), id(3), id(5)]);
    let pushed = like(&[by_id(4)], &[by_id(2)]);
    let hits = inner(node.search.search(request(pushed)).await).hits;
    assert_eq!(ids(&hits), [id(6), id(5), id(7)]);

    let bad = [
        (
            like(&[by_id(77)], &[]),
            v1::ErrorKind::PointNotFound,
            "no point 77",
        ),
        (
            like(&[by_id(4)], &[by_id(78)]),
            v1::ErrorKind::PointNotFound,
            "no point 78",
        ),
        (
            like(&[], &[by_id(4)]),
            v1::ErrorKind::InvalidInput,
            "no positive example",
        ),
        (
            like(&[Example::Vector(vector(&[1.0; 3]))], &[]),
            v1::ErrorKind::InvalidInput,
            "expects 2",
        ),
        (
            v1::SearchQuery {
                vector: Some(vector(&[1.0, 0.0])),
                ..like(&[by_id(4)], &[])
            },
            v1::ErrorKind::InvalidInput,
            "either a vector or examples",
        ),
    ];
    for (query, kind, says) in bad {
        let refused = refused(node.search.search(request(query)).await);
        assert_eq!(refused.kind(), kind, "{refused:?}");
        assert!(refused.message.contains(says), "{refused:?}");
    }
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn an_example_needs_the_vector_that_is_searched_by() {
    let (mut node, _dir) = with_words().await;
    let mut two = schema(2, v1::Metric::Dot);
    let params = two.vectors[""];
    two.vectors.insert("title".into(), params);
    let create = v1::CreateCollectionRequest {
        name: "two".into(),
        schema: Some(two),
        request_id: String::new(),
    };
    inner(node.collections.create(create).await);
    let written = node.upsert("two", vec![point(1, &[1.0, 0.0], &[])]).await;
    let by_title = v1::SearchRequest {
        collection: "two".into(),
        query: Some(v1::SearchQuery {
            vector_name: "title".into(),
            ..like(&[v1::example::Example::Id(id(1))], &[])
        }),
        consistency: at_least(written.expect("written").log_index),
    };
    let refused = refused(node.search.search(by_title).await);
    assert_eq!(refused.kind(), v1::ErrorKind::InvalidInput);
    assert!(
        refused.message.contains("point 1 has no vector title"),
        "{refused:?}"
    );
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_search_tells_how_it_was_answered_if_asked() {
    let (mut node, _dir) = with_words().await;
    fan(&mut node).await;
    let silent = inner(node.search.search(request(query(&[1.0, 0.0], 1))).await);
    assert_eq!(silent.explanation, None);
    let explained = v1::SearchQuery {
        explain: true,
        ..query(&[1.0, 0.0], 1)
    };
    let told = inner(node.search.search(request(explained.clone())).await);
    let how = told.explanation.expect("explained");
    assert_eq!(how.kind(), v1::PlanKind::Exact);
    assert_eq!(
        (how.reason.as_str(), how.text.as_str()),
        ("few_points", "exact scan: few points")
    );
    assert_eq!((how.node_id, how.ef), (node.ready.node_id, None));
    assert!(how.elapsed_us > 0);

    let exact = v1::SearchQuery {
        exact: true,
        ..explained
    };
    let batch = v1::SearchBatchRequest {
        collection: "words".into(),
        queries: vec![query(&[1.0, 0.0], 1), exact],
        consistency: None,
    };
    let results = inner(node.search.search_batch(batch).await).results;
    assert_eq!(results[0].explanation, None);
    let how = results[1].explanation.clone().expect("explained");
    assert_eq!(how.reason, "requested");
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn more_searches_than_can_wait_are_refused_with_a_hint() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = pando_server::Config {
        searches_running_max: 1,
        searches_waiting_max: 1,
        ..config(dir.path())
    };
    let mut node = start(config).await.expect("started");
    node.create("words", 2, v1::Metric::Cosine)
        .await
        .expect("created");
    fan(&mut node).await;
    let batch = v1::SearchBatchRequest {
        collection: "words".into(),
        queries: vec![query(&[1.0, 0.0], 10); 256],
        consistency: None,
    };
    let all = (0..64).map(|_| {
        let (mut client, batch) = (node.search.clone(), batch.clone());
        tokio::spawn(async move { client.search_batch(batch).await })
    });
    let (mut answered, mut refusals) = (0, Vec::new());
    for search in all.collect::<Vec<_>>() {
        match search.await.expect("no panic") {
            Ok(_) => answered += 1,
            Err(status) => refusals.push(refused::<()>(Err(status))),
        }
    }
    assert!(answered > 0 && !refusals.is_empty(), "{answered}");
    for refusal in refusals {
        assert_eq!(refusal.kind(), v1::ErrorKind::Overloaded);
        assert_eq!(refusal.limit, Some(1));
        assert!(
            refusal.retry_after_ms.is_some_and(|ms| ms >= 10),
            "{refusal:?}"
        );
        assert!(!refusal.outcome_unknown);
    }
    inner(node.search.search_batch(batch).await);
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn bad_groups_and_fused_searches_are_refused() {
    let (mut node, _dir) = with_words().await;
    fan(&mut node).await;
    let hybrid = |queries: Vec<v1::SearchQuery>| v1::SearchHybridRequest {
        collection: "words".into(),
        query: Some(v1::HybridQuery {
            queries,
            limit: 3,
            ..v1::HybridQuery::default()
        }),
        consistency: None,
    };
    let good = query(&[1.0, 0.0], 5);
    let fused = inner(
        node.search
            .search_hybrid(hybrid(vec![good.clone(); 2]))
            .await,
    );
    assert_eq!(ids(&fused.hits), [id(0), id(1), id(2)]);
    assert!((fused.hits[0].score - 2.0 / 61.0).abs() < 1e-6);
    assert!(fused.explanations.is_empty());
    let wide = query(&[1.0, 0.0, 0.0], 5);
    for (queries, says) in [
        (Vec::new(), "sub-queries"),
        (vec![good.clone(); 17], "limit of 16"),
        (vec![good.clone(), wide], "expects 2"),
    ] {
        let refused = refused(node.search.search_hybrid(hybrid(queries)).await);
        assert_eq!(refused.kind(), v1::ErrorKind::InvalidInput);
        assert!(refused.message.contains(says), "{refused:?}");
    }
    let groups = |query, group_by: &str, group_size| v1::SearchGroupsRequest {
        collection: "words".into(),
        query: Some(query),
        group_by: group_by.into(),
        group_size,
        consistency: None,
    };
    let explained = v1::SearchQuery {
        explain: true,
        ..good.clone()
    };
    let found = inner(node.search.search_groups(groups(explained, "pos", 2)).await);
    let values: Vec<_> = found.groups.iter().map(|g| g.value.clone()).collect();
    assert_eq!(values, [Some(text("noun")), Some(text("verb"))]);
    assert_eq!(ids(&found.groups[1].hits), [id(1), id(3)]);
    assert_eq!(found.explanation.expect("explained").reason, "few_points");
    let skipping = v1::SearchQuery {
        offset: 1,
        ..good.clone()
    };
    for (query, group_by, size, says) in [
        (good.clone(), "", 2, "dotted path"),
        (good.clone(), "pos", 0, "group_size"),
        (good.clone(), "pos", 101, "1 to 100"),
        (skipping, "pos", 1, "offset"),
    ] {
        let refused = refused(
            node.search
                .search_groups(groups(query, group_by, size))
                .await,
        );
        assert_eq!(refused.kind(), v1::ErrorKind::InvalidInput);
        assert!(refused.message.contains(says), "{refused:?}");
    }
    node.stop().await.expect("stopped");
}
