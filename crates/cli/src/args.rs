//! The command tree. Each command's own arguments stand beside its code.

use clap::{Args, Parser, Subcommand};
use pando_server::ServeArgs;

#[cfg(target_os = "linux")]
use crate::commands::bench;
use crate::commands::{
    cluster, collection, diff, export, facets, health, hybrid, import, points, scroll, search,
};
use crate::output::Format;
use crate::{demo, exit, parse};

/// Pando: a clustered vector database whose replicas are provably equal.
#[derive(Debug, Parser)]
#[command(name = "pando", version, after_help = exit::HELP, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Accepted before and after every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Public API of a node, host:port; any member will do, repeat it for more
    #[arg(long = "node", global = true, env = "PANDO_NODE", value_name = "ADDR",
          value_delimiter = ',', default_value = "http://127.0.0.1:7700",
          value_parser = parse::node_url)]
    pub(crate) nodes: Vec<String>,

    /// Longest a request may take in seconds, retries included
    #[arg(long, global = true, env = "PANDO_TIMEOUT", value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,

    /// How results are printed
    #[arg(long, global = true, value_enum, value_name = "FORM", default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node; with no arguments, a cluster of one that is ready to use
    Serve(Box<ServeArgs>),
    /// Everything that ends by itself.
    #[command(flatten)]
    Task(Box<Task>),
}

/// A command that ends by itself, or by ctrl-c.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Ask a node's HTTP port whether it is alive
    Health(health::HealthArgs),
    /// The cluster and its members
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Collections and their aliases
    #[command(subcommand)]
    Collection(collection::CollectionCommand),
    /// Write the points of a file (npy, fvecs, jsonl) into a collection
    Import(import::ImportArgs),
    /// Write all points of a collection to a JSON lines file
    Export(export::ExportArgs),
    /// Find the nearest points to a vector, to a point, or to several examples
    Search(search::SearchArgs),
    /// Find the best points by several searches together
    Hybrid(hybrid::HybridArgs),
    /// Show points by id
    Get(points::GetArgs),
    /// Delete points by id or by filter
    Delete(points::DeleteArgs),
    /// Count points
    Count(points::CountArgs),
    /// Count the points of each value of a payload field
    Facets(facets::FacetsArgs),
    /// Show points in the order of a payload field, page by page
    Scroll(scroll::ScrollArgs),
    /// Say which points differ between two nodes, or a node and an export; exit code 1 if any do
    Diff(diff::DiffArgs),
    /// Run a cluster of three on real data: search, kill one, catch up by Merkle delta, verify
    Demo(demo::DemoArgs),
    /// Measure how replicas catch up
    #[cfg(target_os = "linux")]
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

impl Task {
    /// Whether it ends by itself when it is told to, because it has something to put in order.
    pub(crate) fn cleans_up(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Bench(command) => command.cleans_up(),
            _ => false,
        }
    }
}
