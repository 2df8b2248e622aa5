//! The HTTP port: whether the process lives, whether the node is ready, and its metrics.
//!
//! Owns the three routes and what "ready" means. Knows the node only through [`Observed`].

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use pando_model::NodeId;
use pando_proto::NodeState;
use serde::Serialize;
use tracing::warn;

use crate::metrics::{CONTENT_TYPE, Metrics, NodeFigures};

/// What can be asked how it is.
#[async_trait]
pub(crate) trait Observed: Send + Sync + 'static {
    /// Its figures, or why there are none.
    async fn figures(&self) -> Result<NodeFigures, String>;
}

#[derive(Clone)]
struct Shared {
    node: Arc<dyn Observed>,
    metrics: Arc<Metrics>,
}

/// The routes of the HTTP port.
pub(crate) fn router(node: Arc<dyn Observed>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .with_state(Shared { node, metrics })
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Readiness {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<NodeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<NodeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<NodeState>,
}

const NO_CLUSTER: &str = "it belongs to no cluster: initialise it, or add it to one";
const NO_LEADER: &str =
    "it sees no leader: a majority cannot be reached, or an election is going on";

/// Why a node that is like this is not ready; `None`: it is.
pub(crate) fn not_ready(figures: &NodeFigures) -> Option<String> {
    if figures.cluster.is_none() {
        return Some(NO_CLUSTER.to_owned());
    }
    match &figures.status.state {
        NodeState::Serving if figures.leader.is_some() => None,
        NodeState::Serving | NodeState::Waiting => Some(NO_LEADER.to_owned()),
        NodeState::Syncing(sync) => Some(format!(
            "it is catching up: {} of about {} rows",
            sync.done, sync.total
        )),
        NodeState::Quarantined { reason, .. } => Some(format!("it is quarantined: {reason}")),
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let answer = match shared.node.figures().await {
        Err(reason) => Readiness {
            ready: false,
            reason: Some(reason),
            node_id: None,
            leader: None,
            state: None,
        },
        Ok(figures) => {
            let reason = not_ready(&figures);
            Readiness {
                ready: reason.is_none(),
                reason,
                node_id: Some(figures.node_id),
                leader: figures.leader,
                state: Some(figures.status.state),
            }
        }
    };
    let code = if answer.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(answer)).into_response()
}

async fn render_metrics(State(shared): State<Shared>) -> Response {
    let figures = shared.node.figures().await;
    let text = figures.and_then(|f| shared.metrics.render(&f).map_err(|e| e.to_string()));
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(reason) => {
            warn!(error = %reason, "the metrics cannot be read");
            (StatusCode::INTERNAL_SERVER_ERROR, reason).into_response()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::Request;
    use pando_consensus::{LogFigures, SyncFigures};
    use pando_model::ClusterId;
    use pando_proto::{
        CatchUp, CatchUpPath, CatchUpWhy, LastCatchUp, LogKept, NodeStatus, Role, Scrub,
        SyncProgress,
    };
    use tower::ServiceExt as _;
    use uuid::Uuid;

    use super::*;
    use crate::traffic::Traffic;

    struct Fixed(Result<NodeFigures, String>);

    #[async_trait]
    impl Observed for Fixed {
        async fn figures(&self) -> Result<NodeFigures, String> {
            self.0.clone()
        }
    }

    /// Figures with a value for everything.
    pub(crate) fn figures(state: NodeState, leader: Option<NodeId>) -> NodeFigures {
        let status = NodeStatus {
            role: Role::Follower,
            term: 3,
            last_log: 42,
            committed: 42,
            applied: 41,
            lag: 0,
            root: [7; 32],
            state,
            log: LogKept {
                entries: 12,
                bytes: 3400,
                snapshot: 30,
                purged: 30,
            },
            verified: Default::default(),
            scrub: Scrub {
                passes: 2,
                damaged: 3,
                ..Scrub::default()
            },
            catch_up: CatchUp {
                rows_put: 5,
                sync_bytes_in: 99,
                count: 2,
                last: Some(LastCatchUp {
                    path: CatchUpPath::Walk,
                    why: CatchUpWhy {
                        reason: "purged_cost".into(),
                        ..CatchUpWhy::default()
                    },
                    index: 31,
                    seconds: 1.5,
                    install_seconds: 0.25,
                    rows_put: 4,
                    rows_deleted: 1,
                    row_bytes: 800,
                    metadata_bytes: 90,
                    received_bytes: 870,
                    sent_bytes: 20,
                    round_trips: 3,
                    entries: 6,
                }),
                ..CatchUp::default()
            },
            points: 1000,
            point_bytes: 1 << 20,
            disk_bytes: 4096,
            memory_bytes: 2048,
            index_backlog: 9,
            index_indexed: 71,
            index_reused: 72,
            version: "0".into(),
            uptime_seconds: 1,
        };
        NodeFigures {
            node_id: 8,
            cluster: Some(ClusterId(Uuid::from_u128(4))),
            leader,
            status,
            views: 1,
            overlay_bytes: 77,
            work: pando_replica::Part::ALL.map(|part| (part, 0.5)),
            views_served: 3,
            sync: sync_figures(),
            resident_bytes: None,
            trust: Default::default(),
        }
    }

    fn sync_figures() -> SyncFigures {
        SyncFigures {
            row_bytes: 21,
            metadata_bytes: 22,
            served_bytes: 23,
            reruns: 1,
            fallbacks: 3,
            needless: 24,
            failed: 25,
            streams_served: 26,
            streams_cut: 27,
            waiting: 4,
            throttled: Duration::from_millis(1_500),
            log: LogFigures {
                purges: [5, 6, 7, 8],
                delta_bytes: 28,
                holding: true,
            },
        }
    }

    async fn get(path: &str, node: Result<NodeFigures, String>) -> (StatusCode, String) {
        let metrics = Arc::new(Metrics::new(Arc::new(Traffic::default())));
        let router = router(Arc::new(Fixed(node)), metrics);
        let request = Request::builder()
            .uri(path)
            .body(Body::empty())
            .expect("a request");
        let response = router.oneshot(request).await.expect("an answer");
        let code = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("a body");
        (code, String::from_utf8(body.into()).expect("text"))
    }

    #[tokio::test]
    async fn ready_means_serving_under_a_leader() {
        let syncing = NodeState::Syncing(SyncProgress {
            done: 3,
            total: 9,
            ..SyncProgress::default()
        });
        let quarantined = NodeState::Quarantined {
            reason: "root differs".into(),
            repair: None,
        };
        let homeless = NodeFigures {
            cluster: None,
            ..figures(NodeState::Waiting, None)
        };
        for (node, code, says) in [
            (Ok(homeless), StatusCode::SERVICE_UNAVAILABLE, "no cluster"),
            (
                Ok(figures(NodeState::Serving, Some(2))),
                StatusCode::OK,
                "\"ready\":true",
            ),
            (
                Ok(figures(NodeState::Serving, None)),
                StatusCode::SERVICE_UNAVAILABLE,
                "no leader",
            ),
            (
                Ok(figures(syncing, Some(2))),
                StatusCode::SERVICE_UNAVAILABLE,
                "3 of about 9",
            ),
            (
                Ok(figures(NodeState::Waiting, None)),
                StatusCode::SERVICE_UNAVAILABLE,
                "no leader",
            ),
            (
                Ok(figures(quarantined, Some(2))),
                StatusCode::SERVICE_UNAVAILABLE,
                "root differs",
            ),
            (
                Err("stopped".to_owned()),
                StatusCode::SERVICE_UNAVAILABLE,
                "stopped",
            ),
        ] {
            let (answered, body) = get("/readyz", node.clone()).await;
            assert_eq!(answered, code, "{node:?}");
            assert!(body.contains(says), "{body}");
            let (alive, _) = get("/healthz", node).await;
            assert_eq!(alive, StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn metrics_carry_the_figures() {
        let (code, text) = get("/metrics", Ok(figures(NodeState::Serving, Some(2)))).await;
        assert_eq!(code, StatusCode::OK);
        for line in [
            "pando_node_id 8",
            "pando_leader_id 2",
            "pando_raft_role{name=\"follower\"} 1",
            "pando_raft_role{name=\"leader\"} 0",
            "pando_node_state{name=\"serving\"} 1",
            "pando_raft_index{name=\"applied\"} 41",
            "pando_raft_log_entries 12",
            "pando_points 1000",
            "pando_index_backlog 9",
            "pando_index_indexed_total 71",
            "pando_index_reused_total 72",
            "pando_overlay_bytes 77",
            "pando_catch_up_rows_put_total 5",
            "pando_sync_bytes_total{direction=\"received\"} 99",
            "pando_sync_phase{name=\"idle\"} 1",
            "pando_sync_rows{name=\"total\"} 0",
            "pando_sync_ends_total{side=\"follower\",outcome=\"needless\"} 24",
            "pando_sync_ends_total{side=\"leader\",outcome=\"cut\"} 27",
            "pando_sync_content_bytes_total{kind=\"metadata\"} 22",
            "pando_sync_reruns_total 1",
            "pando_sync_fallbacks_total 3",
            "pando_sync_served_bytes_total 23",
            "pando_sync_views 3",
            "pando_sync_waiting 4",
            "pando_sync_throttled_seconds_total 1.5",
            "pando_raft_log_purges_total{cause=\"cost\"} 7",
            "pando_raft_log_delta_bytes 28",
            "pando_raft_log_held 1",
            "pando_catch_up_count 2",
            "pando_scrub_passes_total 2",
            "pando_damaged_rows 3",
            "pando_catch_up_last_info{path=\"walk\",reason=\"purged_cost\"} 1",
            "pando_catch_up_last_seconds 1.5",
            "pando_catch_up_last_install_seconds 0.25",
            "pando_catch_up_last_rows{op=\"put\"} 4",
            "pando_catch_up_last_rows{op=\"delete\"} 1",
            "pando_catch_up_last_row_bytes 800",
            "pando_catch_up_last_metadata_bytes 90",
            "pando_catch_up_last_bytes{direction=\"received\"} 870",
            "pando_catch_up_last_bytes{direction=\"sent\"} 20",
            "pando_catch_up_last_round_trips 3",
            "pando_catch_up_last_entries 6",
            "pando_catch_up_last_log_index 31",
            "pando_node_api_bytes_total{direction=\"sent\"} 0",
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line} is missing in\n{text}"
            );
        }
        assert!(text.contains(&format!(
            "pando_build_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        )));
    }
}
