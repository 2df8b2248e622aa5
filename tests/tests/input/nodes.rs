//! Other nodes: of another cluster, of another release, on the same data.

use anyhow::{Context, Result, ensure};
use pando_model::{Consistency, CountQuery};
use pando_proto::cluster_v1::RefusalCode;
use pando_server::PROTOCOL_VERSION;
use pando_testkit::peer;
use pando_testkit::{FACT_MAX, NodeProcess};
use uuid::Uuid;

use super::{name, node};

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_other_clusters_and_protocols_are_refused() -> Result<()> {
    let cluster = node().await?;
    let before = cluster.status(1).await?;
    let id = cluster
        .direct(1)?
        .view()
        .await?
        .cluster
        .context("a cluster")?
        .0;
    let address = cluster.node(1)?.node_address();
    let newer = peer::header(id, PROTOCOL_VERSION + 1, 2, 1);
    let (code, reason) = peer::refusal(&address, newer).await?;
    assert_eq!(code, RefusalCode::ProtocolVersion, "{reason}");
    let (theirs, ours) = (PROTOCOL_VERSION + 1, PROTOCOL_VERSION);
    assert!(reason.contains(&format!("version {theirs}")), "{reason}");
    assert!(reason.contains(&format!("speaks {ours}")), "{reason}");

    let foreign = Uuid::new_v4();
    let (code, reason) = peer::refusal(&address, peer::header(foreign, ours, 2, 1)).await?;
    assert_eq!(code, RefusalCode::ForeignCluster, "{reason}");
    assert!(
        reason.contains(&foreign.to_string()) && reason.contains(&id.to_string()),
        "{reason}"
    );

    let (code, reason) = peer::refusal(&address, peer::header(id, ours, 2, 7)).await?;
    assert_eq!(code, RefusalCode::WrongNode, "{reason}");

    // Purpose: nothing came of it; the node leads as before.
    let after = cluster.status(1).await?;
    assert_eq!(
        (after.term, after.last_log, after.root),
        (before.term, before.last_log, before.root)
    );
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_a_data_directory_is_refused() -> Result<()> {
    let mut cluster = node().await?;
    let mut setup = cluster.setup(2).await?;
    let (id, taken) = (
        cluster.node(1)?.setup.id,
        cluster.node(1)?.setup.data.clone(),
    );
    setup.id = id;
    setup.data = taken.clone();
    let mut second = NodeProcess::new(setup);
    let status = second.start_to_end().await?;
    assert!(!status.success(), "{status}");
    let said = second.log();
    assert!(said.contains("in use by another node"), "{said}");
    assert!(
        said.contains(&taken.display().to_string()),
        "it says which directory: {said}"
    );

    // Purpose: the first has not noticed.
    let direct = cluster.direct(1)?;
    let query = CountQuery::default();
    let count = direct
        .count(&name("words"), query, Consistency::Linearizable, FACT_MAX)
        .await?;
    ensure!(count == 10, "{count}");
    cluster.finish().await
}
