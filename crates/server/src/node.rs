//! One node from start to end: identity, stores, consensus, three ports, and all of it in reverse.
//!
//! Owns the order in which things start and stop. Nothing is served before the state on disk has been checked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pando_consensus::{CatchUps, Components, Node, NodeAddress, NodeOptions, SystemClock};
use pando_model::{ClusterId, NodeId};
use pando_replica::{Replica, ReplicaError, SaveWhich};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::task::TaskTracker;
use tonic_health::server::HealthReporter;
use tracing::{Instrument as _, error, info, info_span, warn};

use crate::config::{Config, advertised};
use crate::figures::NodeView;
use crate::grpc::{
    self, ADMIN_TIMEOUT, Admission, Api, PublicApi, RequestSpan, SearchGate, Threads,
};
use crate::http;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::peer::{Connector, Envelope, NodeTransport, PeerService, serve_peers};
use crate::peers;
use crate::stores::{Stores, lost};
use crate::traffic::Traffic;
use crate::workers::Workers;

/// How often the health service is told how the node is.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// Names of the workers, in the order in which they stop.
const PUBLIC_API: &str = "public-api";
const HEALTH: &str = "health";
const NODE_API: &str = "node-api";
const HTTP: &str = "http";
const LOADING: &str = "loading";
const PEERS: &str = "peers";
const CHECKPOINTS: &str = "index-checkpoints";
const REINDEXING: &str = "reindexing";

/// Pause before the known members are written down again, after that failed.
const PEERS_PAUSE: Duration = Duration::from_millis(500);

/// How often it is looked whether index checkpoints are due.
const CHECKPOINTS_INTERVAL: Duration = Duration::from_secs(1);
/// How often what is being indexed anew is given more to do: often enough that it does not run out of it.
const REINDEXING_INTERVAL: Duration = Duration::from_millis(200);

/// Where a running node is reached, and who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// The node.
    pub node_id: NodeId,
    /// Its cluster, if it belongs to one.
    pub cluster_id: Option<ClusterId>,
    /// Where the public gRPC API listens.
    pub api: SocketAddr,
    /// Where the node API listens.
    pub node: SocketAddr,
    /// Where health and metrics listen.
    pub http: SocketAddr,
    /// Where clients are told to reach the public API.
    pub advertise_api: String,
    /// Where other nodes are told to reach the node API.
    pub advertise_node: String,
}

/// Runs one node until `shutdown`, or until it cannot go on. `on_ready` is called once all ports are served.
///
/// # Errors
/// When the node cannot start (the message says what to do), or a part of it fails.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()>,
    on_ready: impl FnOnce(&Ready),
) -> anyhow::Result<()> {
    config.validate()?;
    let identity = {
        let (data_dir, id) = (config.data_dir.clone(), config.node_id);
        blocking(move || Identity::open(&data_dir, id)).await??
    };
    let span = info_span!("node", id = identity.node_id());
    run_as(config, Arc::new(identity), shutdown, on_ready)
        .instrument(span)
        .await
}

async fn run_as(
    config: Config,
    identity: Arc<Identity>,
    shutdown: impl Future<Output = ()>,
    on_ready: impl FnOnce(&Ready),
) -> anyhow::Result<()> {
    let listeners = Listeners::bind(&config).await?;
    let address = listeners.address(&config)?;
    let mut stores = {
        let (config, identity) = (config.clone(), Arc::clone(&identity));
        blocking(move || Stores::open(&config, &identity)).await??
    };
    let traffic = Arc::new(Traffic::default());
    let envelope = Envelope::new(Arc::clone(&identity));
    let connector = Connector::new(Arc::clone(&traffic));
    let transport = Arc::new(NodeTransport::new(envelope.clone(), connector));
    let mut shutdown = pin!(shutdown);
    let options = node_options(&config, &identity);
    let catch_ups = CatchUps::default();
    tokio::select! {
        repaired = stores.repair(options.clone(), Arc::clone(&transport) as _, catch_ups.clone()) => repaired?,
        () = shutdown.as_mut() => return Ok(()),
    }
    let components = Components {
        replica: Arc::clone(&stores.replica),
        log: Arc::clone(&stores.log),
        transport: Arc::clone(&transport) as _,
        clock: Arc::new(SystemClock),
        catch_ups,
    };
    let node = Node::start_with(options, components)
        .await
        .context("consensus did not start")?;

    let running = Running {
        view: Arc::new(NodeView {
            node: Arc::clone(&node),
            identity: Arc::clone(&identity),
            address,
            log: Arc::clone(&stores.log),
            started: Instant::now(),
        }),
        node,
        identity,
        transport,
        metrics: Arc::new(Metrics::new(Arc::clone(&traffic))),
        traffic,
        envelope,
        streams: TaskTracker::new(),
        workers: Workers::default(),
    };
    running
        .serve(&config, listeners, stores, shutdown, on_ready)
        .await
}

fn node_options(config: &Config, identity: &Identity) -> NodeOptions {
    let election_min = Duration::from_millis(config.raft_election_ms);
    NodeOptions {
        cluster: identity.cluster_id(),
        heartbeat: Duration::from_millis(config.raft_heartbeat_ms),
        election_min,
        election_max: election_min * 2,
        log_entries_max: config.raft_log_entries_max,
        log_bytes_max: config.raft_log_mib_max << 20,
        log_entries_keep: config.raft_log_entries_keep,
        replay_cost_ratio: config.raft_replay_cost_ratio,
        sync_bytes_per_second: config.sync_mib_per_second << 20,
        syncs_outgoing_max: config.syncs_outgoing_max,
        writes_in_flight_max: config.requests_inflight_max,
        change_timeout: ADMIN_TIMEOUT,
        scrub_bytes_per_second: config.scrub_mib_per_second << 20,
        check_interval: Duration::from_secs(config.check_interval_s),
        evidence_dir: Some(config.data_dir.join("evidence")),
        sync_lineage: config.sync_lineage,
        sync_compression: config.compression(),
        ..NodeOptions::new(identity.node_id())
    }
}

struct Listeners {
    api: TcpListener,
    node: TcpListener,
    http: TcpListener,
}

impl Listeners {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            api: bind("api_listen", config.api_listen).await?,
            node: bind("node_listen", config.node_listen).await?,
            http: bind("http_listen", config.http_listen).await?,
        })
    }

    fn address(&self, config: &Config) -> anyhow::Result<NodeAddress> {
        Ok(NodeAddress {
            node: advertised(config.advertise_node.as_deref(), self.node.local_addr()?),
            api: advertised(config.advertise_api.as_deref(), self.api.local_addr()?),
        })
    }
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} ({key}); is another node running there?")
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("start-up was interrupted")
}

/// A node whose consensus runs.
struct Running {
    node: Arc<Node>,
    identity: Arc<Identity>,
    view: Arc<NodeView>,
    transport: Arc<NodeTransport>,
    metrics: Arc<Metrics>,
    traffic: Arc<Traffic>,
    envelope: Envelope,
    streams: TaskTracker,
    workers: Workers,
}

impl Running {
    async fn serve(
        mut self,
        config: &Config,
        listeners: Listeners,
        mut stores: Stores,
        shutdown: impl Future<Output = ()>,
        on_ready: impl FnOnce(&Ready),
    ) -> anyhow::Result<()> {
        let [api, node, http] =
            [&listeners.api, &listeners.node, &listeners.http].map(TcpListener::local_addr);
        let (api, node, http) = (api?, node?, http?);
        if let Some(loading) = stores.loading.take() {
            self.watch_loading(&config.data_dir, loading);
        }
        let outcome = self.start_workers(config, listeners).await;
        let outcome = match outcome {
            Ok(()) => {
                let ready = Ready {
                    node_id: self.identity.node_id(),
                    cluster_id: self.identity.cluster_id(),
                    api,
                    node,
                    http,
                    advertise_api: self.view.address.api.clone(),
                    advertise_node: self.view.address.node.clone(),
                };
                info!(%api, %node, %http, cluster = ?ready.cluster_id, "serving");
                on_ready(&ready);
                tokio::select! {
                    () = shutdown => Ok(()),
                    failure = self.workers.failed() => Err(failure),
                }
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = &outcome {
            error!(error = format!("{failure:#}"), "this node stops");
        } else {
            info!("stopping");
        }
        self.stop(stores).await?;
        outcome
    }

    async fn start_workers(&mut self, config: &Config, listeners: Listeners) -> anyhow::Result<()> {
        let Listeners { api, node, http } = listeners;
        self.start_node_api(node);
        self.start_http(http);
        // Between forming a cluster and writing down its id lies a moment; who was stopped in it goes on from there.
        let half_formed = !self.node.status().await.members.is_empty();
        if self.identity.cluster_id().is_none() && (config.bootstrap || half_formed) {
            let address = self.view.address.clone();
            grpc::form(&self.node, &self.identity, address).await?;
        }
        let health = HealthReporter::new();
        grpc::set_health(&health, false).await;
        self.start_health(health.clone());
        self.start_peers(config.data_dir.clone());
        self.start_every(CHECKPOINTS, CHECKPOINTS_INTERVAL, |replica| {
            replica.save_checkpoints(SaveWhich::Due)
        });
        // Gives vectors again to graphs that are made anew.
        self.start_every(REINDEXING, REINDEXING_INTERVAL, Replica::reindex);
        self.start_public_api(config, api, health)
    }

    /// Stops the process when its points cannot be loaded, and nobody is there to mend them from.
    fn watch_loading(&mut self, data_dir: &Path, loading: JoinHandle<anyhow::Result<()>>) {
        let (node, lost) = (Arc::clone(&self.node), lost(data_dir));
        self.workers.spawn(LOADING, |stop| async move {
            loading.await.context("loading was interrupted")??;
            let unloaded = node.replica().unloaded();
            if let Some(first) = unloaded.first() {
                let status = node.status().await;
                if status.members.iter().all(|member| member.id == status.id) {
                    let (tree, key) = (first.tree, first.key);
                    return Err(ReplicaError::Damaged { tree, key }).context(lost);
                }
                error!(
                    rotten = unloaded.len(),
                    "stored rows are not what they were: nothing is served before they are mended"
                );
            }
            stop.cancelled().await;
            Ok(())
        });
    }

    fn start_node_api(&mut self, listener: TcpListener) {
        let (envelope, node) = (self.envelope.clone(), Arc::clone(&self.node));
        let (address, streams) = (self.view.address.clone(), self.streams.clone());
        let traffic = Arc::clone(&self.traffic);
        self.workers.spawn(NODE_API, |stop| async move {
            let service =
                PeerService::new(envelope, address, Arc::new(node), streams, stop.clone());
            Ok(serve_peers(listener, service, traffic, stop).await?)
        });
    }

    fn start_http(&mut self, listener: TcpListener) {
        let router = http::router(Arc::clone(&self.view) as _, Arc::clone(&self.metrics));
        self.workers.spawn(HTTP, |stop| async move {
            Ok(axum::serve(listener, router)
                .with_graceful_shutdown(stop.cancelled_owned())
                .await?)
        });
    }

    fn start_public_api(
        &mut self,
        config: &Config,
        listener: TcpListener,
        health: HealthReporter,
    ) -> anyhow::Result<()> {
        let api = Api {
            node: Arc::clone(&self.node),
            identity: Arc::clone(&self.identity),
            gate: SearchGate::new(
                config.searches_running_max,
                config.searches_waiting_max,
                Arc::clone(&self.metrics),
            ),
        };
        let metrics = Arc::clone(&self.metrics);
        let node = Arc::clone(&self.node);
        let public = PublicApi {
            api,
            view: Arc::clone(&self.view),
            transport: Arc::clone(&self.transport),
            admission: Admission::new(
                config.requests_inflight_max,
                config.request_timeout(),
                metrics,
                RequestSpan::new(move || node.term()),
            ),
            health,
        };
        let threads = Threads::new()?;
        let listener = listener.into_std()?;
        self.workers.spawn(PUBLIC_API, |stop| async move {
            // Connections belong to the threads that take them on.
            let serve =
                async move { grpc::serve(TcpListener::from_std(listener)?, public, stop).await };
            threads.run(serve).await
        });
        Ok(())
    }

    /// Watches the node: tells the health service, and stops the process when consensus has stopped.
    fn start_health(&mut self, health: HealthReporter) {
        let view = Arc::clone(&self.view);
        self.workers.spawn(HEALTH, |stop| async move {
            let mut tick = tokio::time::interval(HEALTH_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    reason = view.node.failed() => anyhow::bail!("consensus has stopped: {reason}"),
                    () = stop.cancelled() => {
                        grpc::set_health(&health, false).await;
                        return Ok(());
                    }
                }
                grpc::set_health(&health, view.is_ready().await).await;
            }
        });
    }

    /// Keeps the file of known members up to date.
    fn start_peers(&mut self, data_dir: PathBuf) {
        let node = Arc::clone(&self.node);
        self.workers.spawn(PEERS, |stop| async move {
            let mut written = Vec::new();
            loop {
                let members = tokio::select! {
                    members = node.members_other_than(&written) => members,
                    () = stop.cancelled() => return Ok(()),
                };
                let (dir, list) = (data_dir.clone(), members.clone());
                match blocking(move || peers::write(&dir, &list)).await? {
                    Ok(()) => written = members,
                    Err(error) => {
                        warn!(%error, "the known members cannot be written down");
                        tokio::time::sleep(PEERS_PAUSE).await;
                    }
                }
            }
        });
    }

    /// Does some work on the replica every so often, away from the async threads.
    fn start_every(&mut self, name: &'static str, pause: Duration, work: fn(&Replica) -> u64) {
        let node = Arc::clone(&self.node);
        self.workers.spawn(name, move |stop| async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return Ok(()),
                }
                let replica = Arc::clone(node.replica());
                blocking(move || work(&replica)).await?;
            }
        });
    }

    /// Clients first, so that what they were promised is still carried out; storage last.
    async fn stop(mut self, stores: Stores) -> anyhow::Result<()> {
        self.workers.stop(HEALTH).await;
        self.workers.stop(PEERS).await;
        self.workers.stop(CHECKPOINTS).await;
        self.workers.stop(REINDEXING).await;
        self.workers.stop(PUBLIC_API).await;
        // Whoever waits for the rest to be loaded is told that it will not be.
        let replica = Arc::clone(self.node.replica());
        blocking(move || replica.stop_loading()).await?;
        self.workers.stop(LOADING).await;
        self.node.shutdown().await;
        self.workers.stop(NODE_API).await;
        self.streams.close();
        self.workers.stop(HTTP).await;
        blocking(move || {
            stores.replica.make_durable()?;
            stores.log.flush()?;
            // Last: what it costs to be killed in this is a graph that is built anew.
            stores.replica.save_checkpoints(SaveWhich::Changed);
            anyhow::Ok(())
        })
        .await?
        .context("the stores could not be flushed")?;
        info!("stopped");
        Ok(())
    }
}
