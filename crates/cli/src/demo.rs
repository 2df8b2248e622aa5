//! `pando demo`: the whole story on real data with real processes, every claim checked.
//!
//! One file per step, run in order; each fails the demo if what it shows does not hold. The nodes are child
//! processes of this very program, on free loopback ports, with their data in a temporary directory.

mod data;
mod drift;
mod world;

mod ask; // 3
mod catch_up; // 5
mod fall_behind; // 4
mod load; // 2
mod prove;
mod start; // 1 // 6

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::output::Format;
use data::Data;
use world::World;

/// Arguments of `pando demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Directory with the data: see data/wordnet-10k/README.md in the sources
    #[arg(long, value_name = "DIR", default_value = "data/wordnet-10k")]
    data: PathBuf,

    /// Keep the nodes' directories and logs
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(context: &Context, args: DemoArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let path = args.data.clone();
    let data = tokio::task::spawn_blocking(move || Data::load(&path)).await??;
    let mut world = World::new(context, args.keep)?;
    let told = steps(&mut world, &data).await;
    if let Err(error) = told {
        world.last_words();
        return Err(error);
    }
    world.note("seconds", json!(begun.elapsed().as_secs_f64()));
    world.say(format_args!(
        "\nAll six steps held, in {:.1} s.",
        begun.elapsed().as_secs_f64()
    ))?;
    if context.format == Format::Json {
        crate::output::line(world.summary())?;
    }
    Ok(())
}

async fn steps(world: &mut World, data: &Data) -> anyhow::Result<()> {
    start::run(world)
        .await
        .context("step 1, forming the cluster")?;
    let written = load::run(world, data).await.context("step 2, importing")?;
    ask::run(world, data, written)
        .await
        .context("step 3, searching")?;
    let behind = fall_behind::run(world, data)
        .await
        .context("step 4, falling behind")?;
    catch_up::run(world, data, behind)
        .await
        .context("step 5, catching up")?;
    prove::run(world).await.context("step 6, verifying")
}
