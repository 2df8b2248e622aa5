//! `pando bench`: what catching up and searching cost, measured with real processes.

mod change;
mod load;
mod measure;
mod plan;
mod plot;
mod pressure;
mod report;
mod row;
mod run;
mod search;
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

    /// Recall and latency of searches over the length of the graph's list, on data of one's own
    ///
    /// Searches in a collection that is there, or loads a file into a node of its own and ends it.
    Search(search::SearchArgs),
}

impl BenchCommand {
    /// Whether it has something to put in order when it is told to end.
    pub(crate) fn cleans_up(&self) -> bool {
        match self {
            Self::Sync(args) => args.cleans_up(),
            Self::Search(_) => false,
        }
    }
}

pub(crate) async fn run(context: &Context, command: BenchCommand) -> anyhow::Result<()> {
    match command {
        BenchCommand::Sync(args) => sync::run(context, args).await,
        BenchCommand::Search(args) => search::run(context, args).await,
    }
}
