//! How many searches run at once, and how many may wait for that.
//!
//! A search keeps every core busy for as long as it runs. So a few run at a time, a bounded number waits, and more are
//! refused at once, with the time after which asking again is likely to help. Who waits past its deadline is not
//! searched for any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::Deadline;
use crate::error::ServiceError;
use crate::metrics::{Metrics, Refusal};

/// Searches that run at once for each core, unless it is configured: enough to fill the gaps each one leaves.
const RUNNING_PER_CORE: usize = 2;
/// Shortest and longest time a refused client is asked to wait.
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The time a search takes, as it is told to refused clients, moves by this share towards that of the last one.
const SMOOTHING: u64 = 8;

/// Lets searches in.
#[derive(Clone, Debug)]
pub(crate) struct SearchGate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    running: Arc<Semaphore>,
    running_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
    /// What a search takes, smoothed, in microseconds.
    typical_us: AtomicU64,
    metrics: Arc<Metrics>,
}

impl SearchGate {
    /// At most `running_max` searches run (0: twice the cores) and `waiting_max` wait.
    pub(crate) fn new(running_max: usize, waiting_max: usize, metrics: Arc<Metrics>) -> Self {
        let cores = || available_parallelism().map_or(1, usize::from);
        let running_max = match running_max {
            0 => cores() * RUNNING_PER_CORE,
            max => max,
        };
        Self(Arc::new(Inner {
            running: Arc::new(Semaphore::new(running_max)),
            running_max,
            waiting: AtomicUsize::new(0),
            waiting_max,
            typical_us: AtomicU64::new(0),
            metrics,
        }))
    }

    /// Waits for a turn, if there is one to be had within the deadline.
    pub(crate) async fn enter(&self, deadline: Deadline) -> Result<Pass, ServiceError> {
        let inner = &self.0;
        if deadline.left().is_zero() {
            return Err(inner.late());
        }
        let permit = match Arc::clone(&inner.running).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = Waiting::begin(inner)?;
                let turn = Arc::clone(&inner.running).acquire_owned();
                match timeout(deadline.left(), turn).await {
                    Ok(Ok(permit)) => permit,
                    // The semaphore is never closed.
                    Ok(Err(_)) | Err(_) => return Err(inner.late()),
                }
            }
        };
        inner.metrics.searches().running(1);
        Ok(Pass {
            gate: Arc::clone(inner),
            begun: Instant::now(),
            _permit: permit,
        })
    }
}

impl Inner {
    fn late(&self) -> ServiceError {
        self.metrics.searches().refused(Refusal::Deadline);
        ServiceError::Timeout {
            outcome_unknown: false,
        }
    }

    fn overloaded(&self) -> ServiceError {
        self.metrics.searches().refused(Refusal::Overload);
        let turns = (self.waiting_max / self.running_max + 1) as u64;
        let typical = Duration::from_micros(self.typical_us.load(Ordering::Relaxed));
        let turns = u32::try_from(turns).unwrap_or(u32::MAX);
        ServiceError::SearchesOverloaded {
            limit: self.waiting_max as u64,
            running: self.running_max as u64,
            retry_after: typical.saturating_mul(turns).clamp(RETRY_MIN, RETRY_MAX),
        }
    }
}

/// One that waits, counted for as long as it does: a client that goes away leaves the queue.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn begin(inner: &'a Inner) -> Result<Self, ServiceError> {
        let more = |waiting| (waiting < inner.waiting_max).then_some(waiting + 1);
        (inner.waiting)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|_| inner.overloaded())?;
        inner.metrics.searches().waiting(1);
        Ok(Self(inner))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.searches().waiting(-1);
    }
}

/// The right to search, given back when the work has ended, not when the client has gone.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Inner>,
    begun: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let took = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        // What two that end at the same time make of it differs by little.
        let typical = match self.gate.typical_us.load(Ordering::Relaxed) {
            0 => took,
            typical => typical - typical / SMOOTHING + took / SMOOTHING,
        };
        self.gate.typical_us.store(typical, Ordering::Relaxed);
        self.gate.metrics.searches().running(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Traffic;

    fn gate(running: usize, waiting: usize) -> SearchGate {
        let metrics = Arc::new(Metrics::new(Arc::new(Traffic::default())));
        SearchGate::new(running, waiting, metrics)
    }

    fn soon() -> Deadline {
        Deadline::within(Duration::from_secs(5))
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_are_refused_at_once_and_told_when_to_come_back() {
        let gate = gate(1, 1);
        let first = gate.enter(soon()).await.expect("free");
        let second = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter(soon()).await.map(drop) }
        });
        tokio::task::yield_now().await;
        let begun = Instant::now();
        let refused = gate.enter(soon()).await.expect_err("full");
        assert_eq!(
            refused,
            ServiceError::SearchesOverloaded {
                limit: 1,
                running: 1,
                retry_after: RETRY_MIN,
            }
        );
        assert_eq!(begun.elapsed(), Duration::ZERO);

        // Two turns are ahead of whoever comes next, each as long as the first one was.
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(first);
        second.await.expect("not cancelled").expect("its turn");
        let hint = match gate.0.overloaded() {
            ServiceError::SearchesOverloaded { retry_after, .. } => retry_after,
            other => unreachable!("{other:?}"),
        };
        assert!(
            (Duration::from_millis(400)..=Duration::from_millis(600)).contains(&hint),
            "{hint:?}"
        );
        gate.enter(soon()).await.expect("free again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_past_the_deadline_or_goes_away_leaves_the_queue() {
        let gate = gate(1, 1);
        let first = gate.enter(soon()).await.expect("free");
        let late = gate.enter(soon()).await.expect_err("never its turn");
        let expected = ServiceError::Timeout {
            outcome_unknown: false,
        };
        assert_eq!(late, expected);
        let gone = gate.enter(soon());
        timeout(Duration::from_millis(1), gone)
            .await
            .expect_err("it gives up");
        assert_eq!(gate.0.waiting.load(Ordering::Relaxed), 0);
        drop(first);
        let over = Deadline::within(Duration::ZERO);
        assert_eq!(gate.enter(over).await.expect_err("too late"), expected);
    }

    #[tokio::test]
    async fn all_figures_return_to_zero() {
        let gate = gate(0, 0);
        let pass = gate.enter(soon()).await.expect("free");
        assert_eq!(gate.0.metrics.searches().now(), (1, 0));
        drop(pass);
        assert_eq!(gate.0.metrics.searches().now(), (0, 0));
    }
}
