//! What can be wrong with a configuration.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

/// A configuration that is refused. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not TOML, or holds a key or a type that is not a setting.
    #[error("the configuration file {} is refused: {reason}", path.display())]
    NotSettings {
        /// The file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// A value is out of range.
    #[error("{key} is {value:?}; use {expected}")]
    BadValue {
        /// The setting.
        key: &'static str,
        /// The value given.
        value: String,
        /// What is accepted.
        expected: String,
    },
}

impl ConfigError {
    pub(crate) fn value(
        key: &'static str,
        value: impl Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::BadValue {
            key,
            value: value.to_string(),
            expected: expected.into(),
        }
    }
}
