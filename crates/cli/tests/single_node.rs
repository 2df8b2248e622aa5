//! One node and the command line, as a user and as the scripts under deploy/ use them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

fn pando() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pando"));
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("PANDO_") {
            command.env_remove(key);
        }
    }
    command
}

struct Node {
    child: Child,
    api: String,
    http: String,
}

impl Node {
    fn start(data: &Path, bootstrap: &str) -> Self {
        let mut child = pando()
            .args([
                "serve",
                "--output",
                "json",
                "--log-level",
                "off",
                "--bootstrap",
                bootstrap,
            ])
            .args([
                "--api-listen",
                "127.0.0.1:0",
                "--node-listen",
                "127.0.0.1:0",
            ])
            .args(["--http-listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the node starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its ready line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        let text = |key: &str| ready[key].as_str().expect("an address").to_owned();
        Self {
            api: text("api"),
            http: text("http"),
            child,
        }
    }

    /// Runs a command against this node; returns its exit code and what it printed.
    fn ask(&self, args: &[&str]) -> (i32, String) {
        let output = pando()
            .args(args)
            .args(["--node", &self.api])
            .output()
            .expect("it runs");
        let code = output.status.code().expect("it ends by itself");
        (code, String::from_utf8(output.stdout).expect("text"))
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, text) = self.ask(&[args, &["--output", "json"]].concat());
        assert_eq!(code, 0, "{args:?}");
        serde_json::from_str(&text).expect("one JSON document")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).expect("written");
    path.to_str().expect("a plain path").to_owned()
}

#[test]
fn a_fresh_node_is_a_cluster_of_one_that_scripts_can_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(&dir.path().join("data"), "true");
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
    let node = Node::start(&dir.path().join("data"), "true");

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

    // Search by vector, by point, with a filter.
    let hits = node.json(&["search", "words", "--vector", "[1, 0.1]", "--limit", "1"]);
    assert_eq!(hits["hits"][0]["id"], 1);
    let hits = node.json(&["search", "words", "--id", "1", "--filter", "pos = verb"]);
    assert_eq!(hits["hits"].as_array().expect("hits").len(), 2);
    assert_eq!(hits["hits"][0]["id"], 2);
    let (code, table) = node.ask(&["search", "words", "--vector", "[0, 1]", "-k", "1"]);
    assert!(code == 0 && table.contains(uuid), "{table}");

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
    let read = |path: &Path| fs::read_to_string(path).expect("readable");
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

#[test]
fn a_node_that_waits_is_alive_but_not_ready_until_it_is_initialised() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = Node::start(&dir.path().join("first"), "false");
    let second = Node::start(&dir.path().join("second"), "false");
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
