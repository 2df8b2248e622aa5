use serde_json::json;

use super::*;
use crate::payload::Payload;

fn payload() -> EncodedPayload {
    let json = json!({
        "pos": "verb", "n": 3, "x": 2.5, "tags": ["a", "b"], "none": null, "list": [],
        "deep": { "er": { "ok": true } },
    });
    Payload::from_json(json).expect("an object").encode()
}

fn passes(filter: &serde_json::Value) -> bool {
    let filter = Filter::from_json(&filter.to_string()).expect("well formed");
    filter.matches(PointId::Num(7), &payload())
}

#[test]
fn conditions_hold_or_not() {
    let yes = [
        json!({"key": "pos", "match": {"value": "verb"}}),
        json!({"key": "n", "match": {"value": 3.0}}),
        json!({"key": "tags", "match": {"value": "b"}}),
        json!({"key": "pos", "match": {"any": ["noun", "verb"]}}),
        json!({"key": "x", "range": {"gt": 2, "lte": 2.5}}),
        json!({"key": "none", "is_null": true}),
        json!({"key": "none", "is_empty": true}),
        json!({"key": "list", "is_empty": true}),
        json!({"key": "absent", "is_empty": true}),
        json!({"key": "deep.er.ok", "match": {"value": true}}),
        json!({"has_id": [1, 7]}),
    ];
    let no = [
        json!({"key": "pos", "match": {"value": "noun"}}),
        json!({"key": "pos", "match": {"value": 3}}),
        json!({"key": "x", "range": {"gt": 2.5}}),
        json!({"key": "pos", "range": {"gt": 0}}),
        json!({"key": "absent", "is_null": true}),
        json!({"key": "deep.er", "match": {"value": true}}),
        json!({"key": "deep.er.ok.more", "match": {"value": true}}),
        json!({"has_id": ["00000000-0000-0000-0000-000000000007"]}),
    ];
    for c in yes {
        assert!(passes(&json!({ "must": [c] })), "{c}");
        assert!(!passes(&json!({ "must_not": [c] })), "{c}");
    }
    for c in no {
        assert!(!passes(&json!({ "must": [c] })), "{c}");
        assert!(passes(&json!({ "must_not": [c] })), "{c}");
    }
}

#[test]
fn combinations_follow_the_rules() {
    let verb = json!({"key": "pos", "match": {"value": "verb"}});
    let noun = json!({"key": "pos", "match": {"value": "noun"}});
    assert!(passes(&json!({})));
    assert!(passes(&json!({ "should": [noun, verb] })));
    assert!(!passes(&json!({ "should": [noun] })));
    assert!(!passes(&json!({ "must": [verb], "should": [noun] })));
    assert!(passes(&json!({ "must": [{ "must_not": [noun] }] })));
}

#[test]
fn malformed_filters_are_refused() {
    let bad = [
        json!([]),
        json!({"most": []}),
        json!({"must": [{}]}),
        json!({"must": [{"key": "", "match": {"value": 1}}]}),
        json!({"must": [{"key": "a..b", "match": {"value": 1}}]}),
        json!({"must": [{"key": "a", "match": {"value": null}}]}),
        json!({"must": [{"key": "a", "match": {"any": []}}]}),
        json!({"must": [{"key": "a", "range": {}}]}),
        json!({"must": [{"key": "a", "range": {"above": 1}}]}),
        json!({"must": [{"key": "a", "is_null": true, "range": {"gt": 1}}]}),
        json!({"must": [{"has_id": ["x"]}]}),
        json!({"must": [{"has_id": []}]}),
    ];
    for filter in bad {
        assert!(Filter::from_json(&filter.to_string()).is_err(), "{filter}");
    }
    let many = vec![json!({"key": "a", "is_null": true}); FILTER_CONDITIONS_MAX + 1];
    assert!(Filter::from_json(&json!({ "must": many }).to_string()).is_err());
    let mut deep = json!({});
    for _ in 0..=NESTING_MAX + 1 {
        deep = json!({ "must": [deep] });
    }
    assert!(Filter::from_json(&deep.to_string()).is_err());
}
