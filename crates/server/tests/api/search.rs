use pando_proto::v1;

use crate::support::{TestNode, id, inner, matching, payload, point, vector, with_words};

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
