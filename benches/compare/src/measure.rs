//! Every query once, on some threads: how much of the truth is found, and how fast.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Digits of the histogram.
const DIGITS: u8 = 3;
/// Rounds of which the fastest counts: whatever else the machine does makes none faster.
const ROUNDS: usize = 3;

/// What a round came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) ef: u32,
    pub(crate) threads: usize,
    pub(crate) recall: f64,
    pub(crate) qps: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// An engine with what it was measured at.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    pub(crate) build_seconds: f64,
    /// What it says it has allocated.
    pub(crate) memory_bytes: u64,
    pub(crate) rows: Vec<Row>,
}

/// Searches for all queries; the best of some rounds.
pub(crate) fn rounds(
    ef: u32,
    threads: usize,
    truth: &[Vec<u64>],
    search: impl Fn(usize) -> anyhow::Result<Vec<u64>> + Sync,
) -> anyhow::Result<Row> {
    let mut best: Option<Row> = None;
    for _ in 0..ROUNDS {
        let row = round(ef, threads, truth, &search)?;
        if best.as_ref().is_none_or(|best| row.qps > best.qps) {
            best = Some(row);
        }
    }
    Ok(best.expect("there is at least one round"))
}

fn round(
    ef: u32,
    threads: usize,
    truth: &[Vec<u64>],
    search: &(impl Fn(usize) -> anyhow::Result<Vec<u64>> + Sync),
) -> anyhow::Result<Row> {
    let next = AtomicUsize::new(0);
    let one_thread = || {
        let (mut histogram, mut found) = (Histogram::<u64>::new(DIGITS)?, 0);
        loop {
            let query = next.fetch_add(1, Ordering::Relaxed);
            let Some(truth) = truth.get(query) else {
                return Ok::<_, anyhow::Error>((histogram, found));
            };
            let since = Instant::now();
            let rows = search(query)?;
            histogram.record(u64::try_from(since.elapsed().as_nanos())?)?;
            found += truth.iter().filter(|row| rows.contains(row)).count();
        }
    };
    let begun = Instant::now();
    let parts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one_thread)).collect();
        let parts = threads.into_iter().map(|thread| thread.join());
        parts.collect::<Vec<_>>()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let (mut histogram, mut found) = (Histogram::<u64>::new(DIGITS)?, 0);
    for part in parts {
        let part = part.map_err(|_| anyhow::anyhow!("a search panicked"))??;
        histogram.add(&part.0)?;
        found += part.1;
    }
    let there: usize = truth.iter().map(Vec::len).sum();
    let ms = |nanos: u64| nanos as f64 / 1e6;
    Ok(Row {
        ef,
        threads,
        recall: found as f64 / there.max(1) as f64,
        qps: truth.len() as f64 / seconds,
        p50_ms: ms(histogram.value_at_quantile(0.5)),
        p99_ms: ms(histogram.value_at_quantile(0.99)),
    })
}
