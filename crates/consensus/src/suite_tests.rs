//! openraft's own suite over the real log store and the real state machine, in memory and on disk.

use std::sync::Arc;

use openraft::OptionalSend;
use openraft::StorageError;
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::testing::{StoreBuilder, Suite};
use pando_model::{GroupId, NodeId};
use pando_replica::{FrozenView, Replica, ReplicaOptions, StagedDelta};
use pando_storage::{KvStore, MemoryStore, SledOptions, SledStore};
use pando_sync::{
    Finished, Follower, FollowerOptions, Leader, LeaderOptions, SnapshotHeader, Source,
};

use crate::log_store::LogStore;
use crate::state_machine::{SnapshotBuilder, StateMachine};
use crate::types::{
    Entry, LogId, Outcome, SnapshotHandle, SnapshotMeta, StoredMembership, TypeConfig,
};

type Result<T> = std::result::Result<T, StorageError<NodeId>>;

/// The real state machine. The suite hands a leader's snapshot straight to a follower; in between belongs a session,
/// which is run here.
struct Machine {
    replica: Arc<Replica>,
    inner: StateMachine,
}

struct View(Arc<FrozenView>);

impl Source for View {
    type Error = pando_replica::ViewError;

    fn header(&self) -> &SnapshotHeader {
        self.0.header()
    }
    fn tree(&self, id: pando_model::TreeId) -> Option<&pando_merkle::Tree> {
        self.0.tree(id)
    }
    fn rows(
        &self,
        id: pando_model::TreeId,
        keys: &[pando_merkle::Key],
    ) -> std::result::Result<Vec<pando_model::Row>, Self::Error> {
        self.0.rows(id, keys)
    }
}

fn session(view: Arc<FrozenView>, replica: &Arc<Replica>) -> StagedDelta {
    let leader = Leader::new(View(view), LeaderOptions::default());
    let mut stage = replica.begin_stage().unwrap();
    let base = stage.base();
    let own = base.trees.clone();
    let mut follower = Follower::new(base, FollowerOptions::default());
    let mut requests = follower.start();
    loop {
        for response in leader.answer(requests.remove(0)).unwrap() {
            let mut step = follower.on_response(response.unwrap()).unwrap();
            loop {
                stage.put(std::mem::take(&mut step.stage)).unwrap();
                requests.append(&mut step.send);
                match step.finished {
                    Some(Finished::Verified { header, trees }) => {
                        return stage.finish(&header, trees).unwrap();
                    }
                    Some(Finished::Equal { .. }) => {
                        return stage.finish(leader.source().header(), own).unwrap();
                    }
                    None if step.more => step = follower.proceed().unwrap(),
                    None => break,
                }
            }
        }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership)> {
        self.inner.applied_state().await
    }
    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.inner.apply(entries).await
    }
    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.inner.get_snapshot_builder().await
    }
    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotHandle>> {
        self.inner.begin_receiving_snapshot().await
    }
    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<SnapshotHandle>,
    ) -> Result<()> {
        let snapshot = match *snapshot {
            SnapshotHandle::Frozen(view) => Box::new(SnapshotHandle::Staged(Box::new(session(
                view,
                &self.replica,
            )))),
            other => Box::new(other),
        };
        self.inner.install_snapshot(meta, snapshot).await
    }
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>> {
        self.inner.get_current_snapshot().await
    }
}

fn open(log: Arc<dyn KvStore>, data: Arc<dyn KvStore>) -> (LogStore, Machine) {
    let log = LogStore::open(log, GroupId::CATALOGUE, 1).unwrap();
    let replica = Arc::new(Replica::open(data, ReplicaOptions::default(), None).unwrap());
    let inner = StateMachine::new(Arc::clone(&replica), Arc::default()).unwrap();
    (log, Machine { replica, inner })
}

struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, Machine> for InMemory {
    async fn build(&self) -> Result<((), LogStore, Machine)> {
        let (log, machine) = open(Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
        Ok(((), log, machine))
    }
}

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, Machine, tempfile::TempDir> for OnDisk {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Machine)> {
        let directory = tempfile::tempdir().unwrap();
        let store = |name: &str| {
            let path = directory.path().join(name);
            Arc::new(
                SledStore::open(
                    &path,
                    SledOptions {
                        cache_bytes: 1 << 20,
                    },
                )
                .unwrap(),
            )
        };
        let (log, machine) = open(store("log"), store("data"));
        Ok((directory, log, machine))
    }
}

#[test]
fn openrafts_suite_passes_in_memory() {
    Suite::test_all(InMemory).unwrap();
}

#[test]
fn openrafts_suite_passes_on_disk() {
    Suite::test_all(OnDisk).unwrap();
}
