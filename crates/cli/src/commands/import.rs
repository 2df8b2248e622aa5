//! `pando import`: a file's points, read and written at the same time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use futures::stream;
use indicatif::ProgressBar;
use pando_client::{BulkError, BulkOptions, Pando};
use pando_model::limits::POINTS_PER_WRITE_MAX;
use pando_model::{CollectionName, Point, VectorName};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::context::Context;
use crate::exit::BadInput;
use crate::output::{self, plural};
use crate::progress;
use crate::readers::{self, Defaults};

/// Arguments of `pando import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Collection or alias
    #[arg(value_parser = CollectionName::parse)]
    collection: CollectionName,

    /// Points: .npy (2-d float16 or float32), .fvecs, or .jsonl with {"id", "vector", "payload"} per line, or with
    /// "vectors" by name, sparse ones as {"indices": [..], "values": [..]}; each may end in .gz
    #[arg(long, value_name = "FILE")]
    vectors: PathBuf,

    /// Payloads of the rows: .jsonl or .jsonl.gz, one JSON object per row
    #[arg(long, value_name = "FILE")]
    payloads: Option<PathBuf>,

    /// Id of the first row; the others count on
    #[arg(long, value_name = "N", default_value_t = 0)]
    first_id: u64,

    /// Which of the collection's vectors the rows are; the default one has no name
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true,
          value_parser = VectorName::parse)]
    vector_name: VectorName,

    /// Most points per write
    #[arg(long, value_name = "N", default_value_t = BATCH, value_parser = batch)]
    batch: usize,

    /// Most writes on their way at once
    #[arg(long, value_name = "N", default_value_t = CONCURRENCY, value_parser = concurrency)]
    concurrency: usize,
}

const BATCH: usize = 256;
const CONCURRENCY: usize = 4;
const CONCURRENCY_MAX: usize = 256;

fn within(text: &str, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=max).contains(&n) => Ok(n),
        _ => Err(format!("use 1 to {max}")),
    }
}

fn batch(text: &str) -> Result<usize, String> {
    within(text, POINTS_PER_WRITE_MAX)
}

fn concurrency(text: &str) -> Result<usize, String> {
    within(text, CONCURRENCY_MAX)
}

/// What an import came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Imported {
    /// Points written.
    pub(crate) points: u64,
    /// Bytes of their vectors and payloads.
    pub(crate) bytes: u64,
    /// Time it took.
    pub(crate) took: Duration,
    /// Highest log index of the writes.
    pub(crate) log_index: u64,
}

impl Imported {
    fn per_second(&self, amount: u64) -> f64 {
        amount as f64 / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "points": self.points,
            "bytes": self.bytes,
            "seconds": self.took.as_secs_f64(),
            "points_per_second": self.per_second(self.points),
            "log_index": self.log_index,
        })
    }

    pub(crate) fn text(&self) -> String {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate in bytes, not negative, shown to three digits"
        )]
        let rate = self.per_second(self.bytes) as u64;
        format!(
            "{} in {:.2} s: {:.0} points/s, {}/s",
            plural(self.points, "point"),
            self.took.as_secs_f64(),
            self.per_second(self.points),
            output::bytes(rate)
        )
    }
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            points_per_write: BATCH,
            concurrency: CONCURRENCY,
        }
    }
}

/// How the writes are cut and sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImportOptions {
    pub(crate) points_per_write: usize,
    pub(crate) concurrency: usize,
}

pub(crate) async fn run(context: &Context, args: ImportArgs) -> anyhow::Result<()> {
    let options = ImportOptions {
        points_per_write: args.batch,
        concurrency: args.concurrency,
    };
    let defaults = Defaults {
        first_id: args.first_id,
        vector_name: args.vector_name,
    };
    let points = readers::points(&args.vectors, args.payloads.as_deref(), defaults)?;
    let bar = progress::bar("importing", points.total);
    let client = context.client()?;
    let imported = import(&client, &args.collection, points, options, &bar).await;
    bar.finish_and_clear();
    let imported = imported?;
    context
        .format
        .show(|| imported.json(), || imported.text())?;
    Ok(())
}

/// Writes points while they are read. The reader runs on its own thread and is never further ahead than one
/// write.
pub(crate) async fn import(
    client: &Pando,
    collection: &CollectionName,
    points: impl Iterator<Item = Result<Point, BadInput>> + Send + 'static,
    options: ImportOptions,
    bar: &ProgressBar,
) -> anyhow::Result<Imported> {
    let begun = Instant::now();
    let (tx, mut rx) = mpsc::channel(options.points_per_write);
    let reader = tokio::task::spawn_blocking(move || {
        for point in points {
            if tx.blocking_send(point).is_err() {
                break;
            }
        }
    });
    let bulk = BulkOptions {
        concurrency: options.concurrency,
        points_per_write: options.points_per_write,
    };
    let stream = stream::poll_fn(|cx| rx.poll_recv(cx));
    let written = client.upsert_stream(collection, stream, bulk, |p| bar.set_position(p.points));
    let written = written.await;
    drop(rx);
    reader.await?;
    let progress = written.map_err(|failure| {
        let (error, progress) = match failure {
            BulkError::Source { error, progress } => (anyhow::Error::new(error), progress),
            BulkError::Write {
                error,
                first,
                progress,
            } => {
                let error = anyhow::Error::new(error);
                (
                    error.context(format!("the write from point {first} on")),
                    progress,
                )
            }
        };
        error.context(format!("after {} acknowledged points", progress.points))
    })?;
    Ok(Imported {
        points: progress.points,
        bytes: progress.bytes,
        took: begun.elapsed(),
        log_index: progress.log_index,
    })
}
