//! The limit on outgoing sync traffic: bytes per second, all sessions of a node together.
//!
//! Owns one schedule. Each frame is given its moment on it when it is asked for, in that order, and waits for that; so
//! sessions share the rate frame by frame, and no more than a tenth of a second's worth ever goes at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// What may go at once after a pause.
const BURST: Duration = Duration::from_millis(100);

/// A rate that frames wait for.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    /// 0: none.
    bytes_per_second: u64,
    /// When everything granted so far will have gone at the rate.
    granted: Mutex<Option<Instant>>,
    waited_micros: AtomicU64,
}

impl RateLimit {
    /// A limit of so many bytes per second; 0 is none.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            ..Self::default()
        }
    }

    /// Waits until this many bytes may go.
    pub(crate) async fn acquire(&self, bytes: u64) {
        let now = Instant::now();
        let wait = self.wait(now, bytes);
        if wait.is_zero() {
            return;
        }
        sleep_until(now + wait).await;
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        self.waited_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How long bytes asked for now must wait.
    fn wait(&self, now: Instant, bytes: u64) -> Duration {
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut granted = self.granted.lock();
        let goes = granted.map_or(now, |granted| granted.max(now));
        *granted = Some(goes + takes);
        // A short wait is not worth a timer.
        goes.duration_since(now).saturating_sub(BURST)
    }

    /// How long frames have waited, all sessions together.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    #[test]
    fn all_sessions_together_stay_under_the_rate() {
        let limit = RateLimit::new(100 * KIB);
        let began = Instant::now();
        // Two sessions, each asking for its next frame when the last has gone.
        let mut sessions = [began; 2];
        for frame in 0..100 {
            let session = &mut sessions[frame % 2];
            *session += limit.wait(*session, 10 * KIB);
        }
        // 1,000 KiB at 100 KiB/s. The last frame need not be through, and a tenth of a second goes ahead.
        let took = sessions.map(|at| at.duration_since(began).as_millis());
        assert_eq!(took, [9_700, 9_800]);
    }

    #[test]
    fn a_pause_is_no_credit() {
        let limit = RateLimit::new(100 * KIB);
        let began = Instant::now();
        limit.wait(began, 10 * KIB);
        let later = began + Duration::from_secs(60);
        assert_eq!(limit.wait(later, 100 * KIB), Duration::ZERO);
        assert_eq!(limit.wait(later, 100 * KIB), Duration::from_millis(900));
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let limit = RateLimit::new(0);
        let now = Instant::now();
        assert_eq!(limit.wait(now, u64::MAX), Duration::ZERO);
        assert_eq!(limit.wait(now, u64::MAX), Duration::ZERO);
    }
}
