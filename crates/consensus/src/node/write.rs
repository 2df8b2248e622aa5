//! Writes: checked, brought into stored form and stamped at the leader, then proposed; forwarded from any other node.
//!
//! One deadline covers everything. A write that certainly was not done is tried again as long as there is time; one
//! that may have been done is tried again only if it has a request id, which makes the repetition harmless.

use std::sync::Arc;
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use pando_model::limits::WRITE_BYTES_MAX;
use pando_model::{
    Command, Definition, InvalidInput, NodeId, Proposal, RequestId, Stamp, TreeId, WriteError,
};
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::address::NodeAddress;
use crate::error::{WriteFailure, chain};
use crate::messages::{LeaderRequest, Receipt, WriteReply};
use crate::node::Node;
use crate::transport::{PeerRpc, TransportError};
use crate::types::Outcome;
use crate::wire;

/// Largest encoded proposal, in bytes: the limit on a write's content, and room for ids, names and filters.
const PROPOSAL_BYTES_MAX: usize = WRITE_BYTES_MAX + (512 << 10);

/// What one attempt at a write came to.
pub(super) enum Attempt {
    Done(WriteReply),
    /// Nothing was done; another attempt may succeed.
    NotDone,
    /// It may have been done.
    Unknown,
}

impl Node {
    /// Writes through the leader, wherever it is, and waits until the write is applied there. Collections are named
    /// by tree: resolve their names before.
    ///
    /// # Errors
    /// See [`WriteFailure`], in particular which of them leave the outcome unknown.
    pub async fn write(
        &self,
        command: Command,
        request: Option<RequestId>,
        deadline: Duration,
    ) -> Result<Receipt, WriteFailure> {
        command.validate()?;
        let _permit = self.write_permit()?;
        let until = Instant::now() + deadline;
        let mut maybe_done = false;
        loop {
            let attempt = match self.leader() {
                Some((id, _)) if id == self.options.id => {
                    self.propose(command.clone(), request, until).await
                }
                Some((id, address)) => {
                    self.forward_write(id, &address, &command, request, until)
                        .await
                }
                None => self.stopped().map_or(Attempt::NotDone, |reason| {
                    Attempt::Done(Err(WriteFailure::Stopped(reason)))
                }),
            };
            match attempt {
                Attempt::Done(done) => {
                    if let Some(answer) = answer(done, maybe_done) {
                        return answer;
                    }
                }
                Attempt::NotDone => {}
                Attempt::Unknown if request.is_some() => maybe_done = true,
                Attempt::Unknown => return Err(WriteFailure::Timeout),
            }
            if !self.leader_pause(until).await {
                let failure = if maybe_done {
                    WriteFailure::Timeout
                } else {
                    WriteFailure::NoLeader
                };
                return Err(failure);
            }
        }
    }

    pub(super) fn write_permit(&self) -> Result<SemaphorePermit<'_>, WriteFailure> {
        let limit = self.options.writes_in_flight_max;
        self.writes
            .try_acquire()
            .map_err(|_| WriteFailure::Overloaded { limit })
    }

    /// One attempt as leader.
    pub(super) async fn propose(
        &self,
        command: Command,
        request: Option<RequestId>,
        until: Instant,
    ) -> Attempt {
        if self.is_transferring() || !self.is_leader() || !self.has_quorum() {
            return Attempt::NotDone;
        }
        let proposal = match self.prepare(command, request, until).await {
            Ok(proposal) => proposal,
            Err(failure) => return Attempt::Done(Err(failure)),
        };
        let Ok(written) = timeout_at(until, self.raft.client_write(proposal)).await else {
            return Attempt::Unknown;
        };
        match written {
            Ok(written) => {
                let Outcome { index, result } = written.data;
                let receipt = result.map(|effect| Receipt { index, effect });
                Attempt::Done(receipt.map_err(|error| match error {
                    WriteError::Invalid(input) => WriteFailure::Invalid(input),
                    other => WriteFailure::Rejected(other),
                }))
            }
            Err(RaftError::APIError(error)) => unconfirmed(&error),
            Err(RaftError::Fatal(error)) => match self.stopped() {
                Some(reason) => Attempt::Done(Err(WriteFailure::Stopped(reason))),
                None => {
                    tracing::debug!(%error, "a write's answer was lost");
                    Attempt::Unknown
                }
            },
        }
    }

    async fn forward_write(
        &self,
        leader: NodeId,
        address: &NodeAddress,
        command: &Command,
        request: Option<RequestId>,
        until: Instant,
    ) -> Attempt {
        let left = until.saturating_duration_since(Instant::now());
        // The leader stops waiting a little earlier, so that its answer is still heard.
        let message = LeaderRequest::Write {
            command: command.clone(),
            request,
            within: left * 9 / 10,
        };
        let body = match wire::encode(&message) {
            Ok(body) => body,
            Err(error) => return Attempt::Done(Err(WriteFailure::Stopped(chain(&error)))),
        };
        let answer = self
            .transport
            .call(leader, address, PeerRpc::Propose, body, left)
            .await;
        match answer.as_deref().map(wire::decode::<WriteReply>) {
            Ok(Ok(Err(WriteFailure::NoLeader | WriteFailure::NotLeader { .. }))) => {
                Attempt::NotDone
            }
            Ok(Ok(Err(WriteFailure::Timeout))) => Attempt::Unknown,
            Ok(Ok(reply)) => Attempt::Done(reply),
            Ok(Err(error)) => {
                tracing::warn!(leader, %error, "the leader's answer to a write cannot be read");
                Attempt::Unknown
            }
            Err(TransportError::Unreachable { .. } | TransportError::Refused { .. }) => {
                Attempt::NotDone
            }
            Err(TransportError::Broken { .. } | TransportError::Timeout { .. }) => Attempt::Unknown,
        }
    }

    /// Checks a command against the catalogue, brings it into the form that is stored, and stamps it.
    async fn prepare(
        &self,
        mut command: Command,
        request: Option<RequestId>,
        until: Instant,
    ) -> Result<Proposal, WriteFailure> {
        let definition = match command_tree(&command) {
            Some(tree) => Some(self.definition(tree, until).await?),
            None => None,
        };
        let (group, stamp) = (self.options.group, Stamp::at(self.clock.now_ms()));
        let prepared = tokio::task::spawn_blocking(move || {
            if let (Some(definition), Command::Upsert { points, .. }) = (definition, &mut command) {
                points
                    .iter_mut()
                    .try_for_each(|point| definition.schema.normalise_point(point))?;
            }
            let proposal = Proposal {
                group,
                stamp,
                request,
                command,
            };
            let bytes = wire::encode(&proposal)
                .map_err(|error| WriteFailure::Stopped(chain(&error)))?
                .len();
            if bytes > PROPOSAL_BYTES_MAX {
                let max = PROPOSAL_BYTES_MAX;
                return Err(InvalidInput::WriteTooLarge { bytes, max }.into());
            }
            Ok(proposal)
        });
        let lost = |_| WriteFailure::Stopped("the thread that checks writes was lost".to_owned());
        prepared.await.map_err(lost)?
    }

    /// The definition of a tree. One this leader does not know may be in entries it has yet to apply.
    async fn definition(
        &self,
        tree: TreeId,
        until: Instant,
    ) -> Result<Arc<Definition>, WriteFailure> {
        if let Some(known) = self.known_definition(tree)? {
            return Ok(known);
        }
        let seen = self
            .raft
            .metrics()
            .borrow()
            .last_log_index
            .unwrap_or_default();
        self.wait_applied(seen, until)
            .await
            .map_err(|_| WriteFailure::NoLeader)?;
        self.known_definition(tree)?.ok_or_else(|| {
            WriteError::CollectionNotFound {
                name: format!("with tree {tree}"),
            }
            .into()
        })
    }

    fn known_definition(&self, tree: TreeId) -> Result<Option<Arc<Definition>>, WriteFailure> {
        if let Some(known) = self.definitions.lock().get(&tree) {
            return Ok(Some(Arc::clone(known)));
        }
        let collections = self
            .replica
            .collections()
            .map_err(|error| WriteFailure::Stopped(chain(&error)))?;
        let mut definitions = self.definitions.lock();
        *definitions = collections
            .into_iter()
            .map(|info| (info.definition.tree, Arc::new(info.definition)))
            .collect();
        Ok(definitions.get(&tree).map(Arc::clone))
    }
}

/// What a write that the core took and did not confirm came to. "Forward to the leader" says that this node has lost
/// the lead, not that the write was not appended: another node that has the entry may become leader and commit it.
fn unconfirmed(error: &ClientWriteError<NodeId, NodeAddress>) -> Attempt {
    match error {
        ClientWriteError::ForwardToLeader(_) => Attempt::Unknown,
        ClientWriteError::ChangeMembershipError(error) => {
            Attempt::Done(Err(WriteFailure::Stopped(chain(error))))
        }
    }
}

/// What an attempt's reply says of the whole write; none if there is to be another attempt.
///
/// Once an earlier attempt may have been done, a reply is final only if it came through the log, where the request id
/// gives every attempt the same result. Any other one tells of its own attempt alone.
fn answer(reply: WriteReply, maybe_done: bool) -> Option<WriteReply> {
    if !maybe_done {
        return Some(reply);
    }
    match reply {
        Err(
            WriteFailure::Overloaded { .. }
            | WriteFailure::NoLeader
            | WriteFailure::NotLeader { .. },
        ) => None,
        // These are also found before anything is proposed, and which it was cannot be told from them.
        Err(
            WriteFailure::Invalid(_)
            | WriteFailure::Rejected(WriteError::CollectionNotFound { .. })
            | WriteFailure::Stopped(_)
            | WriteFailure::Timeout,
        ) => Some(Err(WriteFailure::Timeout)),
        Ok(_) | Err(WriteFailure::Rejected(_)) => Some(reply),
    }
}

/// The tree whose definition decides whether the command is acceptable.
fn command_tree(command: &Command) -> Option<TreeId> {
    match command {
        Command::Upsert { tree, .. } => Some(*tree),
        // These are checked when they are applied; there is nothing to bring into stored form.
        Command::Delete { .. }
        | Command::SetPayload { .. }
        | Command::ClearPayload { .. }
        | Command::CreateCollection { .. }
        | Command::DropCollection { .. }
        | Command::SetAlias { .. }
        | Command::DropAlias { .. }
        | Command::RegisterNode { .. }
        | Command::Quantize { .. }
        | Command::ConsistencyCheck => None,
    }
}

#[cfg(test)]
mod tests {
    use openraft::error::ForwardToLeader;
    use pando_model::Effect;

    use super::*;

    #[test]
    fn a_write_that_lost_its_leader_may_have_been_done() {
        let lost = ClientWriteError::ForwardToLeader(ForwardToLeader::empty());
        assert!(matches!(unconfirmed(&lost), Attempt::Unknown));
    }

    fn not_found() -> WriteFailure {
        let name = "words".to_owned();
        WriteError::CollectionNotFound { name }.into()
    }

    fn too_large() -> WriteFailure {
        InvalidInput::WriteTooLarge { bytes: 2, max: 1 }.into()
    }

    #[test]
    fn what_refuses_one_attempt_does_not_settle_an_earlier_one() {
        let again = [
            WriteFailure::Overloaded { limit: 1 },
            WriteFailure::NoLeader,
            WriteFailure::NotLeader { leader: None },
        ];
        for failure in again {
            assert_eq!(answer(Err(failure), true), None);
        }
        let stopped = WriteFailure::Stopped("the disk is full".to_owned());
        for failure in [not_found(), too_large(), stopped] {
            let unknown = Some(Err(WriteFailure::Timeout));
            assert_eq!(answer(Err(failure.clone()), true), unknown, "{failure}");
            assert_eq!(
                answer(Err(failure.clone()), false),
                Some(Err(failure)),
                "the only attempt speaks for the write"
            );
        }
    }

    #[test]
    fn what_came_through_the_log_is_final() {
        let receipt = Receipt {
            index: 7,
            effect: Effect::Done,
        };
        let used = WriteFailure::Rejected(WriteError::NodeIdUsed { id: 3 });
        for reply in [Ok(receipt), Err(used)] {
            assert_eq!(answer(reply.clone(), true), Some(reply));
        }
    }
}
