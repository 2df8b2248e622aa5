//! Large upserts: any number of points, split into writes the cluster takes, several on their way at once.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use pando_model::limits::{POINTS_PER_WRITE_MAX, WRITE_BYTES_MAX};
use pando_model::{CollectionName, Point, PointId};
use thiserror::Error;

use crate::builder::Pando;
use crate::error::ClientError;

/// How a large upsert is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkOptions {
    /// Most writes on their way at once; at least 1.
    pub concurrency: usize,
    /// Most points per write; the cluster's limit at most.
    pub points_per_write: usize,
}

impl Default for BulkOptions {
    fn default() -> Self {
        Self {
            concurrency: 4,
            points_per_write: POINTS_PER_WRITE_MAX,
        }
    }
}

/// How far a large upsert has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Points acknowledged.
    pub points: u64,
    /// Writes acknowledged.
    pub writes: u64,
    /// Bytes of vectors and payloads acknowledged.
    pub bytes: u64,
    /// Highest log index of these writes.
    pub log_index: u64,
}

/// A large upsert that did not come to its end.
#[derive(Debug, Error)]
pub enum BulkError<E> {
    /// The source of the points failed.
    #[error("after {} acknowledged points, the source failed: {error}", .progress.points)]
    Source {
        /// What it said.
        error: E,
        /// What was acknowledged, of all the points before.
        progress: Progress,
    },
    /// A write failed.
    #[error("after {} acknowledged points, the write from point {first} on failed: {error}", .progress.points)]
    Write {
        /// Why.
        error: ClientError,
        /// The first point of that write.
        first: PointId,
        /// What was acknowledged, the writes that were on their way when this one failed included.
        progress: Progress,
    },
}

/// Points for one write.
#[derive(Debug, Default)]
struct Batch {
    points: Vec<Point>,
    ids: BTreeSet<PointId>,
    bytes: usize,
}

fn point_bytes(point: &Point) -> usize {
    point.vector_bytes() + point.payload.encode().as_bytes().len()
}

impl Batch {
    /// Takes the point; returns what was there if the point belongs into the next write.
    fn push(&mut self, point: Point, points_max: usize) -> Option<Self> {
        let bytes = point_bytes(&point);
        let full = self.points.len() >= points_max || self.bytes + bytes > WRITE_BYTES_MAX;
        let next = !self.points.is_empty() && (full || self.ids.contains(&point.id));
        let done = next.then(|| std::mem::take(self));
        self.ids.insert(point.id);
        self.points.push(point);
        self.bytes += bytes;
        done
    }
}

/// Cuts a stream of points into writes. A point that is too large on its own is a write of its own, which the
/// cluster refuses.
fn batches<E>(
    points: impl Stream<Item = Result<Point, E>>,
    points_max: usize,
) -> impl Stream<Item = Result<Batch, E>> {
    let state = (Box::pin(points), Batch::default());
    stream::try_unfold(state, move |(mut points, mut batch)| async move {
        while let Some(point) = points.try_next().await? {
            if let Some(done) = batch.push(point, points_max) {
                return Ok(Some((done, (points, batch))));
            }
        }
        let rest = std::mem::take(&mut batch);
        Ok((!rest.points.is_empty()).then_some((rest, (points, batch))))
    })
}

impl Pando {
    /// Inserts any number of points, replacing those of the same id. `on_progress` is called after every
    /// acknowledged write. Ids should be distinct: of two points with the same id, either may win.
    ///
    /// # Errors
    /// The first write that fails; writes before it stay.
    pub async fn upsert_all(
        &self,
        collection: &CollectionName,
        points: impl IntoIterator<Item = Point>,
        options: BulkOptions,
        on_progress: impl FnMut(Progress),
    ) -> Result<Progress, BulkError<Infallible>> {
        let points = stream::iter(points.into_iter().map(Ok));
        self.upsert_stream(collection, points, options, on_progress)
            .await
    }

    /// Like [`Pando::upsert_all`], for points that are read while they are written. No more points are taken from
    /// the stream than the writes on their way hold.
    ///
    /// # Errors
    /// The stream's first error, or the first write that fails. No write is begun after it; those on their way are
    /// waited for and stay, as those before do.
    pub async fn upsert_stream<E>(
        &self,
        collection: &CollectionName,
        points: impl Stream<Item = Result<Point, E>>,
        options: BulkOptions,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Progress, BulkError<E>> {
        let points_max = options.points_per_write.clamp(1, POINTS_PER_WRITE_MAX);
        let failed = AtomicBool::new(false);
        let go_on = |_: &_| future::ready(!failed.load(Ordering::Relaxed));
        let writes = batches(points, points_max)
            .take_while(go_on)
            .map(|batch| self.write_batch(collection, batch))
            .buffer_unordered(options.concurrency.max(1));
        let mut writes = pin!(writes);
        let mut progress = Progress::default();
        let mut failure = None;
        while let Some(write) = writes.next().await {
            match write {
                Ok((points, bytes, log_index)) => {
                    progress.points += points;
                    progress.writes += 1;
                    progress.bytes += bytes;
                    progress.log_index = progress.log_index.max(log_index);
                    on_progress(progress);
                }
                Err(why) => {
                    failed.store(true, Ordering::Relaxed);
                    failure = failure.or(Some(why));
                }
            }
        }
        match failure {
            None => Ok(progress),
            Some(Failure::Source(error)) => Err(BulkError::Source { error, progress }),
            Some(Failure::Write { error, first }) => Err(BulkError::Write {
                error,
                first,
                progress,
            }),
        }
    }

    /// Points, bytes and the log index of one write.
    async fn write_batch<E>(
        &self,
        collection: &CollectionName,
        batch: Result<Batch, E>,
    ) -> Result<(u64, u64, u64), Failure<E>> {
        let batch = batch.map_err(Failure::Source)?;
        let (count, bytes) = (batch.points.len() as u64, batch.bytes as u64);
        let first = batch.points.first().map_or(PointId::Num(0), |p| p.id);
        match self.upsert(collection, batch.points).await {
            Ok(written) => Ok((count, bytes, written.log_index)),
            Err(error) => Err(Failure::Write { error, first }),
        }
    }
}

enum Failure<E> {
    Source(E),
    Write { error: ClientError, first: PointId },
}

#[cfg(test)]
mod tests {
    use pando_model::Payload;

    use super::*;

    async fn cut(points: Vec<Point>, points_max: usize) -> Vec<Batch> {
        let points = stream::iter(points.into_iter().map(Ok::<_, Infallible>));
        batches(points, points_max)
            .try_collect()
            .await
            .expect("infallible")
    }

    fn point(id: u64, dimension: usize) -> Point {
        Point::new(id, vec![1.0; dimension], Payload::default())
    }

    #[tokio::test]
    async fn batches_keep_order_and_both_limits() {
        let points: Vec<_> = (0..700u16)
            .map(|i| point(i.into(), 1 + usize::from(i) * 12))
            .collect();
        let batches = cut(points.clone(), 100).await;
        for batch in &batches {
            assert!(batch.bytes <= WRITE_BYTES_MAX && batch.points.len() <= 100);
            assert_eq!(
                batch.bytes,
                batch.points.iter().map(point_bytes).sum::<usize>()
            );
        }
        assert!(
            batches.iter().any(|b| b.points.len() == 100),
            "cut by count"
        );
        assert!(batches.len() > 7, "cut by bytes, too");
        let all: Vec<_> = batches.into_iter().flat_map(|b| b.points).collect();
        assert_eq!(all, points);
    }

    #[tokio::test]
    async fn a_repeated_id_goes_into_another_write() {
        let batches = cut(vec![point(1, 1), point(2, 1), point(1, 2)], 100).await;
        let ids: Vec<Vec<PointId>> = batches
            .iter()
            .map(|b| b.points.iter().map(|p| p.id).collect())
            .collect();
        assert_eq!(ids, [vec![1.into(), 2.into()], vec![PointId::Num(1)]]);
    }

    #[tokio::test]
    async fn nothing_makes_no_write_and_a_giant_makes_its_own() {
        assert!(cut(vec![], 100).await.is_empty());
        let batches = cut(vec![point(1, 1), point(2, 1 << 19), point(3, 1)], 100).await;
        assert_eq!(batches.len(), 3);
    }
}
