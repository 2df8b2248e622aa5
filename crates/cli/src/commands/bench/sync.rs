//! `pando bench sync`: the run from beginning to end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{env, fs};

use clap::{ArgAction, Args};
use pando_model::limits::DIMENSION_MAX;

use super::change::{Mix, record_bytes};
use super::load::Rate;
use super::measure::{catch_up, full_copy};
use super::plan::{Round, log_bytes, needs, rounds};
use super::report::{Origin, Results, markdown};
use super::row::{Method, Row, Task};
use super::stage::{Follower, Stage};
use super::vectors::Source;
use super::{plot, pressure, startup, targets, usage};
use crate::context::Context;
use crate::output::{self, Format};

const POINTS_MIN: u64 = 1_000;
const POINTS_MAX: u64 = 10_000_000;
/// Other sizes that are measured at one percent, where they are smaller than the run's own.
const OTHER_SIZES: &str = "10000,100000";
const PERCENTS: &str = "0,0.001,0.01,0.1,1,10,50,100";

/// Arguments of `pando bench sync`.
#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// Points in the collection; 1000000 x 1024 takes about 16 GiB of memory
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(POINTS_MIN..=POINTS_MAX))]
    points: u64,

    /// Values of a vector, where no file says
    #[arg(long, value_name = "N", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..=DIMENSION_MAX as i64))]
    dim: u32,

    /// Real embeddings: .npy (2-d float16 or float32) or .fvecs; repeated with noise if too few. Random unit
    /// vectors if not given
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,

    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// How much changes while a follower is away, in percent, one round each; besides, always 1 %
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = PERCENTS,
          value_parser = percent)]
    changed: Vec<f64>,

    /// Further sizes, at 1 %; larger ones than --points are left out
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = OTHER_SIZES,
          value_parser = clap::value_parser!(u64).range(POINTS_MIN..=POINTS_MAX))]
    sizes: Vec<u64>,

    /// Leave the further sizes out
    #[arg(long)]
    no_sizes: bool,

    /// Upserts per second while write latency is measured; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(0..=100_000))]
    upserts: u32,

    /// Points of one of these writes
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=256))]
    upserts_per_write: u32,

    /// How long these go on without a sync, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    upserts_seconds: u64,

    /// Where the report goes: a Markdown page, a plot, with --output json the figures, too
    #[arg(long, value_name = "DIR", default_value = "docs/benchmarks")]
    out: PathBuf,

    /// Where the nodes keep their data meanwhile [default: the system's directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// What the program was built from, for the report
    #[arg(long, value_name = "TEXT", default_value = "not told", action = ArgAction::Set)]
    commit: String,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("use 0 to 100".to_owned()),
    }
}

/// The followers that catch up by delta.
const DELTAS: [(Method, bool, &str); 1] = [(Method::Walk, false, "walk")];

pub(crate) async fn run(context: &Context, args: SyncArgs) -> anyhow::Result<()> {
    let args = Arc::new(args);
    let of_file = Arc::clone(&args);
    let source = tokio::task::spawn_blocking(move || source(&of_file)).await??;
    let source = Arc::new(source);
    let parent = args.dir.clone().unwrap_or_else(env::temp_dir);
    let needed = needs(args.points, source.dimension());
    output::complain(format_args!(
        "{} points x {}: about {} of memory and {} of disk in {} are needed",
        args.points,
        source.dimension(),
        output::bytes(needed.memory),
        output::bytes(needed.disk),
        parent.display()
    ));
    needed.check(&parent)?;
    fs::create_dir_all(&args.out)?;

    let mut results = own_size(context, &args, &source, &parent).await?;
    let others = args.sizes.iter().filter(|size| **size < args.points);
    for size in others.filter(|_| !args.no_sizes) {
        let mut bench = Bench::new(context, &source, &parent, *size).await?;
        for round in rounds(*size, &[]).0 {
            bench.round(round).await?;
        }
        results.rows.extend(bench.rows);
    }
    results.targets = targets::targets(&results);
    write(context, &args, &results)
}

fn source(args: &SyncArgs) -> anyhow::Result<Source> {
    Ok(match &args.vectors {
        Some(file) => Source::file(file, args.points, args.seed)?,
        None => Source::random(usize::try_from(args.dim)?, args.seed),
    })
}

/// The whole programme at the size that was asked for.
async fn own_size(
    context: &Context,
    args: &SyncArgs,
    source: &Arc<Source>,
    parent: &Path,
) -> anyhow::Result<Results> {
    let (rounds, left_out) = rounds(args.points, &args.changed);
    let mut bench = Bench::new(context, source, parent, args.points).await?;
    let apply_seconds = startup::apply_seconds(&bench.stage).await?;
    let mut notes = Vec::new();
    if apply_seconds.is_empty() {
        notes.push("The node does not tell how its time in apply is divided.".to_owned());
    }
    for percent in left_out {
        notes.push(format!(
            "{percent} % of {} points is less than one record and was left out.",
            args.points
        ));
    }
    for round in rounds {
        bench.round(round).await?;
    }
    let Bench {
        stage, followers, ..
    } = &mut bench;
    let (_, follower) = &mut followers[0];
    let start = startup::measure(stage, follower).await?;
    follower.process.stop(stage.patience).await?;
    let writes = if args.upserts == 0 {
        None
    } else {
        let rate = Rate {
            points_per_second: args.upserts,
            points_per_write: args.upserts_per_write,
        };
        let length = Duration::from_secs(args.upserts_seconds);
        Some(pressure::measure(stage, follower, Vec::new(), rate, length).await?)
    };
    let leader_disk_bytes = super::stage::figures(&stage.leader)
        .await?
        .count("pando_disk_bytes")?;
    let command: Vec<String> = env::args().skip(1).collect();
    Ok(Results {
        origin: Origin {
            machine: usage::machine()?,
            version: env!("CARGO_PKG_VERSION"),
            commit: args.commit.clone(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command: format!("pando {}", command.join(" ")),
            data: source.describe(args.points),
        },
        points: args.points,
        dimension: source.dimension(),
        record_bytes: record_bytes(source, source.point(0, 0))?,
        load_per_second: args.points as f64 / bench.load.as_secs_f64(),
        rows: bench.rows,
        start,
        writes,
        apply_seconds,
        leader_disk_bytes,
        notes,
        targets: Vec::new(),
    })
}

/// One size: the stage with its followers, and what was measured so far.
struct Bench {
    followers: Vec<((Method, bool), Follower)>,
    /// The one that replays; gone when no more rounds need it.
    replayer: Option<Follower>,
    stage: Stage,
    load: Duration,
    rows: Vec<Row>,
    // Last: the processes end first, then what they write to is removed.
    _directory: tempfile::TempDir,
}

impl Bench {
    /// Loads the leader and fills the followers, which are the full copies.
    async fn new(
        context: &Context,
        source: &Arc<Source>,
        parent: &Path,
        points: u64,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("pando-bench-")
            .tempdir_in(parent)?;
        let log = log_bytes(points, source.dimension());
        let stage = Stage::set(context, directory.path(), Arc::clone(source), points, log).await?;
        let load = stage.load().await?;
        stage.purge().await?;
        let all = record_bytes(source, source.point(0, 0))? * points;
        let task = |zstd| Task {
            method: Method::FullCopy,
            zstd,
            points,
            changed: points,
            changed_bytes: all,
            times: 1,
        };
        let (mut followers, mut rows) = (Vec::new(), Vec::new());
        for (method, zstd, name) in DELTAS {
            let (follower, row) = full_copy(&stage, name, Vec::new(), task(zstd)).await?;
            followers.push(((method, zstd), follower));
            // The first of each kind is the row; the others are filled the same way.
            if rows.iter().all(|row: &Row| row.task.zstd != zstd) {
                rows.push(row);
            }
            stage.purge().await?;
        }
        let (replayer, _) = full_copy(&stage, "replay", Vec::new(), task(false)).await?;
        Ok(Self {
            followers,
            replayer: Some(replayer),
            stage,
            load,
            rows,
            _directory: directory,
        })
    }

    /// Changes the data, then lets every follower catch up in its way.
    async fn round(&mut self, round: Round) -> anyhow::Result<()> {
        let Self {
            stage,
            followers,
            replayer,
            rows,
            ..
        } = self;
        let points = stage.ids.count();
        let change = stage.change(round.changed, round.mix).await?;
        let changed_bytes = change.bytes(&stage.source)?;
        let task = |method, zstd| Task {
            method,
            zstd,
            points,
            changed: change.records(),
            changed_bytes,
            times: change.times,
        };
        if let Some(follower) = replayer.as_mut().filter(|_| round.replay) {
            rows.push(catch_up(stage, follower, task(Method::Replay, false)).await?);
        }
        if !matches!(round.mix, Mix::Mixed)
            && let Some(follower) = replayer.take()
        {
            stage.remove(follower).await?;
        }
        stage.purge().await?;
        for ((method, zstd), follower) in followers {
            rows.push(catch_up(stage, follower, task(*method, *zstd)).await?);
        }
        Ok(())
    }
}

/// Writes the report, and tells where it is.
fn write(context: &Context, args: &SyncArgs, results: &Results) -> anyhow::Result<()> {
    let stem = format!("sync-{}x{}", results.points, results.dimension);
    let path = |extension: &str| args.out.join(format!("{stem}.{extension}"));
    fs::write(path("svg"), plot::svg(results)?)?;
    let page = markdown(results, &format!("{stem}.svg"))?;
    fs::write(path("md"), &page)?;
    match context.format {
        Format::Json => {
            let json = serde_json::to_string_pretty(results)?;
            fs::write(path("json"), &json)?;
            output::line(json)?;
        }
        Format::Table => output::line(page)?,
    }
    output::complain(format_args!("written: {}", path("md").display()));
    Ok(())
}
