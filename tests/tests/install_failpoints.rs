//! The process dies at each step of a catch-up by delta: the next one finishes or forgets what was begun, and ends up
//! with the leader's root.

use anyhow::{Context, Result};
use pando_client::{CatchUp, NodeStatus};
use pando_testkit::dataset::WordNet;
use pando_testkit::{ClusterOptions, ProcessCluster};
use pando_tests::{delete, import, purge, words, write_each};

const PANDO: &str = env!("CARGO_BIN_EXE_pando-under-test");
const POINTS: usize = 2_000;
const DRIFT: usize = 12;

/// What is left to do for the process that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The old state is whole: a session, which goes on from what is on disk.
    Session,
    /// The same, and everything is on disk.
    StagedSession,
    /// Nothing but to roll the install forward, before anything is served.
    RollForward,
}

/// Where the process dies, in the order of the steps.
const STEPS: [(&str, Left); 6] = [
    ("stage::staged=panic", Left::Session),
    ("stage::intent=panic", Left::StagedSession),
    ("sync::before_install=panic", Left::StagedSession),
    ("install::applying=panic", Left::RollForward),
    ("install::mid=panic", Left::RollForward),
    ("install::clear=panic", Left::RollForward),
];

/// Writes and deletes that the node misses, and purges every log that holds them.
async fn miss(cluster: &mut ProcessCluster, set: &WordNet, node: u64, round: u64) -> Result<()> {
    cluster.stop(node).await?;
    let sdk = cluster.sdk()?;
    let round = usize::try_from(round)?;
    let drifted = set
        .drifted(POINTS, DRIFT * (round + 1))
        .split_off(DRIFT * round);
    assert_eq!(drifted.len(), DRIFT);
    sdk.upsert(&words(), drifted).await?;
    write_each(&sdk, set.inserts(5 * (round + 1)).split_off(5 * round)).await?;
    let gone = 10 * round as u64;
    delete(&sdk, gone..gone + 10).await?;
    purge(cluster).await
}

fn expect(step: &str, left: Left, counters: CatchUp) {
    match left {
        Left::Session => assert_eq!(counters.delta_sessions, 1, "{step}: {counters:?}"),
        Left::StagedSession => {
            assert_eq!(counters.delta_sessions, 1, "{step}: {counters:?}");
            assert_eq!(
                counters.rows_put, 0,
                "{step}: nothing staged is sent again: {counters:?}"
            );
        }
        Left::RollForward => {
            assert_eq!(
                counters.delta_sessions, 0,
                "{step}: all is there: {counters:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_in_a_catch_up_is_made_whole_by_the_next() -> Result<()> {
    // Purpose: three nodes hold real points.
    let set = WordNet::load()?;
    let mut cluster = ProcessCluster::start(PANDO, 3, ClusterOptions::default()).await?;
    import(&cluster.sdk()?, &set, POINTS).await?;
    cluster.wait_equal().await?;
    let node = cluster.follower().await?;

    for (round, (step, left)) in (0..).zip(STEPS) {
        // Purpose: the node is behind everything its cluster still has in a log.
        miss(&mut cluster, &set, node, round).await?;

        // Purpose: it starts to catch up, and dies at this step.
        let process = cluster.node_mut(node)?;
        process.setup.failpoints = step.to_owned();
        let end = process
            .start_to_end()
            .await
            .with_context(|| format!("it dies at {step}"))?;
        assert!(!end.success(), "{step}: {end}");
        process.setup.failpoints.clear();
        let point = step.trim_end_matches("=panic");
        assert!(
            process.log().contains(&format!("failpoint {point} panic")),
            "{}",
            process.log_tail()
        );

        // Purpose: the next process reaches the leader's root, and does no more than is left to do.
        cluster.restart(node).await?;
        cluster
            .wait_equal()
            .await
            .with_context(|| format!("it recovers from {step}"))?;
        let sessions = u64::from(left != Left::RollForward);
        let counted = |status: &NodeStatus| status.catch_up.delta_sessions >= sessions;
        let status = cluster
            .wait_status(node, "its session is counted", counted)
            .await?;
        expect(step, left, status.catch_up);
        cluster.verify().await?;
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_between_the_purge_of_its_log_and_the_install_recovers() -> Result<()> {
    // Purpose: a node is behind everything its cluster still has in a log.
    let set = WordNet::load()?;
    let mut cluster = ProcessCluster::start(PANDO, 3, ClusterOptions::default()).await?;
    import(&cluster.sdk()?, &set, POINTS).await?;
    cluster.wait_equal().await?;
    let node = cluster.follower().await?;
    miss(&mut cluster, &set, node, 0).await?;

    // Purpose: it has staged everything, and its log is purged up to there, but nothing is installed.
    cluster.node_mut(node)?.setup.failpoints = "install::begin=sleep(600000)".to_owned();
    cluster.restart(node).await?;
    let offered = cluster.status(cluster.leader().await?).await?.log.snapshot;
    let purged = |status: &NodeStatus| status.log.purged >= offered && status.applied < offered;
    cluster
        .wait_status(node, "its log is purged beyond its state", purged)
        .await?;

    // Purpose: killed there, the next process goes on, be it from the old state or from the staged one.
    cluster.kill(node)?;
    cluster.node_mut(node)?.setup.failpoints.clear();
    cluster.restart(node).await?;
    cluster.wait_equal().await?;
    cluster.verify().await?;
    cluster.finish().await
}
