//! `pando bench`: what catching up costs, measured with real processes.

mod change;
mod load;
mod measure;
mod plan;
mod plot;
mod pressure;
mod report;
mod row;
mod run;
mod settings;
mod stage;
mod startup;
mod sync;
mod targets;
mod usage;
mod vectors;

use clap::Subcommand;

use crate::context::Context;

/// Subcommands of `pando bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Full copy, log replay and Merkle delta side by side: bytes, seconds, CPU, memory
    ///
    /// Starts nodes of its own on free loopback ports, with their data in a temporary directory, and ends them.
    Sync(sync::SyncArgs),
}

impl BenchCommand {
    /// Whether it has something to put in order when it is told to end.
    pub(crate) fn cleans_up(&self) -> bool {
        let Self::Sync(args) = self;
        args.cleans_up()
    }
}

pub(crate) async fn run(context: &Context, command: BenchCommand) -> anyhow::Result<()> {
    match command {
        BenchCommand::Sync(args) => sync::run(context, args).await,
    }
}
