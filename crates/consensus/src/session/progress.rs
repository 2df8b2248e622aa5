//! What catching up has cost this node so far, and how far a session under way is.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::status::{CatchUp, SyncStatus};

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
    /// Bytes of frames received and sent as follower.
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Bytes of frames sent as leader.
    pub(crate) bytes_served: AtomicU64,
    running: watch::Sender<Option<SyncStatus>>,
    last: Mutex<Option<CatchUp>>,
}

impl Progress {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Notes log entries that had been missed.
    pub(crate) fn replayed(&self, entries: u64, last_index: u64) {
        if entries > 0 {
            Self::add(&self.replayed, entries);
            *self.last.lock() = Some(CatchUp::Replay { index: last_index });
        }
    }

    /// Notes an installed session.
    pub(crate) fn installed(&self, index: u64) {
        Self::add(&self.sessions, 1);
        *self.last.lock() = Some(CatchUp::Delta { index });
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

    pub(crate) fn last(&self) -> Option<CatchUp> {
        self.last.lock().clone()
    }
}
