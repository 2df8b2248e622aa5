//! Sparse vectors from the command line: made, imported, searched, exported, compared, and there again after a restart.

mod node;

use std::fs;
use std::path::Path;

use node::Node;
use serde_json::{Value, json};

fn write(dir: &Path, name: &str, lines: &[Value]) -> String {
    let path = dir.join(name);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&path, text).expect("written");
    path.to_str().expect("a plain path").to_owned()
}

/// Words as indices: 1 heron, 2 otter, 3 river, 70,000 ant.
fn points() -> Vec<Value> {
    let terms = |indices: &[u32], values: &[f64]| json!({ "indices": indices, "values": values });
    vec![
        json!({ "id": 1, "vector": [1.0, 0.0], "payload": { "legs": 2 },
                "vectors": { "terms": terms(&[1, 3], &[2.0, 0.5]) } }),
        json!({ "id": 2, "vector": [0.6, 0.8], "payload": { "legs": 4 },
                "vectors": { "terms": terms(&[2, 3], &[1.5, 1.0]) } }),
        json!({ "id": 3, "payload": { "legs": 6 },
                "vectors": { "": [0.0, 1.0], "terms": terms(&[70_000], &[3.0]) } }),
        json!({ "id": 4, "vectors": { "terms": terms(&[3], &[-1.0]) } }),
        json!({ "id": 5, "vector": [0.8, 0.6] }),
    ]
}

fn started(dir: &Path) -> Node {
    let node = Node::start(&dir.join("data"), &["--bootstrap", "true"]);
    assert_eq!(node.ask(&["health", "--http", &node.http]).0, 0);
    let create = ["collection", "create", "words", "--dim", "2"];
    let created = node.ask(&[&create[..], &["--sparse", "terms"]].concat());
    assert_eq!(created.0, 0);
    let file = write(dir, "words.jsonl", &points());
    let imported = node.json(&["import", "words", "--vectors", &file]);
    assert_eq!(imported["points"], 5);
    node
}

const RIVER: &str = r#"{"indices": [3], "values": [2.0]}"#;

fn ids(found: &Value) -> Vec<u64> {
    let hits = found["hits"].as_array().expect("hits");
    hits.iter()
        .map(|hit| hit["id"].as_u64().expect("an id"))
        .collect()
}

/// A node that was just started may have to apply what its log holds.
const LINEARIZABLE: [&str; 2] = ["--consistency", "linearizable"];

/// A search by the sparse vectors.
fn by_terms(node: &Node, args: &[&str]) -> Value {
    let search = ["search", "words", "--vector-name", "terms"];
    node.json(&[&search[..], &LINEARIZABLE, args].concat())
}

/// By indices and values, by a point, with a filter, in groups, together with the dense vector.
fn they_are_found(node: &Node) {
    let found = by_terms(node, &["--vector", RIVER, "--explain"]);
    assert_eq!(ids(&found), [2, 1, 4], "{found}");
    assert_eq!(found["hits"][0]["score"], 2.0);
    assert_eq!(found["hits"][2]["score"], -2.0);
    let told = &found["explanation"];
    assert_eq!(told["kind"], "inverted");
    assert_eq!(told["text"], "inverted index, 3 postings");

    let near = by_terms(
        node,
        &["--vector", RIVER, "--threshold", "1", "--offset", "1"],
    );
    assert_eq!(ids(&near), [1]);
    let filtered = by_terms(node, &["--vector", RIVER, "--filter", "legs >= 4"]);
    assert_eq!(ids(&filtered), [2]);
    let nobody = by_terms(node, &["--vector", r#"{"indices": [9], "values": [1]}"#]);
    assert!(ids(&nobody).is_empty(), "{nobody}");
    let like = by_terms(node, &["--id", "2"]);
    assert_eq!(ids(&like), [1, 4], "itself is no hit");
    let grouped = by_terms(node, &["--vector", RIVER, "--group-by", "legs"]);
    assert_eq!(grouped["groups"][0]["value"], 4);
    assert_eq!(grouped["groups"][0]["hits"][0]["id"], 2);

    let sparse = format!(r#"{{"vector": {RIVER}, "vector_name": "terms"}}"#);
    let dense = r#"{"vector": [1, 0]}"#;
    let hybrid = ["hybrid", "words", "--query", dense, "--query", &sparse];
    let fused = node.json(&[&hybrid[..], &LINEARIZABLE, &["--explain"]].concat());
    // 1, 5, 2, 3 by the one, 2, 1, 4 by the other.
    assert_eq!(ids(&fused), [1, 2, 5, 4, 3], "{fused}");
    let kinds = ["exact", "inverted"].map(Value::from);
    let explained = fused["explanations"].as_array().expect("one for each");
    let explained: Vec<_> = explained.iter().map(|e| e["kind"].clone()).collect();
    assert_eq!(explained, kinds);
}

#[test]
fn sparse_vectors_are_found_and_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = started(dir.path());
    let info = node.json(&["collection", "info", "words"]);
    assert_eq!(info["sparse_vectors"], json!(["terms"]), "{info}");
    they_are_found(&node);
    let shown = node.json(&["get", "words", "--id", "3", "--with-vectors"]);
    let vectors = &shown["points"][0]["vectors"];
    let terms = json!({ "indices": [70_000], "values": [3.0] });
    assert_eq!(vectors["terms"], terms, "{shown}");

    // Killed and started anew.
    drop(node);
    let node = Node::start(&dir.path().join("data"), &["--bootstrap", "true"]);
    they_are_found(&node);

    // A point that is replaced or deleted is found by what it is now.
    let change = json!({ "id": 1, "vectors": { "terms": { "indices": [2], "values": [9.0] } } });
    let change = write(dir.path(), "change.jsonl", &[change]);
    node.json(&["import", "words", "--vectors", &change]);
    assert_eq!(node.json(&["delete", "words", "--id", "2"])["deleted"], 1);
    assert_eq!(ids(&by_terms(&node, &["--vector", RIVER])), [4]);
    let otter = r#"{"indices": [2], "values": [1.0]}"#;
    assert_eq!(ids(&by_terms(&node, &["--vector", otter])), [1]);
}

#[test]
fn an_export_holds_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = started(dir.path());
    let out = dir.path().join("out.jsonl");
    let out = out.to_str().expect("a plain path");
    assert_eq!(node.json(&["export", "words", "--out", out])["points"], 5);
    let text = fs::read_to_string(out).expect("the export");
    assert!(
        text.contains(r#""terms":{"indices":[1,3],"values":[2.0,0.5]}"#),
        "{text}"
    );
    let (code, said) = node.ask(&["diff", "words", "--export", out]);
    assert_eq!(code, 0, "{said}");

    let create = [
        "collection",
        "create",
        "copy",
        "--dim",
        "2",
        "--sparse",
        "terms",
    ];
    assert_eq!(node.ask(&create).0, 0);
    assert_eq!(
        node.json(&["import", "copy", "--vectors", out])["points"],
        5
    );
    let search = ["--vector-name", "terms", "--vector", RIVER];
    let copied = node.json(&[&["search", "copy"], &search[..]].concat());
    assert_eq!(ids(&copied), [2, 1, 4]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = started(dir.path());
    let terms = ["search", "words", "--vector-name", "terms"];
    for (args, why) in [
        (&["--vector", "[1, 0]"][..], "a dense query"),
        (
            &["--vector", r#"{"indices": [3, 1], "values": [1, 1]}"#],
            "unsorted",
        ),
        (
            &["--vector", r#"{"indices": [3, 3], "values": [1, 1]}"#],
            "repeated",
        ),
        (
            &["--vector", r#"{"indices": [3], "values": [1, 1]}"#],
            "lengths",
        ),
        (
            &["--vector", r#"{"indices": [3], "values": [0]}"#],
            "a zero",
        ),
        (&["--vector", r#"{"indices": [], "values": []}"#], "empty"),
        (&["--like", "1", "--like", "2"], "examples are not averaged"),
        (&["--id", "5"], "a point without the vector"),
    ] {
        assert_eq!(node.ask(&[&terms[..], args].concat()).0, 2, "{why}");
    }
    assert_eq!(
        node.ask(&[&terms[..], &["--id", "99"]].concat()).0,
        1,
        "no such point"
    );
    let default = node.ask(&["search", "words", "--vector", RIVER]);
    assert_eq!(default.0, 2, "the default vector is dense");
    let unknown = [
        "search",
        "words",
        "--vector-name",
        "title",
        "--vector",
        RIVER,
    ];
    assert_eq!(node.ask(&unknown).0, 2, "no such vector");

    let bad = [
        json!({ "id": 9, "vectors": { "terms": [1.0, 2.0] } }),
        json!({ "id": 9, "vectors": { "": { "indices": [1], "values": [1.0] } } }),
        json!({ "id": 9, "vectors": { "terms": { "indices": [2, 1], "values": [1.0, 1.0] } } }),
        json!({ "id": 9, "vectors": { "title": { "indices": [1], "values": [1.0] } } }),
    ];
    for point in bad {
        let file = write(dir.path(), "bad.jsonl", std::slice::from_ref(&point));
        assert_eq!(
            node.ask(&["import", "words", "--vectors", &file]).0,
            2,
            "{point}"
        );
    }
    let twice = [
        "collection",
        "create",
        "twice",
        "--vector",
        "a:2:dot",
        "--sparse",
        "a",
    ];
    assert_eq!(node.ask(&twice).0, 2, "one name for two vectors");
    assert_eq!(
        node.json(&["count", "words"])["count"],
        5,
        "nothing was written"
    );
}
