//! The log subscriber. Logs go to stderr: stdout is for results.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use pando_server::LogFormat;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::exit::BadInput;

/// For a node: lines as configured.
pub(crate) fn for_node(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(with_quiet_raft(level)).map_err(|e| {
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

/// The filter with openraft's own lines one level rarer: at `info` it tells every step of its engine. What the
/// filter says of openraft itself stands.
fn with_quiet_raft(filter: &str) -> String {
    let openraft = match filter.parse::<LevelFilter>() {
        Ok(LevelFilter::TRACE) => "debug",
        Ok(LevelFilter::DEBUG) => "info",
        Ok(LevelFilter::ERROR) => "error",
        Ok(LevelFilter::OFF) => "off",
        Ok(_) => "warn",
        Err(_) if filter.contains("openraft") => return filter.to_owned(),
        Err(_) => "warn",
    };
    format!("{filter},openraft={openraft}")
}

/// For all other commands: silent, unless `PANDO_LOG` says what is wanted.
pub(crate) fn for_commands() {
    let filter = EnvFilter::builder()
        .with_env_var("PANDO_LOG")
        .with_default_directive(LevelFilter::OFF.into())
        .from_env_lossy();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    if let Err(e) = builder.try_init() {
        crate::output::complain(format_args!("the log cannot be set up: {e}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openraft_is_quieter_unless_it_is_named() {
        for (filter, expected) in [
            ("info", "info,openraft=warn"),
            ("debug", "debug,openraft=info"),
            ("error", "error,openraft=error"),
            ("off", "off,openraft=off"),
            (
                "info,pando_consensus=debug",
                "info,pando_consensus=debug,openraft=warn",
            ),
            ("warn,openraft=trace", "warn,openraft=trace"),
        ] {
            assert_eq!(with_quiet_raft(filter), expected);
            assert!(EnvFilter::try_new(expected).is_ok(), "{expected}");
        }
    }
}
