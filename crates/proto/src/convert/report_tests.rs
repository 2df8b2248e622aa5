use pando_model::ClusterId;
use uuid::Uuid;

use super::*;
use crate::report::{CatchUp, CatchUpPath, CatchUpWhy, LastCatchUp, Scrub, SyncProgress, Verified};

fn why() -> CatchUpWhy {
    CatchUpWhy {
        reason: "purged_cost".into(),
        had_index: Some(35),
        log_kept_from: 36,
        replay_bytes: Some(37),
    }
}

fn syncing() -> SyncProgress {
    SyncProgress {
        done: 1,
        total: 9,
        leader: 38,
        index: 39,
        received_bytes: 40,
        elapsed_seconds: 41,
        left_seconds: Some(42),
        installing: true,
        why: Some(why()),
    }
}

fn last(path: CatchUpPath) -> LastCatchUp {
    LastCatchUp {
        path,
        why: why(),
        index: 23,
        seconds: 2.4,
        install_seconds: 0.25,
        rows_put: 26,
        rows_deleted: 27,
        row_bytes: 28,
        metadata_bytes: 29,
        received_bytes: 30,
        sent_bytes: 31,
        round_trips: 32,
        entries: 33,
    }
}

fn node(state: NodeState, role: Role, path: Option<CatchUpPath>) -> NodeStatus {
    NodeStatus {
        role,
        term: 1,
        last_log: 2,
        committed: 3,
        applied: 4,
        lag: 5,
        root: [6; 32],
        state,
        log: LogKept {
            entries: 7,
            bytes: 8,
            snapshot: 9,
            purged: 10,
        },
        catch_up: CatchUp {
            entries_replayed: 11,
            delta_sessions: 12,
            rows_put: 13,
            rows_deleted: 14,
            sync_bytes_in: 15,
            sync_bytes_out: 16,
            resumed: 17,
            count: 34,
            last: path.map(last),
        },
        scrub: Scrub {
            rows: 35,
            bytes: 36,
            passes: 37,
            last_pass_ms: 38,
            permille: 39,
            damaged: 40,
            found: 41,
            mended: 42,
            rebuilds: 43,
            rebuilding: true,
        },
        verified: Verified {
            log_index: 44,
            at_ms: 45,
            no_majority: true,
            divergences: 46,
            compared_index: 50,
        },
        points: 18,
        point_bytes: 19,
        disk_bytes: 20,
        memory_bytes: 21,
        index_backlog: 47,
        index_indexed: 48,
        index_reused: 49,
        version: "0.1.0".into(),
        uptime_seconds: 22,
    }
}

fn status() -> ClusterStatus {
    let reason = "root does not match".to_owned();
    let statuses = [
        Ok(node(NodeState::Serving, Role::Leader, None)),
        Ok(node(
            NodeState::Syncing(syncing()),
            Role::Learner,
            Some(CatchUpPath::Delta),
        )),
        Ok(node(
            NodeState::Waiting,
            Role::Candidate,
            Some(CatchUpPath::Log),
        )),
        Ok(node(
            NodeState::Quarantined {
                reason,
                repair: Some(syncing()),
            },
            Role::Follower,
            None,
        )),
        Err("unreachable".to_owned()),
    ];
    let nodes = (1..).zip(statuses).map(|(node, status)| NodeReport {
        node,
        node_address: format!("10.0.0.{node}:7701"),
        api_address: format!("10.0.0.{node}:7700"),
        voter: node < 4,
        status,
    });
    ClusterStatus {
        cluster: Some(ClusterId(Uuid::from_u128(1))),
        answered_by: 2,
        leader: Some(1),
        nodes: nodes.collect(),
    }
}

#[test]
fn every_field_of_a_status_comes_back() {
    let status = status();
    let wire = v1::StatusResponse::from(status.clone());
    assert_eq!(ClusterStatus::try_from(wire).expect("own message"), status);
    let unformed = ClusterStatus {
        cluster: None,
        leader: None,
        ..status
    };
    let wire = v1::StatusResponse::from(unformed.clone());
    assert_eq!(
        ClusterStatus::try_from(wire).expect("own message"),
        unformed
    );
}

#[test]
fn every_way_to_catch_up_comes_back() {
    for path in [
        CatchUpPath::Log,
        CatchUpPath::Equal,
        CatchUpPath::Lineage,
        CatchUpPath::Walk,
        CatchUpPath::Bulk,
        CatchUpPath::Delta,
    ] {
        let wire = v1::LastCatchUp::from(last(path));
        assert_eq!(
            LastCatchUp::try_from(wire).expect("own message"),
            last(path)
        );
    }
}

#[test]
fn hollow_reports_name_their_place() {
    let wire = v1::StatusResponse::from(status());
    let refuse = |change: &dyn Fn(&mut v1::StatusResponse)| {
        let mut wire = wire.clone();
        change(&mut wire);
        ClusterStatus::try_from(wire).expect_err("hollow")
    };
    let error = refuse(&|w| w.nodes[4].result = None);
    assert_eq!(error, DecodeError::missing("nodes[4].result"));
    let error = refuse(&|w| {
        if let Some(node_report::Result::Status(s)) = &mut w.nodes[0].result {
            s.root.pop();
        }
    });
    assert_eq!(error.field(), "nodes[0].status.root");
    let error = refuse(&|w| {
        if let Some(node_report::Result::Status(s)) = &mut w.nodes[1].result
            && let Some(last) = s.catch_up.as_mut().and_then(|c| c.last.as_mut())
        {
            last.path = 99;
        }
    });
    assert_eq!(error.field(), "nodes[1].status.catch_up.last.path");
    let error = refuse(&|w| w.cluster_id = "x".into());
    assert_eq!(error.field(), "cluster_id");
}
