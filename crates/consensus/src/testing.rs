//! A network of channels for tests, with faults: one-way cuts, delays, lost answers, sync streams that break or wait
//! after so many frames.
//!
//! Development only. A cut link swallows: a call over it times out, as on a real network; only an offer, which has no
//! deadline, is ended by its keepalive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pando_model::NodeId;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::address::NodeAddress;
use crate::node::Node;
use crate::transport::{PeerRpc, SyncPipe, Transport, TransportError};

/// Frames a stream's queues hold, in each direction.
const FRAMES_MAX: usize = 4;
/// How long a cut link goes unnoticed by a call without a deadline.
const KEEPALIVE: Duration = Duration::from_millis(200);

/// One network. Clones share it.
#[derive(Clone, Default)]
pub struct Net {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<NodeId, Weak<Node>>,
    cut: BTreeSet<(NodeId, NodeId)>,
    delays: BTreeMap<(NodeId, NodeId), Duration>,
    lost_answers: BTreeMap<(NodeId, NodeId, &'static str), usize>,
    stream_faults: BTreeMap<NodeId, VecDeque<StreamFault>>,
    calls: BTreeMap<(NodeId, NodeId, &'static str), u64>,
    streams: u64,
}

/// What happens to a follower's next sync stream.
enum StreamFault {
    /// It breaks after so many frames from the leader.
    Break { after: usize },
    /// It waits after so many frames from the leader.
    Wait { after: usize, gate: Arc<GateState> },
}

struct GateState {
    reached: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

/// Holds a sync stream where it is.
pub struct Gate(Arc<GateState>);

impl Gate {
    /// Waits until the stream is held.
    pub async fn reached(&self) {
        let mut reached = self.0.reached.subscribe();
        let held = reached.wait_for(|reached| *reached).await;
        drop(held.expect("the gate itself holds the sender"));
    }

    /// Lets the stream go on.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }
}

impl Net {
    /// A network without nodes and faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects a node, in the place of an earlier one of its id.
    pub fn attach(&self, node: &Arc<Node>) {
        self.shared
            .state
            .lock()
            .nodes
            .insert(node.id(), Arc::downgrade(node));
    }

    /// Disconnects a node: connections to it are refused.
    pub fn detach(&self, id: NodeId) {
        self.shared.state.lock().nodes.remove(&id);
    }

    /// The network as one node sees it.
    #[must_use]
    pub fn transport(&self, id: NodeId) -> Arc<dyn Transport> {
        Arc::new(ChannelTransport {
            from: id,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Cuts one direction.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.change(|state| {
            state.cut.insert((from, to));
        });
    }

    /// Cuts a node off from the others, both ways.
    pub fn isolate(&self, id: NodeId, others: impl IntoIterator<Item = NodeId>) {
        for other in others.into_iter().filter(|other| *other != id) {
            self.cut(id, other);
            self.cut(other, id);
        }
    }

    /// Mends all links and forgets delays and losses.
    pub fn heal(&self) {
        self.change(|state| {
            state.cut.clear();
            state.delays.clear();
            state.lost_answers.clear();
        });
    }

    /// Delays everything in one direction.
    pub fn delay(&self, from: NodeId, to: NodeId, delay: Duration) {
        self.change(|state| {
            state.delays.insert((from, to), delay);
        });
    }

    /// Breaks the connection before the answers to the next calls of a kind: they are carried out, but their callers
    /// never hear of it.
    pub fn lose_answers(&self, from: NodeId, to: NodeId, rpc: PeerRpc, calls: usize) {
        self.change(|state| {
            state.lost_answers.insert((from, to, rpc.name()), calls);
        });
    }

    /// Breaks the next sync streams a follower opens, each after so many frames from the leader.
    pub fn break_syncs(&self, follower: NodeId, after_frames: impl IntoIterator<Item = usize>) {
        let faults = after_frames
            .into_iter()
            .map(|after| StreamFault::Break { after });
        let mut state = self.shared.state.lock();
        state
            .stream_faults
            .entry(follower)
            .or_default()
            .extend(faults);
    }

    /// Holds the next sync stream a follower opens after so many frames from the leader.
    #[must_use]
    pub fn hold_sync(&self, follower: NodeId, after: usize) -> Gate {
        let gate = Arc::new(GateState {
            reached: watch::Sender::new(false),
            open: watch::Sender::new(false),
        });
        let fault = StreamFault::Wait {
            after,
            gate: Arc::clone(&gate),
        };
        let mut state = self.shared.state.lock();
        state
            .stream_faults
            .entry(follower)
            .or_default()
            .push_back(fault);
        Gate(gate)
    }

    /// Calls of one kind sent from one node to another so far.
    #[must_use]
    pub fn calls(&self, from: NodeId, to: NodeId, rpc: PeerRpc) -> u64 {
        self.shared
            .state
            .lock()
            .calls
            .get(&(from, to, rpc.name()))
            .copied()
            .unwrap_or_default()
    }

    /// Sync streams opened so far.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.shared.state.lock().streams
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock());
        self.shared.changed.send_modify(|version| *version += 1);
    }
}

impl Shared {
    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.state.lock().cut.contains(&(from, to))
    }

    fn node(&self, id: NodeId) -> Result<Arc<Node>, TransportError> {
        let node = self.state.lock().nodes.get(&id).and_then(Weak::upgrade);
        let refused = || TransportError::Unreachable {
            reason: format!("nobody listens at node {id}"),
        };
        node.ok_or_else(refused)
    }

    /// Resolves when the link is cut in either direction.
    async fn broken(&self, a: NodeId, b: NodeId) {
        let mut changed = self.changed.subscribe();
        while !self.is_cut(a, b) && !self.is_cut(b, a) {
            if changed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn pass(&self, from: NodeId, to: NodeId) {
        let delay = self.state.lock().delays.get(&(from, to)).copied();
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        if self.is_cut(from, to) {
            std::future::pending::<()>().await;
        }
    }

    fn loses_answer(&self, from: NodeId, to: NodeId, rpc: PeerRpc) -> bool {
        let mut state = self.state.lock();
        match state.lost_answers.get_mut(&(from, to, rpc.name())) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            Some(_) | None => false,
        }
    }
}

struct ChannelTransport {
    from: NodeId,
    shared: Arc<Shared>,
}

impl ChannelTransport {
    async fn exchange(
        &self,
        to: NodeId,
        rpc: PeerRpc,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, TransportError> {
        self.shared.pass(self.from, to).await;
        let node = self.shared.node(to)?;
        let answer = node.handle(self.from, rpc, body).await;
        self.shared.pass(to, self.from).await;
        if self.shared.loses_answer(self.from, to, rpc) {
            return Err(TransportError::Broken {
                reason: "the answer was lost".to_owned(),
            });
        }
        answer.map_err(|error| TransportError::Refused {
            code: error.code,
            reason: error.reason,
        })
    }
}

#[async_trait]
impl Transport for ChannelTransport {
    async fn call(
        &self,
        to: NodeId,
        _address: &NodeAddress,
        rpc: PeerRpc,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        *self
            .shared
            .state
            .lock()
            .calls
            .entry((self.from, to, rpc.name()))
            .or_default() += 1;
        let exchange = self.exchange(to, rpc, body);
        let keepalive = async {
            if rpc != PeerRpc::SnapshotOffer {
                std::future::pending::<()>().await;
            }
            self.shared.broken(self.from, to).await;
            tokio::time::sleep(KEEPALIVE).await;
        };
        tokio::select! {
            answer = exchange => answer,
            () = tokio::time::sleep(timeout) => Err(TransportError::Timeout { after: timeout }),
            () = keepalive => Err(TransportError::Broken { reason: "keepalive".to_owned() }),
        }
    }

    async fn open_sync(
        &self,
        to: NodeId,
        _address: &NodeAddress,
    ) -> Result<SyncPipe, TransportError> {
        let cut = self.shared.is_cut(self.from, to) || self.shared.is_cut(to, self.from);
        let node = self.shared.node(to)?;
        if cut {
            return Err(TransportError::Unreachable {
                reason: "the link is cut".to_owned(),
            });
        }
        let fault = {
            let mut state = self.shared.state.lock();
            state.streams += 1;
            state
                .stream_faults
                .get_mut(&self.from)
                .and_then(VecDeque::pop_front)
        };
        let (up_tx, mut up_rx) = mpsc::channel::<Bytes>(FRAMES_MAX);
        let (serve_tx, serve_rx) = mpsc::channel(FRAMES_MAX);
        let (served_tx, mut served_rx) = mpsc::channel::<Bytes>(FRAMES_MAX);
        let (down_tx, down_rx) = mpsc::channel(FRAMES_MAX);
        let from = self.from;
        tokio::spawn(async move {
            node.serve_sync(
                from,
                SyncPipe {
                    tx: served_tx,
                    rx: serve_rx,
                },
            )
            .await;
        });
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let up = async {
                while let Some(frame) = up_rx.recv().await {
                    if serve_tx.send(Ok(frame)).await.is_err() {
                        break;
                    }
                }
                // The other direction decides when the stream ends.
                drop(serve_tx);
                std::future::pending::<bool>().await
            };
            let broken = tokio::select! {
                broken = up => broken,
                broken = pump_down(&mut served_rx, &down_tx, fault) => broken,
                () = shared.broken(from, to) => true,
                () = down_tx.closed() => false,
            };
            if broken {
                let error = TransportError::Broken {
                    reason: "the stream broke".to_owned(),
                };
                // The follower may be gone as well.
                drop(down_tx.send(Err(error)).await);
            }
        });
        Ok(SyncPipe {
            tx: up_tx,
            rx: down_rx,
        })
    }
}

/// Carries frames to the follower until one side ends; `true` if a fault ended it.
async fn pump_down(
    served: &mut mpsc::Receiver<Bytes>,
    down: &mpsc::Sender<Result<Bytes, TransportError>>,
    fault: Option<StreamFault>,
) -> bool {
    let mut frames = 0;
    loop {
        match &fault {
            Some(StreamFault::Break { after }) if frames == *after => return true,
            Some(StreamFault::Wait { after, gate }) if frames == *after => {
                gate.reached.send_replace(true);
                let mut open = gate.open.subscribe();
                if open.wait_for(|open| *open).await.is_err() {
                    return true;
                }
            }
            Some(_) | None => {}
        }
        let Some(frame) = served.recv().await else {
            return false;
        };
        frames += 1;
        if down.send(Ok(frame)).await.is_err() {
            return false;
        }
    }
}
