//! Malformed filters and selectors: refused wherever they are given, and nothing deleted.

use pando_model::limits::FILTER_CONDITIONS_MAX;
use pando_proto::v1::condition::Condition;
use pando_proto::v1::{self, ErrorKind};

use crate::support::{
    TestNode, by_filter, by_ids, inner, kind, matching, payload, point, with_words,
};

fn must(conditions: Vec<Option<Condition>>) -> v1::Filter {
    let must = conditions
        .into_iter()
        .map(|condition| v1::Condition { condition })
        .collect();
    v1::Filter {
        must,
        ..v1::Filter::default()
    }
}

fn bad_filters() -> Vec<(&'static str, v1::Filter)> {
    let one = matching("pos", "noun");
    let deep = (0..20).fold(one.clone(), |inner, _| {
        must(vec![Some(Condition::Nested(inner))])
    });
    let wide = v1::Filter {
        must: vec![one.must[0].clone(); FILTER_CONDITIONS_MAX + 1],
        ..v1::Filter::default()
    };
    let range = v1::Range {
        key: "n".into(),
        ..v1::Range::default()
    };
    let nan = v1::Range {
        lt: Some(f64::NAN),
        ..range.clone()
    };
    let no_values = v1::AnyOf {
        key: "pos".into(),
        values: vec![],
    };
    let place = |lat, lon| Some(v1::GeoPoint { lat, lon });
    let circle = |lat, radius| {
        must(vec![Some(Condition::GeoRadius(v1::GeoRadius {
            key: "home".into(),
            center: place(lat, 0.0),
            radius,
        }))])
    };
    let upside_down = v1::GeoBoundingBox {
        key: "home".into(),
        top_left: place(0.0, 0.0),
        bottom_right: place(1.0, 1.0),
    };
    let no_date = v1::DatetimeRange {
        key: "when".into(),
        gt: Some("yesterday".into()),
        ..v1::DatetimeRange::default()
    };
    let no_words = v1::TextMatch {
        key: "pos".into(),
        text: " ... ".into(),
    };
    vec![
        ("a centre off the globe", circle(91.0, 1.0)),
        ("a radius of nothing", circle(0.0, 0.0)),
        ("an infinite radius", circle(0.0, f64::INFINITY)),
        (
            "a box upside down",
            must(vec![Some(Condition::GeoBoundingBox(upside_down))]),
        ),
        (
            "a bound that is no date",
            must(vec![Some(Condition::DatetimeRange(no_date))]),
        ),
        (
            "a text without words",
            must(vec![Some(Condition::Text(no_words))]),
        ),
        ("an empty condition", must(vec![None])),
        ("too deep", deep),
        ("too wide", wide),
        (
            "a range without bounds",
            must(vec![Some(Condition::Range(range))]),
        ),
        ("a range to NaN", must(vec![Some(Condition::Range(nan))])),
        (
            "any of nothing",
            must(vec![Some(Condition::AnyOf(no_values))]),
        ),
        ("no key", matching("", "noun")),
    ]
}

async fn one_noun() -> (TestNode, tempfile::TempDir) {
    let (mut node, dir) = with_words().await;
    let noun = point(1, &[1.0, 0.0], &[("pos", "noun")]);
    node.upsert("words", vec![noun]).await.expect("written");
    (node, dir)
}

fn delete(selector: Option<v1::Selector>) -> v1::DeleteRequest {
    v1::DeleteRequest {
        collection: "words".into(),
        selector,
        request_id: String::new(),
    }
}

#[tokio::test]
async fn malformed_filters_are_refused_everywhere() {
    let (mut node, _dir) = one_noun().await;
    for (what, filter) in bad_filters() {
        let deleted = node.points.delete(delete(by_filter(filter.clone()))).await;
        assert_eq!(kind(deleted), ErrorKind::InvalidInput, "delete: {what}");
        let filter = Some(filter);
        let count = v1::CountRequest {
            collection: "words".into(),
            filter: filter.clone(),
            consistency: None,
        };
        assert_eq!(
            kind(node.points.count(count).await),
            ErrorKind::InvalidInput,
            "count: {what}"
        );
        let scroll = v1::ScrollRequest {
            collection: "words".into(),
            filter: filter.clone(),
            limit: 1,
            ..v1::ScrollRequest::default()
        };
        assert_eq!(
            kind(node.points.scroll(scroll).await),
            ErrorKind::InvalidInput,
            "scroll: {what}"
        );
        let query = v1::SearchQuery {
            vector: Some(crate::support::vector(&[1.0, 0.0])),
            filter,
            limit: 1,
            ..v1::SearchQuery::default()
        };
        let search = v1::SearchRequest {
            collection: "words".into(),
            query: Some(query),
            consistency: None,
        };
        assert_eq!(
            kind(node.search.search(search).await),
            ErrorKind::InvalidInput,
            "search: {what}"
        );
    }
    assert_eq!(node.count("words").await, 1);
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_write_must_say_which_points() {
    let (mut node, _dir) = one_noun().await;
    let absent_filter = v1::selector::Selector::Filter(v1::FilterSelector::default());
    for selector in [
        None,
        Some(v1::Selector { selector: None }),
        Some(v1::Selector {
            selector: Some(absent_filter),
        }),
        by_ids(&[]),
    ] {
        let deleted = node.points.delete(delete(selector.clone())).await;
        assert_eq!(kind(deleted), ErrorKind::InvalidInput, "{selector:?}");
    }
    let set = v1::SetPayloadRequest {
        collection: "words".into(),
        selector: by_ids(&[1]),
        payload: Some(payload(&[])),
        request_id: String::new(),
    };
    assert_eq!(
        kind(node.points.set_payload(set).await),
        ErrorKind::InvalidInput
    );
    assert_eq!(node.count("words").await, 1);
    // The same delete with a selector works.
    assert_eq!(
        inner(node.points.delete(delete(by_ids(&[1]))).await).affected,
        1
    );
    node.stop().await.expect("stopped");
}
