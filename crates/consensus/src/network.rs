//! openraft's network over a [`Transport`]: bodies are encoded here, answers decoded, failures sorted by whether
//! openraft should try again at once.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::error::{
    RPCError, RaftError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use pando_model::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::address::NodeAddress;
use crate::log_book::LogBook;
use crate::session::{Offered, Outgoing, RESERVED_MAX, Reserved, Views, send_offer};
use crate::transport::{PeerRpc, Transport, TransportError};
use crate::types::{Fatal, Snapshot, SnapshotHandle, TypeConfig, Vote};
use crate::wire::{self, WireError};

/// The longest pause after a failed offer: what a node that is back waits for its catch-up at most.
const OFFER_PAUSE_MAX: Duration = Duration::from_secs(1);

type RpcError = RPCError<NodeId, NodeAddress, RaftError<NodeId>>;

/// Makes links to other nodes.
pub(crate) struct Network {
    pub(crate) id: NodeId,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) views: Arc<Views>,
    pub(crate) outgoing: Arc<Outgoing>,
    pub(crate) book: Arc<LogBook>,
    /// Pause after a failed call, and between the heartbeats sent here: the interval of openraft's own.
    pub(crate) pause: Duration,
}

/// The link to one other node.
pub(crate) struct Link {
    id: NodeId,
    target: NodeId,
    address: NodeAddress,
    transport: Arc<dyn Transport>,
    views: Arc<Views>,
    outgoing: Arc<Outgoing>,
    book: Arc<LogBook>,
    /// The target's turn to be served a view, once it has come.
    turn: Reserved,
    pause: Duration,
    /// Pause after the next failed offer: doubles with each, up to a bound.
    offer_pause: Duration,
}

#[derive(Debug, Error)]
enum CallError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("a snapshot is sent from a frozen view, which this is not")]
    NotFrozen,
    #[error("its turn to be served has come; a view is frozen for it now")]
    Queued,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &NodeAddress) -> Link {
        Link {
            id: self.id,
            target,
            address: node.clone(),
            transport: Arc::clone(&self.transport),
            views: Arc::clone(&self.views),
            outgoing: Arc::clone(&self.outgoing),
            book: Arc::clone(&self.book),
            turn: Reserved::default(),
            pause: self.pause,
            offer_pause: self.pause,
        }
    }
}

impl Link {
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        rpc: PeerRpc,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, CallError> {
        let body = wire::encode(request)?;
        let answer = self
            .transport
            .call(self.target, &self.address, rpc, body, timeout)
            .await?;
        Ok(wire::decode(&answer)?)
    }

    /// Shows the target, at every heartbeat, that its leader lives. openraft does not while a snapshot is under way,
    /// and a voter that hears nothing for longer than its lease stands for election. Without entries, a position or a
    /// commit index the call renews the lease and changes nothing; the answers, a rejection too, are left to openraft's
    /// own calls.
    async fn keep_alive(&self, vote: Vote) -> Infallible {
        let beat = AppendEntriesRequest::<TypeConfig> {
            vote,
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        };
        let mut beats = interval_at(Instant::now() + self.pause, self.pause);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            let answer: Result<AppendEntriesResponse<NodeId>, _> =
                self.call(PeerRpc::Append, &beat, self.pause).await;
            if let Err(error) = answer {
                tracing::debug!(target_node = self.target, %error, "a heartbeat was not answered");
            }
        }
    }

    /// How long to wait after an offer that failed.
    fn next_offer_pause(&mut self) -> Duration {
        let pause = self.offer_pause;
        self.offer_pause = (pause * 2).min(OFFER_PAUSE_MAX);
        pause
    }

    fn rpc_error(&self, action: RPCTypes, error: &CallError) -> RpcError {
        match error {
            CallError::Transport(TransportError::Timeout { after }) => RPCError::Timeout(Timeout {
                action,
                id: self.id,
                target: self.target,
                timeout: *after,
            }),
            // Everything else waits a moment before it is tried again; openraft would repeat it at once otherwise.
            CallError::Transport(
                TransportError::Unreachable { .. }
                | TransportError::Broken { .. }
                | TransportError::Refused { .. },
            )
            | CallError::Wire(_)
            | CallError::NotFrozen
            | CallError::Queued => RPCError::Unreachable(Unreachable::new(error)),
        }
    }
}

impl RaftNetwork<TypeConfig> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, RpcError> {
        let answer = self.call(PeerRpc::Append, &rpc, option.hard_ttl()).await;
        answer.map_err(|error| self.rpc_error(RPCTypes::AppendEntries, &error))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, RpcError> {
        let answer = self.call(PeerRpc::Vote, &rpc, option.hard_ttl()).await;
        answer.map_err(|error| self.rpc_error(RPCTypes::Vote, &error))
    }

    /// No more than so many views are served at once. A target that has to wait is waited with here, without a view;
    /// then openraft is told that this did not work, so that it asks for a view frozen when its turn has come.
    ///
    /// Any other failure is one to wait after, here and longer each time, since openraft would have a fresh view frozen
    /// several times a second for a follower that is gone; it then chooses anew between the log and a view. The
    /// heartbeats go on all the while.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<NodeId>, StreamingError<TypeConfig, Fatal>> {
        let unreachable = |error: &(dyn std::error::Error + 'static)| {
            let text = TransportError::Unreachable {
                reason: crate::error::chain(error),
            };
            StreamingError::Unreachable(Unreachable::new(&text))
        };
        let Snapshot { meta, snapshot } = snapshot;
        let SnapshotHandle::Frozen(view) = *snapshot else {
            return Err(unreachable(&CallError::NotFrozen));
        };
        tokio::pin!(cancel);
        let Some(turn) = self.outgoing.now(&self.turn) else {
            drop(view);
            tracing::info!(
                target_node = self.target,
                "waiting for its turn to be served a view"
            );
            tokio::select! {
                () = self.outgoing.wait(&self.turn, RESERVED_MAX) => return Err(unreachable(&CallError::Queued)),
                never = self.keep_alive(vote) => match never {},
                closed = &mut cancel => return Err(StreamingError::Closed(closed)),
            }
        };
        let offered = Offered {
            vote,
            meta,
            view,
            why: self.book.why(),
            turn,
        };
        let target = (self.target, &self.address);
        let offer = send_offer(&self.views, self.transport.as_ref(), target, offered);
        let sent = tokio::select! {
            sent = offer => sent,
            never = self.keep_alive(vote) => match never {},
            closed = &mut cancel => return Err(StreamingError::Closed(closed)),
        };
        let error = match sent {
            Ok(vote) => {
                self.offer_pause = self.pause;
                return Ok(SnapshotResponse::new(vote));
            }
            Err(error) => error,
        };
        let pause = self.next_offer_pause();
        tokio::select! {
            () = sleep(pause) => Err(unreachable(&error)),
            never = self.keep_alive(vote) => match never {},
            closed = &mut cancel => Err(StreamingError::Closed(closed)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.pause))
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use pando_replica::{Replica, ReplicaOptions};
    use pando_storage::MemoryStore;

    use pando_model::GroupId;

    use super::*;
    use crate::log_store::LogStore;
    use crate::testing::Net;
    use crate::types::SnapshotMeta;

    const BEAT: Duration = Duration::from_millis(1);

    fn link(net: &Net) -> Link {
        let log = LogStore::open(Arc::new(MemoryStore::new()), GroupId::CATALOGUE, 1).unwrap();
        Link {
            id: 1,
            target: 2,
            address: NodeAddress {
                node: "node-2:7701".to_owned(),
                api: "node-2:7700".to_owned(),
            },
            transport: net.transport(1),
            views: Views::new(0),
            outgoing: Outgoing::new(1, 0),
            book: Arc::new(LogBook::new(log)),
            turn: Reserved::default(),
            pause: BEAT,
            offer_pause: BEAT,
        }
    }

    fn snapshot() -> Snapshot {
        let store = Arc::new(MemoryStore::new());
        let replica = Replica::open(store, ReplicaOptions::default(), None).unwrap();
        Snapshot {
            meta: SnapshotMeta::default(),
            snapshot: Box::new(SnapshotHandle::Frozen(replica.freeze().unwrap())),
        }
    }

    #[tokio::test]
    async fn offers_to_a_node_that_is_gone_come_less_and_less_often() {
        let net = Net::new();
        let mut link = link(&net);
        let option = RPCOption::new(BEAT);
        for failed in 1..=4 {
            let sent = link
                .full_snapshot(
                    Vote::new_committed(1, 1),
                    snapshot(),
                    pending(),
                    option.clone(),
                )
                .await;
            assert!(matches!(sent, Err(StreamingError::Unreachable(_))));
            assert_eq!(link.offer_pause, BEAT * 2_u32.pow(failed));
            assert_eq!(link.views.len(), 0, "no view is kept open for it");
        }
        for _ in 0..20 {
            link.next_offer_pause();
        }
        assert_eq!(link.next_offer_pause(), OFFER_PAUSE_MAX);
    }

    #[tokio::test]
    async fn a_pause_ends_when_the_replication_does() {
        let net = Net::new();
        let mut link = link(&net);
        // Far beyond the patience of a test runner.
        link.offer_pause = Duration::from_secs(24 * 3600);
        let beating = net.clone();
        let closed = async move {
            while beating.calls(1, 2, PeerRpc::Append) == 0 {
                sleep(BEAT).await;
            }
            ReplicationClosed::new("the test is over")
        };
        let option = RPCOption::new(BEAT);
        let sent = link
            .full_snapshot(Vote::new_committed(1, 1), snapshot(), closed, option)
            .await;
        assert!(matches!(sent, Err(StreamingError::Closed(_))));
    }
}
