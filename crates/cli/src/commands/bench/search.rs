//! `pando bench search`: what recall costs on one's own data, over the length of the graph's list.
//!
//! The truth is the exact scan's, asked of the same node first. Then every length of list is searched with by some
//! clients at once, through the public API, as an application would.

mod asked;
mod measure;
mod own;
mod page;
mod picture;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use pando_client::Pando;
use pando_model::limits::{EF_MAX, QUERIES_PER_BATCH_MAX, RESULTS_MAX};
use pando_model::{
    CollectionInfo, CollectionName, Consistency, Filter, InvalidInput, Metric, VectorName,
};

use super::report::Origin;
use super::usage;
use crate::context::Context;
use crate::filter_text;
use crate::output::{self, Format};
use asked::Asked;
use measure::Setting;
use own::Own;
use page::Results;

/// Lists that are searched with if none is named.
const EFS: &str = "16,32,64,128,256";
const CLIENTS_MAX: i64 = 1_024;
const QUERIES_MAX: i64 = 100_000;

/// Arguments of `pando bench search`.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    place: Place,

    /// Payloads of the rows of --vectors, for --filter: .jsonl or .jsonl.gz, one JSON object per row
    #[arg(long, value_name = "FILE", conflicts_with = "collection")]
    payloads: Option<PathBuf>,

    /// How the vectors of --vectors are compared
    #[arg(long, value_name = "METRIC", conflicts_with = "collection", default_value = "cosine",
          value_parser = metric)]
    metric: Metric,

    /// Vectors from which on a node of its own keeps a graph; 0: none
    #[arg(long, value_name = "N", conflicts_with = "collection")]
    graph_vectors_min: Option<usize>,

    /// Query vectors: .npy (2-d float16 or float32) or .fvecs. Without it, stored points are searched for, each less
    /// itself
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,

    /// Most queries; each is also scanned for exactly, once
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=QUERIES_MAX))]
    queries_max: u32,

    /// Which of the collection's vectors; the default one has no name
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true,
          value_parser = VectorName::parse)]
    vector_name: VectorName,

    /// How many hits
    #[arg(long, short = 'k', value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..RESULTS_MAX as i64))]
    limit: u32,

    /// Only points that pass: 'pos = verb and year >= 1990', or the JSON form
    #[arg(long, value_name = "FILTER", value_parser = filter_text::parse)]
    filter: Option<Filter>,

    /// Lengths of the graph's list; besides, always the node's default
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = EFS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(EF_MAX)))]
    ef: Vec<u32>,

    /// How many clients search at once, one round each
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,16",
          value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    clients: Vec<u32>,

    /// How many queries a client asks in one request, one round each
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=QUERIES_PER_BATCH_MAX as i64))]
    batch: Vec<u32>,

    /// How long each is measured, in seconds, and at least until every query was asked
    #[arg(long, value_name = "SECONDS", default_value_t = 3,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Writes the report there, too: a Markdown page, a plot, with --output json the figures
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Where a node of its own keeps its data meanwhile [default: the system's directory for temporary files]
    #[arg(long, value_name = "DIR", conflicts_with = "collection")]
    dir: Option<PathBuf>,

    /// What the program was built from, for the report
    #[arg(long, value_name = "TEXT", default_value = "not told")]
    commit: String,
}

/// Where is searched; exactly one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// Search in this collection (name or alias) of the cluster that --node names; nothing is written
    #[arg(long, value_name = "NAME", value_parser = CollectionName::parse)]
    collection: Option<CollectionName>,

    /// Load this file into a node that runs for as long as this takes: .npy, .fvecs or .jsonl
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
}

fn metric(text: &str) -> Result<Metric, String> {
    text.parse().map_err(|e: InvalidInput| e.to_string())
}

pub(crate) async fn run(context: &Context, args: SearchArgs) -> anyhow::Result<()> {
    if let Some(out) = &args.out {
        fs::create_dir_all(out)?;
    }
    let own = match &args.place.vectors {
        Some(file) => Some(Own::start(context, &args, file).await?),
        None => None,
    };
    let (client, collection) = match (&own, &args.place.collection) {
        (Some(own), _) => (own.client.clone(), own.collection.clone()),
        (None, Some(collection)) => (context.client()?, collection.clone()),
        (None, None) => anyhow::bail!("give one of --collection, --vectors"),
    };
    let results = measure(&args, &client, &collection, own.as_ref()).await?;
    write(context, &args, &results)
}

async fn measure(
    args: &SearchArgs,
    client: &Pando,
    collection: &CollectionName,
    own: Option<&Own>,
) -> anyhow::Result<Results> {
    let info = client
        .describe_collection(collection, Consistency::Local)
        .await?;
    let params = info.definition.schema.vector(&args.vector_name)?;
    let asked = Asked::prepare(args, client, collection).await?;
    let truth = measure::truth(client, collection, &asked, params.metric).await?;
    let length = Duration::from_secs(args.seconds);
    let mut rows = vec![truth.row.clone()];
    let clients = args.clients.iter();
    let rounds = clients.flat_map(|clients| args.batch.iter().map(|batch| (*clients, *batch)));
    for (clients, batch) in rounds {
        let lists = std::iter::once(None).chain(args.ef.iter().copied().map(Some));
        for ef in lists {
            let setting = Setting {
                ef,
                clients,
                batch,
                length,
            };
            rows.push(measure::round(client, collection, &asked, &truth, setting).await?);
        }
    }
    let own = match own {
        Some(own) => Some(own.account()?),
        None => None,
    };
    Ok(Results {
        origin: origin(args, &info)?,
        points: info.points,
        dimension: params.dimension,
        metric: params.metric.name(),
        queries: asked.queries.len(),
        limit: asked.limit,
        filtered: args.filter.is_some(),
        own,
        rows,
    })
}

fn origin(args: &SearchArgs, info: &CollectionInfo) -> anyhow::Result<Origin> {
    let command: Vec<String> = env::args().skip(1).collect();
    let data = match &args.place.vectors {
        Some(file) => file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into(),
        None => format!("collection {}", info.definition.name),
    };
    Ok(Origin {
        machine: usage::machine()?,
        version: env!("CARGO_PKG_VERSION"),
        commit: args.commit.clone(),
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        command: format!("pando {}", command.join(" ")),
        data,
    })
}

/// Prints the report, and writes it where that was asked for.
fn write(context: &Context, args: &SearchArgs, results: &Results) -> anyhow::Result<()> {
    context.format.show(|| results, || page::tables(results))?;
    let Some(out) = &args.out else {
        return Ok(());
    };
    let stem = format!("search-{}x{}", results.points, results.dimension);
    let path = |extension: &str| out.join(format!("{stem}.{extension}"));
    fs::write(path("svg"), picture::svg(results)?)?;
    fs::write(path("md"), page::markdown(results, &format!("{stem}.svg"))?)?;
    if context.format == Format::Json {
        fs::write(path("json"), serde_json::to_string_pretty(results)?)?;
    }
    output::complain(format_args!("written: {}", path("md").display()));
    Ok(())
}

/// The directory below which a node of its own keeps its data.
fn parent(args: &SearchArgs) -> PathBuf {
    args.dir.clone().unwrap_or_else(env::temp_dir)
}

/// Waits for what was spawned; the first failure ends all.
async fn all<T: 'static>(
    mut tasks: tokio::task::JoinSet<anyhow::Result<T>>,
) -> anyhow::Result<Vec<T>> {
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(task) = tasks.join_next().await {
        done.push(task.context("a task of the benchmark failed")??);
    }
    Ok(done)
}
