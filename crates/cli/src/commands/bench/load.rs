//! Writes at a steady rate, and how long each took.
//!
//! Every write has a moment at which it is due, and its time counts from there: one that waits because those before it
//! are slow is as late as a user would find it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::stage::Stage;

/// Most writes on their way at once.
const IN_FLIGHT_MAX: usize = 512;
/// Digits of the histogram.
const DIGITS: u8 = 3;

/// How many points are upserted per second, and how many by one write.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Rate {
    pub(super) points_per_second: u32,
    pub(super) points_per_write: u32,
}

impl Rate {
    fn pause(self) -> Duration {
        Duration::from_secs(1) * self.points_per_write / self.points_per_second.max(1)
    }
}

/// A write that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Sample {
    due: Instant,
    took: Duration,
}

/// Writes going on.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<anyhow::Result<Vec<Sample>>>,
}

/// All that was written.
pub(super) struct Samples(Vec<Sample>);

/// Latency over a stretch of time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) writes: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Load {
    /// Begins to upsert points that are there, round and round, until stopped or for as long as the stage is patient.
    pub(super) fn start(stage: &mut Stage, rate: Rate) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Instant::now() + stage.patience;
        let (client, collection) = (stage.client.clone(), stage.collection.clone());
        let source = Arc::clone(&stage.source);
        let (first, count, generation) = stage.ids.steady();
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let permits = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
            let mut writes = JoinSet::new();
            let mut samples = Vec::new();
            let mut due = Instant::now();
            let mut next = 0;
            while !stopped.load(Ordering::Relaxed) && Instant::now() < until {
                tokio::time::sleep_until(due.into()).await;
                let permit = Arc::clone(&permits).acquire_owned().await?;
                let ids =
                    (next..next + u64::from(rate.points_per_write)).map(|n| first + n % count);
                let points = ids.map(|id| source.point(id, generation)).collect();
                let (client, collection) = (client.clone(), collection.clone());
                writes.spawn(async move {
                    let written = client.upsert(&collection, points).await;
                    drop(permit);
                    written.map(|_| Sample {
                        due,
                        took: due.elapsed(),
                    })
                });
                next += u64::from(rate.points_per_write);
                due += rate.pause();
                while let Some(written) = writes.try_join_next() {
                    samples.push(written??);
                }
            }
            while let Some(written) = writes.join_next().await {
                samples.push(written??);
            }
            Ok(samples)
        });
        Self { stop, task }
    }

    /// Ends it; a write that failed is an error.
    pub(super) async fn stop(self) -> anyhow::Result<Samples> {
        self.stop.store(true, Ordering::Relaxed);
        let samples = self.task.await?.context("writing at a steady rate")?;
        Ok(Samples(samples))
    }
}

impl Samples {
    /// Of the writes that were under way at any moment from `begin` to `end`; none if there were none.
    pub(super) fn between(&self, begin: Instant, end: Instant) -> anyhow::Result<Option<Latency>> {
        let mut histogram = Histogram::<u64>::new(DIGITS)?;
        let under_way = |s: &&Sample| s.due <= end && s.due + s.took >= begin;
        for sample in self.0.iter().filter(under_way) {
            histogram.record(u64::try_from(sample.took.as_micros())?)?;
        }
        if histogram.is_empty() {
            return Ok(None);
        }
        let ms = |micros: u64| micros as f64 / 1000.0;
        Ok(Some(Latency {
            writes: histogram.len(),
            p50_ms: ms(histogram.value_at_quantile(0.5)),
            p99_ms: ms(histogram.value_at_quantile(0.99)),
            max_ms: ms(histogram.max()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_writes_under_way_count() {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let sample = |due, took| Sample {
            due: at(due),
            took: Duration::from_millis(took),
        };
        let samples = Samples(vec![
            sample(0, 10),
            sample(5, 100),
            sample(50, 20),
            sample(200, 1),
        ]);
        let latency = samples.between(at(20), at(60)).expect("small");
        let latency = latency.expect("some");
        assert_eq!(latency.writes, 2);
        assert!((latency.max_ms - 100.0).abs() < 1.0, "{latency:?}");
        let later = samples.between(at(300), at(400));
        assert!(later.expect("small").is_none());
    }

    #[test]
    fn the_rate_is_points_per_second() {
        let rate = |points_per_write| Rate {
            points_per_second: 1000,
            points_per_write,
        };
        assert_eq!(rate(1).pause(), Duration::from_millis(1));
        assert_eq!(rate(10).pause(), Duration::from_millis(10));
    }
}
