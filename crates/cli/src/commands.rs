//! The commands: parse, one or a few calls, print.

#[cfg(target_os = "linux")]
pub(crate) mod bench;
pub(crate) mod cluster;
pub(crate) mod collection;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod facets;
pub(crate) mod health;
pub(crate) mod hybrid;
pub(crate) mod import;
pub(crate) mod points;
pub(crate) mod scroll;
pub(crate) mod search;
pub(crate) mod serve;
