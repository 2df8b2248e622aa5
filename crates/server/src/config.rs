//! The configuration of one node: one struct, built once from the defaults, a TOML file, the environment and
//! the flags (each overrides the one before), checked once, and passed by value from then on.
//!
//! Nothing else in the server reads the environment or the command line.

mod advertise;
mod error;
mod settings;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pando_index::GRAPH_VECTORS_MIN;
use pando_model::NodeId;
use pando_replica::VECTOR_CACHE_BYTES_MAX;
use pando_sync::{Compression, ZSTD_LEVEL_MAX, ZSTD_LEVEL_MIN};
use serde::{Deserialize, Serialize};

pub(crate) use advertise::advertised;
pub use error::ConfigError;
pub use settings::{ServeArgs, Settings};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// What a node does at start when its stored state is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnDamage {
    /// It gets the state anew from another member, if there are any.
    Repair,
    /// It refuses to start.
    Refuse,
}

/// How the frames of a catch-up are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SyncCompression {
    /// By zstd, where that makes a frame at least 5 % smaller.
    Zstd,
    /// Not at all.
    None,
}

/// The configuration of one node. Every field is documented with its key at [`Settings`].
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where everything durable lives.
    pub data_dir: PathBuf,
    /// This node's id; drawn at the first start when absent.
    pub node_id: Option<NodeId>,
    /// The public gRPC API.
    pub api_listen: SocketAddr,
    /// The API for other nodes.
    pub node_listen: SocketAddr,
    /// Health and metrics.
    pub http_listen: SocketAddr,
    /// Where clients reach the public API, if not where it listens.
    pub advertise_api: Option<String>,
    /// Where other nodes reach the node API, if not where it listens.
    pub advertise_node: Option<String>,
    /// Whether a node that belongs to no cluster forms one of its own.
    pub bootstrap: bool,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_level: String,
    /// Page cache of the data store.
    pub storage_cache_mib: u64,
    /// Pause between heartbeats.
    pub raft_heartbeat_ms: u64,
    /// Shortest silence after which an election starts; the longest is twice this.
    pub raft_election_ms: u64,
    /// Log entries after which the log is cut.
    pub raft_log_entries_max: u64,
    /// Log size after which the log is cut.
    pub raft_log_mib_max: u64,
    /// Log entries kept when the log is cut.
    pub raft_log_entries_keep: u64,
    /// What replaying the kept log may cost, in deltas.
    pub raft_replay_cost_ratio: f64,
    /// Longest a request may take.
    pub request_timeout_ms: u64,
    /// Most requests in work at once.
    pub requests_inflight_max: usize,
    /// Most searches, counts and facets that run at once; 0: twice the cores.
    pub searches_running_max: usize,
    /// Most of them that wait for their turn.
    pub searches_waiting_max: usize,
    /// Vectors of one name in a collection from which on a graph is searched; 0: never.
    pub graph_vectors_min: usize,
    /// Most memory for stored vectors that searches have read.
    pub vector_cache_mib_max: u64,
    /// How old a graph's file may become while there are changes; 0: there are none.
    pub index_checkpoint_s: u64,
    /// Most bytes kept for one catch-up's frozen view.
    pub sync_overlay_mib_max: u64,
    /// Rate of outgoing syncs, all together.
    pub sync_mib_per_second: u64,
    /// Most outgoing syncs at once.
    pub syncs_outgoing_max: usize,
    /// Whether a catch-up takes what was written since, where what this node has is known.
    pub sync_lineage: bool,
    /// How the frames of a catch-up are compressed; the less of both sides counts.
    pub sync_compression: SyncCompression,
    /// The level of that.
    pub sync_compression_level: i32,
    /// How much of the stored state is read again per second.
    pub scrub_mib_per_second: u64,
    /// What to do at start about a damaged state.
    pub on_damage: OnDamage,
    /// How often the leader compares all members; 0: never by itself.
    pub check_interval_s: u64,
}

/// What holds where nothing else is said. The only place defaults are written down.
impl Default for Config {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            data_dir: PathBuf::from("./pando-data"),
            node_id: None,
            api_listen: local(7700),
            node_listen: local(7701),
            http_listen: local(7702),
            advertise_api: None,
            advertise_node: None,
            bootstrap: true,
            log_format: LogFormat::Pretty,
            log_level: "info".to_owned(),
            storage_cache_mib: 64,
            raft_heartbeat_ms: 300,
            raft_election_ms: 1_500,
            raft_log_entries_max: 20_000,
            raft_log_mib_max: 64,
            raft_log_entries_keep: 5_000,
            raft_replay_cost_ratio: 1.0,
            request_timeout_ms: 10_000,
            requests_inflight_max: 1_024,
            searches_running_max: 0,
            searches_waiting_max: 256,
            graph_vectors_min: GRAPH_VECTORS_MIN,
            vector_cache_mib_max: VECTOR_CACHE_BYTES_MAX >> 20,
            index_checkpoint_s: 300,
            sync_overlay_mib_max: 1_024,
            sync_mib_per_second: 0,
            syncs_outgoing_max: 2,
            sync_lineage: true,
            sync_compression: SyncCompression::Zstd,
            sync_compression_level: 1,
            scrub_mib_per_second: 8,
            on_damage: OnDamage::Repair,
            check_interval_s: 600,
        }
    }
}

/// The largest node id: what JSON tools everywhere read exactly.
pub const NODE_ID_MAX: NodeId = u32::MAX as NodeId;

const ELECTION_HEARTBEATS_MIN: u64 = 3;

impl Config {
    /// Builds the configuration from the file the arguments name (if any), the environment and the flags, and
    /// checks it.
    ///
    /// # Errors
    /// When the file cannot be read or holds what is not a setting, or when a value is out of range.
    pub fn load(args: &ServeArgs) -> Result<Self, ConfigError> {
        let file = match &args.config {
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
                    path: path.clone(),
                    source,
                })?;
                toml::from_str(&text).map_err(|e| ConfigError::NotSettings {
                    path: path.clone(),
                    reason: e.to_string(),
                })?
            }
            None => Settings::default(),
        };
        let mut config = Self::default();
        file.lay_over(&mut config);
        args.settings.clone().lay_over(&mut config);
        config.validate()?;
        Ok(config)
    }

    /// Checks every value against its limits.
    ///
    /// # Errors
    /// The first value out of range, with its key and what is expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.data_dir.as_os_str().is_empty() {
            return Err(ConfigError::value("data_dir", "", "a directory"));
        }
        if let Some(id) = self.node_id {
            check_range("node_id", id, 1, NODE_ID_MAX)?;
        }
        check_range("storage_cache_mib", self.storage_cache_mib, 1, 1 << 20)?;
        check_range("raft_heartbeat_ms", self.raft_heartbeat_ms, 20, 60_000)?;
        let election_min = self.raft_heartbeat_ms * ELECTION_HEARTBEATS_MIN;
        check_range(
            "raft_election_ms",
            self.raft_election_ms,
            election_min,
            600_000,
        )?;
        check_range(
            "raft_log_entries_max",
            self.raft_log_entries_max,
            2,
            1 << 32,
        )?;
        check_range("raft_log_mib_max", self.raft_log_mib_max, 1, 1 << 20)?;
        let keep_max = self.raft_log_entries_max - 1;
        check_range(
            "raft_log_entries_keep",
            self.raft_log_entries_keep,
            0,
            keep_max,
        )?;
        check_range("request_timeout_ms", self.request_timeout_ms, 10, 3_600_000)?;
        check_range(
            "requests_inflight_max",
            self.requests_inflight_max as u64,
            1,
            1 << 16,
        )?;
        self.check_searches()?;
        check_range(
            "sync_overlay_mib_max",
            self.sync_overlay_mib_max,
            1,
            1 << 20,
        )?;
        let level = self.sync_compression_level;
        if !(ZSTD_LEVEL_MIN..=ZSTD_LEVEL_MAX).contains(&level) {
            let expected = format!("{ZSTD_LEVEL_MIN} to {ZSTD_LEVEL_MAX}");
            return Err(ConfigError::value(
                "sync_compression_level",
                level,
                expected,
            ));
        }
        check_range(
            "scrub_mib_per_second",
            self.scrub_mib_per_second,
            0,
            1 << 20,
        )?;
        self.check_syncs()?;
        check_range("check_interval_s", self.check_interval_s, 0, 7 * 86_400)?;
        check_range("index_checkpoint_s", self.index_checkpoint_s, 0, 7 * 86_400)?;
        self.check_addresses()
    }

    fn check_searches(&self) -> Result<(), ConfigError> {
        let [running, waiting] = [self.searches_running_max, self.searches_waiting_max];
        check_range("searches_running_max", running as u64, 0, 1 << 10)?;
        check_range("searches_waiting_max", waiting as u64, 0, 1 << 16)?;
        check_range(
            "vector_cache_mib_max",
            self.vector_cache_mib_max,
            0,
            1 << 20,
        )
    }

    fn check_syncs(&self) -> Result<(), ConfigError> {
        if !(0.0..=1_000.0).contains(&self.raft_replay_cost_ratio) {
            let (key, value) = ("raft_replay_cost_ratio", self.raft_replay_cost_ratio);
            return Err(ConfigError::value(key, value, "0 to 1000"));
        }
        let outgoing = self.syncs_outgoing_max as u64;
        check_range("syncs_outgoing_max", outgoing, 1, 64)?;
        check_range("sync_mib_per_second", self.sync_mib_per_second, 0, 1 << 20)?;
        if self.sync_mib_per_second != 0 && self.sync_mib_per_second < outgoing {
            let (key, value) = ("sync_mib_per_second", self.sync_mib_per_second);
            let expected = format!("0 for no limit, or at least syncs_outgoing_max ({outgoing})");
            return Err(ConfigError::value(key, value, expected));
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        let listens = [
            ("api_listen", self.api_listen),
            ("node_listen", self.node_listen),
            ("http_listen", self.http_listen),
        ];
        for (i, (key, address)) in listens.iter().enumerate() {
            let taken = listens[..i].iter().find(|(_, other)| other == address);
            if let (Some((other, _)), true) = (taken, address.port() != 0) {
                let expected = format!("another port than {other}");
                return Err(ConfigError::value(key, address, expected));
            }
        }
        for (key, advertised) in [
            ("advertise_api", &self.advertise_api),
            ("advertise_node", &self.advertise_node),
        ] {
            if let Some(address) = advertised {
                advertise::check(key, address)?;
            }
        }
        Ok(())
    }

    /// How this node compresses sync frames.
    #[must_use]
    pub fn compression(&self) -> Compression {
        match self.sync_compression {
            SyncCompression::Zstd => Compression::Zstd(self.sync_compression_level),
            SyncCompression::None => Compression::None,
        }
    }

    /// [`Config::request_timeout_ms`] as a duration.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

fn check_range(key: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::value(key, value, format!("{min} to {max}")))
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
