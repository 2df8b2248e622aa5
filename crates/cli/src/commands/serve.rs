//! `pando serve`: one node, until it is told to stop.

use pando_server::{Config, Ready, ServeArgs};
use serde::Deserialize;
use tracing::warn;

use crate::context::Context;
use crate::exit::BadInput;
use crate::logs;

/// The line a node prints with `--output json` when it is up, as far as it is read here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Announcement {
    /// Its id.
    pub(crate) node_id: u64,
    /// host:port of its public API.
    pub(crate) api: String,
    /// host:port of its node API.
    pub(crate) node: String,
    /// host:port of its HTTP port.
    pub(crate) http: String,
}

pub(crate) async fn run(context: &Context, args: &ServeArgs) -> anyhow::Result<()> {
    let config = Config::load(args).map_err(|e| BadInput(e.to_string()))?;
    logs::for_node(config.log_format, &config.log_level)?;
    let format = context.format;
    let on_ready = move |ready: &Ready| {
        if let Err(error) = format.show(|| ready, || text(ready)) {
            warn!(%error, "nobody reads what this node prints");
        }
    };
    pando_server::run(config, told_to_stop(), on_ready).await
}

fn text(ready: &Ready) -> String {
    let cluster = match &ready.cluster_id {
        Some(id) => format!("cluster {id}"),
        None => {
            "no cluster yet: form one with `pando cluster init`, or add it with `pando cluster add`"
                .to_owned()
        }
    };
    let Ready {
        node_id,
        api,
        node,
        http,
        ..
    } = ready;
    format!("node {node_id} is up: gRPC {api}, nodes {node}, HTTP {http}; {cluster}")
}

/// Ends when the process is asked to end: ctrl-c, or SIGTERM as containers send it.
pub(crate) async fn told_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        ) {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            // Then a signal ends the process at once, as it does by default.
            (Err(error), _) | (_, Err(error)) => {
                warn!(%error, "signals cannot be listened to");
                std::future::pending::<()>().await;
            }
        }
    }
    #[cfg(not(unix))]
    if let Err(error) = tokio::signal::ctrl_c().await {
        warn!(%error, "ctrl-c cannot be listened to");
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_announces_is_what_is_read() {
        let ready = Ready {
            node_id: 7,
            cluster_id: None,
            api: ([127, 0, 0, 1], 1).into(),
            node: ([127, 0, 0, 1], 2).into(),
            http: ([127, 0, 0, 1], 3).into(),
            advertise_api: "node1:1".into(),
            advertise_node: "node1:2".into(),
        };
        let line = serde_json::to_string(&ready).expect("JSON");
        let read: Announcement = serde_json::from_str(&line).expect("an announcement");
        assert_eq!(
            read,
            Announcement {
                node_id: 7,
                api: "127.0.0.1:1".into(),
                node: "127.0.0.1:2".into(),
                http: "127.0.0.1:3".into(),
            }
        );
        assert!(text(&ready).contains("no cluster yet"));
    }
}
