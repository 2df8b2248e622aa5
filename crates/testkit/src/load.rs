//! Writers and readers that keep a cluster busy while a test breaks it, and tell the oracle what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pando_client::{ClientError, Pando};
use pando_model::{
    CollectionName, CollectionSchema, Consistency, Metric, Payload, Point, PointId, Selector,
    StoredPoint, Value, VectorName, WithVectors,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::oracle::{Evidence, Oracle, WriteNumber};
use crate::wait::eventually;

/// Values per vector.
const DIMENSION: u32 = 8;
/// Rows that writers are at work on: ids 0 to so many, few enough for writers to meet.
pub const IDS: u64 = 400;
/// Most points in one write.
const POINTS_MAX: u64 = 12;
/// Payload field that carries the write's number.
const FIELD: &str = "write";
/// How long one request may take, retries included.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// The point a write leaves behind: payload and vector both follow from its number.
#[must_use]
pub fn point(id: PointId, number: WriteNumber) -> Point {
    let payload = BTreeMap::from([(FIELD.to_owned(), Value::Int(number.cast_signed()))]);
    Point::new(id, vector(number), Payload(payload))
}

fn vector(number: WriteNumber) -> Vec<f32> {
    // Small integers: what comes back must be exactly what was written.
    let value = |n: u32| ((number >> n) & 0xff) as u8;
    (0..DIMENSION)
        .map(|n| f32::from(value(n * 3)) + 1.0)
        .collect()
}

/// Which write a point comes from. A point whose vector and payload do not fit together is refused.
///
/// # Errors
/// When the point is not one that [`point`] made.
pub fn number_of(point: &StoredPoint) -> Result<WriteNumber> {
    let payload = point.payload.as_ref().context("no payload")?;
    let Some(Value::Int(number)) = payload.0.get(FIELD) else {
        anyhow::bail!("point {} has the payload {payload:?}", point.id);
    };
    let number = number.cast_unsigned();
    let expected = BTreeMap::from([(VectorName::default(), vector(number))]);
    ensure!(
        point.vectors == expected,
        "point {} has the vector of another write",
        point.id
    );
    Ok(number)
}

/// Which write each point comes from.
///
/// # Errors
/// When a point is not one that [`point`] made.
pub fn numbers(points: &[StoredPoint]) -> Result<BTreeMap<PointId, WriteNumber>> {
    points
        .iter()
        .map(|point| Ok((point.id, number_of(point)?)))
        .collect()
}

/// The collection that is written to.
#[must_use]
pub fn collection() -> CollectionName {
    CollectionName::parse("load").expect("a good name")
}

/// Creates the collection.
///
/// # Errors
/// When the cluster refuses.
pub async fn create(sdk: &Pando) -> Result<()> {
    let schema = CollectionSchema::single(DIMENSION, Metric::Dot);
    sdk.create_collection(&collection(), schema)
        .await
        .context("create the collection")?;
    Ok(())
}

#[derive(Debug)]
struct Shared {
    sdk: Pando,
    oracle: Oracle,
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

/// Writers and readers at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts some writers and one reader.
    #[must_use]
    pub fn start(sdk: Pando, writers: u64) -> Self {
        let shared = Arc::new(Shared {
            sdk: sdk.with_timeout(REQUEST_MAX),
            oracle: Oracle::default(),
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        for seed in 0..writers {
            tasks.spawn(write(Arc::clone(&shared), StdRng::seed_from_u64(seed)));
        }
        tasks.spawn(read(Arc::clone(&shared), StdRng::seed_from_u64(u64::MAX)));
        Self { shared, tasks }
    }

    /// Requests acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until some more requests are acknowledged.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn progress(&self, requests: u64, deadline: Duration) -> Result<()> {
        let goal = self.acknowledged() + requests;
        eventually(
            format!("{requests} more writes are acknowledged"),
            deadline,
            async || {
                let now = self.acknowledged();
                ensure!(now >= goal, "{now} of {goal}");
                Ok(())
            },
        )
        .await
    }

    /// Stops the writers and waits for the requests on their way.
    ///
    /// # Errors
    /// When a writer failed for a reason that no fault explains.
    pub async fn stop(mut self) -> Result<Judge> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a writer or the reader failed")?;
        }
        Ok(Judge {
            shared: self.shared,
        })
    }
}

/// What was acknowledged, once the writers have stopped.
#[derive(Debug)]
pub struct Judge {
    shared: Arc<Shared>,
}

impl Judge {
    /// Compares what is there with what was acknowledged.
    ///
    /// # Errors
    /// All that does not fit.
    pub fn check(&self, points: &[StoredPoint]) -> Result<Evidence> {
        let now = numbers(points)?;
        self.shared.oracle.check(&now).map_err(|violations| {
            let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{} violations:\n{}", lines.len(), lines.join("\n"))
        })
    }
}

async fn write(shared: Arc<Shared>, mut random: StdRng) {
    let name = collection();
    while !shared.stop.load(Ordering::Relaxed) {
        let count = random.random_range(1..=POINTS_MAX);
        let first = random.random_range(0..IDS - count);
        let ids: Vec<PointId> = (first..first + count).map(PointId::Num).collect();
        let delete = random.random_bool(0.25);
        let (ticket, result) = if delete {
            let ticket = shared.oracle.begin_delete(&ids);
            let selector = Selector::Ids(ids.into_iter().collect());
            (ticket, shared.sdk.delete(&name, selector).await)
        } else {
            let ticket = shared.oracle.begin_put(&ids);
            let points = ids
                .iter()
                .zip(ticket.numbers())
                .map(|(id, n)| point(*id, *n))
                .collect();
            (ticket, shared.sdk.upsert(&name, points).await)
        };
        match result {
            Ok(written) => {
                shared.oracle.acknowledged(ticket, written.log_index);
                shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                expected(&error);
                if error.has_no_side_effects() {
                    shared.oracle.refused(ticket);
                }
            }
        }
    }
}

async fn read(shared: Arc<Shared>, mut random: StdRng) {
    let name = collection();
    while !shared.stop.load(Ordering::Relaxed) {
        let id = PointId::Num(random.random_range(0..IDS));
        let floor = shared.oracle.floor();
        let level = match random.random_bool(0.5) {
            true => Consistency::Linearizable,
            false => Consistency::AtLeast(floor),
        };
        match shared
            .sdk
            .get(&name, [id], true, WithVectors::All, level)
            .await
        {
            Ok(points) => {
                let seen = points.first().map(number_of).transpose();
                let seen = seen.expect("vector and payload belong to one write");
                shared.oracle.read(id, floor, seen);
            }
            Err(error) => expected(&error),
        }
    }
}

/// Faults make requests fail for a while; anything else is a defect.
fn expected(error: &ClientError) {
    assert!(error.is_retryable(), "a request failed for good: {error}");
    tracing::debug!(%error, "a request failed");
}
