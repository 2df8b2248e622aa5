//! The built program, as a shell sees it: help, bad usage, exit codes.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};

fn pando(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pando"));
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("PANDO_") {
            command.env_remove(key);
        }
    }
    command.args(args).output().expect("the program runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An address nobody listens on.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").to_string()
}

#[test]
fn help_names_every_command_and_exit_code() {
    let output = pando(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = stdout(&output);
    for word in [
        "serve",
        "health",
        "cluster",
        "collection",
        "import",
        "export",
        "search",
        "hybrid",
        "facets",
        "scroll",
        "get",
        "delete",
        "count",
        "demo",
        "Exit codes:",
        "--node",
        "PANDO_NODE",
        "--output",
    ] {
        assert!(help.contains(word), "{word} is missing:\n{help}");
    }
}

#[test]
fn every_command_has_help_and_takes_the_node_after_it() {
    for command in [
        &["serve"][..],
        &["health"],
        &["cluster", "init"],
        &["cluster", "status"],
        &["cluster", "add"],
        &["cluster", "promote"],
        &["cluster", "demote"],
        &["cluster", "remove"],
        &["cluster", "transfer-leader"],
        &["cluster", "verify"],
        &["cluster", "snapshot"],
        &["collection", "create"],
        &["collection", "list"],
        &["collection", "info"],
        &["collection", "drop"],
        &["collection", "alias", "set"],
        &["import"],
        &["export"],
        &["search"],
        &["hybrid"],
        &["get"],
        &["delete"],
        &["count"],
        &["facets"],
        &["scroll"],
        &["demo"],
    ] {
        let args = [command, &["--node", "127.0.0.1:1", "--help"]].concat();
        let output = pando(&args);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{command:?}: {}",
            stderr(&output)
        );
        assert!(stdout(&output).contains("Usage: pando"), "{command:?}");
    }
}

#[test]
fn bad_usage_is_told_with_code_2_and_nothing_on_stdout() {
    for (args, word) in [
        (&[][..], "Usage"),
        (&["fly"], "fly"),
        (&["search", "words"], "--vector"),
        (
            &["search", "words", "--vector", "[1", "--node", "a:1"],
            "JSON list",
        ),
        (
            &["search", "words", "--vector", "[1]", "--filter", "pos"],
            "comparison",
        ),
        (&["search", "bad name", "--vector", "[1]"], "bad name"),
        (
            &["search", "words", "--vector", "[1]", "--limit", "0"],
            "limit",
        ),
        (
            &["search", "words", "--vector", "[1]", "--unlike", "2"],
            "--like",
        ),
        (
            &["search", "words", "--id", "1", "--group-by", "a..b"],
            "dotted path",
        ),
        (&["hybrid", "words", "--query", "{}"], "like"),
        (&["facets", "words", "pos", "--limit", "0"], "limit"),
        (
            &["scroll", "words", "--order-by", "n", "--page-token", "7"],
            "as it was",
        ),
        (&["get", "words", "--id", "minus one"], "bad point id"),
        (&["get", "words", "--id", "-1"], "bad point id"),
        (&["delete", "words", "--id", "-1"], "bad point id"),
        (&["serve", "--log-level", "bogus"], "bogus"),
        (&["delete", "words"], "--id"),
        (
            &["delete", "words", "--id", "1", "--filter", "a = 1"],
            "--filter",
        ),
        (&["collection", "create", "words"], "--dim"),
        (
            &[
                "collection",
                "create",
                "words",
                "--dim",
                "4",
                "--metric",
                "angular",
            ],
            "cosine, dot, euclidean",
        ),
        (&["cluster", "status", "--node", "nowhere"], "host:port"),
        (
            &["count", "words", "--consistency", "strong"],
            "linearizable",
        ),
        (
            &["import", "words", "--vectors", "/nonexistent/a.npy"],
            "/nonexistent/a.npy",
        ),
        (&["import", "words", "--vectors", "a.csv"], ".jsonl"),
        (&["export", "words", "--out", "a.csv"], ".jsonl"),
        (&["serve", "--raft-heartbeat-ms", "1"], "raft_heartbeat_ms"),
        (&["demo", "--data", "/nonexistent"], "/nonexistent"),
    ] {
        is_bad_usage(args, word);
    }
}

fn is_bad_usage(args: &[&str], word: &str) {
    let output = pando(args);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
    assert!(told.contains(word), "{args:?}: {told}");
    assert_eq!(stdout(&output), "", "{args:?}");
}

#[test]
fn bad_files_are_refused_by_row_before_any_node_is_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a.jsonl");
    for (line, word) in [
        ("{\"id\": 1, \"vector\": \"no\"}\n", "string"),
        (
            "{\"id\": -1, \"vector\": [1]}\n",
            "unsigned 64-bit integer or a UUID",
        ),
    ] {
        fs::write(&path, line).expect("written");
        let path = path.to_str().expect("a plain path");
        let output = pando(&["import", "words", "--vectors", path, "--node", &closed()]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains("line 1") && said.contains(word), "{said}");
    }
}

#[test]
fn a_cluster_that_is_not_there_is_code_3_within_the_deadline() {
    let node = closed();
    for args in [
        &["cluster", "status"][..],
        &["cluster", "verify"],
        &["count", "words"],
        &["delete", "words", "--id", "1"],
    ] {
        let args = [args, &["--node", &node, "--timeout", "1"]].concat();
        let output = pando(&args);
        assert_eq!(
            output.status.code(),
            Some(3),
            "{args:?}: {}",
            stderr(&output)
        );
    }
    let output = pando(&["health", "--http", &node]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}
