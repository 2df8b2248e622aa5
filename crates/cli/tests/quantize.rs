//! Quantization from the command line: said when a collection is made, changed later, and there again after a restart.

mod node;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use node::Node;
use serde_json::{Value, json};

const DIMENSION: usize = 64;
const POINTS: usize = 600;
/// Far longer than it takes.
const DEADLINE: Duration = Duration::from_secs(60);

fn vector(n: usize) -> Vec<f64> {
    let value = |i: usize| ((n * 31 + i * 17 + n * i) as f64 * 0.37).sin();
    (0..DIMENSION).map(value).collect()
}

fn started(dir: &Path) -> Node {
    // A graph from few vectors on.
    let settings = ["--bootstrap", "true", "--graph-vectors-min", "200"];
    let node = Node::start(&dir.join("data"), &settings);
    assert_eq!(node.ask(&["health", "--http", &node.http]).0, 0);
    node
}

fn filled(node: &Node, dir: &Path, name: &str, create: &[&str]) {
    let dim = DIMENSION.to_string();
    let made = ["collection", "create", name, "--dim", &dim];
    assert_eq!(node.ask(&[&made[..], create].concat()).0, 0);
    let mut text = String::new();
    for n in 0..POINTS {
        let point = json!({ "id": n, "vector": vector(n), "payload": { "n": n } });
        writeln!(text, "{point}").expect("a string takes it");
    }
    let file = dir.join("points.jsonl");
    fs::write(&file, text).expect("written");
    let file = file.to_str().expect("a plain path");
    let imported = node.json(&["import", name, "--vectors", file]);
    assert_eq!(imported["points"], POINTS);
}

/// Waits until nothing is left to be indexed.
fn settle(node: &Node) {
    let since = Instant::now();
    loop {
        let status = node.json(&["cluster", "status"]);
        let backlog = status["nodes"][0]["index_backlog"].as_u64();
        if backlog == Some(0) {
            return;
        }
        assert!(backlog.is_some() && since.elapsed() < DEADLINE, "{status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn search(node: &Node, name: &str, exact: bool) -> Value {
    let vector = json!(vector(17)).to_string();
    let args = ["search", name, "--vector", &vector, "--limit", "5"];
    let linearizable = ["--consistency", "linearizable"];
    let exact: &[&str] = if exact { &["--exact"] } else { &[] };
    node.json(&[&args[..], &linearizable, exact].concat())["hits"].take()
}

fn quantization(node: &Node, name: &str) -> Value {
    let linearizable = ["--consistency", "linearizable"];
    let info = node.json(&[&["collection", "info", name][..], &linearizable].concat());
    info["vectors"][""]["quantization"].clone()
}

#[test]
fn it_is_said_at_creation_and_changed_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = started(dir.path());
    filled(&node, dir.path(), "plain", &[]);
    filled(&node, dir.path(), "small", &["--quantization", "int8"]);
    filled(&node, dir.path(), "tiny", &["--quantization", "binary"]);
    assert_eq!(quantization(&node, "plain"), "f16");
    assert_eq!(quantization(&node, "small"), "int8");
    let (code, said) = node.ask(&["collection", "list"]);
    assert!(code == 0 && said.contains("64 cosine int8"), "{said}");
    settle(&node);
    let expected = search(&node, "plain", true);
    for (name, exact) in [
        ("small", true),
        ("small", false),
        ("tiny", true),
        ("tiny", false),
    ] {
        assert_eq!(
            search(&node, name, exact),
            expected,
            "{name}, exact {exact}"
        );
    }

    let update = ["collection", "update", "plain", "--quantization", "int8"];
    let updated = node.json(&update);
    assert!(updated["log_index"].as_u64().is_some(), "{updated}");
    assert_eq!(search(&node, "plain", true), expected, "at once");
    settle(&node);
    for exact in [true, false] {
        assert_eq!(search(&node, "plain", exact), expected, "exact {exact}");
    }
    let back = ["collection", "update", "small", "--quantization", "f16"];
    assert_eq!(node.ask(&[&back[..], &["--vector", ""]].concat()).0, 0);

    drop(node);
    let node = started(dir.path());
    assert_eq!(quantization(&node, "plain"), "int8");
    assert_eq!(quantization(&node, "small"), "f16");
    assert_eq!(quantization(&node, "tiny"), "binary");
    settle(&node);
    for (name, exact) in [("plain", true), ("plain", false), ("small", false)] {
        assert_eq!(
            search(&node, name, exact),
            expected,
            "{name}, exact {exact}"
        );
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = started(dir.path());
    let create = [
        "collection",
        "create",
        "words",
        "--dim",
        "4",
        "--sparse",
        "terms",
    ];
    assert_eq!(node.ask(&create).0, 0);
    let update = |args: &[&str]| node.ask(&[&["collection", "update"], args].concat()).0;
    assert_eq!(update(&["words", "--quantization", "int8"]), 0);
    assert_eq!(update(&["words", "--quantization", "int4"]), 2, "unknown");
    assert_eq!(update(&["words"]), 2, "nothing to change");
    let of = |vector: &str| update(&["words", "--quantization", "int8", "--vector", vector]);
    assert_eq!(of("title"), 2, "no such vector");
    assert_eq!(of("terms"), 2, "a sparse one");
    assert_eq!(
        update(&["gone", "--quantization", "int8"]),
        1,
        "no such collection"
    );
    let scanned = [
        "collection",
        "create",
        "m",
        "--dim",
        "4",
        "--metric",
        "manhattan",
    ];
    assert_eq!(node.ask(&scanned).0, 0);
    assert_eq!(
        update(&["m", "--quantization", "int8"]),
        2,
        "it has no graph"
    );
}
