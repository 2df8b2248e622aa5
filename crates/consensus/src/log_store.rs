//! The Raft log: votes, entries and what of them is kept, in a [`KvStore`] of its own.
//!
//! Owns the order and the durability of log writes: openraft is told that an entry or a vote is safe only after the
//! store's flush has returned. Knows how many entries and bytes are kept, so that the log can be bounded cheaply.
//! Must not know what an entry does.

mod error;
mod kept;
mod writer;

use std::fmt::Debug;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader};
use pando_model::{GroupId, NodeId};
use pando_storage::{EntryLog, KvStore, StoredKey, codec};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

pub use error::LogError;
use kept::Kept;
use writer::{JOBS_MAX, Job, Writer};

use crate::log_policy::Tail;
use crate::types::{Entry, LogId, RaftStorageError, RaftStorageIoError, TypeConfig, Vote};

/// Version byte of everything stored here.
const RECORD_VERSION: u8 = 1;
/// Most bytes of entries sent to a follower at once, if there is more than one.
const APPEND_BYTES_MAX: u64 = 1 << 20;
/// Bytes of entries read at once while the log is opened.
const OPEN_BYTES: usize = 4 << 20;

/// What is kept of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogSize {
    /// Entries.
    pub(crate) entries: u64,
    /// Their bytes as stored.
    pub(crate) bytes: u64,
}

/// A handle of the log; clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    id: NodeId,
    store: Arc<dyn KvStore>,
    group: GroupId,
    log: EntryLog,
    kept: Arc<Mutex<Kept>>,
    jobs: mpsc::Sender<Job>,
}

/// The index up to which the log in this store is purged. The replica asks for it when it opens: it decides what a
/// staged install becomes. Blocks.
///
/// # Errors
/// If the store cannot be read.
pub fn purged_index(store: &dyn KvStore, group: GroupId) -> Result<Option<u64>, LogError> {
    let purged: Option<LogId> = read_record(store, group, StoredKey::Purged, "purged position")?;
    Ok(purged.map(|id| id.index))
}

impl Tail for LogStore {
    fn size(&self) -> (u64, u64) {
        let size = Self::size(self);
        (size.entries, size.bytes)
    }

    fn last(&self, entries: u64) -> Option<(u64, u64)> {
        self.kept.lock().last_entries(entries)
    }

    fn purge_for(&self, entries_max: u64, bytes_max: u64) -> Option<u64> {
        self.kept.lock().purge_for(entries_max, bytes_max)
    }
}

impl LogStore {
    /// Opens the log of node `id` in this store and starts its writer. Blocks.
    pub(crate) fn open(
        store: Arc<dyn KvStore>,
        group: GroupId,
        id: NodeId,
    ) -> Result<Self, LogError> {
        let log = EntryLog::new(group);
        let purged: Option<LogId> =
            read_record(store.as_ref(), group, StoredKey::Purged, "purged position")?;
        let mut kept = Kept::after(purged);
        let first = log.first_index(store.as_ref())?;
        let start = purged.map_or(0, |id| id.index + 1);
        let garbage = match first {
            Some(first) if first < start => first..start,
            Some(_) | None => 0..0,
        };
        load(store.as_ref(), &log, start, &mut kept)?;
        let kept = Arc::new(Mutex::new(kept));
        let (jobs, receiver) = mpsc::channel(JOBS_MAX);
        let writer = Writer {
            store: Arc::clone(&store),
            group,
            log,
            kept: Arc::clone(&kept),
            jobs: receiver,
            garbage,
            failed: None,
        };
        std::thread::Builder::new()
            .name("pando-log".to_owned())
            .spawn(move || writer.run())
            .map_err(LogError::Thread)?;
        Ok(Self {
            id,
            store,
            group,
            log,
            kept,
            jobs,
        })
    }

    /// What is kept.
    pub(crate) fn size(&self) -> LogSize {
        let kept = self.kept.lock();
        LogSize {
            entries: kept.len(),
            bytes: kept.bytes(),
        }
    }

    /// Last position purged.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.kept.lock().purged()
    }

    /// Some of the kept indexes up to `upto`, the last one among them, each with the bytes of the kept entries up to
    /// and with it.
    pub(crate) fn marks(&self, upto: u64, marks: usize) -> Vec<(u64, u64)> {
        self.kept.lock().marks(upto, marks)
    }

    async fn send(&self, job: Job) -> Result<(), LogError> {
        self.jobs.send(job).await.map_err(|_| LogError::Closed)
    }

    async fn wait(done: oneshot::Receiver<Result<(), Arc<LogError>>>) -> Result<(), Arc<LogError>> {
        done.await
            .unwrap_or_else(|_| Err(Arc::new(LogError::Closed)))
    }

    async fn record<T: DeserializeOwned + Send + 'static>(
        &self,
        key: StoredKey,
        what: &'static str,
    ) -> Result<Option<T>, LogError> {
        let (store, group) = (Arc::clone(&self.store), self.group);
        tokio::task::spawn_blocking(move || read_record(store.as_ref(), group, key, what))
            .await
            .map_err(|_| LogError::Closed)?
    }

    async fn read(&self, range: Range<u64>) -> Result<Vec<Entry>, LogError> {
        let range = {
            let kept = self.kept.lock();
            let range = kept.clamp(range);
            if range.is_empty() {
                return Ok(Vec::new());
            }
            if let Some(entries) = kept.recent(range.clone()) {
                return Ok(entries);
            }
            range
        };
        let (store, log, first) = (Arc::clone(&self.store), self.log, range.start);
        let read = move || {
            let stored = log.read(store.as_ref(), range, usize::MAX)?;
            stored
                .iter()
                .map(|(index, bytes)| decode_entry(*index, bytes))
                .collect::<Result<Vec<_>, _>>()
        };
        let mut entries: Vec<Entry> = tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| LogError::Closed)??;
        // What was purged while it was read is missing at the front or in between; nothing may follow a gap.
        let whole = (first..)
            .zip(&entries)
            .take_while(|(index, entry)| entry.log_id.index == *index)
            .count();
        entries.truncate(whole);
        Ok(entries)
    }
}

fn load(store: &dyn KvStore, log: &EntryLog, start: u64, kept: &mut Kept) -> Result<(), LogError> {
    let mut next = start;
    loop {
        let stored = log.read(store, next..u64::MAX, OPEN_BYTES)?;
        let Some((last, _)) = stored.last() else {
            return Ok(());
        };
        next = last + 1;
        for (index, bytes) in stored {
            let entry = decode_entry(index, &bytes)?;
            kept.push(entry, u32::try_from(bytes.len()).unwrap_or(u32::MAX))?;
        }
    }
}

fn decode_entry(index: u64, bytes: &[u8]) -> Result<Entry, LogError> {
    codec::decode_versioned(RECORD_VERSION, bytes)
        .map_err(|source| LogError::Entry { index, source })
}

fn read_record<T: DeserializeOwned>(
    store: &dyn KvStore,
    group: GroupId,
    key: StoredKey,
    what: &'static str,
) -> Result<Option<T>, LogError> {
    let stored = store.get(&key.encode(group))?;
    stored
        .map(|bytes| codec::decode_versioned(RECORD_VERSION, &bytes))
        .transpose()
        .map_err(|source| LogError::Record { what, source })
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn read_error(error: &LogError) -> RaftStorageError {
    RaftStorageIoError::read_logs(AnyError::new(error)).into()
}

fn write_error(error: &LogError) -> RaftStorageError {
    RaftStorageIoError::write_logs(AnyError::new(error)).into()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, RaftStorageError> {
        self.read(half_open(&range))
            .await
            .map_err(|error| read_error(&error))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, RaftStorageError> {
        let end = self.kept.lock().limit(start..end, APPEND_BYTES_MAX);
        let mut entries = self
            .read(start..end)
            .await
            .map_err(|error| read_error(&error))?;
        // The entries asked for follow one the caller names: if the first of them is purged, the others do not.
        if entries
            .first()
            .is_some_and(|first| first.log_id.index != start)
        {
            entries.clear();
        }
        Ok(entries)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, RaftStorageError> {
        let kept = self.kept.lock();
        Ok(LogState {
            last_purged_log_id: kept.purged(),
            last_log_id: kept.last(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), RaftStorageError> {
        let (done, wait) = oneshot::channel();
        let sent = self.send(Job::Vote { vote: *vote, done }).await;
        let saved = match sent {
            Ok(()) => Self::wait(wait).await,
            Err(error) => Err(Arc::new(error)),
        };
        saved.map_err(|error| RaftStorageIoError::write_vote(AnyError::new(&*error)).into())
    }

    /// A node that led when it ended starts as a follower. openraft would have it lead on at once, and would then
    /// take for the index to read at the last one known here to be committed, which after a crash can be behind what
    /// was acknowledged: a stale read. Forgetting that the vote was granted breaks no promise, the vote itself stands;
    /// a leader elected anew reads at its own first entry, and so at everything before it.
    async fn read_vote(&mut self) -> Result<Option<Vote>, RaftStorageError> {
        let vote = self.record::<Vote>(StoredKey::Vote, "vote").await;
        let vote = vote.map_err(|error| RaftStorageIoError::read_vote(AnyError::new(&error)))?;
        let led = |vote: Vote| vote.committed && vote.leader_id.node_id == self.id;
        Ok(vote.map(|vote| {
            if led(vote) {
                Vote {
                    committed: false,
                    ..vote
                }
            } else {
                vote
            }
        }))
    }

    async fn save_committed(&mut self, id: Option<LogId>) -> Result<(), RaftStorageError> {
        self.send(Job::Committed { id })
            .await
            .map_err(|error| write_error(&error))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, RaftStorageError> {
        let id = self
            .record::<Option<LogId>>(StoredKey::Committed, "committed position")
            .await;
        Ok(id.map_err(|error| read_error(&error))?.flatten())
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), RaftStorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (applied, wait) = oneshot::channel();
        let entries = entries.into_iter().collect();
        let job = Job::Append {
            entries,
            applied,
            flushed: callback,
        };
        self.send(job).await.map_err(|error| write_error(&error))?;
        Self::wait(wait).await.map_err(|error| write_error(&error))
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), RaftStorageError> {
        let (done, wait) = oneshot::channel();
        let job = Job::Truncate {
            since: log_id.index,
            done,
        };
        self.send(job).await.map_err(|error| write_error(&error))?;
        Self::wait(wait).await.map_err(|error| write_error(&error))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), RaftStorageError> {
        let (done, wait) = oneshot::channel();
        let job = Job::Purge { upto: log_id, done };
        self.send(job).await.map_err(|error| write_error(&error))?;
        Self::wait(wait).await.map_err(|error| write_error(&error))
    }
}

#[cfg(test)]
mod tests;
