//! Starting anew: after a clean stop and after a kill everything is there; a data directory that does not hold what
//! was stored is refused, with words that say what to do.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use pando_model::{Consistency, CountQuery};
use pando_storage::{Batch, KvStore as _, SledOptions, SledStore};
use pando_testkit::dataset::WordNet;
use pando_testkit::{ClusterOptions, Direct, FACT_MAX, ProcessCluster};
use pando_tests::{delete, import, words};
use uuid::Uuid;

const PANDO: &str = env!("CARGO_BIN_EXE_pando-under-test");
const POINTS: usize = 600;
const CACHE_BYTES: u64 = 8 << 20;
/// What a refusal must say: that the state is no good, and the way back.
const WAY_BACK: [&str; 2] = ["aside", "pando cluster add"];

async fn cluster_of_one() -> Result<ProcessCluster> {
    let set = WordNet::load()?;
    let cluster = ProcessCluster::start(PANDO, 1, ClusterOptions::default()).await?;
    import(&cluster.sdk()?, &set, POINTS).await?;
    delete(&cluster.sdk()?, 0..10).await?;
    Ok(cluster)
}

/// The node must not start; returns what it says.
async fn refused(cluster: &mut ProcessCluster) -> Result<String> {
    let node = cluster.node_mut(1)?;
    let before = node.log().len();
    let status = node.start_to_end().await?;
    let said = node.log().split_off(before);
    ensure!(
        !status.success(),
        "it started all the same, and ended with {status}: {said}"
    );
    Ok(said)
}

/// Everything in the data store of a node that does not run.
fn stored(data_dir: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let store = SledStore::open(
        data_dir.join("data"),
        SledOptions {
            cache_bytes: CACHE_BYTES,
        },
    )?;
    Ok(store.scan(&[], None, usize::MAX)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_and_a_kill_leave_everything_there() -> Result<()> {
    let mut cluster = cluster_of_one().await?;
    let count = CountQuery::default();
    for killed in [false, true, true, false] {
        // Purpose: whatever ends the process, the next one serves the same state.
        let root = cluster.verify().await?.nodes[&1].clone();
        if killed {
            cluster.kill(1)?;
        } else {
            cluster.stop(1).await?;
        }
        cluster.restart(1).await?;
        cluster.wait_serving(1).await?;
        assert_eq!(cluster.verify().await?.nodes[&1], root);
        let direct = cluster.direct(1)?;
        let there = direct
            .count(&words(), count.clone(), Consistency::Linearizable, FACT_MAX)
            .await?;
        assert_eq!(there, (POINTS - 10) as u64);
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_answered_with_the_first_reply_whatever_happened_in_between() -> Result<()> {
    // Purpose: a write is acknowledged, a later one replaces what it wrote, and the process is killed.
    let mut cluster = cluster_of_one().await?;
    let (request, point) = (Uuid::new_v4(), WordNet::load()?.inserts(1));
    let write = |direct: Direct, point| async move {
        direct.upsert_as(request, &words(), point, FACT_MAX).await
    };
    let first = write(cluster.direct(1)?, point.clone()).await?;
    delete(&cluster.sdk()?, [10_000]).await?;
    cluster.kill(1)?;
    cluster.restart(1).await?;
    cluster.wait_serving(1).await?;

    // Purpose: the retry does nothing, and says where the write stands: before what came after it.
    let root = cluster.status(1).await?.root;
    let again = write(cluster.direct(1)?, point).await?;
    assert_eq!(again, first);
    assert_eq!(cluster.status(1).await?.root, root);
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_of_a_row_is_found_at_start() -> Result<()> {
    // Purpose: a node that was stopped has one bit of one stored value flipped, whichever value it is.
    let mut cluster = cluster_of_one().await?;
    cluster.stop(1).await?;
    let data_dir = cluster.node(1)?.setup.data.clone();
    let rows = stored(&data_dir)?;
    assert!(rows.len() > POINTS, "{} stored values", rows.len());
    for nth in [
        rows.len() / 7,
        rows.len() / 3,
        rows.len() / 2,
        rows.len() - 1,
    ] {
        let (key, value) = &rows[nth];
        let flipped = |bit: u8| {
            let mut bytes = value.clone();
            *bytes.last_mut().expect("values are not empty") ^= bit;
            let mut batch = Batch::new();
            batch.put(key.clone(), bytes);
            let path = data_dir.join("data");
            let store = SledStore::open(
                path,
                SledOptions {
                    cache_bytes: CACHE_BYTES,
                },
            )?;
            store.apply(batch)?;
            store.flush()?;
            anyhow::Ok(())
        };
        flipped(1)?;

        // Purpose: it does not start, and says what to do.
        let said = refused(&mut cluster)
            .await
            .with_context(|| format!("value of {key:02x?}"))?;
        for word in WAY_BACK {
            assert!(
                said.contains(word),
                "{key:02x?}: {word:?} is not in: {said}"
            );
        }
        flipped(0)?;
    }

    // Purpose: it was that bit and nothing else.
    cluster.restart(1).await?;
    cluster.verify().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_whole_but_not_the_stored_state_are_refused() -> Result<()> {
    // Purpose: a row is gone without a trace: every row that is left is sound, only the root tells.
    let mut cluster = cluster_of_one().await?;
    cluster.stop(1).await?;
    let data_dir = cluster.node(1)?.setup.data.clone();
    let rows = stored(&data_dir)?;
    let row_of = |key: &[u8]| key.get(5..25).map(<[u8]>::to_vec);
    let gone = row_of(&rows[rows.len() / 4].0).context("a row's key")?;
    let mut batch = Batch::new();
    let mut removed = 0;
    for (key, _) in rows
        .iter()
        .filter(|(key, _)| row_of(key).as_ref() == Some(&gone))
    {
        batch.delete(key.clone());
        removed += 1;
    }
    assert!(removed >= 2, "a digest and content");
    {
        let path = data_dir.join("data");
        let store = SledStore::open(
            path,
            SledOptions {
                cache_bytes: CACHE_BYTES,
            },
        )?;
        store.apply(batch)?;
        store.flush()?;
    }
    let said = refused(&mut cluster).await?;
    assert!(said.contains("root"), "{said}");
    for word in WAY_BACK {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    cluster.finish().await
}
