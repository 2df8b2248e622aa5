//! The handle of a node: what the server calls, and what other nodes call.
//!
//! Owns the running openraft core and everything beside it: the views served to followers, the offers taken from
//! leaders, the bound on the log. Any node takes any request; what only the leader can do is forwarded to it.

mod admin;
mod differences;
mod give;
mod handle;
mod quarantine;
mod read;
mod report;
mod schedule;
mod transfer;
mod verify;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::ServerState;
use pando_model::{Definition, NodeId, TreeId};
use pando_replica::Replica;
use pando_storage::KvStore;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::NodeAddress;
use crate::clock::{Clock, SystemClock};
use crate::error::StartError;
use crate::log_book::LogBook;
use crate::log_bound::Bound;
use crate::log_store::LogStore;
use crate::network::Network;
use crate::options::NodeOptions;
use crate::scrub::{ScrubFigures, Scrubber};
use crate::session::{CatchUps, Incoming, Outgoing, Progress, Views};
use crate::state_machine::StateMachine;
use crate::tidy;
use crate::transport::{SyncPipe, Transport};
use crate::trust::Trust;
use crate::types::{Raft, RaftMetrics};

/// A node while nothing changes looks for a leader again after this long.
const LEADER_PAUSE: Duration = Duration::from_millis(50);

/// What a node runs on.
pub struct Components {
    /// The state.
    pub replica: Arc<Replica>,
    /// The log's store.
    pub log: Arc<dyn KvStore>,
    /// The network.
    pub transport: Arc<dyn Transport>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// What catching up has cost before: a repair, or nothing.
    pub catch_ups: CatchUps,
}

/// A running node.
pub struct Node {
    options: NodeOptions,
    raft: Raft,
    replica: Arc<Replica>,
    log: LogStore,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    views: Arc<Views>,
    outgoing: Arc<Outgoing>,
    book: Arc<LogBook>,
    incoming: Arc<Incoming>,
    pub(crate) progress: Arc<Progress>,
    scrub: Arc<ScrubFigures>,
    trust: Arc<Trust>,
    writes: Semaphore,
    /// Definitions by tree. Trees are never reused and a definition never changes, so none is ever out of date.
    definitions: Mutex<BTreeMap<TreeId, Arc<Definition>>>,
    /// Set while the leadership is handed over: nothing may renew the lease then.
    transferring: AtomicBool,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Node {
    /// Starts a node with the system's clock.
    ///
    /// # Errors
    /// When a setting cannot work, the log cannot be read, or the core does not start.
    pub async fn start(
        options: NodeOptions,
        replica: Arc<Replica>,
        log: Arc<dyn KvStore>,
        transport: Arc<dyn Transport>,
    ) -> Result<Arc<Self>, StartError> {
        let (clock, catch_ups) = (Arc::new(SystemClock), CatchUps::default());
        Self::start_with(
            options,
            Components {
                replica,
                log,
                transport,
                clock,
                catch_ups,
            },
        )
        .await
    }

    /// Starts a node.
    ///
    /// # Errors
    /// When a setting cannot work, the log cannot be read, or the core does not start.
    pub async fn start_with(
        options: NodeOptions,
        components: Components,
    ) -> Result<Arc<Self>, StartError> {
        options.validate()?;
        let core = |reason: String| StartError::Core { reason };
        let Components {
            replica,
            log,
            transport,
            clock,
            catch_ups: CatchUps(progress),
        } = components;
        let (state, group, id) = (Arc::clone(&replica), options.group, options.id);
        let opening = tokio::task::spawn_blocking(move || {
            // What is applied may be what the last process had not yet made durable; openraft counts on it.
            state.make_durable()?;
            let trust = Trust::open(Arc::clone(&log), group)?;
            Ok::<_, StartError>((LogStore::open(log, group, id)?, trust))
        });
        let (log, trust) = opening.await.map_err(|error| core(error.to_string()))??;
        let machine = StateMachine::new(Arc::clone(&replica), Arc::clone(&progress))?;
        let views = Views::new(clock.now_ms() << 20);
        let outgoing = Outgoing::new(options.syncs_outgoing_max, options.sync_bytes_per_second);
        let book = Arc::new(LogBook::new(log.clone()));
        let network = Network {
            id: options.id,
            transport: Arc::clone(&transport),
            views: Arc::clone(&views),
            outgoing: Arc::clone(&outgoing),
            book: Arc::clone(&book),
            pause: options.heartbeat,
        };
        let mut config = options.raft_config();
        // A state that is wrong must not lead.
        config.enable_elect = !trust.is_quarantined();
        let config = config.validate().map_err(|error| core(error.to_string()))?;
        let raft = Raft::new(options.id, Arc::new(config), network, log.clone(), machine)
            .await
            .map_err(|error| core(crate::error::chain(&error)))?;
        let incoming = Incoming::new(
            Arc::clone(&replica),
            Arc::clone(&transport),
            options.clone(),
            Arc::clone(&progress),
            Arc::clone(&trust),
        );
        let node = Arc::new(Self {
            writes: Semaphore::new(options.writes_in_flight_max),
            options,
            raft,
            replica,
            log,
            transport,
            clock,
            views,
            outgoing,
            book,
            incoming,
            progress,
            scrub: Arc::default(),
            trust,
            definitions: Mutex::default(),
            transferring: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        node.start_tasks();
        node.watch_over();
        Ok(node)
    }

    /// Starts what runs beside the core: the bound on the log, the scrubber, the clearing of storage.
    fn start_tasks(&self) {
        let bound = Bound {
            raft: self.raft.clone(),
            log: self.log.clone(),
            replica: Arc::clone(&self.replica),
            views: Arc::clone(&self.views),
            book: Arc::clone(&self.book),
            options: self.options.clone(),
        };
        self.tasks.spawn(bound.run(self.stopping.clone()));
        let scrubber = Scrubber {
            replica: Arc::clone(&self.replica),
            transport: Arc::clone(&self.transport),
            raft: self.raft.clone(),
            options: self.options.clone(),
            clock: Arc::clone(&self.clock),
            figures: Arc::clone(&self.scrub),
        };
        self.tasks.spawn(scrubber.run(self.stopping.clone()));
        let tidying = tidy::run(Arc::clone(&self.replica), self.stopping.clone());
        self.tasks.spawn(tidying);
    }

    /// This node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.options.id
    }

    /// The state: reads go there, after [`Node::barrier`].
    #[must_use]
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// The leader this node knows, itself included.
    #[must_use]
    pub fn leader(&self) -> Option<(NodeId, NodeAddress)> {
        known_leader(&self.raft.metrics().borrow())
    }

    /// Whether this node leads and has not stepped down, so that it would append a write. That it is the leader it
    /// knows of is not enough: it may be a learner or a candidate since.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.state == ServerState::Leader && metrics.current_leader == Some(self.options.id)
    }

    /// Serves a follower's sync stream; the server side of [`Transport::open_sync`].
    pub async fn serve_sync(&self, from: NodeId, pipe: SyncPipe) {
        if self.trust.is_quarantined() {
            // Dropping the pipe ends the stream; a leader that becomes this has withdrawn its offers.
            return;
        }
        let serving = crate::session::serve(
            &self.views,
            from,
            pipe,
            &self.options,
            &self.progress,
            &self.outgoing.limit,
        );
        tokio::select! {
            () = serving => {}
            () = self.stopping.cancelled() => {}
        }
    }

    /// Stops everything the node runs, the core last. What is under way is answered with an error.
    pub async fn shutdown(&self) {
        self.stopping.cancel();
        self.incoming.stop().await;
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "the consensus core did not end well");
        }
    }

    /// Resolves when the core has ended, with the reason; it does not come back before a restart.
    pub async fn failed(&self) -> String {
        let mut metrics = self.raft.metrics();
        let ended = metrics
            .wait_for(|metrics| metrics.running_state.is_err())
            .await;
        match ended {
            Ok(metrics) => stop_reason(&metrics).unwrap_or_default(),
            Err(_) => "the consensus core is gone".to_owned(),
        }
    }

    /// Waits until the leader or the membership changes, but not long; `false` when the deadline is over.
    async fn leader_pause(&self, until: Instant) -> bool {
        let mut changes = self.raft.server_metrics();
        tokio::select! {
            // An error means that the core has ended; the pause keeps its caller from spinning.
            Ok(()) = changes.changed() => {}
            () = tokio::time::sleep(LEADER_PAUSE) => {}
            () = tokio::time::sleep_until(until) => {}
        }
        Instant::now() < until
    }

    /// Whether a leader heard from a majority within its lease. Without that a write could only time out.
    fn has_quorum(&self) -> bool {
        let lease = self.options.election_max.as_millis();
        let heard = self.raft.metrics().borrow().millis_since_quorum_ack;
        heard.is_none_or(|millis| u128::from(millis) <= lease)
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    pub(crate) fn log(&self) -> &LogStore {
        &self.log
    }

    pub(crate) fn book(&self) -> &LogBook {
        &self.book
    }

    pub(crate) fn options(&self) -> &NodeOptions {
        &self.options
    }

    #[cfg(test)]
    pub(crate) fn trust(&self) -> &Trust {
        &self.trust
    }

    fn is_transferring(&self) -> bool {
        self.transferring.load(Ordering::Acquire)
    }

    /// Why the core has ended, if it has.
    fn stopped(&self) -> Option<String> {
        stop_reason(&self.raft.metrics().borrow())
    }
}

fn stop_reason(metrics: &RaftMetrics) -> Option<String> {
    metrics
        .running_state
        .as_ref()
        .err()
        .map(|error| crate::error::chain(error))
}

fn known_leader(metrics: &RaftMetrics) -> Option<(NodeId, NodeAddress)> {
    let id = metrics.current_leader?;
    let address = metrics.membership_config.membership().get_node(&id)?;
    Some((id, address.clone()))
}
