//! The replica as openraft's state machine.
//!
//! A snapshot here is a root. Building one makes the state durable (openraft may purge the log up to it from then
//! on) and describes it: no bytes, no view. Reading one freezes a view of what is applied now, which may be newer
//! than the one built; openraft accepts that since 0.9.23. Installing takes what a session has verified and durably
//! staged: nothing is compared or fetched here, since it would hold up every other command of the node and an error
//! would end the node. All blocking work is done off the async workers.

use std::sync::Arc;

use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder};
use pando_model::{RequestId, WriteResult};
use pando_replica::{Applied, ApplyEntry, ApplyPayload, Installed, Replica, ReplicaError};
use thiserror::Error;

use crate::members::Members;
use crate::session::Progress;
use crate::types::{
    Entry, LogId, Outcome, RaftStorageError, RaftStorageIoError, SnapshotHandle, SnapshotMeta,
    StoredMembership, TypeConfig, log_id, position,
};
use crate::wire::WireError;

/// An error of the state machine. Ends this node's part in the cluster until it is restarted.
#[derive(Debug, Error)]
pub(crate) enum MachineError {
    /// The replica failed.
    #[error("the replica failed")]
    Replica(#[from] ReplicaError),
    /// The stored membership cannot be read.
    #[error("the stored membership cannot be read")]
    Members(#[from] WireError),
    /// The replica's task was lost.
    #[error("the replica's task ended without an answer: it panicked or the node is shutting down")]
    Lost,
    /// openraft handed over something that is not installed this way.
    #[error("only what a sync session has staged can be installed, not a {found} snapshot")]
    NotStaged {
        /// What it was.
        found: &'static str,
    },
}

/// The replica behind openraft's trait.
pub(crate) struct StateMachine {
    replica: Arc<Replica>,
    members: Members,
    progress: Arc<Progress>,
    /// Whether openraft has asked for the snapshot it starts from.
    started: bool,
}

impl StateMachine {
    /// The state machine of this replica.
    pub(crate) fn new(replica: Arc<Replica>, progress: Arc<Progress>) -> Result<Self, WireError> {
        let members = Members::decode(&replica.applied().membership)?;
        Ok(Self {
            replica,
            members,
            progress,
            started: false,
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Replica) -> Result<T, MachineError> + Send + 'static,
    ) -> Result<T, MachineError> {
        blocking(Arc::clone(&self.replica), work).await
    }
}

async fn blocking<T: Send + 'static>(
    replica: Arc<Replica>,
    work: impl FnOnce(&Replica) -> Result<T, MachineError> + Send + 'static,
) -> Result<T, MachineError> {
    let done = tokio::task::spawn_blocking(move || work(&replica)).await;
    done.unwrap_or(Err(MachineError::Lost))
}

/// Applies entries. A retry is answered like the write it repeats, with the same log index: who orders writes by
/// their index must not see one later than it was.
fn outcomes(replica: &Replica, work: Vec<ApplyEntry>) -> Result<Vec<Outcome>, MachineError> {
    let entry = |entry: &ApplyEntry| {
        let request = match &entry.payload {
            ApplyPayload::Command(proposal) => proposal.request,
            ApplyPayload::Blank | ApplyPayload::Membership(_) => None,
        };
        (entry.position.index, request)
    };
    let entries: Vec<_> = work.iter().map(entry).collect();
    let results = replica.apply(work)?;
    let outcome = |((index, request), result): ((u64, Option<RequestId>), WriteResult)| {
        let first = request.and_then(|id| replica.request_index(&id));
        Outcome {
            index: first.unwrap_or(index),
            result,
        }
    };
    Ok(entries.into_iter().zip(results).map(outcome).collect())
}

/// What openraft is told about the state at `applied`; none before the first entry.
pub(crate) fn describe(applied: &Applied) -> Result<Option<SnapshotMeta>, WireError> {
    let Some(last) = applied.position else {
        return Ok(None);
    };
    let members = Members::decode(&applied.membership)?;
    Ok(Some(SnapshotMeta {
        last_log_id: Some(log_id(last)),
        last_membership: members.stored,
        snapshot_id: last.to_string(),
    }))
}

/// Describes the state after making it durable: whoever hears of it may drop the log it came from.
fn durable(replica: &Replica) -> Result<Option<SnapshotMeta>, MachineError> {
    // Described first: what is durable afterwards is that or newer.
    let meta = describe(&replica.applied())?;
    replica.make_durable()?;
    Ok(meta)
}

fn read_error(error: &MachineError) -> RaftStorageError {
    RaftStorageIoError::read_state_machine(AnyError::new(error)).into()
}

fn write_error(error: &MachineError) -> RaftStorageError {
    RaftStorageIoError::write_state_machine(AnyError::new(error)).into()
}

/// Makes the state durable and says which it is.
pub(crate) struct SnapshotBuilder {
    replica: Arc<Replica>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, RaftStorageError> {
        let meta = blocking(Arc::clone(&self.replica), durable)
            .await
            .map_err(|error| write_error(&error))?;
        let snapshot = Box::new(SnapshotHandle::Described);
        Ok(Snapshot {
            meta: meta.unwrap_or_default(),
            snapshot,
        })
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, StoredMembership), RaftStorageError> {
        let last = self.replica.applied().position.map(log_id);
        Ok((last, self.members.stored.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, RaftStorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut members = self.members.clone();
        let mut work = Vec::new();
        for entry in entries {
            let payload = match entry.payload {
                EntryPayload::Blank => ApplyPayload::Blank,
                EntryPayload::Normal(proposal) => ApplyPayload::Command(proposal),
                EntryPayload::Membership(membership) => {
                    members.apply(entry.log_id, membership);
                    let bytes = members
                        .encode()
                        .map_err(|error| write_error(&error.into()))?;
                    ApplyPayload::Membership(bytes)
                }
            };
            work.push(ApplyEntry {
                position: position(entry.log_id),
                payload,
            });
        }
        let last = work.last().map(|entry| entry.position.index);
        let outcomes = self
            .blocking(move |replica| outcomes(replica, work))
            .await
            .map_err(|error| write_error(&error))?;
        self.members = members;
        if let Some(last) = last {
            self.progress.applied(last);
        }
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            replica: Arc::clone(&self.replica),
        }
    }

    /// Part of a path of openraft's that is not used here: a session receives what is to be installed.
    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotHandle>, RaftStorageError> {
        Ok(Box::new(SnapshotHandle::Described))
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: Box<SnapshotHandle>,
    ) -> Result<(), RaftStorageError> {
        let delta = match *snapshot {
            SnapshotHandle::Staged(delta) => delta,
            SnapshotHandle::Described | SnapshotHandle::Frozen(_) => {
                let found = "described or frozen";
                return Err(write_error(&MachineError::NotStaged { found }));
            }
        };
        let Installed { applied, unserved } = self
            .blocking(move |replica| Ok(replica.install(*delta)?))
            .await
            .map_err(|error| write_error(&error))?;
        self.progress.install_took(unserved);
        self.members =
            Members::decode(&applied.membership).map_err(|error| write_error(&error.into()))?;
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<TypeConfig>>, RaftStorageError> {
        // The first call is openraft's at start-up, which takes the answer for a snapshot that was built, and must not
        // wait until a view can be frozen. All others are for followers to be sent it; nothing of the log goes for
        // that, so nothing need be durable.
        let starting = !std::mem::replace(&mut self.started, true);
        if self.replica.applied().position.is_none() {
            return Ok(None);
        }
        if starting {
            let meta = self.blocking(durable).await;
            let meta = meta.map_err(|error| read_error(&error))?;
            return Ok(meta.map(|meta| Snapshot {
                meta,
                snapshot: Box::new(SnapshotHandle::Described),
            }));
        }
        let frozen = self
            .blocking(move |replica| {
                let view = replica.freeze()?;
                let meta = describe(view.applied())?;
                Ok(meta.map(|meta| (meta, view)))
            })
            .await
            .map_err(|error| read_error(&error))?;
        Ok(frozen.map(|(meta, view)| {
            let snapshot = Box::new(SnapshotHandle::Frozen(view));
            Snapshot { meta, snapshot }
        }))
    }
}
