//! The log subscriber. Logs go to stderr: stdout is for results.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use pando_server::LogFormat;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::exit::BadInput;

/// For a node: lines as configured.
pub(crate) fn for_node(format: LogFormat, level: &str) -> anyhow::Result<()> {
    if let Some(word) = unknown_level(level) {
        return Err(BadInput(format!(
            "log level {level:?}: {word:?} is no level; use off, error, warn, info, debug or trace, or a filter \
             such as info,pando_consensus=debug"
        ))
        .into());
    }
    let filter = EnvFilter::try_new(with_quiet_raft(level)).map_err(|e| {
        BadInput(format!(
            "log level {level:?}: {e}; use e.g. info, or info,pando_consensus=debug"
        ))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would tell of a broken stderr on stderr, and panic.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    let installed = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Pretty => builder.try_init(),
    };
    installed
        .map_err(|e| anyhow::anyhow!(e))
        .context("the log cannot be set up")
}

/// A word that stands where a level does and is none. [`EnvFilter`] takes it for the name of a target, whose lines
/// alone it would then let pass.
fn unknown_level(filter: &str) -> Option<&str> {
    let bare = |part: &&str| !part.is_empty() && !part.contains(['=', '[', ':']);
    filter
        .split(',')
        .map(str::trim)
        .filter(bare)
        .find(|part| part.parse::<LevelFilter>().is_err())
}

/// The filter with openraft's own lines at `error`: it tells every step of its engine, and warns of what is in
/// order. At `debug` and `trace` it may say more. What the filter says of openraft itself stands.
fn with_quiet_raft(filter: &str) -> String {
    if filter.contains("openraft") {
        return filter.to_owned();
    }
    let openraft = match filter.parse::<LevelFilter>() {
        Ok(LevelFilter::TRACE) => "debug",
        Ok(LevelFilter::DEBUG) => "info",
        Ok(LevelFilter::OFF) => "off",
        Ok(_) | Err(_) => "error",
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
        .with_writer(io::stderr)
        .log_internal_errors(false);
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
            ("info", "info,openraft=error"),
            ("debug", "debug,openraft=info"),
            ("error", "error,openraft=error"),
            ("off", "off,openraft=off"),
            (
                "info,pando_consensus=debug",
                "info,pando_consensus=debug,openraft=error",
            ),
            ("warn,openraft=trace", "warn,openraft=trace"),
        ] {
            assert_eq!(with_quiet_raft(filter), expected);
            assert!(EnvFilter::try_new(expected).is_ok(), "{expected}");
        }
    }

    #[test]
    fn a_bare_word_is_a_level() {
        for good in [
            "",
            "info",
            "INFO",
            "warn,pando_server=debug",
            "openraft::raft=off",
            "off",
        ] {
            assert_eq!(unknown_level(good), None, "{good}");
        }
        assert_eq!(unknown_level("bogus"), Some("bogus"));
        assert_eq!(unknown_level("info, pando_server"), Some("pando_server"));
    }
}
