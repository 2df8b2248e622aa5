//! The pando command: serve, cluster, collection, import, export, search, verify, demo, bench.
//!
//! A thin shell over the SDK and the server: it parses, calls and prints. It is a library so that a test can
//! wrap [`main`] in a binary of its own.

mod args;
mod commands;
mod context;
mod demo;
mod exit;
mod filter_text;
mod http;
mod logs;
mod output;
mod parse;
mod point_json;
mod process;
mod progress;
mod readers;
mod vector_json;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command, Task};
#[cfg(target_os = "linux")]
use commands::bench;
use commands::{
    cluster, collection, diff, export, facets, health, hybrid, import, points, scroll, search,
    serve,
};
use context::Context;
use exit::{Exit, Interrupted};

/// Runs the command the program's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    if let Err(e) = pando_server::check_cpu() {
        output::complain(format_args!("error: {e}"));
        return Exit::Failed.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help goes to stdout and is no error; both are clap's to tell.
        Err(e) => {
            e.print().unwrap_or_default();
            return if e.use_stderr() {
                Exit::Input.into()
            } else {
                Exit::Ok.into()
            };
        }
    };
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(cli)));
    match result {
        Ok(()) => Exit::Ok.into(),
        // Whoever read the output has seen enough, as with `pando ... | head`.
        Err(e) if is_broken_pipe(&e) => Exit::Ok.into(),
        Err(e) => {
            output::complain(format_args!("error: {e:#}"));
            Exit::of(&e).into()
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let context = Context::from(cli.global);
    match cli.command {
        // The only command that ends well when it is told to end.
        Command::Serve(args) => serve::run(&context, &args).await,
        Command::Task(task) => {
            logs::for_commands();
            if task.cleans_up() {
                return perform(&context, *task).await;
            }
            tokio::select! {
                result = perform(&context, *task) => result,
                () = serve::told_to_stop() => Err(Interrupted.into()),
            }
        }
    }
}

async fn perform(context: &Context, task: Task) -> anyhow::Result<()> {
    match task {
        Task::Health(args) => health::run(context, &args).await,
        Task::Cluster(command) => cluster::run(context, command).await,
        Task::Collection(command) => collection::run(context, command).await,
        Task::Import(args) => import::run(context, args).await,
        Task::Export(args) => export::run(context, args).await,
        Task::Search(args) => search::run(context, args).await,
        Task::Hybrid(args) => hybrid::run(context, args).await,
        Task::Get(args) => points::get(context, args).await,
        Task::Delete(args) => points::delete(context, args).await,
        Task::Count(args) => points::count(context, args).await,
        Task::Facets(args) => facets::run(context, args).await,
        Task::Scroll(args) => scroll::run(context, args).await,
        Task::Diff(args) => diff::run(context, args).await,
        Task::Demo(args) => demo::run(context, args).await,
        #[cfg(target_os = "linux")]
        Task::Bench(command) => bench::run(context, command).await,
    }
}
