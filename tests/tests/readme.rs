//! What the README shows is what runs: its Rust example is the SDK's quickstart, and that works against a real node.

use std::path::Path;

use anyhow::{Result, ensure};
use pando_testkit::{ClusterOptions, ProcessCluster};

#[path = "../../crates/client/examples/quickstart.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "an example is a program of its own"
)]
mod quickstart;

const PANDO: &str = env!("CARGO_BIN_EXE_pando-under-test");

#[tokio::test(flavor = "multi_thread")]
async fn the_example_runs_against_a_real_node() -> Result<()> {
    let cluster = ProcessCluster::start(PANDO, 1, ClusterOptions::default()).await?;
    let endpoint = cluster.node(1)?.api();
    let endpoint = if endpoint.contains("://") {
        endpoint
    } else {
        format!("http://{endpoint}")
    };
    let found = quickstart::run(&endpoint)
        .await
        .map_err(|e| anyhow::anyhow!("{e}"))?;
    // The heron is nearer, but has two legs.
    ensure!(found.starts_with("\"otter\""), "found {found}");
    cluster.finish().await
}

#[test]
fn the_readme_shows_the_example() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md"))?;
    let example = std::fs::read_to_string(root.join("crates/client/examples/quickstart.rs"))?;
    let shown = readme
        .split("```rust\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let shown = shown.unwrap_or_default();
    ensure!(!shown.is_empty(), "the README shows no Rust");
    ensure!(
        example.contains(shown),
        "the README's example is not crates/client/examples/quickstart.rs"
    );
    Ok(())
}
