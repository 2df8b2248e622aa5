//! Rot on disk: bytes of a node's data file change under it, while it runs and while it does not. Always found, always
//! healed, never served, never spread.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use pando_client::Scrub;
use pando_model::{Consistency, Hit, NodeId, SearchQuery, StoredPoint, WithVectors};
use pando_testkit::dataset::WordNet;
use pando_testkit::{ClusterOptions, FACT_MAX, ProcessCluster, eventually};
use pando_tests::{import, purge, words, write_each};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const PANDO: &str = env!("CARGO_BIN_EXE_pando-under-test");
const POINTS: usize = 2_000;
/// Points read or searched for between two looks at a node.
const LOOKS: usize = 40;
/// A start may die on damage that the engine panics on; after so many the node repairs itself.
const STARTS_MAX: usize = 5;

/// What every node must answer.
struct Truth {
    points: Vec<StoredPoint>,
    searches: Vec<(SearchQuery, Vec<Hit>)>,
}

impl Truth {
    /// As a node that is sound says it.
    async fn of(cluster: &ProcessCluster, id: NodeId, set: &WordNet) -> Result<Self> {
        let points = cluster.direct(id)?.all(&words()).await?;
        ensure!(points.len() >= POINTS, "{} points", points.len());
        let mut searches = Vec::new();
        for point in set.base(POINTS).iter().step_by(POINTS / 8) {
            let vector = point.vectors.values().next().expect("one vector").clone();
            let mut query = SearchQuery::new(vector, 5);
            query.with_vectors = WithVectors::All;
            let hits = search(cluster, id, &query).await?;
            searches.push((query, hits));
        }
        Ok(Self { points, searches })
    }

    /// Asks a node for some of it: each answer is right, or there is none. Returns how many there were none to.
    async fn ask(
        &self,
        cluster: &ProcessCluster,
        id: NodeId,
        random: &mut StdRng,
    ) -> Result<usize> {
        let mut none = 0;
        let direct = cluster.direct(id)?;
        for _ in 0..LOOKS {
            let point = &self.points[random.random_range(0..self.points.len())];
            match direct.get(&words(), &[point.id], Consistency::Local).await {
                Ok(found) => ensure!(found == [point.clone()], "{found:?} is not {point:?}"),
                Err(_) => none += 1,
            }
        }
        let (query, hits) = &self.searches[random.random_range(0..self.searches.len())];
        match search(cluster, id, query).await {
            Ok(found) => ensure!(found == *hits, "{found:?} is not {hits:?}"),
            Err(_) => none += 1,
        }
        Ok(none)
    }
}

async fn search(cluster: &ProcessCluster, id: NodeId, query: &SearchQuery) -> Result<Vec<Hit>> {
    let sdk = cluster.sdk_of(id)?;
    Ok(sdk
        .search(&words(), query.clone(), Consistency::Local)
        .await?)
}

/// A cluster whose data does not fit in the page cache, whose logs begin behind most of it.
async fn cluster(set: &WordNet) -> Result<ProcessCluster> {
    let args = ["--storage-cache-mib", "1", "--scrub-mib-per-second", "64"];
    let options = ClusterOptions::default().args(&args);
    let cluster = ProcessCluster::start(PANDO, 3, options).await?;
    import(&cluster.sdk()?, set, POINTS).await?;
    cluster.wait_equal().await?;
    purge(&cluster).await?;
    write_each(&cluster.sdk()?, set.drifted(POINTS, 20)).await?;
    cluster.wait_equal().await?;
    Ok(cluster)
}

/// The data file that a store uses now.
fn data_file(data_dir: &Path) -> PathBuf {
    let store = data_dir.join("data");
    match fs::read_to_string(store.join("pando.current")) {
        Ok(name) => store.join(name.trim()).join("db"),
        Err(_) => store.join("db"),
    }
}

/// Flips a bit in so many bytes that are not zero, wherever in the file.
fn flip(data_dir: &Path, random: &mut StdRng, count: usize) -> Result<()> {
    let path = data_file(data_dir);
    let file = File::options().read(true).write(true).open(&path)?;
    let len = file.metadata()?.len();
    let mut flipped = 0;
    while flipped < count {
        let at = random.random_range(0..len);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        if byte[0] != 0 {
            file.write_all_at(&[byte[0] ^ 1 << random.random_range(0..8_u8)], at)?;
            flipped += 1;
        }
    }
    Ok(())
}

/// Asks a node all the time until it has read everything again, twice, and nothing is damaged any more.
async fn healed(
    cluster: &ProcessCluster,
    id: NodeId,
    truth: &Truth,
    random: &mut StdRng,
) -> Result<Scrub> {
    let mut until = None;
    let mut wrong = None;
    let scrub = eventually(format!("node {id} is healed"), FACT_MAX, async || {
        if let Err(error) = truth.ask(cluster, id, random).await {
            wrong = Some(error);
        }
        let scrub = cluster.status(id).await?.scrub;
        let until = *until.get_or_insert(scrub.passes + 2);
        let done = scrub.passes >= until && scrub.damaged == 0 && !scrub.rebuilding;
        ensure!(done || wrong.is_some(), "{scrub:?}");
        Ok(scrub)
    });
    let scrub = scrub.await?;
    wrong.map_or(Ok(scrub), Err)
}

/// Everything a node has, and that the others have the same. A page that the engine held in memory when it rotted may be read
/// from the disk only now: that is refused until it is mended.
async fn sound(cluster: &ProcessCluster, truth: &Truth) -> Result<()> {
    cluster.verify().await?;
    for id in cluster.ids() {
        let all = eventually(format!("node {id} answers"), FACT_MAX, async || {
            cluster.direct(id)?.all(&words()).await
        });
        ensure!(all.await? == truth.points, "node {id}");
    }
    Ok(())
}

/// Starts a node whose file has rotted.
async fn start_rotten(cluster: &mut ProcessCluster, id: NodeId) -> Result<()> {
    let mut starts = 0;
    loop {
        starts += 1;
        match cluster.restart(id).await {
            Ok(()) => break,
            Err(error) if starts == STARTS_MAX => return Err(error),
            Err(_) => {}
        }
    }
    cluster.wait_serving(id).await?;
    Ok(())
}

async fn under_a_running(leads: bool, seed: u64) -> Result<()> {
    // Purpose: three nodes hold more than their page caches do; the data file of one of them rots under it.
    let set = WordNet::load()?;
    let mut cluster = cluster(&set).await?;
    let leader = cluster.leader().await?;
    let id = if leads {
        leader
    } else {
        cluster.follower().await?
    };
    let other = cluster.others(id)[0];
    let mut random = StdRng::seed_from_u64(seed);
    let mut truth = Truth::of(&cluster, other, &set).await?;
    let data_dir = cluster.node(id)?.setup.data.clone();
    let mut last = Scrub::default();
    for _ in 0..3 {
        flip(&data_dir, &mut random, 12)?;
        last = healed(&cluster, id, &truth, &mut random).await?;
        // Purpose: it goes on taking writes, and what it has is what the others have.
        write_each(&cluster.sdk()?, set.base(30)).await?;
        cluster.wait_equal().await?;
        truth = Truth::of(&cluster, other, &set).await?;
        sound(&cluster, &truth).await?;
    }
    ensure!(
        last.rebuilds > 0 && last.mended > 0,
        "36 flips met nothing: {last:?}"
    );

    // Purpose: rot that was not read yet, since the pages were in memory, is found at the next start.
    cluster.stop(id).await?;
    start_rotten(&mut cluster, id).await?;
    healed(&cluster, id, &truth, &mut random).await?;
    sound(&cluster, &truth).await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn rot_under_a_running_follower_is_found_and_healed() -> Result<()> {
    under_a_running(false, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rot_under_a_running_leader_is_found_and_healed() -> Result<()> {
    under_a_running(true, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rot_under_a_stopped_node_is_found_and_healed() -> Result<()> {
    // Purpose: one node after the other is stopped, every second one the leader, and its data file rots meanwhile.
    let set = WordNet::load()?;
    let mut cluster = cluster(&set).await?;
    let mut healings = 0;
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let leader = cluster.leader().await?;
        let id = if seed % 2 == 0 {
            cluster.follower().await?
        } else {
            leader
        };
        let truth = Truth::of(&cluster, cluster.others(id)[0], &set).await?;
        cluster.stop(id).await?;
        let data_dir = cluster.node(id)?.setup.data.clone();
        let said = cluster.node(id)?.log().len();
        flip(&data_dir, &mut random, 6)?;
        start_rotten(&mut cluster, id).await?;
        let scrub = healed(&cluster, id, &truth, &mut random).await?;
        let repaired = cluster
            .node(id)?
            .log()
            .split_off(said)
            .contains("the stored state is repaired");
        healings += usize::from(repaired || scrub.rebuilds > 0 || scrub.mended > 0);
        cluster.wait_equal().await?;
        sound(&cluster, &truth).await?;
        let left = fs::read_dir(&data_dir)?.filter(|entry| {
            let name = entry.as_ref().map(|entry| entry.file_name());
            name.is_ok_and(|name| name.to_string_lossy().contains("damaged"))
        });
        ensure!(left.count() == 0, "a damaged store is left behind");
    }
    ensure!(
        healings >= 3,
        "only {healings} of 6 rotten files had rot in live data"
    );
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_opened_is_got_from_another_member() -> Result<()> {
    // Purpose: whatever becomes of the files of the state, the node comes back by itself under its own id.
    let set = WordNet::load()?;
    let mut cluster = cluster(&set).await?;
    let id = cluster.follower().await?;
    let truth = Truth::of(&cluster, cluster.others(id)[0], &set).await?;
    let data_dir = cluster.node(id)?.setup.data.clone();
    let destroy: [fn(&Path) -> std::io::Result<()>; 3] = [
        |dir| fs::write(dir.join("data/conf"), b"not what the engine wrote"),
        |dir| fs::write(data_file(dir), vec![0x5A; 1 << 20]),
        |dir| fs::write(dir.join("data/pando.current"), b"nothing"),
    ];
    for destroy in destroy {
        cluster.stop(id).await?;
        destroy(&data_dir)?;
        start_rotten(&mut cluster, id).await?;
        cluster.wait_equal().await?;
        sound(&cluster, &truth).await?;
        assert!(
            cluster
                .node(id)?
                .log()
                .contains("the stored state is repaired")
        );
    }

    // Purpose: it still is the member it was: its vote counts.
    let rest = cluster.others(id);
    cluster.stop(rest[0]).await?;
    write_each(&cluster.sdk()?, set.base(3)).await?;
    cluster.restart(rest[0]).await?;
    cluster.wait_equal().await?;
    cluster.verify().await?;
    cluster.finish().await
}
