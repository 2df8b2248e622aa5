//! The two stores of a node: opened, checked, and repaired if the state is lost.
//!
//! The log must be whole: a node that forgot entries or its vote would break what others count on, so a damaged log is
//! refused. The state is what the log's entries came to, which every member has: if it cannot be used, it is moved
//! aside and got anew from another member, before the node takes part in anything. A marker file stands from before the
//! first is done until the second is, so that a repair that was cut off goes on at the next start.

use std::convert::Infallible;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use pando_consensus::{CatchUps, NodeOptions, Repair, Transport};
use pando_model::GroupId;
use pando_replica::{CheckpointOptions, Replica, ReplicaOptions};
use pando_storage::{KvStore, SledOptions, SledStore};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::config::{Config, OnDamage};
use crate::identity::Identity;
use crate::owner::{self, OwnerError};
use crate::peers;

/// The page cache of the log store. Entries are read soon after they are written, or in order.
const LOG_CACHE_BYTES: u64 = 16 << 20;

const LOG: &str = "log";
const DATA: &str = "data";
/// Holds index checkpoints, and nothing else.
const INDEX: &str = "index";
/// Stands while the state is being repaired.
const MARKER: &str = "repairing";
/// Holds how many starts in a row have not come behind opening the state.
const OPENING: &str = "opening";
/// After so many of them the state counts as damaged.
const DEATHS_MAX: u32 = 3;
/// How often it is told how far a repair is.
const TELL_INTERVAL: Duration = Duration::from_secs(5);
/// What the names of damaged stores that were moved aside start with; the time follows.
const ASIDE_PREFIX: &str = "data.damaged-";

/// The open stores.
pub(crate) struct Stores {
    pub(crate) log: Arc<dyn KvStore>,
    pub(crate) replica: Arc<Replica>,
    /// Loads the replica's points.
    pub(crate) loading: Option<JoinHandle<anyhow::Result<()>>>,
    /// How far the state must be got from another member, if it was lost.
    repair: Option<u64>,
    data_dir: PathBuf,
}

/// Why the state was not opened.
#[derive(Debug, thiserror::Error)]
enum Unopened {
    /// It is lost here, but nowhere else.
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Stores {
    /// Opens both stores and checks that they are this node's, and what they hold. Blocks.
    pub(crate) fn open(config: &Config, identity: &Identity) -> anyhow::Result<Self> {
        let data_dir = config.data_dir.clone();
        let log: Arc<dyn KvStore> = Arc::new(open_store(&data_dir.join(LOG), LOG_CACHE_BYTES)?);
        owner::claim(log.as_ref(), identity.instance(), member(identity))
            .map_err(|error| disowned(&data_dir, LOG, error))?;
        let purged = pando_consensus::purged_index(log.as_ref(), GroupId::CATALOGUE)
            .with_context(|| lost(&data_dir))?;
        let stores = |replica: Replica, repair: Option<u64>| {
            let replica = Arc::new(replica);
            // Consensus starts meanwhile; it may wait for this, so this must not wait for it.
            let loading = repair.is_none().then(|| {
                let (replica, lost) = (Arc::clone(&replica), lost(&data_dir));
                tokio::task::spawn_blocking(move || replica.load().context(lost))
            });
            Self {
                log: Arc::clone(&log),
                replica,
                loading,
                repair,
                data_dir: data_dir.clone(),
            }
        };
        let repairing = data_dir.join(MARKER).exists();
        let others = peers::read(&data_dir);
        let has_others = others.iter().any(|(id, _)| *id != identity.node_id());
        let may_repair = config.on_damage == OnDamage::Repair && member(identity) && has_others;
        let died = died_opening(&data_dir).context("cannot write down that the state is opened")?;
        let opened = if may_repair && died >= DEATHS_MAX {
            // The engine panics on some damage, which ends the process where it stands.
            let reason = format!("the last {died} starts died while the state was opened");
            Err(Unopened::Damaged(reason))
        } else {
            open_replica(config, identity, purged, repairing)
        };
        let damage = match opened {
            Ok(replica) => {
                opened_alive(&data_dir)?;
                let repair = repairing.then(|| purged.unwrap_or(0));
                return Ok(stores(replica, repair));
            }
            Err(Unopened::Damaged(reason)) => reason,
            Err(Unopened::Other(error)) => {
                opened_alive(&data_dir)?;
                return Err(error);
            }
        };
        opened_alive(&data_dir)?;
        if !may_repair {
            return Err(anyhow::anyhow!(damage).context(lost(&data_dir)));
        }
        error!(
            reason = damage,
            "the stored state is damaged: it is moved aside and got anew from another member"
        );
        set_aside(&data_dir).context("the damaged state could not be moved aside")?;
        match open_replica(config, identity, purged, true) {
            Ok(replica) => Ok(stores(replica, Some(purged.unwrap_or(0)))),
            Err(error) => Err(anyhow::Error::new(error).context(lost(&data_dir))),
        }
    }

    /// Gets the state from another member, if it was lost. Waits until one gives it.
    pub(crate) async fn repair(
        &mut self,
        options: NodeOptions,
        transport: Arc<dyn Transport>,
        catch_ups: CatchUps,
    ) -> anyhow::Result<()> {
        let Some(at_least) = self.repair else {
            return Ok(());
        };
        let repair = Repair {
            replica: Arc::clone(&self.replica),
            transport,
            options,
            peers: peers::read(&self.data_dir),
            at_least,
            catch_ups: catch_ups.clone(),
        };
        let index = tokio::select! {
            index = repair.run() => index,
            never = tell(&catch_ups) => match never {},
        };
        self.repair = None;
        let data_dir = self.data_dir.clone();
        let cleared = tokio::task::spawn_blocking(move || clear(&data_dir));
        cleared.await.context("the repair was interrupted")??;
        warn!(index, "the stored state is repaired");
        Ok(())
    }
}

/// Tells how far a repair is, while nobody can ask for it yet.
async fn tell(catch_ups: &CatchUps) -> Infallible {
    loop {
        tokio::time::sleep(TELL_INTERVAL).await;
        if let Some(sync) = catch_ups.running() {
            info!(
                peer = sync.leader,
                done = sync.done,
                total = sync.total,
                received_bytes = sync.received_bytes,
                left_seconds = sync.left.map(|left| left.as_secs()),
                installing = sync.installing,
                "the stored state is being repaired"
            );
        }
    }
}

fn member(identity: &Identity) -> bool {
    identity.cluster_id().is_some()
}

/// Opens the state. One that is being repaired may be empty, and may lie behind the log.
fn open_replica(
    config: &Config,
    identity: &Identity,
    purged: Option<u64>,
    repairing: bool,
) -> Result<Replica, Unopened> {
    let data_dir = &config.data_dir;
    let path = data_dir.join(DATA);
    let options = SledOptions {
        cache_bytes: config.storage_cache_mib << 20,
    };
    let existed = SledStore::exists(&path);
    // What it loses while it runs, the scrubber misses and gets from other members.
    let store = match SledStore::open(&path, options) {
        Ok(store) => store.rebuilding(),
        Err(error) if error.is_damage() => return Err(Unopened::Damaged(error.to_string())),
        Err(error) => {
            let context = format!("cannot open {}", path.display());
            return Err(anyhow::Error::new(error).context(context).into());
        }
    };
    let known = member(identity) && !repairing;
    match owner::claim(&store, identity.instance(), known) {
        Ok(()) => {}
        // The store is the one it had, but it has lost what it held. One that was not there at all is another matter: it
        // may be a volume that is not mounted.
        Err(error) if error.is_damage() && existed => {
            return Err(Unopened::Damaged(format!(
                "store {}: {error}",
                path.display()
            )));
        }
        Err(error) => return Err(disowned(data_dir, DATA, error).into()),
    }
    let options = ReplicaOptions {
        overlay_bytes_max: config.sync_overlay_mib_max << 20,
        graph_vectors_min: match config.graph_vectors_min {
            0 => usize::MAX,
            least => least,
        },
        vector_cache_bytes_max: config.vector_cache_mib_max << 20,
        checkpoints: (config.index_checkpoint_s > 0).then(|| CheckpointOptions {
            dir: data_dir.join(INDEX),
            interval: Duration::from_secs(config.index_checkpoint_s),
        }),
        ..ReplicaOptions::default()
    };
    let store = Arc::new(store);
    // A repair installs at once, for which all that is here must be loaded.
    let opened = if repairing {
        Replica::open(store, options, purged)
    } else {
        Replica::open_trees(store, options, purged)
    };
    let replica = match opened {
        Ok(replica) => replica,
        Err(error) if error.is_damage() => return Err(Unopened::Damaged(error.to_string())),
        Err(error) => return Err(anyhow::Error::new(error).context(lost(data_dir)).into()),
    };
    let index = replica.applied().index();
    if let Some(purged) = purged.filter(|purged| index < *purged && !repairing) {
        let reason = format!(
            "the stored state is at log index {index}, but the log begins behind {purged}: the state was set back"
        );
        return Err(Unopened::Damaged(reason));
    }
    Ok(replica)
}

/// That a store is not this node's.
fn disowned(data_dir: &Path, name: &str, error: OwnerError) -> anyhow::Error {
    anyhow::Error::new(error)
        .context(format!("store {}", data_dir.join(name).display()))
        .context(lost(data_dir))
}

fn open_store(path: &Path, cache_bytes: u64) -> anyhow::Result<SledStore> {
    SledStore::open(path, SledOptions { cache_bytes })
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Writes down that the state is being opened; returns how many starts before this one died there.
fn died_opening(data_dir: &Path) -> std::io::Result<u32> {
    let path = data_dir.join(OPENING);
    let died = fs::read_to_string(&path).ok();
    let died = died.and_then(|died| died.trim().parse().ok()).unwrap_or(0);
    fs::write(&path, format!("{}\n", died + 1))?;
    Ok(died)
}

fn opened_alive(data_dir: &Path) -> anyhow::Result<()> {
    fs::remove_file(data_dir.join(OPENING)).context("cannot write down that the state is open")
}

/// Says that the state is being repaired, durably, and then moves it aside.
fn set_aside(data_dir: &Path) -> std::io::Result<()> {
    File::create(data_dir.join(MARKER))?.sync_all()?;
    File::open(data_dir)?.sync_all()?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    let mut aside = data_dir.join(format!("{ASIDE_PREFIX}{seconds}"));
    while aside.exists() {
        aside.as_mut_os_string().push("-");
    }
    fs::rename(data_dir.join(DATA), &aside)?;
    File::open(data_dir)?.sync_all()
}

/// Ends a repair: the marker goes, and with it what was moved aside.
fn clear(data_dir: &Path) -> anyhow::Result<()> {
    fs::remove_file(data_dir.join(MARKER)).context("the marker of the repair stays")?;
    File::open(data_dir)?.sync_all()?;
    for entry in fs::read_dir(data_dir)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(ASIDE_PREFIX)
        {
            info!(path = %entry.path().display(), "removing the damaged state");
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// What to do about a data directory that does not hold what it should.
pub(crate) fn lost(data_dir: &Path) -> String {
    let dir = data_dir.display();
    format!(
        "the state in {dir} cannot be used; if the disk itself is sound, this node's copy is lost but not the cluster's: \
         move {dir} aside, start the node on an empty directory with bootstrap = false, add it with \
         `pando cluster add`, and remove the old id with `pando cluster remove`"
    )
}
