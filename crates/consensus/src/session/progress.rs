//! What catching up has cost this node so far, and how far a session under way is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pando_sync::Stats;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::catch_up::{CatchUpPath, CatchUpReason, LastCatchUp};
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
    running: watch::Sender<Option<SyncStatus>>,
    episodes: Mutex<Episodes>,
}

impl Progress {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
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
        Self::add(&self.metadata_bytes, stats.metadata_bytes);
        Self::add(&self.round_trips, stats.round_trips);
    }

    /// Notes that work on an offer that arrived at `at` begins.
    pub(crate) fn session_began(&self, at: Instant) {
        let tally = self.tally();
        self.episodes.lock().session_began(at, tally);
    }

    /// Notes that the state of an offer is here already.
    pub(crate) fn session_needless(&self) {
        self.episodes.lock().session_needless();
    }

    /// Notes how long an install took.
    pub(crate) fn install_took(&self, took: Duration) {
        self.episodes.lock().install_took(took);
    }

    /// Notes an installed session.
    pub(crate) fn installed(&self, index: u64, path: CatchUpPath, reason: CatchUpReason) {
        Self::add(&self.sessions, 1);
        let tally = self.tally();
        let mut episodes = self.episodes.lock();
        episodes.session_done(Instant::now(), index, path, reason, &tally);
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

    pub(crate) fn set_running(&self, status: Option<SyncStatus>) {
        self.running.send_replace(status);
    }

    pub(crate) fn running(&self) -> Option<SyncStatus> {
        self.running.borrow().clone()
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
