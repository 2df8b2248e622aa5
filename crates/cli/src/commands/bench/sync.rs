//! `pando bench sync`: the run from beginning to end.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{env, fs};

use clap::{ArgAction, Args};
use pando_model::limits::DIMENSION_MAX;
use tempfile::TempDir;

use super::load::Rate;
use super::plan::{Round, log_bytes, needs, rounds};
use super::report::{Origin, Results, markdown};
use super::row::Method;
use super::run::{Kind, Run};
use super::stage::Stage;
use super::vectors::Source;
use super::{plot, pressure, settings, startup, targets, usage};
use crate::commands::serve::told_to_stop;
use crate::context::Context;
use crate::exit::{Interrupted, Refused};
use crate::output::{self, Format};
use crate::parse;

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

    /// Measure in this cluster instead of one of our own: public API of a member, host:port. A temporary collection is
    /// loaded, and temporary learners run here
    #[arg(long, value_name = "ADDR", value_parser = parse::host_port)]
    endpoint: Option<String>,

    /// With --endpoint: address of this machine that the members of the cluster reach
    #[arg(
        long,
        value_name = "IP",
        default_value = "127.0.0.1",
        requires = "endpoint"
    )]
    listen_ip: IpAddr,

    /// With --endpoint: the leader may drop its log; members that are behind then catch up by delta
    #[arg(long, requires = "endpoint")]
    yes: bool,

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
const DELTAS: [Kind; 4] = [
    (Method::Lineage, false, "lineage"),
    (Method::Lineage, true, "lineage-zstd"),
    (Method::Walk, false, "walk"),
    (Method::Walk, true, "walk-zstd"),
];
/// In a cluster that is not ours.
const FOREIGN_DELTAS: [Kind; 2] = [
    (Method::Lineage, false, "lineage"),
    (Method::Walk, false, "walk"),
];

impl SyncArgs {
    /// Whether it has something to put in order when it is told to end.
    pub(crate) fn cleans_up(&self) -> bool {
        self.endpoint.is_some()
    }
}

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

    if let Some(endpoint) = &args.endpoint {
        let mut results = foreign(context, &args, &source, &parent, endpoint).await?;
        results.targets = targets::targets(&results);
        return write(context, &args, &results);
    }
    let mut results = own_size(context, &args, &source, &parent).await?;
    let others = args.sizes.iter().filter(|size| **size < args.points);
    for size in others.filter(|_| !args.no_sizes) {
        let (rounds, _) = rounds(*size, &[]);
        let (mut run, _) = filled(context, &source, &parent, *size, &rounds).await?;
        for round in rounds {
            run.round(round).await?;
        }
        run.stage.steps.finish_and_clear();
        results.rows.extend(run.rows);
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

/// A cluster of our own of this size, with all followers of the rounds to come; and how long loading took.
async fn filled(
    context: &Context,
    source: &Arc<Source>,
    parent: &Path,
    points: u64,
    rounds: &[Round],
) -> anyhow::Result<(Run, Duration)> {
    let directory = directory(parent)?;
    let log = log_bytes(points, source.dimension());
    let stage = Stage::set(context, directory.path(), Arc::clone(source), points, log).await?;
    let mut run = Run::on(stage, directory);
    run.announce(&DELTAS, true, rounds);
    let load = run.fill(&DELTAS, true).await?;
    Ok((run, load))
}

fn directory(parent: &Path) -> std::io::Result<TempDir> {
    let mut directory = tempfile::Builder::new();
    directory.prefix("pando-bench-").tempdir_in(parent)
}

/// The whole programme at the size that was asked for.
async fn own_size(
    context: &Context,
    args: &SyncArgs,
    source: &Arc<Source>,
    parent: &Path,
) -> anyhow::Result<Results> {
    let (rounds, left_out) = rounds(args.points, &args.changed);
    let (mut run, load) = filled(context, source, parent, args.points, &rounds).await?;
    let apply_seconds = startup::apply_seconds(&run.stage).await?;
    for round in rounds {
        run.round(round).await?;
    }
    run.stage.steps.finish_and_clear();
    let Run {
        stage, followers, ..
    } = &mut run;
    let (_, follower) = &mut followers[0];
    let start = startup::measure(stage, follower).await?;
    follower.process.stop(stage.patience).await?;
    let mut notes = left_out_notes(args, left_out);
    let (mut writes, mut unmeasured) = (None, None);
    if args.upserts > 0 {
        let rate = Rate {
            points_per_second: args.upserts,
            points_per_write: args.upserts_per_write,
        };
        let length = Duration::from_secs(args.upserts_seconds);
        let flags = settings::follower(Method::FullCopy, false);
        // The last of many things that are measured: if it fails, the others are told all the same.
        match pressure::measure(stage, follower, flags, rate, length).await {
            Ok(measured) => writes = Some(measured),
            Err(error) => {
                let what = format!("what writers feel could not be measured: {error:#}");
                notes.push(what.clone());
                unmeasured = Some(what);
            }
        }
    }
    let leader_disk_bytes = stage.leader_disk_bytes().await?;
    Ok(Results {
        writes,
        apply_seconds,
        leader_disk_bytes,
        notes,
        unmeasured,
        ..Results::new(
            origin(args, source)?,
            source,
            args.points,
            load,
            run.rows,
            start,
        )?
    })
}

/// In somebody's cluster: the deltas and the full copy, and everything in order again afterwards, however it ends.
async fn foreign(
    context: &Context,
    args: &SyncArgs,
    source: &Arc<Source>,
    parent: &Path,
    endpoint: &str,
) -> anyhow::Result<Results> {
    if !args.yes {
        return Err(Refused(format!(
            "this adds a collection and {} learners to the cluster of {endpoint}, makes its leader drop its log, so that \
             members that are behind catch up by delta, and takes the collection and the learners away again; say --yes \
             if it may",
            FOREIGN_DELTAS.len()
        ))
        .into());
    }
    let directory = directory(parent)?;
    let at = (endpoint, args.listen_ip);
    let source = Arc::clone(source);
    let stage = Stage::of_cluster(
        context,
        directory.path(),
        Arc::clone(&source),
        args.points,
        at,
    );
    let mut run = Run::on(stage.await?, directory);
    let measured = tokio::select! {
        measured = foreign_rounds(&mut run, args) => measured,
        () = told_to_stop() => Err(Interrupted.into()),
    };
    let cleaned = run.stage.clean().await;
    let (load, start, left_out) = measured?;
    cleaned?;
    let mut notes = left_out_notes(args, left_out);
    notes.push(
        "Measured in a cluster that was there: its leader could not be held, so the followers' CPU time contains their \
         start, its own figures are not known, and a full copy brings the other collections, too."
            .to_owned(),
    );
    Ok(Results {
        notes,
        ..Results::new(
            origin(args, &source)?,
            &source,
            args.points,
            load,
            run.rows,
            start,
        )?
    })
}

async fn foreign_rounds(
    run: &mut Run,
    args: &SyncArgs,
) -> anyhow::Result<(Duration, startup::Start, Vec<f64>)> {
    let (rounds, left_out) = rounds(args.points, &args.changed);
    run.announce(&FOREIGN_DELTAS, false, &rounds);
    let load = run.fill(&FOREIGN_DELTAS, false).await?;
    for round in rounds {
        run.round(round).await?;
    }
    run.stage.steps.finish_and_clear();
    let (_, follower) = &mut run.followers[0];
    let start = startup::measure(&run.stage, follower).await?;
    Ok((load, start, left_out))
}

fn left_out_notes(args: &SyncArgs, left_out: Vec<f64>) -> Vec<String> {
    let note = |percent| {
        let points = args.points;
        format!("{percent} % of {points} points is less than one record and was left out.")
    };
    left_out.into_iter().map(note).collect()
}

fn origin(args: &SyncArgs, source: &Source) -> anyhow::Result<Origin> {
    let command: Vec<String> = env::args().skip(1).collect();
    Ok(Origin {
        machine: usage::machine()?,
        version: env!("CARGO_PKG_VERSION"),
        commit: args.commit.clone(),
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        command: format!("pando {}", command.join(" ")),
        data: source.describe(args.points),
    })
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
    let failed: Vec<&str> = results
        .rows
        .iter()
        .filter_map(|row| row.failed.as_deref())
        .collect();
    anyhow::ensure!(
        failed.is_empty(),
        "not what it claims: {}",
        failed.join("; ")
    );
    match &results.unmeasured {
        Some(what) => anyhow::bail!("{what}"),
        None => Ok(()),
    }
}
