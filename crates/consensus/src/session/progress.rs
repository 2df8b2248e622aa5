//! What catching up has cost this node so far, and how far a session under way is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pando_sync::{Served, Stats};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use pando_model::NodeId;

use crate::catch_up::{CatchUpWhy, LastCatchUp};
use crate::session::episode::{Appended, Away, Episodes, Tally};
use crate::status::SyncStatus;

/// Counters since the node started, and the session under way. Shared by both sides of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Log entries received that a majority had committed before: what this node had missed.
    pub(crate) replayed: AtomicU64,
    /// Sessions that ended in an install.
    pub(crate) sessions: AtomicU64,
    /// Streams opened anew after a break, or by a session that found rows staged by an earlier one.
    pub(crate) resumed: AtomicU64,
    pub(crate) rows_put: AtomicU64,
    pub(crate) rows_deleted: AtomicU64,
    /// Bytes of rows received, and of everything else both ways, before compression.
    pub(crate) row_bytes: AtomicU64,
    pub(crate) metadata_bytes: AtomicU64,
    pub(crate) round_trips: AtomicU64,
    /// Bytes of frames received and sent as follower.
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Bytes of frames sent as leader.
    pub(crate) bytes_served: AtomicU64,
    /// Walks repeated with whole hashes.
    pub(crate) reruns: AtomicU64,
    /// Trees that had to be walked after what was written since had been taken.
    pub(crate) fallbacks: AtomicU64,
    /// How sessions ended here, and streams served to others.
    pub(crate) outcomes: Outcomes,
    /// What all streams served as leader, added up.
    served: Mutex<Served>,
    running: watch::Sender<Option<Running>>,
    episodes: Mutex<Episodes>,
}

/// What catching up costs a node, from before it takes part in Raft on: a repair before that counts, too.
#[derive(Clone, Debug, Default)]
pub struct CatchUps(pub(crate) Arc<Progress>);

impl CatchUps {
    /// The session under way.
    #[must_use]
    pub fn running(&self) -> Option<SyncStatus> {
        self.0.running()
    }
}

/// How sessions and streams ended.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    /// As follower; those that were installed are counted in [`Progress::sessions`].
    pub(crate) needless: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// As leader.
    pub(crate) served: AtomicU64,
    pub(crate) cut: AtomicU64,
}

/// A session under way.
#[derive(Debug)]
struct Running {
    leader: NodeId,
    index: u64,
    why: CatchUpWhy,
    began: Instant,
    /// Bytes received before it.
    received: u64,
    /// When the first rows were reported, and how many: the rate counts from there.
    first: Option<(Instant, u64)>,
    done: u64,
    total: u64,
    rows_put: u64,
    rows_deleted: u64,
    installing: bool,
}

impl Running {
    fn status(&self, received: u64, now: Instant) -> SyncStatus {
        SyncStatus {
            leader: self.leader,
            index: self.index,
            why: Some(self.why),
            done: self.done,
            total: self.total,
            rows_put: self.rows_put,
            rows_deleted: self.rows_deleted,
            received_bytes: received - self.received,
            elapsed: now.duration_since(self.began),
            left: self.left(now),
            installing: self.installing,
        }
    }

    /// The time that is left at the rate so far; none before there is one.
    fn left(&self, now: Instant) -> Option<Duration> {
        let (at, first) = self.first?;
        let moved = self.done.checked_sub(first).filter(|moved| *moved > 0)?;
        let rows_left = self.total.saturating_sub(self.done) as f64;
        Some(now.duration_since(at).mul_f64(rows_left / moved as f64))
    }
}

impl Progress {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Rows that sessions have brought or taken.
    pub(crate) fn rows(&self) -> u64 {
        Self::get(&self.rows_put) + Self::get(&self.rows_deleted)
    }

    /// Notes a call for replication that was answered, and how far the state was then.
    pub(crate) fn appended(&self, away: Away, call: &Appended, applied: u64) {
        Self::add(&self.replayed, call.missed);
        let mut episodes = self.episodes.lock();
        episodes.appended(away, call);
        // Its entries may have been applied before they were noted.
        episodes.applied(Instant::now(), applied);
    }

    /// Notes that the state has come to an index.
    pub(crate) fn applied(&self, index: u64) {
        self.episodes.lock().applied(Instant::now(), index);
    }

    /// Notes what one stream cost.
    pub(crate) fn streamed(&self, stats: &Stats) {
        Self::add(&self.rows_put, stats.rows_put);
        Self::add(&self.rows_deleted, stats.rows_deleted);
        Self::add(&self.row_bytes, stats.row_bytes);
        Self::add(&self.metadata_bytes, stats.metadata_bytes());
        Self::add(&self.round_trips, stats.round_trips);
        Self::add(&self.reruns, stats.reruns);
        Self::add(&self.fallbacks, stats.fallbacks);
        if let Some(mode) = stats.mode {
            self.episodes.lock().streamed(mode.into());
        }
    }

    /// Notes what one stream served.
    pub(crate) fn served(&self, served: &Served) {
        self.served.lock().add(served);
    }

    /// Notes that work on an offer that arrived at `at` begins.
    pub(crate) fn session_began(&self, at: Instant, leader: NodeId, index: u64, why: CatchUpWhy) {
        let tally = self.tally();
        if self.episodes.lock().session_began(at, tally, why) {
            Self::add(&self.resumed, 1);
        }
        self.running.send_replace(Some(Running {
            leader,
            index,
            why,
            began: at,
            received: tally.received,
            first: None,
            done: 0,
            total: 0,
            rows_put: 0,
            rows_deleted: 0,
            installing: false,
        }));
    }

    /// Notes how far the session under way is.
    pub(crate) fn moved(&self, (done, total): (u64, u64), stats: &Stats) {
        self.running.send_modify(|running| {
            if let Some(running) = running {
                running.first.get_or_insert((Instant::now(), done));
                (running.done, running.total) = (done, total);
                running.rows_put = stats.rows_put;
                running.rows_deleted = stats.rows_deleted;
            }
        });
    }

    /// Notes that everything is received, verified, and about to be installed.
    pub(crate) fn installing(&self) {
        self.running.send_modify(|running| {
            if let Some(running) = running {
                running.installing = true;
            }
        });
    }

    /// Notes that no session is under way.
    pub(crate) fn session_over(&self) {
        self.running.send_replace(None);
    }

    /// Notes that there was nothing to do for an offer; `here`: its state is here already, else its leader is none.
    pub(crate) fn session_needless(&self, here: bool) {
        Self::add(&self.outcomes.needless, 1);
        if here {
            self.episodes.lock().session_needless();
        }
    }

    /// Notes how long an install took.
    pub(crate) fn install_took(&self, took: Duration) {
        self.episodes.lock().install_took(took);
    }

    /// Notes an installed session.
    pub(crate) fn installed(&self, index: u64) {
        Self::add(&self.sessions, 1);
        let tally = self.tally();
        self.episodes
            .lock()
            .session_done(Instant::now(), index, &tally);
    }

    fn tally(&self) -> Tally {
        Tally {
            rows_put: Self::get(&self.rows_put),
            rows_deleted: Self::get(&self.rows_deleted),
            row_bytes: Self::get(&self.row_bytes),
            metadata_bytes: Self::get(&self.metadata_bytes),
            received: Self::get(&self.bytes_in),
            sent: Self::get(&self.bytes_out),
            round_trips: Self::get(&self.round_trips),
        }
    }

    pub(crate) fn running(&self) -> Option<SyncStatus> {
        let received = Self::get(&self.bytes_in);
        let running = self.running.borrow();
        running
            .as_ref()
            .map(|running| running.status(received.max(running.received), Instant::now()))
    }

    /// Waits until no session is under way.
    #[cfg(test)]
    pub(crate) async fn idle(&self) {
        let mut running = self.running.subscribe();
        let idle = running.wait_for(Option::is_none).await;
        drop(idle.expect("the sender is here"));
    }

    /// Catch-ups finished, and the last of them.
    pub(crate) fn finished(&self) -> (u64, Option<LastCatchUp>) {
        let episodes = self.episodes.lock();
        (episodes.count(), episodes.last())
    }
}
