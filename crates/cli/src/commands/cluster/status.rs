//! `pando cluster status`.

mod catch_up;

use pando_client::{ClusterStatus, NodeReport, NodeState, NodeStatus, Role, Scrub};
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::exit::Refused;
use crate::output::{self, hex, short};

pub(super) async fn run(context: &Context) -> anyhow::Result<()> {
    let status = context.client()?.cluster_status().await?;
    if status.cluster.is_none() {
        let reason = "the node belongs to no cluster yet; form one with `cluster init`, or add it to one with \
                      `cluster add`";
        return Err(Refused(reason.to_owned()).into());
    }
    context
        .format
        .show(|| to_json(&status), || table(&status))?;
    Ok(())
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
    }
}

fn state_name(report: &NodeReport) -> &'static str {
    match report.status.as_ref().map(|s| &s.state) {
        Ok(NodeState::Serving) => "serving",
        Ok(NodeState::Syncing { .. }) => "syncing",
        Ok(NodeState::Waiting) => "waiting",
        Ok(NodeState::Quarantined { .. }) => "quarantined",
        Err(_) => "unreachable",
    }
}

fn percent(done: u64, total: u64) -> u64 {
    (done.saturating_mul(100) / total.max(1)).min(100)
}

/// What stands in the table: the state, and what there is to say about it.
fn state_text(report: &NodeReport) -> String {
    let name = state_name(report);
    match report.status.as_ref().map(|s| &s.state) {
        Ok(NodeState::Syncing(sync)) => {
            format!("{name} {} %", percent(sync.done, sync.total))
        }
        Ok(NodeState::Quarantined { reason, .. }) | Err(reason) => format!("{name}: {reason}"),
        Ok(NodeState::Serving | NodeState::Waiting) => name.to_owned(),
    }
}

fn table(status: &ClusterStatus) -> String {
    let mut table = output::table([
        "id", "address", "role", "votes", "term", "applied", "lag", "root", "state",
    ]);
    for report in &status.nodes {
        let figures = match &report.status {
            Ok(s) => [
                role_name(s.role).to_owned(),
                s.term.to_string(),
                s.applied.to_string(),
                s.lag.to_string(),
                short(&s.root),
            ],
            Err(_) => std::array::from_fn(|_| "-".to_owned()),
        };
        let [role, term, applied, lag, root] = figures;
        let votes = if report.voter { "yes" } else { "no" };
        let (id, address) = (report.node.to_string(), report.api_address.clone());
        let state = state_text(report);
        table.add_row([
            id,
            address,
            role,
            votes.into(),
            term,
            applied,
            lag,
            root,
            state,
        ]);
    }
    let cluster = status.cluster.map_or_else(String::new, |c| c.to_string());
    let leader = status
        .leader
        .map_or_else(|| "no leader".to_owned(), |l| format!("leader {l}"));
    let mut text = format!(
        "cluster {cluster}, {leader}, as node {} sees it\n{table}",
        status.answered_by
    );
    for report in &status.nodes {
        if let Ok(own) = &report.status
            && let Some(line) = damage_line(&own.scrub)
        {
            text.push_str(&format!("\nnode {}: {line}", report.node));
        }
        if let Ok(own) = &report.status
            && let Some(sync) = own.state.session()
        {
            let line = catch_up::running(sync);
            text.push_str(&format!("\nnode {} is catching up {line}", report.node));
        }
        if let Ok(own) = &report.status
            && own.verified.no_majority
        {
            text.push_str(&format!(
                "\n!!! node {} found at log index {} that the replicas differ and none has a majority: nothing is \
                 repaired, compare them with `pando diff` !!!",
                report.node, own.verified.compared_index
            ));
        }
        if let Ok(own) = &report.status
            && let Some(last) = &own.catch_up.last
        {
            let line = catch_up::line(last);
            text.push_str(&format!("\nnode {} caught up {line}", report.node));
        }
    }
    text
}

/// What there is to say about damage on disk, if there is any.
fn damage_line(scrub: &Scrub) -> Option<String> {
    if scrub.rebuilding {
        return Some("its store is damaged and is being rebuilt".to_owned());
    }
    (scrub.damaged > 0).then(|| {
        format!(
            "{} damaged on disk, not served and being mended from other members",
            output::plural(scrub.damaged, "row")
        )
    })
}

fn to_json(status: &ClusterStatus) -> Value {
    json!({
        "cluster": status.cluster.map(|c| c.to_string()),
        "answered_by": status.answered_by,
        "leader": status.leader,
        "nodes": status.nodes.iter().map(node_json).collect::<Vec<_>>(),
    })
}

/// A flat object: what every member has, then its own account if it gave one.
fn node_json(report: &NodeReport) -> Value {
    let mut node = Map::new();
    let mut put = |key: &str, value: Value| node.insert(key.to_owned(), value);
    put("id", json!(report.node));
    put("api", json!(report.api_address));
    put("node", json!(report.node_address));
    put("voter", json!(report.voter));
    put("state", json!(state_name(report)));
    match &report.status {
        Ok(status) => own_account(status, &mut put),
        Err(reason) => {
            put("role", Value::Null);
            put("reason", json!(reason));
        }
    }
    Value::Object(node)
}

fn own_account(s: &NodeStatus, put: &mut impl FnMut(&str, Value) -> Option<Value>) {
    if let Some(sync) = s.state.session() {
        let mut progress = json!(sync);
        progress["percent"] = json!(percent(sync.done, sync.total));
        put("progress", progress);
    }
    if let NodeState::Quarantined { reason, .. } = &s.state {
        put("reason", json!(reason));
    }
    for (key, value) in [
        ("role", json!(role_name(s.role))),
        ("term", json!(s.term)),
        ("last_log", json!(s.last_log)),
        ("committed", json!(s.committed)),
        ("applied", json!(s.applied)),
        ("lag", json!(s.lag)),
        ("root", json!(hex(&s.root))),
        ("points", json!(s.points)),
        ("point_bytes", json!(s.point_bytes)),
        ("disk_bytes", json!(s.disk_bytes)),
        ("memory_bytes", json!(s.memory_bytes)),
        ("index_backlog", json!(s.index_backlog)),
        ("index_indexed", json!(s.index_indexed)),
        ("index_reused", json!(s.index_reused)),
        ("log", json!(s.log)),
        ("catch_up", json!(s.catch_up)),
        ("scrub", json!(s.scrub)),
        ("verified", json!(s.verified)),
        ("version", json!(s.version)),
        ("uptime_seconds", json!(s.uptime_seconds)),
    ] {
        put(key, value);
    }
}

#[cfg(test)]
mod tests {
    use pando_client::{CatchUp, LogKept, SyncProgress, Verified};

    use super::*;

    fn report(node: u64, status: Result<NodeState, &str>) -> NodeReport {
        let status = status.map_err(str::to_owned).map(|state| NodeStatus {
            role: Role::Follower,
            term: 2,
            last_log: 9,
            committed: 9,
            applied: 7,
            lag: 2,
            root: [0xab; 32],
            state,
            log: LogKept::default(),
            catch_up: CatchUp::default(),
            scrub: Scrub {
                damaged: node - 1,
                ..Scrub::default()
            },
            verified: Verified {
                compared_index: 17,
                no_majority: node == 2,
                ..Verified::default()
            },
            points: 3,
            point_bytes: 10,
            disk_bytes: 11,
            memory_bytes: 12,
            index_backlog: 13,
            index_indexed: 14,
            index_reused: 15,
            version: "0.1.0".into(),
            uptime_seconds: 5,
        });
        NodeReport {
            node,
            node_address: format!("node{node}:7701"),
            api_address: format!("node{node}:7700"),
            voter: true,
            status,
        }
    }

    fn sample() -> ClusterStatus {
        ClusterStatus {
            cluster: Some(
                "67e55044-10b1-426f-9247-bb680e5fe0c8"
                    .parse()
                    .expect("a UUID"),
            ),
            answered_by: 1,
            leader: Some(1),
            nodes: vec![
                report(1, Ok(NodeState::Serving)),
                report(
                    2,
                    Ok(NodeState::Syncing(SyncProgress {
                        done: 43,
                        total: 100,
                        ..SyncProgress::default()
                    })),
                ),
                report(
                    3,
                    Ok(NodeState::Quarantined {
                        reason: "wrong root".into(),
                        repair: Some(SyncProgress {
                            done: 1,
                            total: 4,
                            ..SyncProgress::default()
                        }),
                    }),
                ),
                report(4, Err("connection refused")),
            ],
        }
    }

    #[test]
    fn scripts_find_flat_nodes() {
        let json = to_json(&sample());
        let nodes = json["nodes"].as_array().expect("a list");
        assert_eq!(nodes[0]["id"], 1);
        assert_eq!(nodes[0]["api"], "node1:7700");
        assert_eq!(nodes[0]["role"], "follower");
        assert_eq!(nodes[0]["voter"], true);
        assert_eq!(nodes[0]["root"].as_str().expect("text").len(), 64);
        let states: Vec<_> = nodes
            .iter()
            .map(|n| n["state"].as_str().expect("text"))
            .collect();
        assert_eq!(states, ["serving", "syncing", "quarantined", "unreachable"]);
        assert_eq!(nodes[1]["progress"]["percent"], 43);
        assert_eq!(nodes[2]["reason"], "wrong root");
        assert_eq!(nodes[2]["progress"]["percent"], 25, "its repair");
        assert_eq!(nodes[3]["role"], Value::Null);
    }

    #[test]
    fn people_see_what_each_node_is_doing() {
        let text = table(&sample());
        assert!(!text.contains("!!! node 1"), "{text}");
        for part in [
            "leader 1",
            "syncing 43 %",
            "abababab",
            "connection",
            "wrong root",
            "node 2: 1 row damaged",
            "node 3: 2 rows damaged",
            "!!! node 2 found at log index 17 that the replicas differ",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn an_estimate_that_was_too_low_is_no_more_than_done() {
        assert_eq!(percent(7, 0), 100);
        assert_eq!(percent(9, 3), 100);
        assert_eq!(percent(u64::MAX, u64::MAX), 1);
    }
}
