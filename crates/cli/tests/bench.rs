//! `pando bench` at a small size, end to end: real nodes, the report, and that every row is what it says.
#![cfg(target_os = "linux")]

mod node;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use node::{Node, pando};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

const POINTS: u64 = 2_000;
const DELTAS: [&str; 2] = ["walk", "lineage"];

#[test]
fn every_row_went_the_way_it_names() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("report");
    let output = pando()
        .args(["bench", "sync", "--output", "json", "--no-sizes"])
        .args(["--points", &POINTS.to_string(), "--dim", "32"])
        .args([
            "--changed",
            "0,0.01,50",
            "--upserts",
            "100",
            "--upserts-seconds",
            "1",
        ])
        .arg("--out")
        .arg(&out)
        .arg("--dir")
        .arg(dir.path())
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let results: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");

    // The command itself fails if a row took another path or roots differ; here, that the rows are there.
    let rows = results["rows"].as_array().expect("rows");
    all_rows_are_there(rows);
    rows_are_what_they_claim(rows);
    assert!(
        results["writes"]["in_step"]["writes"]
            .as_u64()
            .expect("writes")
            > 0
    );
    let targets = results["targets"].as_array().expect("targets");
    assert!(
        targets
            .iter()
            .any(|t| t["what"] == "equal replicas" && t["met"] == true)
    );

    let read = |extension: &str| {
        let file = out.join(format!("sync-{POINTS}x32.{extension}"));
        fs::read_to_string(file).expect("written")
    };
    let page = read("md");
    for part in [
        "## Targets",
        "## Every catch-up",
        "(sync-2000x32.svg)",
        "0.01 % of 2000 points",
    ] {
        assert!(page.contains(part), "{part:?} is missing:\n{page}");
    }
    assert!(read("svg").starts_with("<svg") && read("json").contains("\"origin\""));
    // Everything the nodes had is gone.
    let left: Vec<_> = fs::read_dir(dir.path()).expect("readable").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

fn all_rows_are_there(rows: &[Value]) {
    let kinds: BTreeSet<(String, u64, u64)> = rows
        .iter()
        .map(|row| {
            let number = |key: &str| row[key].as_u64().expect("a number");
            let method = row["method"].as_str().expect("a name").to_owned();
            (method, number("changed"), number("times"))
        })
        .collect();
    let kind = |method: &str, changed, times| (method.to_owned(), changed, times);
    assert!(kinds.contains(&kind("full_copy", POINTS, 1)), "{kinds:?}");
    for (changed, times) in [(20, 1), (20, 4)] {
        assert!(kinds.contains(&kind("replay", changed, times)), "{kinds:?}");
    }
    for method in DELTAS {
        for (changed, times) in [(0, 1), (10, 1), (20, 1), (20, 4), (1_000, 1)] {
            assert!(kinds.contains(&kind(method, changed, times)), "{kinds:?}");
        }
    }
}

fn rows_are_what_they_claim(rows: &[Value]) {
    for row in rows {
        let (path, wire) = (&row["path"], row["bytes_in"].as_u64().expect("bytes"));
        let changed = row["changed"].as_u64().expect("a number");
        let rows_put = row["rows_put"].as_u64().expect("rows");
        if row["method"] == "replay" {
            assert!(path == "log" && rows_put == 0, "{row}");
            assert!(row["entries"].as_u64().expect("entries") > 0, "{row}");
        } else {
            assert!(path != "log" && rows_put >= changed * 8 / 10, "{row}");
        }
        assert!(
            wire > 0 && row["seconds"].as_f64().expect("seconds") > 0.0,
            "{row}"
        );
    }

    // Fewer bytes for fewer changes: what the whole thing is about.
    let wire = |method: &str, changed: u64| {
        let row = rows
            .iter()
            .find(|r| r["method"] == method && r["changed"] == changed);
        row.expect("there")["bytes_in"].as_u64().expect("bytes")
    };
    for method in DELTAS {
        assert!(wire(method, 0) < wire(method, 20), "{method}");
        assert!(wire(method, 20) < wire(method, 1_000), "{method}");
        assert!(
            wire(method, 1_000) < 2 * wire("full_copy", POINTS),
            "{method}"
        );
    }
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_starts() {
    let refused = |args: &[&str], code: i32, text: &str| {
        let output = pando()
            .args(["bench", "sync"])
            .args(args)
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(text), "{told}");
    };
    refused(
        &["--points", "10000000", "--dim", "16384"],
        4,
        "of memory are needed",
    );
    refused(&["--points", "5"], 2, "1000..=10000000");
    refused(&["--changed", "101"], 2, "use 0 to 100");
    refused(&["--vectors", "/nowhere.npy"], 2, "nowhere.npy");
}

#[test]
fn in_a_cluster_that_is_there_it_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(&dir.path().join("data"), &["--bootstrap", "true"]);
    let (_, before) = node.ask(&["collection", "list"]);
    let out = dir.path().join("report");
    let out = out.to_str().expect("a plain path");
    let bench = [
        "bench",
        "sync",
        "--points",
        "1000",
        "--dim",
        "8",
        "--changed",
        "10",
        "--out",
        out,
    ];
    let there = [&bench[..], &["--endpoint", &node.api]].concat();
    assert_eq!(
        node.ask(&there).0,
        4,
        "the log is not dropped without a word"
    );
    let results = node.json(&[&there[..], &["--yes"]].concat());
    let rows = results["rows"].as_array().expect("rows");
    for changed in [10, 100, 1_000] {
        assert!(
            rows.iter().any(|row| row["changed"] == changed),
            "{changed}"
        );
    }
    assert!(
        rows.iter()
            .all(|row| row["path"] != "log" && row["leader"].is_null())
    );

    let status = node.json(&["cluster", "status"]);
    assert_eq!(
        status["nodes"].as_array().expect("nodes").len(),
        1,
        "{status}"
    );
    let ready = ["health", "--http", &node.http, "--ready"];
    assert_eq!(node.ask(&ready).0, 0);
    assert_eq!(node.ask(&["collection", "list"]).1, before);
}

/// Random vectors as .fvecs: how many, of how many values.
fn write_vectors(file: &Path, rows: u32, dimension: u32) {
    let mut random = StdRng::seed_from_u64(rows.into());
    let mut bytes = Vec::new();
    for _ in 0..rows {
        bytes.extend(dimension.to_le_bytes());
        for _ in 0..dimension {
            bytes.extend(random.random_range(-1.0_f32..1.0).to_le_bytes());
        }
    }
    fs::write(file, bytes).expect("written");
}

#[test]
fn the_longer_the_list_the_more_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let (base, queries) = (dir.path().join("base.fvecs"), dir.path().join("q.fvecs"));
    write_vectors(&base, 3_000, 16);
    write_vectors(&queries, 50, 16);
    let out = dir.path().join("report");
    let output = pando()
        .args(["bench", "search", "--output", "json", "--ef", "10,200"])
        .args(["--clients", "1,3", "--seconds", "1"])
        .args(["--graph-vectors-min", "1000", "--vectors"])
        .arg(&base)
        .arg("--queries")
        .arg(&queries)
        .arg("--out")
        .arg(&out)
        .arg("--dir")
        .arg(dir.path())
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let results: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(results["points"], 3_000);
    assert_eq!(results["queries"], 50);
    let recall = |ef: &str, clients: u64| {
        let rows = results["rows"].as_array().expect("rows");
        let row = (rows.iter()).find(|row| row["ef"] == ef && row["clients"] == clients);
        let row = row.unwrap_or_else(|| panic!("ef {ef} with {clients} clients: {results}"));
        assert!(row["searches"].as_u64().expect("a number") >= 50, "{row}");
        row["recall"].as_f64().expect("a number")
    };
    assert!((recall("exact", 1) - 1.0).abs() < f64::EPSILON);
    for clients in [1, 3] {
        assert!(recall("10", clients) < recall("200", clients), "{results}");
        assert!(recall("default", clients) > 0.9, "{results}");
    }
    let read = |extension: &str| {
        fs::read_to_string(out.join(format!("search-3000x16.{extension}"))).expect("written")
    };
    assert!(read("md").contains("search-3000x16.svg") && read("svg").starts_with("<svg"));
    assert!(read("json").contains("\"indexed_seconds\""));
}

#[test]
fn a_collection_that_is_there_is_searched_with_its_own_points() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(&dir.path().join("data"), &["--bootstrap", "true"]);
    let base = dir.path().join("base.fvecs");
    write_vectors(&base, 300, 4);
    let base = base.to_str().expect("a plain path");
    node.json(&["collection", "create", "it", "--dim", "4"]);
    node.json(&["import", "it", "--vectors", base]);
    let bench = ["bench", "search", "--collection", "it", "--seconds", "1"];
    let results = node.json(&[&bench[..], &["--queries-max", "20", "--ef", "32"]].concat());
    assert_eq!(
        (&results["points"], &results["queries"]),
        (&300.into(), &20.into())
    );
    assert!(results["own"].is_null(), "{results}");
    // So few points are scanned, whatever the list: all is found, and a point is no hit of its own.
    for row in results["rows"].as_array().expect("rows") {
        assert_eq!(row["recall"], 1.0, "{row}");
    }

    let refused = |args: &[&str], code: i32| {
        let (found, told) = node.ask(&[&["bench", "search"], args].concat());
        assert_eq!(found, code, "{args:?}: {told}");
    };
    refused(&[], 2);
    refused(&["--collection", "it", "--vectors", base], 2);
    refused(&["--collection", "it", "--ef", "0"], 2);
    refused(&["--collection", "nowhere"], 1);
    refused(&["--collection", "it", "--vector-name", "title"], 2);
}
