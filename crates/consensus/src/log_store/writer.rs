//! The one thread that writes the log.
//!
//! Writes take effect in the order they are sent. Whatever has queued up while a flush ran shares the next one.
//! After a failed write nothing more is written, so that no entry can follow a lost one.

use std::ops::Range;
use std::sync::Arc;

use openraft::storage::LogFlushed;
use pando_storage::{Batch, EntryLog, GroupId, KvStore, StoredKey, codec};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::log_store::error::LogError;
use crate::log_store::kept::Kept;
use crate::log_store::{RECORD_VERSION, decode_entry};
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// Writes that wait for the thread. openraft has few under way; the bound only keeps a fault from growing.
pub(super) const JOBS_MAX: usize = 256;
/// A batch is applied when it holds this many bytes.
const BATCH_BYTES: usize = 2 << 20;
/// Stored pieces of purged entries deleted at a time, between other writes, which wait that long: a few milliseconds. An
/// entry goes whole, so one of many pieces is a round of its own.
const DELETES_PER_ROUND: usize = 128;

type Done = oneshot::Sender<Result<(), Arc<LogError>>>;

pub(super) enum Job {
    /// `applied` is answered when the entries can be read, `flushed` when they are durable.
    Append {
        entries: Vec<Entry>,
        applied: Done,
        flushed: LogFlushed<TypeConfig>,
    },
    /// Answered when durable.
    Vote {
        vote: Vote,
        done: Done,
    },
    /// A hint; not answered.
    Committed {
        id: Option<LogId>,
    },
    /// Answered when durable: what is written next may rest on these entries being gone.
    Truncate {
        since: u64,
        done: Done,
    },
    Purge {
        upto: LogId,
        done: Done,
    },
}

/// Who waits for the next flush.
enum Waiting {
    Append(LogFlushed<TypeConfig>),
    Answer(Done),
}

pub(super) struct Writer {
    pub(super) store: Arc<dyn KvStore>,
    pub(super) group: GroupId,
    pub(super) log: EntryLog,
    pub(super) kept: Arc<Mutex<Kept>>,
    pub(super) jobs: mpsc::Receiver<Job>,
    /// Purged entries not yet deleted.
    pub(super) garbage: Range<u64>,
    pub(super) failed: Option<Arc<LogError>>,
}

impl Writer {
    /// Runs until all handles of the log are gone.
    pub(super) fn run(mut self) {
        loop {
            let job = match self.jobs.try_recv() {
                Ok(job) => Some(job),
                Err(mpsc::error::TryRecvError::Disconnected) => return,
                Err(mpsc::error::TryRecvError::Empty) if self.garbage.is_empty() => {
                    match self.jobs.blocking_recv() {
                        Some(job) => Some(job),
                        None => return,
                    }
                }
                Err(mpsc::error::TryRecvError::Empty) => None,
            };
            match job {
                Some(job) => self.round(job),
                None => self.collect_garbage(),
            }
        }
    }

    fn round(&mut self, first: Job) {
        let mut waiting = Vec::new();
        self.take(first, &mut waiting);
        while waiting.len() < JOBS_MAX
            && let Ok(job) = self.jobs.try_recv()
        {
            self.take(job, &mut waiting);
        }
        if waiting.is_empty() {
            return;
        }
        let flushed = self.guarded(|writer| Ok(writer.store.flush()?));
        for waiting in waiting {
            match waiting {
                Waiting::Answer(done) => answer(done, flushed.clone()),
                Waiting::Append(callback) => {
                    callback.log_io_completed(flushed.clone().map_err(std::io::Error::other))
                }
            }
        }
    }

    fn take(&mut self, job: Job, waiting: &mut Vec<Waiting>) {
        match job {
            Job::Append {
                entries,
                applied,
                flushed,
            } => {
                let result = self.guarded(|writer| writer.append(entries));
                if result.is_ok() {
                    waiting.push(Waiting::Append(flushed));
                }
                answer(applied, result);
            }
            Job::Vote { vote, done } => {
                let result = self.guarded(|writer| writer.put(StoredKey::Vote, &vote));
                answer_flushed(done, result, waiting);
            }
            Job::Committed { id } => {
                if let Err(error) = self.guarded(|writer| writer.put(StoredKey::Committed, &id)) {
                    tracing::warn!(%error, "the committed position is not kept");
                }
            }
            Job::Truncate { since, done } => {
                let result = self.guarded(|writer| writer.truncate(since));
                answer_flushed(done, result, waiting);
            }
            Job::Purge { upto, done } => answer(done, self.guarded(|writer| writer.purge(upto))),
        }
    }

    /// Does nothing once a write has failed.
    fn guarded(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), LogError>,
    ) -> Result<(), Arc<LogError>> {
        if let Some(first) = &self.failed {
            return Err(Arc::new(LogError::Broken {
                first: Arc::clone(first),
            }));
        }
        write(self).map_err(|error| {
            let error = Arc::new(error);
            self.failed = Some(Arc::clone(&error));
            error
        })
    }

    fn append(&mut self, entries: Vec<Entry>) -> Result<(), LogError> {
        let mut batch = Batch::new();
        let mut written = Vec::with_capacity(entries.len());
        let purged = self.kept.lock().purged().map(|id| id.index);
        // What the purged position covers is in the state: there is nothing to keep of it.
        for entry in entries
            .into_iter()
            .filter(|entry| Some(entry.log_id.index) > purged)
        {
            let bytes = codec::encode_versioned(RECORD_VERSION, &entry);
            if batch.bytes() + bytes.len() > BATCH_BYTES {
                self.store.apply(std::mem::take(&mut batch))?;
            }
            self.log
                .put(self.store.as_ref(), &mut batch, entry.log_id.index, &bytes)?;
            written.push((entry, u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
        }
        self.store.apply(batch)?;
        let mut kept = self.kept.lock();
        written
            .into_iter()
            .try_for_each(|(entry, size)| kept.push(entry, size))
    }

    fn put<T: serde::Serialize>(&mut self, key: StoredKey, value: &T) -> Result<(), LogError> {
        let mut batch = Batch::new();
        batch.put(
            key.encode(self.group),
            codec::encode_versioned(RECORD_VERSION, value),
        );
        Ok(self.store.apply(batch)?)
    }

    fn truncate(&mut self, since: u64) -> Result<(), LogError> {
        let (end, purged) = {
            let kept = self.kept.lock();
            (kept.end(), kept.purged())
        };
        let last = match since.checked_sub(1) {
            Some(index) if purged.is_none_or(|id| id.index < index) => {
                let read = self.log.read(self.store.as_ref(), index..since, 0)?;
                read.first()
                    .map(|(index, bytes)| decode_entry(*index, bytes))
                    .transpose()?
            }
            Some(_) | None => None,
        };
        let last = last.map(|entry| entry.log_id).or(purged);
        let rest = self.delete_backwards(since..end)?;
        self.store.apply(rest)?;
        self.kept.lock().truncate(since, last);
        Ok(())
    }

    /// Deletes entries, the last first, so that a crash in between leaves no hole. Returns the deletes not yet
    /// applied.
    fn delete_backwards(&self, range: Range<u64>) -> Result<Batch, LogError> {
        let mut batch = Batch::new();
        for index in range.rev() {
            self.log.delete(self.store.as_ref(), &mut batch, index)?;
            if batch.bytes() > BATCH_BYTES {
                self.store.apply(std::mem::take(&mut batch))?;
            }
        }
        Ok(batch)
    }

    /// Notes the new beginning of the log; the entries before it are deleted when there is time. Entries behind it
    /// that conflict with it are deleted first: none of them may be found behind the new beginning.
    fn purge(&mut self, upto: LogId) -> Result<(), LogError> {
        let conflicting = self.kept.lock().conflicting(upto);
        let mut batch = self.delete_backwards(conflicting)?;
        batch.put(
            StoredKey::Purged.encode(self.group),
            codec::encode_versioned(RECORD_VERSION, &upto),
        );
        self.store.apply(batch)?;
        let forgotten = self.kept.lock().purge(upto);
        if self.garbage.is_empty() {
            self.garbage = forgotten;
        } else {
            self.garbage.end = self.garbage.end.max(forgotten.end);
        }
        Ok(())
    }

    fn collect_garbage(&mut self) {
        let deleted = self.guarded(|writer| {
            let mut batch = Batch::new();
            while !writer.garbage.is_empty() && batch.len() < DELETES_PER_ROUND {
                let index = writer.garbage.start;
                writer
                    .log
                    .delete(writer.store.as_ref(), &mut batch, index)?;
                writer.garbage.start += 1;
            }
            Ok(writer.store.apply(batch)?)
        });
        if let Err(error) = deleted {
            tracing::error!(%error, "purged log entries cannot be deleted");
            self.garbage = 0..0;
        }
    }
}

/// Answers a failed write at once, one that was made with the next flush.
fn answer_flushed(done: Done, result: Result<(), Arc<LogError>>, waiting: &mut Vec<Waiting>) {
    match result {
        Ok(()) => waiting.push(Waiting::Answer(done)),
        failed @ Err(_) => answer(done, failed),
    }
}

fn answer(done: Done, result: Result<(), Arc<LogError>>) {
    if done.send(result).is_err() {
        tracing::debug!("nobody waits for a log write any more");
    }
}
