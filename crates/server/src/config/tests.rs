use std::path::Path;

use clap::{Args as _, Command, FromArgMatches as _};

use super::*;

fn parse(flags: &[&str]) -> ServeArgs {
    let command = ServeArgs::augment_args(Command::new("serve"));
    let words = ["serve"].iter().chain(flags);
    let matches = command.try_get_matches_from(words).expect("flags");
    ServeArgs::from_arg_matches(&matches).expect("arguments")
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("written");
    file
}

fn load(text: &str, flags: &[&str]) -> Result<Config, ConfigError> {
    let file = file(text);
    let path = file.path().to_str().expect("a plain path");
    Config::load(&parse(&[&["--config", path], flags].concat()))
}

#[test]
fn the_defaults_are_valid() {
    let config = Config::load(&ServeArgs::default()).expect("the defaults");
    assert_eq!(config, Config::default());
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let text = "bootstrap = false\nlog_format = \"json\"\nraft_heartbeat_ms = 100\n";
    let config = load(text, &["--raft-heartbeat-ms", "200", "--node-id", "7"]).expect("valid");
    assert!(!config.bootstrap);
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.raft_heartbeat_ms, 200);
    assert_eq!(config.node_id, Some(7));
    assert_eq!(config.raft_election_ms, Config::default().raft_election_ms);
}

#[test]
fn every_setting_has_an_environment_variable_of_its_name() {
    let command = ServeArgs::augment_args(Command::new("serve"));
    for arg in command.get_arguments() {
        let expected = format!("PANDO_{}", arg.get_id().as_str().to_uppercase());
        let env = arg.get_env().and_then(|e| e.to_str());
        assert_eq!(env, Some(expected.as_str()), "{}", arg.get_id());
    }
}

#[test]
fn the_help_tells_the_real_defaults() {
    let told: std::collections::BTreeMap<String, String> =
        ServeArgs::augment_args(Command::new("serve"))
            .get_arguments()
            .filter_map(|arg| {
                let help = arg.get_help()?.to_string();
                let (_, default) = help.rsplit_once("[default: ")?;
                let default = default.trim_end_matches(']').to_owned();
                Some((arg.get_id().to_string(), default))
            })
            .collect();
    let d = Config::default();
    let real = [
        ("data_dir", d.data_dir.display().to_string()),
        ("api_listen", d.api_listen.to_string()),
        ("node_listen", d.node_listen.to_string()),
        ("http_listen", d.http_listen.to_string()),
        ("bootstrap", d.bootstrap.to_string()),
        ("log_level", d.log_level),
        ("storage_cache_mib", d.storage_cache_mib.to_string()),
        ("raft_heartbeat_ms", d.raft_heartbeat_ms.to_string()),
        ("raft_election_ms", d.raft_election_ms.to_string()),
        ("raft_log_entries_max", d.raft_log_entries_max.to_string()),
        ("raft_log_mib_max", d.raft_log_mib_max.to_string()),
        ("raft_log_entries_keep", d.raft_log_entries_keep.to_string()),
        ("request_timeout_ms", d.request_timeout_ms.to_string()),
        ("requests_inflight_max", d.requests_inflight_max.to_string()),
        ("searches_running_max", d.searches_running_max.to_string()),
        ("searches_waiting_max", d.searches_waiting_max.to_string()),
        ("graph_vectors_min", d.graph_vectors_min.to_string()),
        ("vector_cache_mib_max", d.vector_cache_mib_max.to_string()),
        ("index_checkpoint_s", d.index_checkpoint_s.to_string()),
        ("sync_overlay_mib_max", d.sync_overlay_mib_max.to_string()),
        (
            "raft_replay_cost_ratio",
            d.raft_replay_cost_ratio.to_string(),
        ),
        ("sync_mib_per_second", d.sync_mib_per_second.to_string()),
        ("syncs_outgoing_max", d.syncs_outgoing_max.to_string()),
        ("sync_lineage", d.sync_lineage.to_string()),
        (
            "sync_compression_level",
            d.sync_compression_level.to_string(),
        ),
    ];
    for (key, value) in real {
        assert_eq!(told.get(key), Some(&value), "{key}");
    }
}

#[test]
fn a_rate_too_low_for_the_syncs_it_is_shared_by_is_refused() {
    let refused = |text: &str| load(text, &[]).expect_err("refused").to_string();
    assert!(refused("sync_mib_per_second = 1\n").contains("syncs_outgoing_max (2)"));
    assert!(refused("syncs_outgoing_max = 0\n").contains("1 to 64"));
    assert!(refused("raft_replay_cost_ratio = -1.0\n").contains("0 to 1000"));
    load("sync_mib_per_second = 1\nsyncs_outgoing_max = 1\n", &[]).expect("valid");
}

#[test]
fn unknown_keys_and_wrong_types_are_refused_with_their_place() {
    for text in [
        "hearbeat_ms = 5\n",
        "raft_heartbeat_ms = \"soon\"\n",
        "api_listen = \"here\"\n",
    ] {
        let error = load(text, &[]).expect_err("refused");
        assert!(matches!(error, ConfigError::NotSettings { .. }), "{error}");
        let key = text.split(' ').next().expect("a key");
        assert!(error.to_string().contains(key), "{error}");
    }
    let missing = ServeArgs {
        config: Some(Path::new("/nonexistent/pando.toml").to_owned()),
        settings: Settings::default(),
    };
    assert!(matches!(
        Config::load(&missing),
        Err(ConfigError::Unreadable { .. })
    ));
}

#[test]
fn values_out_of_range_name_key_value_and_limit() {
    let refused = [
        ("node_id = 0", "node_id", "0"),
        ("node_id = 4294967296", "node_id", "4294967296"),
        ("raft_heartbeat_ms = 1000", "raft_election_ms", "1500"),
        (
            "raft_log_entries_keep = 20000",
            "raft_log_entries_keep",
            "20000",
        ),
        ("requests_inflight_max = 0", "requests_inflight_max", "0"),
        ("storage_cache_mib = 0", "storage_cache_mib", "0"),
        ("request_timeout_ms = 0", "request_timeout_ms", "0"),
        ("sync_compression_level = 0", "sync_compression_level", "0"),
        (
            "node_listen = \"127.0.0.1:7700\"",
            "node_listen",
            "127.0.0.1:7700",
        ),
        ("advertise_api = \"node1\"", "advertise_api", "node1"),
        (
            "advertise_api = \"http://node1:7700\"",
            "advertise_api",
            "http://node1:7700",
        ),
        ("advertise_node = \"node1:0\"", "advertise_node", "node1:0"),
        (
            "advertise_node = \"::1:7701\"",
            "advertise_node",
            "::1:7701",
        ),
        ("data_dir = \"\"", "data_dir", ""),
    ];
    for (text, bad_key, bad_value) in refused {
        match load(text, &[]).expect_err(text) {
            ConfigError::BadValue { key, value, .. } => {
                assert_eq!((key, value.as_str()), (bad_key, bad_value), "{text}");
            }
            other => panic!("{text}: {other}"),
        }
    }
}

#[test]
fn two_listeners_may_both_take_free_ports() {
    let text = "api_listen = \"127.0.0.1:0\"\nnode_listen = \"127.0.0.1:0\"\n";
    load(text, &["--http-listen", "127.0.0.1:0"]).expect("valid");
}

#[test]
fn others_are_told_an_address_they_can_use() {
    let bound = SocketAddr::from(([127, 0, 0, 1], 4711));
    assert_eq!(advertised(Some("node1:7700"), bound), "node1:7700");
    assert_eq!(advertised(None, bound), "127.0.0.1:4711");
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 4711));
    let told: SocketAddr = advertised(None, everywhere).parse().expect("an address");
    assert!(!told.ip().is_unspecified());
    assert_eq!(told.port(), 4711);
    assert!(advertise::check("advertise_api", "[::1]:7700").is_ok());
}
