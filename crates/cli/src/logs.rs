//! The log subscriber. Logs go to stderr: stdout is for results.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use pando_server::LogFormat;
use tracing_subscriber::EnvFilter;

use crate::exit::BadInput;

/// For a node: lines as configured.
pub(crate) fn for_node(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level).map_err(|e| {
        BadInput(format!(
            "log level {level:?}: {e}; use e.g. info, or info,pando_consensus=debug"
        ))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let installed = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Pretty => builder.try_init(),
    };
    installed
        .map_err(|e| anyhow::anyhow!(e))
        .context("the log cannot be set up")
}

/// For all other commands: silent, unless `PANDO_LOG` says what is wanted.
pub(crate) fn for_commands() {
    let filter = EnvFilter::builder()
        .with_env_var("PANDO_LOG")
        .with_default_directive(tracing::level_filters::LevelFilter::OFF.into())
        .from_env_lossy();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    if let Err(e) = builder.try_init() {
        crate::output::complain(format_args!("the log cannot be set up: {e}"));
    }
}
