//! Who is served a sync and when: at most so many at a time, the others in the order they came.
//!
//! Every open view has a turn: one offered by openraft, one offered for a repair, and one that a member asked for. A
//! follower that waits costs nothing: no view is kept for it. When its turn comes the turn is reserved for it for a
//! moment, until openraft hands over a view frozen then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

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
pub(crate) struct Reserved(Arc<Mutex<Place>>);

#[derive(Debug, Default)]
struct Place {
    turn: Option<Turn>,
    /// How many turns have been reserved here. Tells the last from those before it.
    reservations: u64,
}

impl Reserved {
    /// Reserves a turn; returns the number of the reservation.
    fn put(&self, turn: Turn) -> u64 {
        let mut place = self.0.lock();
        place.turn = Some(turn);
        place.reservations += 1;
        place.reservations
    }

    fn take(&self) -> Option<Turn> {
        self.0.lock().turn.take()
    }

    /// Ends this reservation, if it was not taken up; a later one stays.
    fn expire(&self, reservation: u64) {
        let mut place = self.0.lock();
        if place.reservations == reservation {
            place.turn = None;
        }
    }
}

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
        reserved.take().or_else(|| self.free())
    }

    /// A turn, if one is free and nobody waits for it.
    pub(crate) fn free(&self) -> Option<Turn> {
        Arc::clone(&self.turns).try_acquire_owned().ok()
    }

    /// Waits for a turn in line with all others, at most so long.
    pub(crate) async fn within(&self, at_most: Duration) -> Option<Turn> {
        timeout(at_most, self.acquire()).await.ok()?
    }

    async fn acquire(&self) -> Option<Turn> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        // The semaphore is never closed.
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// Waits for a turn and reserves it for so long.
    pub(crate) async fn wait(&self, reserved: &Reserved, at_most: Duration) {
        if let Some(turn) = self.acquire().await {
            let reservation = reserved.put(turn);
            let reserved = reserved.clone();
            tokio::spawn(async move {
                tokio::time::sleep(at_most).await;
                reserved.expire(reservation);
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
        assert!(b.take().is_none(), "it has gone on to the next");
    }

    #[test]
    fn the_end_of_a_reservation_is_not_the_end_of_the_next() {
        let outgoing = Outgoing::new(2, 0);
        let place = Reserved::default();
        let first = place.put(outgoing.free().expect("a free one"));
        let taken = outgoing.now(&place);
        let second = place.put(outgoing.free().expect("a free one"));
        place.expire(first);
        drop(taken);
        assert!(place.take().is_some(), "the second is still there");
        place.put(outgoing.free().expect("a free one"));
        place.expire(second);
        assert!(place.take().is_some(), "so is the third");
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_gives_up_and_leaves_no_trace() {
        let outgoing = Outgoing::new(1, 0);
        let turn = outgoing.free().expect("a free one");
        assert!(outgoing.within(Duration::ZERO).await.is_none());
        assert_eq!(outgoing.waiting(), 0);
        drop(turn);
        assert!(outgoing.within(Duration::ZERO).await.is_some());
    }
}
