//! Graphs over restarts: a node takes up what it had, indexes what has changed and nothing else, and finds the same.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use pando_client::NodeStatus;
use pando_model::{Consistency, PointId, SearchQuery};
use pando_testkit::dataset::WordNet;
use pando_testkit::{ClusterOptions, FACT_MAX, ProcessCluster, eventually};
use pando_tests::{delete, import, purge, words, write_each};

const PANDO: &str = env!("CARGO_BIN_EXE_pando-under-test");
const POINTS: usize = 3_000;
/// One percent.
const DRIFT: usize = 30;
const INSERTS: usize = 5;
/// None of them drifts.
const DELETES: std::ops::Range<u64> = 100..110;
const QUERIES: usize = 40;
const LIMIT: usize = 10;

/// Waits until everything is in the graph, and it was got there in these ways.
async fn indexed(cluster: &ProcessCluster, node: u64, reused: usize, indexed: usize) -> Result<()> {
    let (reused, indexed) = (reused as u64, indexed as u64);
    let what = format!("{reused} vectors are taken up, {indexed} indexed");
    let is = |s: &NodeStatus| {
        s.index_backlog == 0 && s.index_reused + s.index_indexed >= reused + indexed
    };
    let status = cluster.wait_status(node, &what, is).await?;
    ensure!(
        (status.index_reused, status.index_indexed) == (reused, indexed),
        "not as {what}: {status:?}"
    );
    Ok(())
}

/// The only file there is of a graph.
fn file(cluster: &ProcessCluster, node: u64) -> Result<PathBuf> {
    let dir = cluster.node(node)?.setup.data.join("index");
    let entries = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    // Not one that is still being written.
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "graph"));
    let [path] = <[PathBuf; 1]>::try_from(paths).map_err(|p| anyhow::anyhow!("{p:?}"))?;
    Ok(path)
}

/// The graph finds nearly what the scan finds.
async fn finds(cluster: &ProcessCluster, node: u64, set: &WordNet) -> Result<()> {
    let sdk = cluster.sdk_of(node)?;
    let (mut found, mut there) = (0, 0);
    for point in set.base(QUERIES) {
        let vector = point.vectors.into_values().next().context("a vector")?;
        let query = SearchQuery::new(vector, LIMIT);
        let exact = SearchQuery {
            exact: true,
            ..query.clone()
        };
        let mut ids = Vec::new();
        for query in [query, exact] {
            let hits = sdk.search(&words(), query, Consistency::Local).await?;
            ids.push(
                hits.into_iter()
                    .map(|hit| hit.point.id)
                    .collect::<BTreeSet<PointId>>(),
            );
        }
        there += ids[1].len();
        found += ids[1].intersection(&ids[0]).count();
    }
    ensure!(found * 100 >= there * 97, "{found} of {there} are found");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_and_a_delta_index_only_what_has_changed() -> Result<()> {
    // Purpose: three nodes with a graph.
    let set = WordNet::load()?;
    let options = ClusterOptions::default().args(&["--graph-vectors-min", "500"]);
    let mut cluster = ProcessCluster::start(PANDO, 3, options).await?;
    import(&cluster.sdk()?, &set, POINTS).await?;
    cluster.wait_equal().await?;
    let leader = cluster.leader().await?;
    let node = cluster.others(leader)[0];
    indexed(&cluster, node, 0, POINTS).await?;

    // Purpose: after a clean stop everything is taken up, nothing is indexed.
    cluster.stop(node).await?;
    cluster.restart(node).await?;
    cluster.wait_caught_up(node).await?;
    indexed(&cluster, node, POINTS, 0).await?;
    finds(&cluster, node, &set).await?;

    // Purpose: one percent changes while it is away, and it catches up by delta: that is indexed, and nothing else.
    cluster.stop(node).await?;
    let mut drifted = set.drifted(POINTS, DRIFT + 30);
    drifted.retain(|point| !DELETES.map(PointId::Num).any(|id| id == point.id));
    drifted.truncate(DRIFT);
    write_each(&cluster.sdk()?, drifted).await?;
    write_each(&cluster.sdk()?, set.inserts(INSERTS)).await?;
    delete(&cluster.sdk()?, DELETES).await?;
    purge(&cluster).await?;
    cluster.restart(node).await?;
    cluster.wait_equal().await?;
    let delta = |status: &NodeStatus| status.catch_up.delta_sessions == 1;
    cluster.wait_status(node, "it came by delta", delta).await?;
    indexed(&cluster, node, POINTS, DRIFT + INSERTS).await?;
    finds(&cluster, node, &set).await?;

    // Purpose: killed before its file knows of that, it indexes the same once more.
    cluster.kill(node)?;
    cluster.restart(node).await?;
    cluster.wait_equal().await?;
    let gone = DRIFT + usize::try_from(DELETES.end - DELETES.start)?;
    indexed(&cluster, node, POINTS - gone, DRIFT + INSERTS).await?;
    finds(&cluster, node, &set).await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_torn_is_made_good_for() -> Result<()> {
    // Purpose: a node writes its file by itself, without being stopped.
    let set = WordNet::load()?;
    let options = ClusterOptions::default().args(&["--graph-vectors-min", "500"]);
    let mut cluster = ProcessCluster::start(PANDO, 1, options).await?;
    import(&cluster.sdk()?, &set, POINTS).await?;
    indexed(&cluster, 1, 0, POINTS).await?;
    let path = eventually("it is written", FACT_MAX, async || file(&cluster, 1)).await?;
    cluster.kill(1)?;

    // Purpose: it is cut short; the node serves, says so, and builds its graph.
    let whole = std::fs::read(&path)?;
    std::fs::write(&path, &whole[..whole.len() / 2])?;
    cluster.restart(1).await?;
    cluster.wait_serving(1).await?;
    indexed(&cluster, 1, 0, POINTS).await?;
    finds(&cluster, 1, &set).await?;
    let log = cluster.node(1)?.log();
    ensure!(
        log.contains("cannot be used") && log.contains("torn"),
        "{log}"
    );

    // Purpose: the next start is served by a new file.
    cluster.stop(1).await?;
    cluster.restart(1).await?;
    cluster.wait_serving(1).await?;
    indexed(&cluster, 1, POINTS, 0).await?;
    cluster.finish().await
}
