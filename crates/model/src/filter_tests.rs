use serde_json::json;

use super::*;
use crate::payload::Payload;

fn payload() -> EncodedPayload {
    let json = json!({
        "pos": "verb", "n": 3, "x": 2.5, "tags": ["a", "b"], "none": null, "list": [],
        "deep": { "er": { "ok": true } }, "when": "2024-02-29T12:00:00+02:00", "days": ["never", "1999-12-31"],
        "body": "The quick, brown fox!", "titles": ["Red fox", "Brown dog"],
        "home": { "lat": 52.5, "lon": 13.4 }, "visited": [{ "lat": 0, "lon": 180 }, { "lat": 100, "lon": 0 }],
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
        json!({"key": "when", "range": {"gte": "2024-02-29T10:00:00Z", "lt": "2024-03-01"}}),
        json!({"key": "days", "range": {"gt": "1999-12-30T23:59:59Z"}}),
        json!({"key": "body", "match": {"text": "FOX the"}}),
        json!({"key": "titles", "match": {"text": "red fox"}}),
        json!({"key": "home", "geo_radius": {"center": {"lat": 52.52, "lon": 13.4}, "radius": 2300}}),
        json!({"key": "visited", "geo_radius": {"center": {"lat": 0, "lon": -179.9}, "radius": 12000.0}}),
        json!({"key": "home", "geo_bounding_box":
            {"top_left": {"lat": 53, "lon": 13}, "bottom_right": {"lat": 52, "lon": 14}}}),
        json!({"key": "visited", "geo_bounding_box":
            {"top_left": {"lat": 1, "lon": 179}, "bottom_right": {"lat": -1, "lon": -179}}}),
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
        json!({"key": "when", "range": {"gt": "2024-02-29T10:00:00Z"}}),
        json!({"key": "pos", "range": {"gt": "1999-12-31"}}),
        json!({"key": "n", "range": {"gt": "1999-12-31"}}),
        json!({"key": "body", "match": {"text": "fo"}}),
        json!({"key": "body", "match": {"text": "quick dog"}}),
        json!({"key": "titles", "match": {"text": "red dog"}}),
        json!({"key": "home", "geo_radius": {"center": {"lat": 52.52, "lon": 13.4}, "radius": 2200}}),
        json!({"key": "visited", "geo_radius": {"center": {"lat": 90, "lon": 0}, "radius": 1e6}}),
        json!({"key": "home", "geo_bounding_box":
            {"top_left": {"lat": 53, "lon": 14}, "bottom_right": {"lat": 52, "lon": 13}}}),
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
        json!({"must": [{"key": "a", "range": {"gt": "yesterday"}}]}),
        json!({"must": [{"key": "a", "range": {"gt": "2024-02-30"}}]}),
        json!({"must": [{"key": "a", "range": {"gt": "2024-02-03", "lt": 5}}]}),
        json!({"must": [{"key": "a", "match": {"text": "..."}}]}),
        json!({"must": [{"key": "a", "match": {"text": "b", "value": 1}}]}),
        json!({"must": [{"key": "a", "geo_radius": {"center": {"lat": 0, "lon": 0}, "radius": 0}}]}),
        json!({"must": [{"key": "a", "geo_radius": {"center": {"lat": 0, "lon": 0}, "radius": -1}}]}),
        json!({"must": [{"key": "a", "geo_radius": {"center": {"lat": 91, "lon": 0}, "radius": 1}}]}),
        json!({"must": [{"key": "a", "geo_radius": {"center": {"lat": 0}, "radius": 1}}]}),
        json!({"must": [{"key": "a", "geo_bounding_box":
            {"top_left": {"lat": 0, "lon": 0}, "bottom_right": {"lat": 1, "lon": 1}}}]}),
        json!({"must": [{"key": "a", "geo_bounding_box":
            {"top_left": {"lat": 1, "lon": -181}, "bottom_right": {"lat": 0, "lon": 1}}}]}),
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
