//! The settings as a user writes them: the same keys in the file, in the environment (`PANDO_` and the key in
//! capitals) and as flags. The doc comments below are the help texts.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args};
use serde::Deserialize;

use super::{Config, LogFormat, OnDamage, SyncCompression};

/// Arguments of `pando serve`.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// A TOML file with settings, named like the flags with `_` for `-`
    #[arg(long, env = "PANDO_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The settings given by flag or environment.
    #[command(flatten)]
    pub settings: Settings,
}

/// Settings from one source; what is absent is left to the source below.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Directory for everything durable [default: ./pando-data]
    #[arg(long, env = "PANDO_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// This node's id, 1 to 4294967295, for good [default: drawn at the first start]
    #[arg(long, env = "PANDO_NODE_ID", value_name = "ID")]
    pub node_id: Option<u64>,

    /// Address of the public gRPC API; port 0 takes a free one [default: 127.0.0.1:7700]
    #[arg(long, env = "PANDO_API_LISTEN", value_name = "IP:PORT")]
    pub api_listen: Option<SocketAddr>,

    /// Address of the API for other nodes [default: 127.0.0.1:7701]
    #[arg(long, env = "PANDO_NODE_LISTEN", value_name = "IP:PORT")]
    pub node_listen: Option<SocketAddr>,

    /// Address of /healthz, /readyz and /metrics [default: 127.0.0.1:7702]
    #[arg(long, env = "PANDO_HTTP_LISTEN", value_name = "IP:PORT")]
    pub http_listen: Option<SocketAddr>,

    /// Where clients reach the public API [default: where it listens]
    #[arg(long, env = "PANDO_ADVERTISE_API", value_name = "HOST:PORT")]
    pub advertise_api: Option<String>,

    /// Where other nodes reach the node API [default: where it listens]
    #[arg(long, env = "PANDO_ADVERTISE_NODE", value_name = "HOST:PORT")]
    pub advertise_node: Option<String>,

    /// Form a single-node cluster if this node belongs to none; `false` waits for `cluster init` or
    /// `cluster add` [default: true]
    #[arg(long, env = "PANDO_BOOTSTRAP", value_name = "BOOL", action = ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true")]
    pub bootstrap: Option<bool>,

    /// How log lines are written [default: pretty]
    #[arg(long, env = "PANDO_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Which log lines are written: error, warn, info, debug, trace, or a filter such as
    /// `info,pando_consensus=debug` [default: info]
    #[arg(long, env = "PANDO_LOG_LEVEL", value_name = "FILTER")]
    pub log_level: Option<String>,

    /// Page cache of the data store in MiB; vectors are held in memory besides [default: 64]
    #[arg(long, env = "PANDO_STORAGE_CACHE_MIB", value_name = "MIB")]
    pub storage_cache_mib: Option<u64>,

    /// Pause between the leader's heartbeats in ms [default: 300]
    #[arg(long, env = "PANDO_RAFT_HEARTBEAT_MS", value_name = "MS")]
    pub raft_heartbeat_ms: Option<u64>,

    /// Election time in ms, at least three heartbeats; a leader lost without a word is replaced after three to four times
    /// as long (its lease, then the wait of a follower)
    /// [default: 1500]
    #[arg(long, env = "PANDO_RAFT_ELECTION_MS", value_name = "MS")]
    pub raft_election_ms: Option<u64>,

    /// The log is cut when it holds this many entries [default: 20000]
    #[arg(long, env = "PANDO_RAFT_LOG_ENTRIES_MAX", value_name = "N")]
    pub raft_log_entries_max: Option<u64>,

    /// The log is cut when it takes this many MiB [default: 64]
    #[arg(long, env = "PANDO_RAFT_LOG_MIB_MAX", value_name = "MIB")]
    pub raft_log_mib_max: Option<u64>,

    /// Entries kept when the log is cut; a node further behind catches up by delta instead of replay
    /// [default: 5000]
    #[arg(long, env = "PANDO_RAFT_LOG_ENTRIES_KEEP", value_name = "N")]
    pub raft_log_entries_keep: Option<u64>,

    /// The log is cut, too, where replaying it would move more than this many times the bytes of a delta (entries that
    /// overwrite each other make a delta cheaper); 0 keeps as little of it as possible, 1000 in effect the whole
    /// [default: 1]
    #[arg(long, env = "PANDO_RAFT_REPLAY_COST_RATIO", value_name = "RATIO")]
    pub raft_replay_cost_ratio: Option<f64>,

    /// Longest a request may take in ms, unless the client says less [default: 10000]
    #[arg(long, env = "PANDO_REQUEST_TIMEOUT_MS", value_name = "MS")]
    pub request_timeout_ms: Option<u64>,

    /// Most requests in work at once; more are refused at once [default: 1024]
    #[arg(long, env = "PANDO_REQUESTS_INFLIGHT_MAX", value_name = "N")]
    pub requests_inflight_max: Option<usize>,

    /// Most searches, counts and facets that run at once; each uses all cores. 0: twice the number of cores [default: 0]
    #[arg(long, env = "PANDO_SEARCHES_RUNNING_MAX", value_name = "N")]
    pub searches_running_max: Option<usize>,

    /// Most of them that wait for their turn; more are refused at once, and told when to ask again [default: 256]
    #[arg(long, env = "PANDO_SEARCHES_WAITING_MAX", value_name = "N")]
    pub searches_waiting_max: Option<usize>,

    /// Vectors of one name in a collection from which on searches use a graph, which is built in the background; beside it
    /// vectors are kept in memory in fewer bytes, and hits are scored from storage; 0: never, every search is an exact
    /// scan of memory [default: 20000]
    #[arg(long, env = "PANDO_GRAPH_VECTORS_MIN", value_name = "N")]
    pub graph_vectors_min: Option<usize>,

    /// Most memory for vectors that searches have read from storage, MiB; 0: they are read again each time
    /// [default: 128]
    #[arg(long, env = "PANDO_VECTOR_CACHE_MIB_MAX", value_name = "MIB")]
    pub vector_cache_mib_max: Option<u64>,

    /// Graphs are kept in files (`index` in the data directory), so that a restart need not build them anew: this many
    /// seconds after a change at the latest, sooner when much has changed, and at a clean stop; 0: never
    /// [default: 300]
    #[arg(long, env = "PANDO_INDEX_CHECKPOINT_S", value_name = "S")]
    pub index_checkpoint_s: Option<u64>,

    /// Most MiB kept so that a catch-up reads a frozen state while writes go on [default: 1024]
    #[arg(long, env = "PANDO_SYNC_OVERLAY_MIB_MAX", value_name = "MIB")]
    pub sync_overlay_mib_max: Option<u64>,

    /// Most MiB per second sent to nodes that catch up by delta, all together; 0 is no limit [default: 0]
    #[arg(long, env = "PANDO_SYNC_MIB_PER_SECOND", value_name = "MIB")]
    pub sync_mib_per_second: Option<u64>,

    /// Most nodes sent a delta at once; others wait for their turn [default: 2]
    #[arg(long, env = "PANDO_SYNCS_OUTGOING_MAX", value_name = "N")]
    pub syncs_outgoing_max: Option<usize>,

    /// Catch up by what was written since, where this node's state is known to be an earlier one of the leader's; without
    /// it trees are always compared [default: true]
    #[arg(long, env = "PANDO_SYNC_LINEAGE", value_name = "BOOL", action = ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true")]
    pub sync_lineage: Option<bool>,

    /// Compress the frames of a catch-up; the less of both sides counts [default: zstd]
    #[arg(long, env = "PANDO_SYNC_COMPRESSION", value_name = "HOW")]
    pub sync_compression: Option<SyncCompression>,

    /// The zstd level for that, 1 to 19 [default: 1]
    #[arg(long, env = "PANDO_SYNC_COMPRESSION_LEVEL", value_name = "LEVEL")]
    pub sync_compression_level: Option<i32>,

    /// How many MiB of the stored state are read again and checked per second, to find rot; 0 reads none [default: 8]
    #[arg(long, env = "PANDO_SCRUB_MIB_PER_SECOND", value_name = "MIB")]
    pub scrub_mib_per_second: Option<u64>,

    /// What to do at start when the stored state is damaged: repair gets it anew from another member, refuse ends the
    /// process [default: repair]
    #[arg(long, env = "PANDO_ON_DAMAGE", value_name = "WHAT")]
    pub on_damage: Option<OnDamage>,

    /// Seconds between comparisons of all members' roots by the leader; one that differs from a majority is quarantined
    /// and repaired. 0: only by `cluster verify` [default: 600]
    #[arg(long, env = "PANDO_CHECK_INTERVAL_S", value_name = "S")]
    pub check_interval_s: Option<u64>,
}

fn set<T>(to: &mut T, from: Option<T>) {
    if let Some(value) = from {
        *to = value;
    }
}

impl Settings {
    /// Overwrites what these settings say and leaves the rest.
    pub(super) fn lay_over(self, config: &mut Config) {
        // Destructured so that a setting cannot be forgotten here.
        let Self {
            data_dir,
            node_id,
            api_listen,
            node_listen,
            http_listen,
            advertise_api,
            advertise_node,
            bootstrap,
            log_format,
            log_level,
            storage_cache_mib,
            raft_heartbeat_ms,
            raft_election_ms,
            raft_log_entries_max,
            raft_log_mib_max,
            raft_log_entries_keep,
            raft_replay_cost_ratio,
            request_timeout_ms,
            requests_inflight_max,
            searches_running_max,
            searches_waiting_max,
            graph_vectors_min,
            vector_cache_mib_max,
            index_checkpoint_s,
            sync_overlay_mib_max,
            sync_mib_per_second,
            syncs_outgoing_max,
            sync_lineage,
            sync_compression,
            sync_compression_level,
            scrub_mib_per_second,
            on_damage,
            check_interval_s,
        } = self;
        set(&mut config.data_dir, data_dir);
        set(&mut config.node_id, node_id.map(Some));
        set(&mut config.api_listen, api_listen);
        set(&mut config.node_listen, node_listen);
        set(&mut config.http_listen, http_listen);
        set(&mut config.advertise_api, advertise_api.map(Some));
        set(&mut config.advertise_node, advertise_node.map(Some));
        set(&mut config.bootstrap, bootstrap);
        set(&mut config.log_format, log_format);
        set(&mut config.log_level, log_level);
        set(&mut config.storage_cache_mib, storage_cache_mib);
        set(&mut config.raft_heartbeat_ms, raft_heartbeat_ms);
        set(&mut config.raft_election_ms, raft_election_ms);
        set(&mut config.raft_log_entries_max, raft_log_entries_max);
        set(&mut config.raft_log_mib_max, raft_log_mib_max);
        set(&mut config.raft_log_entries_keep, raft_log_entries_keep);
        set(&mut config.raft_replay_cost_ratio, raft_replay_cost_ratio);
        set(&mut config.request_timeout_ms, request_timeout_ms);
        set(&mut config.requests_inflight_max, requests_inflight_max);
        set(&mut config.searches_running_max, searches_running_max);
        set(&mut config.searches_waiting_max, searches_waiting_max);
        set(&mut config.graph_vectors_min, graph_vectors_min);
        set(&mut config.vector_cache_mib_max, vector_cache_mib_max);
        set(&mut config.index_checkpoint_s, index_checkpoint_s);
        set(&mut config.sync_overlay_mib_max, sync_overlay_mib_max);
        set(&mut config.sync_mib_per_second, sync_mib_per_second);
        set(&mut config.syncs_outgoing_max, syncs_outgoing_max);
        set(&mut config.sync_lineage, sync_lineage);
        set(&mut config.sync_compression, sync_compression);
        set(&mut config.sync_compression_level, sync_compression_level);
        set(&mut config.scrub_mib_per_second, scrub_mib_per_second);
        set(&mut config.on_damage, on_damage);
        set(&mut config.check_interval_s, check_interval_s);
    }
}
