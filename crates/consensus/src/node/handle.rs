//! The server side of the calls between nodes.

use std::sync::Arc;
use std::time::Duration;

use openraft::LogIdOptionExt;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use pando_model::{Command, NodeId, RequestId};
use tokio::time::Instant;

use crate::error::{AdminFailure, PeerError, ReadFailure, WriteFailure};
use crate::messages::{
    ChangeReply, LeaderRequest, ReadIndexReply, ReportReply, ReportRequest, VerifyReply, WriteReply,
};
use crate::node::Node;
use crate::node::write::Attempt;
use crate::session::{Appended, Away, Offer};
use crate::transport::{PeerRpc, RefusalCode};
use crate::types::TypeConfig;
use crate::wire;

/// No caller may keep this node waiting longer than this.
const WITHIN_MAX: Duration = Duration::from_secs(600);

fn deadline(within: Duration) -> Instant {
    Instant::now() + within.min(WITHIN_MAX)
}

impl Node {
    /// Answers a call of another node. The server has checked that it belongs to this cluster.
    ///
    /// # Errors
    /// When the body does not decode, or this node cannot answer.
    pub async fn handle(
        self: &Arc<Self>,
        from: NodeId,
        rpc: PeerRpc,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, PeerError> {
        if self.stopping.is_cancelled() {
            return Err(PeerError::new(
                RefusalCode::Stopped,
                "this node is shutting down",
            ));
        }
        self.check_answers(rpc)?;
        match rpc {
            PeerRpc::Append => self.handle_append(&body).await,
            PeerRpc::Vote => {
                let request: VoteRequest<NodeId> = wire::decode(&body)?;
                let answer = self.raft.vote(request).await;
                let failed = |error| PeerError::caused(RefusalCode::Failed, &error);
                Ok(wire::encode(&answer.map_err(failed)?)?)
            }
            PeerRpc::SnapshotOffer => {
                let offer: Offer = wire::decode(&body)?;
                Ok(wire::encode(
                    &self.incoming.take(&self.raft, from, offer).await?,
                )?)
            }
            PeerRpc::Propose => self.handle_propose(&body).await,
            PeerRpc::ReadIndex => {
                let () = wire::decode(&body)?;
                let index = self
                    .own_read_index(deadline(self.options.call_timeout))
                    .await;
                let reply: ReadIndexReply = index.ok_or(ReadFailure::NoLeader);
                Ok(wire::encode(&reply)?)
            }
            PeerRpc::Elect => {
                let () = wire::decode(&body)?;
                tracing::info!(leader = from, "standing for election, as the leader asks");
                let asked = self.raft.trigger().elect().await;
                asked.map_err(|error| PeerError::caused(RefusalCode::Failed, &error))?;
                Ok(wire::encode(&())?)
            }
            PeerRpc::Report => {
                let ReportRequest { index, within } = wire::decode(&body)?;
                let reply: ReportReply = match index {
                    Some(index) => self.report(index, deadline(within)).await.map(Some),
                    None => Ok(None),
                };
                Ok(wire::encode(&reply)?)
            }
            PeerRpc::View => Ok(wire::encode(&self.give_view(from).await?)?),
            PeerRpc::Rows => {
                let request = wire::decode(&body)?;
                let reply = crate::scrub::answer_rows(&self.replica, request).await?;
                Ok(wire::encode(&reply)?)
            }
            PeerRpc::Trust => self.handle_trust(from, &body).await,
        }
    }

    async fn handle_propose(&self, body: &[u8]) -> Result<Vec<u8>, PeerError> {
        match wire::decode(body)? {
            LeaderRequest::Write {
                command,
                request,
                within,
            } => {
                let reply = self.write_here(command, request, deadline(within)).await;
                Ok(wire::encode(&reply)?)
            }
            LeaderRequest::Change { change, within } => {
                let changed = self.change_here(&change, deadline(within)).await;
                let not_leader = || {
                    Err(AdminFailure::NotLeader {
                        leader: self.leader(),
                    })
                };
                let reply: ChangeReply = changed.unwrap_or_else(not_leader);
                Ok(wire::encode(&reply)?)
            }
            LeaderRequest::Verify { within } => {
                let verified = self.verify_here(deadline(within)).await;
                let not_leader = || {
                    Err(WriteFailure::NotLeader {
                        leader: self.leader(),
                    })
                };
                let reply: VerifyReply = verified.unwrap_or_else(not_leader);
                Ok(wire::encode(&reply)?)
            }
        }
    }

    /// One attempt at a write another node forwarded.
    async fn write_here(
        &self,
        command: Command,
        request: Option<RequestId>,
        until: Instant,
    ) -> WriteReply {
        command.validate()?;
        let _permit = self.write_permit()?;
        match self.propose(command, request, until).await {
            Attempt::Done(reply) => reply,
            Attempt::NotDone => Err(WriteFailure::NotLeader {
                leader: self.leader(),
            }),
            Attempt::Unknown => Err(WriteFailure::Timeout),
        }
    }

    async fn handle_append(&self, body: &[u8]) -> Result<Vec<u8>, PeerError> {
        let mut request: AppendEntriesRequest<TypeConfig> = wire::decode(body)?;
        self.withhold(&mut request);
        // Entries that were committed before they came are ones this node had missed.
        let committed = request.leader_commit.index();
        let had = self.raft.metrics().borrow().last_log_index;
        let indexes = request.entries.iter().map(|entry| Some(entry.log_id.index));
        let missed = indexes.filter(|index| *index <= committed && *index > had);
        let missed = missed.count() as u64;
        let last = request.entries.last().map(|entry| entry.log_id.index);
        let at = Instant::now();
        let answer = self.raft.append_entries(request).await;
        let answer = answer.map_err(|error| PeerError::caused(RefusalCode::Failed, &error))?;
        let reply = wire::encode(&answer)?;
        if answer.is_success() {
            let call = Appended {
                at,
                had,
                have: had.max(last),
                committed,
                missed,
                received: body.len() as u64,
                sent: reply.len() as u64,
            };
            let away = Away {
                silence: self.options.election_max,
                entries: self.options.caught_up_entries,
            };
            self.progress
                .appended(away, &call, self.replica.applied().index());
        }
        Ok(reply)
    }
}
