//! Who is served a sync and when: at most so many at a time, the others in the order they came.
//!
//! A follower that waits costs nothing: no view is kept for it. When its turn comes the turn is reserved for it for a
//! moment, until openraft hands over a view frozen then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::session::limit::RateLimit;

/// A reserved turn that is not taken up is given to the next after this long: the follower needs no view any more.
pub(crate) const RESERVED_MAX: Duration = Duration::from_secs(5);

/// The turns of a node, and the rate they share.
pub(crate) struct Outgoing {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    pub(crate) limit: RateLimit,
}

/// The right to serve one follower; ends when it is dropped.
pub(crate) type Turn = OwnedSemaphorePermit;

/// A place for the turn of one follower.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reserved(Arc<Mutex<Option<Turn>>>);

/// Counts one who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Outgoing {
    /// At most `turns` at a time, all together at most so many bytes per second (0: no limit).
    pub(crate) fn new(turns: usize, bytes_per_second: u64) -> Arc<Self> {
        Arc::new(Self {
            turns: Arc::new(Semaphore::new(turns)),
            waiting: AtomicUsize::new(0),
            limit: RateLimit::new(bytes_per_second),
        })
    }

    /// The turn reserved for a follower, or a free one.
    pub(crate) fn now(&self, reserved: &Reserved) -> Option<Turn> {
        let turn = reserved.0.lock().take();
        turn.or_else(|| Arc::clone(&self.turns).try_acquire_owned().ok())
    }

    /// Waits for a turn and reserves it for so long.
    pub(crate) async fn wait(&self, reserved: &Reserved, at_most: Duration) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        // The semaphore is never closed.
        if let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await {
            *reserved.0.lock() = Some(turn);
            let reserved = reserved.clone();
            tokio::spawn(async move {
                tokio::time::sleep(at_most).await;
                drop(reserved.0.lock().take());
            });
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_go_in_order_and_one_not_taken_up_goes_on() {
        let outgoing = Outgoing::new(1, 0);
        let [a, b, c]: [Reserved; 3] = Default::default();
        let turn = outgoing.now(&a).expect("a free one");
        assert!(outgoing.now(&b).is_none());
        let wait = |place: &Reserved| {
            let (outgoing, place) = (Arc::clone(&outgoing), place.clone());
            let at_most = Duration::from_millis(20);
            tokio::spawn(async move { outgoing.wait(&place, at_most).await })
        };
        let first = wait(&b);
        tokio::task::yield_now().await;
        let second = wait(&c);
        tokio::task::yield_now().await;
        assert_eq!(outgoing.waiting(), 2);
        drop(turn);
        first.await.unwrap();
        // Nobody takes it up.
        second.await.unwrap();
        assert_eq!(outgoing.waiting(), 0);
        assert!(b.0.lock().is_none(), "it has gone on to the next");
    }
}
