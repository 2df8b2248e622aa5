//! A real node applies something else than its peers: it is found, taken out of service, and made equal again.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use pando_client::{NodeState, NodeStatus, Verdict, VerifyReport};
use pando_model::{CollectionSchema, Metric, NodeId, Payload, Point};
use pando_testkit::{ClusterOptions, ProcessCluster};
use pando_tests::words;
use serde_json::Value;

const PANDO: &str = env!("CARGO_BIN_EXE_pando-under-test");

/// Writes a mark into the points of the first upsert that is applied.
const DIVERGE: &str = "apply::diverge=1*return";

fn points(ids: std::ops::Range<u64>) -> Vec<Point> {
    let point = |id: u64| Point::new(id, vec![1.0, 0.5], Payload::default());
    ids.map(point).collect()
}

/// Three nodes, one of which has other content for points 40, 41 and 42.
async fn diverged(failpoints: &str) -> Result<(ProcessCluster, NodeId)> {
    let mut cluster = ProcessCluster::start(PANDO, 3, ClusterOptions::default()).await?;
    let sdk = cluster.sdk()?;
    let schema = CollectionSchema::single(2, Metric::Dot);
    sdk.create_collection(&words(), schema).await?;
    sdk.upsert(&words(), points(0..100)).await?;
    cluster.wait_equal().await?;
    let wrong = cluster.follower().await?;
    cluster.stop(wrong).await?;
    cluster.node_mut(wrong)?.setup.failpoints = failpoints.to_owned();
    cluster.restart(wrong).await?;
    cluster.wait_equal().await?;
    sdk.upsert(&words(), points(40..43)).await?;
    Ok((cluster, wrong))
}

/// Compares all members, which finds one of them wrong.
async fn find(cluster: &ProcessCluster, wrong: NodeId) -> Result<VerifyReport> {
    let verified = cluster.sdk()?.verify_cluster().await?;
    assert!(!verified.equal, "{verified:?}");
    assert!(matches!(verified.verdict, Verdict::Minority { .. }));
    let told = verified.minority.iter();
    let told: Vec<_> = told.map(|found| (found.node, &found.error)).collect();
    assert_eq!(told, [(wrong, &None)], "{verified:?}");
    Ok(verified)
}

/// What `pando diff` prints about two nodes, and how it exits.
fn diff(cluster: &ProcessCluster, a: NodeId, b: NodeId) -> Result<(Option<i32>, Value)> {
    let (a, b) = (cluster.node(a)?.api(), cluster.node(b)?.api());
    let output = Command::new(PANDO)
        .args(["diff", "words", "--ids", "--output", "json"])
        .args(["--a", &a, "--b", &b])
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout).with_context(|| told.into_owned())?;
    Ok((output.status.code(), json))
}

async fn repaired(cluster: &ProcessCluster, wrong: NodeId) -> Result<()> {
    let serves = |status: &NodeStatus| {
        status.state == NodeState::Serving && status.catch_up.delta_sessions == 1
    };
    cluster.wait_status(wrong, "it is repaired", serves).await?;
    cluster.wait_equal().await?;
    cluster.verify().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_applies_something_else_is_quarantined_and_repaired() -> Result<()> {
    // Purpose: three nodes, one of which has applied something else.
    let (cluster, wrong) = diverged(DIVERGE).await?;
    let others = cluster.others(wrong);

    // Purpose: `pando diff` says which points they are, and between whom there is no difference.
    let (code, told) = diff(&cluster, others[0], wrong)?;
    assert_eq!(code, Some(1), "{told}");
    let found = told["collections"][0]["ids"].as_array().context("ids")?;
    let mut ids: Vec<_> = found.iter().filter_map(|it| it["id"].as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["40", "41", "42"], "{told}");
    for point in found {
        assert_ne!(point["digest_a"], point["digest_b"], "{told}");
        assert_eq!(point["version_a"], point["version_b"], "{told}");
    }
    let (code, told) = diff(&cluster, others[0], others[1])?;
    assert_eq!(
        (code, &told["equal"]),
        (Some(0), &Value::from(true)),
        "{told}"
    );

    // Purpose: comparing all members says which one is wrong, and it ends up with the majority's root.
    let verified = find(&cluster, wrong).await?;
    repaired(&cluster, wrong).await?;

    // Purpose: what differed is written down: three points, what they were there, and what they should have been.
    let data = cluster.dir().join(wrong.to_string()).join("data");
    let file = data.join(format!("evidence/divergence-{}.jsonl", verified.index));
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let lines = text.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
    // The catalogue differs, too: the reply that is remembered for the upsert knows which command it was.
    let (points, catalogue): (Vec<_>, Vec<_>) = lines
        .iter()
        .skip(1)
        .partition(|line| line["collection"] == words().as_str());
    let mut ids: Vec<_> = points
        .iter()
        .filter_map(|line| line["id"].as_str())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["40", "41", "42"], "{text}");
    assert_eq!(
        (catalogue.len(), &lines[0]["keys"]),
        (1, &Value::from(4)),
        "{text}"
    );
    for line in &lines[1..] {
        assert_ne!(line["here"], line["majority"], "{line}");
        assert_eq!(line["version_here"], line["version_majority"], "{line}");
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_between_its_repair_and_the_end_of_its_quarantine_is_still_in_it()
-> Result<()> {
    // Purpose: the repaired state is installed, and the process dies before it is trusted again.
    let failpoints = format!("{DIVERGE};trust::installed=panic");
    let (mut cluster, wrong) = diverged(&failpoints).await?;
    find(&cluster, wrong).await?;
    let process = cluster.node_mut(wrong)?;
    let end = process.exited(Duration::from_secs(60)).await?;
    assert!(!end.success(), "{end}");
    assert!(!process.log().contains("quarantined still"));

    // Purpose: the next process knows, and is repaired anew.
    process.setup.failpoints.clear();
    cluster.restart(wrong).await?;
    repaired(&cluster, wrong).await?;
    let log = cluster.node(wrong)?.log();
    assert!(log.contains("quarantined still"), "{log}");
    cluster.finish().await
}
