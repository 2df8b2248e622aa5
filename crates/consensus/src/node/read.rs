//! Reads: waiting until this node's state may answer one.

use std::time::Duration;

use openraft::LogIdOptionExt;
use openraft::error::{CheckIsLeaderError, RaftError};
use pando_model::{Consistency, NodeId};
use tokio::time::{Instant, timeout_at};

use crate::address::NodeAddress;
use crate::error::{ReadFailure, chain};
use crate::messages::ReadIndexReply;
use crate::node::Node;
use crate::transport::PeerRpc;
use crate::wire;

impl Node {
    /// Waits until a read of this node's replica has the consistency asked for; returns the log index it then sees.
    ///
    /// # Errors
    /// When the deadline is over first, or the node has stopped.
    pub async fn barrier(
        &self,
        consistency: Consistency,
        deadline: Duration,
    ) -> Result<u64, ReadFailure> {
        let until = Instant::now() + deadline;
        self.check_trusted()?;
        match consistency {
            Consistency::Local => Ok(self.replica.applied().index()),
            Consistency::AtLeast(index) => self.wait_applied(index, until).await,
            Consistency::Linearizable => {
                let index = self.read_index(until).await?;
                self.wait_applied(index, until).await
            }
        }
    }

    /// An index every write acknowledged before this call is at or below.
    async fn read_index(&self, until: Instant) -> Result<u64, ReadFailure> {
        loop {
            let index = match self.leader() {
                Some((id, _)) if id == self.options.id => self.own_read_index(until).await,
                Some((id, address)) => self.ask_read_index(id, &address, until).await,
                None => None,
            };
            if let Some(index) = index {
                return Ok(index);
            }
            if let Some(reason) = self.stopped() {
                return Err(ReadFailure::Stopped(reason));
            }
            if !self.leader_pause(until).await {
                return Err(ReadFailure::NoLeader);
            }
        }
    }

    /// Confirmed by a majority; none if this node does not lead, or cannot tell now.
    pub(super) async fn own_read_index(&self, until: Instant) -> Option<u64> {
        // Asking a majority would renew the lease that is running out.
        if self.is_transferring() {
            return None;
        }
        match timeout_at(until, self.raft.get_read_log_id()).await {
            Ok(Ok((index, _))) => Some(index.index().unwrap_or_default()),
            Ok(Err(RaftError::APIError(
                CheckIsLeaderError::ForwardToLeader(_) | CheckIsLeaderError::QuorumNotEnough(_),
            )))
            | Err(_) => None,
            Ok(Err(RaftError::Fatal(error))) => {
                tracing::debug!(error = %chain(&error), "no index to read at");
                None
            }
        }
    }

    async fn ask_read_index(
        &self,
        leader: NodeId,
        address: &NodeAddress,
        until: Instant,
    ) -> Option<u64> {
        let left = until
            .saturating_duration_since(Instant::now())
            .min(self.options.call_timeout);
        let body = wire::encode(&()).ok()?;
        let answer = self
            .transport
            .call(leader, address, PeerRpc::ReadIndex, body, left)
            .await;
        let reply = answer.as_deref().map(wire::decode::<ReadIndexReply>);
        match reply {
            Ok(Ok(Ok(index))) => Some(index),
            Ok(Ok(Err(error))) => {
                tracing::debug!(leader, %error, "the leader has no index to read at");
                None
            }
            Ok(Err(error)) => {
                tracing::warn!(leader, %error, "the leader's index to read at cannot be read");
                None
            }
            Err(error) => {
                tracing::debug!(leader, %error, "the leader gives no index to read at");
                None
            }
        }
    }

    /// Waits until the replica has applied this index.
    pub(super) async fn wait_applied(
        &self,
        wanted: u64,
        until: Instant,
    ) -> Result<u64, ReadFailure> {
        let mut metrics = self.raft.metrics();
        loop {
            let applied = self.replica.applied().index();
            if applied >= wanted {
                return Ok(applied);
            }
            let behind = ReadFailure::Behind { wanted, applied };
            match timeout_at(until, metrics.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    let reason = self.stopped().unwrap_or_default();
                    return Err(ReadFailure::Stopped(reason));
                }
                Err(_) => return Err(behind),
            }
            if let Some(reason) = self.stopped() {
                return Err(ReadFailure::Stopped(reason));
            }
        }
    }
}
