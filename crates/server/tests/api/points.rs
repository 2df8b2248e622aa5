use pando_proto::v1;

use crate::support::{
    TestNode, assert_invalid, at_least, by_filter, by_ids, id, inner, linearizable, matching,
    payload, point, refused, text, with_words,
};

fn get(ids: &[u64]) -> v1::GetRequest {
    v1::GetRequest {
        collection: "words".into(),
        ids: ids.iter().map(|n| id(*n)).collect(),
        with_payload: None,
        with_vectors: Some(v1::WithVectors {
            selector: Some(v1::with_vectors::Selector::All(true)),
        }),
        consistency: None,
    }
}

async fn three_points(node: &mut TestNode) -> v1::WriteResponse {
    let points = vec![
        point(1, &[1.0, 0.0], &[("pos", "noun"), ("lemma", "cat")]),
        point(2, &[0.0, 1.0], &[("pos", "verb"), ("lemma", "run")]),
        point(3, &[3.0, 4.0], &[("pos", "noun"), ("lemma", "dog")]),
    ];
    node.upsert("words", points).await.expect("written")
}

#[tokio::test]
async fn points_are_written_and_come_back() {
    let (mut node, _dir) = with_words().await;
    let written = three_points(&mut node).await;
    assert_eq!((written.affected, written.next), (3, None));

    let request = v1::GetRequest {
        consistency: at_least(written.log_index),
        ..get(&[3, 9, 1])
    };
    let got = inner(node.points.get(request).await);
    assert!(got.log_index >= written.log_index);
    let ids: Vec<_> = got
        .points
        .iter()
        .map(|p| p.id.clone().expect("an id"))
        .collect();
    assert_eq!(ids, [id(3), id(1)]);
    let dog = &got.points[0];
    assert_eq!(
        dog.payload,
        Some(payload(&[("pos", "noun"), ("lemma", "dog")]))
    );
    let Some(v1::vector::Data::Dense(dense)) = dog.vectors[""].data.clone() else {
        panic!("no vector: {dog:?}");
    };
    assert_eq!(dense.values, [0.6, 0.8], "normalised under cosine");

    // Replaced whole.
    node.upsert("words", vec![point(3, &[1.0, 0.0], &[])])
        .await
        .expect("written");
    let dog = inner(node.points.get(get(&[3])).await).points.remove(0);
    assert_eq!(dog.payload, Some(payload(&[])));
    assert_eq!(node.count("words").await, 3);
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn payloads_are_set_and_cleared() {
    let (mut node, _dir) = with_words().await;
    three_points(&mut node).await;
    let set = v1::SetPayloadRequest {
        collection: "words".into(),
        selector: by_filter(matching("pos", "noun")),
        payload: Some(payload(&[("lang", "en")])),
        request_id: String::new(),
    };
    assert_eq!(inner(node.points.set_payload(set).await).affected, 2);
    let cat = inner(node.points.get(get(&[1])).await).points.remove(0);
    let expected = payload(&[("pos", "noun"), ("lemma", "cat"), ("lang", "en")]);
    assert_eq!(cat.payload, Some(expected));

    let clear = |selector, keys: &[&str]| v1::ClearPayloadRequest {
        collection: "words".into(),
        selector,
        keys: keys.iter().map(|k| (*k).to_owned()).collect(),
        request_id: String::new(),
    };
    inner(
        node.points
            .clear_payload(clear(by_ids(&[1]), &["lang", "pos"]))
            .await,
    );
    let cat = inner(node.points.get(get(&[1])).await).points.remove(0);
    assert_eq!(cat.payload, Some(payload(&[("lemma", "cat")])));
    inner(node.points.clear_payload(clear(by_ids(&[1]), &[])).await);
    let cat = inner(node.points.get(get(&[1])).await).points.remove(0);
    assert_eq!(cat.payload, Some(payload(&[])));
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn points_are_deleted_by_id_and_by_filter_and_stay_deleted() {
    let (mut node, _dir) = with_words().await;
    three_points(&mut node).await;
    let delete = |selector| v1::DeleteRequest {
        collection: "words".into(),
        selector,
        request_id: String::new(),
    };
    assert_eq!(
        inner(node.points.delete(delete(by_ids(&[1, 77]))).await).affected,
        1
    );
    let by_filter = delete(by_filter(matching("pos", "verb")));
    assert_eq!(
        inner(node.points.delete(by_filter.clone()).await).affected,
        1
    );
    assert_eq!(inner(node.points.delete(by_filter).await).affected, 0);
    let count = v1::CountRequest {
        collection: "words".into(),
        filter: Some(matching("lemma", "dog")),
        consistency: linearizable(),
    };
    assert_eq!(inner(node.points.count(count).await).count, 1);
    assert_eq!(node.count("words").await, 1);
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn scrolling_meets_every_point_once_in_order() {
    let (mut node, _dir) = with_words().await;
    let even = |n: u64| if n.is_multiple_of(2) { "yes" } else { "no" };
    let points = (0..500).map(|n| point(n, &[1.0, 1.0], &[("even", even(n))]));
    node.upsert("words", points.collect())
        .await
        .expect("written");
    let (mut from, mut seen) = (None, Vec::new());
    loop {
        let request = v1::ScrollRequest {
            collection: "words".into(),
            filter: Some(matching("even", "yes")),
            from,
            limit: 60,
            ..v1::ScrollRequest::default()
        };
        let page = inner(node.points.scroll(request).await);
        assert!(page.points.len() <= 60);
        seen.extend(page.points.into_iter().map(|p| p.id.expect("an id")));
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, (0..500).step_by(2).map(id).collect::<Vec<_>>());
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_repeated_request_id_is_answered_with_the_first_reply() {
    let (mut node, _dir) = with_words().await;
    three_points(&mut node).await;
    let request = v1::DeleteRequest {
        collection: "words".into(),
        selector: by_ids(&[1, 2]),
        request_id: "0193c1a4-54e6-7000-8000-000000000001".into(),
    };
    let first = inner(node.points.delete(request.clone()).await);
    node.upsert("words", vec![point(1, &[1.0, 0.0], &[])])
        .await
        .expect("written");
    let second = inner(node.points.delete(request).await);
    assert_eq!((first.affected, second.affected), (2, 2));
    assert_eq!(node.count("words").await, 2, "the retry deleted nothing");
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn facets_count_and_orders_page() {
    let (mut node, _dir) = with_words().await;
    let points = (0..30_u8).map(|n| {
        let fields = [("pos", ["noun", "verb", "verb"][usize::from(n % 3)])];
        point(n.into(), &[1.0, 0.0], &fields[..usize::from(n != 7)])
    });
    node.upsert("words", points.collect())
        .await
        .expect("written");
    let facets = v1::FacetsRequest {
        collection: "words".into(),
        key: "pos".into(),
        limit: 5,
        ..v1::FacetsRequest::default()
    };
    let found = inner(node.points.facets(facets.clone()).await).facets;
    let counts: Vec<_> = found
        .into_iter()
        .map(|f| (f.value.expect("a value"), f.count))
        .collect();
    assert_eq!(counts, [(text("verb"), 19), (text("noun"), 10)]);
    let none = v1::FacetsRequest { limit: 0, ..facets };
    assert_invalid(&refused(node.points.facets(none).await), None, "1 to 10000");

    let mut request = v1::ScrollRequest {
        collection: "words".into(),
        limit: 8,
        order_by: Some(v1::OrderBy {
            key: "pos".into(),
            descending: true,
        }),
        ..v1::ScrollRequest::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = inner(node.points.scroll(request.clone()).await);
        assert_eq!(page.next, None, "ids do not tell where this order goes on");
        seen.extend(page.points.into_iter().map(|p| p.id.expect("an id")));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let nouns = (0..30).filter(|n| n % 3 == 0);
    let verbs = (0..30).filter(|n| n % 3 != 0 && *n != 7);
    assert_eq!(
        seen,
        verbs.chain(nouns).chain([7]).map(id).collect::<Vec<_>>()
    );

    let other_order = v1::ScrollRequest {
        order_by: Some(v1::OrderBy {
            key: "pos".into(),
            descending: false,
        }),
        ..request.clone()
    };
    let no_order = v1::ScrollRequest {
        order_by: None,
        ..request.clone()
    };
    let forged = v1::ScrollRequest {
        page_token: vec![1],
        ..request
    };
    for (bad, says) in [
        (other_order, "another order"),
        (no_order, "order_by"),
        (forged, "next_page_token"),
    ] {
        assert_invalid(&refused(node.points.scroll(bad).await), None, says);
    }
    node.stop().await.expect("stopped");
}
