//! One node and the command line, as a user and as the scripts under deploy/ use them.

mod node;

use std::fs;
use std::path::Path;

use node::Node;
use serde_json::Value;

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).expect("written");
    path.to_str().expect("a plain path").to_owned()
}

#[test]
fn a_fresh_node_is_a_cluster_of_one_that_scripts_can_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(&dir.path().join("data"), &["--bootstrap", "true"]);
    let status = node.json(&["cluster", "status"]);
    let only = &status["nodes"][0];
    assert_eq!(only["api"], node.api.as_str());
    assert_eq!(
        (&only["role"], &only["voter"]),
        (&"leader".into(), &true.into())
    );
    assert_eq!(only["state"], "serving");
    assert!(only["id"].is_u64(), "{only}");
    let verified = node.json(&["cluster", "verify"]);
    assert_eq!(verified["equal"], true);
    assert_eq!(
        verified["nodes"][0]["root"].as_str().expect("a root").len(),
        64
    );
    assert_eq!(node.ask(&["health", "--http", &node.http, "--ready"]).0, 0);
}

#[test]
fn points_go_in_are_found_and_come_out_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(&dir.path().join("data"), &["--bootstrap", "true"]);

    // Points from a file, one with a UUID.
    assert_eq!(
        node.ask(&["collection", "create", "words", "--dim", "2"]).0,
        0
    );
    assert_eq!(
        node.ask(&["collection", "create", "words", "--dim", "2"]).0,
        4,
        "it exists"
    );
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let lines = format!(
        "{{\"id\": 1, \"vector\": [1.0, 0.0], \"payload\": {{\"pos\": \"noun\"}}}}\n\
         {{\"id\": 2, \"vector\": [0.6, 0.8], \"payload\": {{\"pos\": \"verb\"}}}}\n\
         {{\"id\": \"{uuid}\", \"vector\": [0.0, 1.0], \"payload\": {{\"pos\": \"verb\"}}}}\n"
    );
    let file = write(dir.path(), "words.jsonl", &lines);
    assert_eq!(
        node.json(&["import", "words", "--vectors", &file])["points"],
        3
    );
    assert_eq!(node.json(&["collection", "info", "words"])["count"], 3);

    they_are_found(&node, uuid);

    // What is written comes out as it went in.
    let out = dir.path().join("out.jsonl");
    let out = out.to_str().expect("a plain path");
    assert_eq!(node.json(&["export", "words", "--out", out])["points"], 3);
    assert_eq!(
        node.ask(&["collection", "create", "copy", "--dim", "2"]).0,
        0
    );
    assert_eq!(
        node.json(&["import", "copy", "--vectors", out])["points"],
        3
    );
    let again = dir.path().join("again.jsonl");
    node.json(&[
        "export",
        "copy",
        "--out",
        again.to_str().expect("a plain path"),
    ]);
    // All is the same but when it was written.
    let read = |path: &Path| -> Vec<Value> {
        let text = fs::read_to_string(path).expect("readable");
        let point = |line| {
            let mut point: Value = serde_json::from_str(line).expect("JSON");
            let version = point.as_object_mut().and_then(|p| p.remove("version"));
            assert!(version.is_some(), "an export says when: {line}");
            point
        };
        text.lines().map(point).collect()
    };
    assert_eq!(read(Path::new(out)), read(&again));

    // Answers that are no have code 1; deleting what is gone is none.
    assert_eq!(node.json(&["delete", "words", "--id", "1"])["deleted"], 1);
    assert_eq!(node.json(&["delete", "words", "--id", "1"])["deleted"], 0);
    assert_eq!(node.ask(&["get", "words", "--id", "1"]).0, 1);
    assert_eq!(
        node.json(&["get", "words", "--id", uuid])["points"][0]["id"],
        uuid
    );
    assert_eq!(node.ask(&["collection", "info", "nope"]).0, 1);
    assert_eq!(
        node.json(&["count", "words", "--consistency", "linearizable"])["count"],
        2
    );
    assert_eq!(
        node.ask(&["search", "words", "--vector", "[1]"]).0,
        2,
        "wrong dimension"
    );
}

/// By vector, by point, with a filter, in groups, several at once, in an order.
fn they_are_found(node: &Node, uuid: &str) {
    let hits = node.json(&["search", "words", "--vector", "[1, 0.1]", "--limit", "1"]);
    assert_eq!(hits["hits"][0]["id"], 1);
    let hits = node.json(&["search", "words", "--id", "1", "--filter", "pos = verb"]);
    assert_eq!(hits["hits"].as_array().expect("hits").len(), 2);
    assert_eq!(hits["hits"][0]["id"], 2);
    let hits = node.json(&["search", "words", "--like", "1", "--unlike", "[0, 1]"]);
    assert_eq!(hits["hits"][0]["id"], 2, "{hits}");
    assert_eq!(
        node.ask(&["search", "words", "--id", "99"]).0,
        1,
        "no such point"
    );
    let told = node.json(&["search", "words", "--id", "1", "--explain"]);
    assert_eq!(told["explanation"]["reason"], "few_points", "{told}");
    let (_, told) = node.ask(&["search", "words", "--id", "1", "--explain"]);
    assert!(told.contains("exact scan: few points; "), "{told}");
    let groups = node.json(&["search", "words", "--vector", "[1, 0]", "--group-by", "pos"]);
    assert_eq!(groups["groups"][1]["value"], "verb", "{groups}");
    assert_eq!(groups["groups"][1]["hits"][0]["id"], 2, "{groups}");
    let fused = node.json(&[
        "hybrid",
        "words",
        "--query",
        r#"{"vector": [1, 0]}"#,
        "--query",
        r#"{"like": [1]}"#,
    ]);
    assert_eq!(fused["hits"][0]["id"], 2, "second and first: {fused}");
    let facets = node.json(&["facets", "words", "pos"]);
    assert_eq!(
        facets["facets"][0],
        serde_json::json!({ "value": "verb", "count": 2 })
    );
    let page = node.json(&[
        "scroll",
        "words",
        "--order-by",
        "pos",
        "--descending",
        "-k",
        "2",
    ]);
    assert_eq!(
        (&page["points"][0]["id"], &page["points"][1]["id"]),
        (&2.into(), &uuid.into())
    );
    let token = page["next"].as_str().expect("there is more");
    let last = node.json(&[
        "scroll",
        "words",
        "--order-by",
        "pos",
        "--descending",
        "--page-token",
        token,
    ]);
    assert_eq!(
        (&last["points"][0]["id"], &last["next"]),
        (&1.into(), &Value::Null)
    );
    let (code, table) = node.ask(&["search", "words", "--vector", "[0, 1]", "-k", "1"]);
    assert!(code == 0 && table.contains(uuid), "{table}");
}

#[test]
fn a_node_that_waits_is_alive_but_not_ready_until_it_is_initialised() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = Node::start(&dir.path().join("first"), &["--bootstrap", "false"]);
    let second = Node::start(&dir.path().join("second"), &["--bootstrap", "false"]);
    assert_eq!(first.ask(&["health", "--http", &first.http]).0, 0);
    assert_eq!(
        first.ask(&["health", "--http", &first.http, "--ready"]).0,
        1
    );
    assert_eq!(first.ask(&["cluster", "status"]).0, 4);

    let formed = first.json(&["cluster", "init", "--join", &second.api]);
    assert_eq!(formed["nodes"].as_array().expect("ids").len(), 2);
    let status = second.json(&["cluster", "status"]);
    let nodes = status["nodes"].as_array().expect("nodes");
    assert!(nodes.iter().all(|n| n["voter"] == true), "{status}");
    assert_eq!(first.ask(&["cluster", "init"]).0, 4, "it is formed already");
    assert_eq!(second.json(&["cluster", "verify"])["equal"], true);
    assert_eq!(
        first.ask(&["cluster", "remove", "12345"]).0,
        1,
        "no such member"
    );
}

/// A diff as a script reads it: its exit code and its one collection.
fn diff(node: &Node, args: &[&str]) -> (i32, Value) {
    let args = [&["diff"], args, &["--output", "json"]].concat();
    let (code, text) = node.ask(&args);
    (
        code,
        serde_json::from_str(&text).expect("one JSON document"),
    )
}

#[test]
fn a_node_and_its_export_are_equal_until_points_change() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(&dir.path().join("data"), &["--bootstrap", "true"]);
    assert_eq!(
        node.ask(&["collection", "create", "words", "--dim", "2"]).0,
        0
    );
    let line = |id: u64, x: f64| {
        format!(
            "{{\"id\": {id}, \"vector\": [{x}, 0.3], \"payload\": {{\"n\": {id}, \"x\": 1.0}}}}\n"
        )
    };
    let points: String = (0..500).map(|id| line(id, 0.1 + id as f64)).collect();
    let file = write(dir.path(), "points.jsonl", &points);
    assert_eq!(node.ask(&["import", "words", "--vectors", &file]).0, 0);
    let export = dir.path().join("out.jsonl");
    let export = export.to_str().expect("a plain path");
    assert_eq!(node.ask(&["export", "words", "--out", export]).0, 0);
    let (code, found) = diff(&node, &["words", "--export", export]);
    assert_eq!((code, &found["equal"]), (0, &true.into()), "{found}");

    // Without versions, as an older release wrote it, the content is compared.
    let text = fs::read_to_string(export).expect("the export");
    assert!(text.contains("\"version\":"), "{text}");
    let without: String = text
        .lines()
        .map(|line| {
            let mut point: Value = serde_json::from_str(line).expect("JSON");
            point.as_object_mut().expect("a point").remove("version");
            format!("{point}\n")
        })
        .collect();
    let old = write(dir.path(), "old.jsonl", &without);
    let (code, found) = diff(&node, &["words", "--export", &old]);
    assert_eq!((code, &found["equal"]), (0, &true.into()), "{found}");
    let note = found["note"].as_str().expect("it says so");
    assert!(
        note.contains("500") && note.contains("no version"),
        "{note}"
    );

    // One point is changed, one goes, one comes.
    let change = write(
        dir.path(),
        "change.jsonl",
        &(line(7, -5.0) + &line(900, 1.0)),
    );
    assert_eq!(node.ask(&["import", "words", "--vectors", &change]).0, 0);
    assert_eq!(node.ask(&["delete", "words", "--id", "9"]).0, 0);
    for file in [export, &old] {
        let (code, found) = diff(&node, &["words", "--export", file, "--ids"]);
        assert_eq!((code, &found["equal"]), (1, &false.into()), "{found}");
        let words = &found["collections"][0];
        let ids: Vec<_> = words["ids"].as_array().expect("ids").iter().collect();
        let ids: Vec<_> = ids.iter().map(|f| (&f["id"], &f["on"])).collect();
        let expected = [("7", "both"), ("9", "b"), ("900", "a")];
        let expected = expected.map(|(id, on)| (Value::from(id), Value::from(on)));
        let expected: Vec<_> = expected.iter().map(|(id, on)| (id, on)).collect();
        assert_eq!(ids, expected, "{found}");
    }
    let (code, text) = node.ask(&["diff", "words", "--export", export, "--summary"]);
    assert_eq!(code, 1);
    assert!(
        text.contains("3 points differ") && !text.contains("900"),
        "{text}"
    );
    assert_eq!(node.ask(&["diff", "none", "--export", export]).0, 1);
    assert_eq!(node.ask(&["diff", "words"]).0, 2, "with what?");
}

#[test]
fn two_members_are_compared_at_one_log_index() {
    let dir = tempfile::tempdir().expect("a directory");
    let [first, second] =
        ["a", "b"].map(|name| Node::start(&dir.path().join(name), &["--bootstrap", "false"]));
    assert_eq!(first.ask(&["cluster", "init", "--join", &second.api]).0, 0);
    assert_eq!(
        first
            .ask(&["collection", "create", "words", "--dim", "2"])
            .0,
        0
    );
    let points = "{\"id\": 1, \"vector\": [1.0, 0.0]}\n";
    let file = write(dir.path(), "points.jsonl", points);
    assert_eq!(second.ask(&["import", "words", "--vectors", &file]).0, 0);
    let nodes = ["--a", &first.api, "--b", &second.api];
    let (code, found) = diff(&first, &nodes);
    assert_eq!((code, &found["equal"]), (0, &true.into()), "{found}");
    assert_eq!(found["collections"][0]["points_b"], 1);
    let (code, found) = diff(&first, &[&["words"], &nodes[..]].concat());
    assert_eq!((code, &found["equal"]), (0, &true.into()), "{found}");
    let other = Node::start(&dir.path().join("c"), &["--bootstrap", "true"]);
    let foreign = first.ask(&["diff", "--a", &first.api, "--b", &other.api]);
    assert_eq!(foreign.0, 2, "another cluster's log is another log");
    let verified = first.json(&["cluster", "verify"]);
    assert_eq!(verified["verdict"], "equal");
    assert_eq!(verified["nodes"][1]["collections"][0]["name"], "words");
}
