use pando_proto::v1::{self, ErrorKind, node_report, node_root, node_state};

use crate::support::{
    TestNode, config, fresh, inner, kind, linearizable, point, refused, start, until, with_words,
};

async fn waiting() -> (TestNode, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = pando_server::Config {
        bootstrap: false,
        ..config(dir.path())
    };
    (start(config).await.expect("started"), dir)
}

fn add(address: &str) -> v1::AddRequest {
    v1::AddRequest {
        node_address: address.into(),
    }
}

async fn status(node: &TestNode) -> v1::StatusResponse {
    inner(
        node.cluster
            .clone()
            .status(v1::StatusRequest {
                only_this_node: false,
            })
            .await,
    )
}

#[tokio::test]
async fn a_node_alone_reports_verifies_and_freezes_itself() {
    let (mut node, _dir) = with_words().await;
    node.upsert("words", vec![point(1, &[1.0, 0.0], &[])])
        .await
        .expect("written");
    let status = status(&node).await;
    assert_eq!(
        status.cluster_id,
        node.ready.cluster_id.expect("a cluster").to_string()
    );
    assert_eq!(
        (status.answered_by, status.leader_id),
        (node.ready.node_id, node.ready.node_id)
    );
    let report = &status.nodes[0];
    assert!(report.voter);
    let address = report.address.clone().expect("an address");
    assert_eq!(
        (address.api, address.node),
        (node.ready.api.to_string(), node.ready.node.to_string())
    );
    let Some(node_report::Result::Status(own)) = &report.result else {
        panic!("{report:?}")
    };
    assert_eq!((own.role(), own.points, own.lag), (v1::Role::Leader, 1, 0));
    assert!(matches!(
        own.state.as_ref().and_then(|s| s.state.clone()),
        Some(node_state::State::Serving(_))
    ));

    let verified = inner(node.cluster.verify(v1::VerifyRequest {}).await);
    assert!(verified.equal && verified.nodes.len() == 1);
    let Some(node_root::Result::Root(root)) = &verified.nodes[0].result else {
        panic!("{verified:?}")
    };
    assert_eq!((root.points, root.root.len()), (1, 32));

    let request = v1::SnapshotRequest { purge_log: true };
    let frozen = inner(node.cluster.snapshot(request).await);
    assert_eq!(frozen.node_id, node.ready.node_id);
    assert!(frozen.log_index >= verified.log_index);
    assert_eq!(frozen.purged_index, frozen.log_index);
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_waiting_node_answers_only_what_it_can() {
    let (mut node, _dir) = waiting().await;
    assert_eq!(node.ready.cluster_id, None);
    let list = v1::ListCollectionsRequest { consistency: None };
    assert_eq!(
        kind(node.collections.list(list).await),
        ErrorKind::NotInitialized
    );
    assert_eq!(
        kind(node.create("words", 2, v1::Metric::Dot).await),
        ErrorKind::NotInitialized
    );
    let verify = node.cluster.verify(v1::VerifyRequest {}).await;
    assert_eq!(kind(verify), ErrorKind::NotInitialized);
    assert_eq!(status(&node).await.cluster_id, "");

    let formed = inner(node.cluster.init(v1::InitRequest {}).await);
    assert_eq!(formed.node_id, node.ready.node_id);
    assert_eq!(status(&node).await.cluster_id, formed.cluster_id);
    node.create("words", 2, v1::Metric::Dot)
        .await
        .expect("it is a cluster now");
    let again = node.cluster.init(v1::InitRequest {}).await;
    assert_eq!(kind(again), ErrorKind::AlreadyInitialized);
    node.stop().await.expect("stopped");
}

/// A member that follows without a vote becomes a voter.
async fn promote(node: &mut TestNode, id: u64) {
    inner(
        node.cluster
            .promote(v1::PromoteRequest { node_id: id })
            .await,
    );
}

/// Three voters; the first one leads and has one point.
async fn three() -> [(TestNode, tempfile::TempDir); 3] {
    let (mut one, a) = with_words().await;
    one.upsert("words", vec![point(1, &[1.0, 0.0], &[])])
        .await
        .expect("written");
    let ((two, b), (three, c)) = (waiting().await, waiting().await);
    // By the public API's address, and by the node API's.
    let by_api = inner(one.cluster.add(add(&two.ready.api.to_string())).await);
    assert_eq!(by_api.node_id, two.ready.node_id);
    let by_node = inner(one.cluster.add(add(&three.ready.node.to_string())).await);
    assert_eq!(by_node.node_id, three.ready.node_id);
    let address = by_node.address.expect("an address");
    assert_eq!(address.api, three.ready.api.to_string());
    promote(&mut one, two.ready.node_id).await;
    promote(&mut one, three.ready.node_id).await;
    [(one, a), (two, b), (three, c)]
}

#[tokio::test]
async fn any_node_takes_any_request() {
    let [(one, _a), (mut two, _b), (mut three, _c)] = three().await;
    let added = two
        .upsert("words", vec![point(2, &[0.0, 1.0], &[])])
        .await
        .expect("forwarded");
    let count = v1::CountRequest {
        collection: "words".into(),
        filter: None,
        consistency: linearizable(),
    };
    let counted = inner(three.points.count(count).await);
    assert_eq!(counted.count, 2);
    assert!(counted.log_index >= added.log_index);
    // A follower that has not heard of a collection yet finds it all the same.
    three
        .create("fresh", 1, v1::Metric::Dot)
        .await
        .expect("forwarded");
    two.upsert("fresh", vec![point(1, &[1.0], &[])])
        .await
        .expect("it exists");

    let verified = inner(three.cluster.verify(v1::VerifyRequest {}).await);
    assert!(verified.equal && verified.nodes.len() == 3, "{verified:?}");
    let seen = status(&two).await;
    let voters_answer =
        |n: &v1::NodeReport| n.voter && matches!(n.result, Some(node_report::Result::Status(_)));
    assert!(
        seen.nodes.len() == 3 && seen.nodes.iter().all(voters_answer),
        "{seen:?}"
    );
    for node in [one, two, three] {
        node.stop().await.expect("stopped");
    }
}

#[tokio::test]
async fn leadership_moves_and_members_leave() {
    let [(mut one, _a), (two, _b), (three, _c)] = three().await;
    let next = two.ready.node_id;
    let transfer = v1::TransferLeaderRequest { node_id: next };
    inner(one.cluster.transfer_leader(transfer).await);
    until("node 2 leads", || async {
        status(&one).await.leader_id == next
    })
    .await;

    // A member that is gone is shown as such, and can be removed.
    let gone = three.ready.clone();
    three.stop().await.expect("stopped");
    let seen = status(&one).await;
    let report = seen
        .nodes
        .iter()
        .find(|n| n.node_id == gone.node_id)
        .expect("a member");
    assert!(
        matches!(report.result, Some(node_report::Result::Error(_))),
        "{report:?}"
    );
    assert_eq!(
        report.address.clone().expect("an address").api,
        gone.api.to_string()
    );
    let remove = v1::RemoveRequest {
        node_id: gone.node_id,
        force: false,
    };
    inner(one.cluster.remove(remove).await);
    assert_eq!(status(&two).await.nodes.len(), 2);

    let own = one.ready.node_id;
    inner(one.cluster.demote(v1::DemoteRequest { node_id: own }).await);
    let last = v1::DemoteRequest { node_id: next };
    assert_eq!(kind(one.cluster.demote(last).await), ErrorKind::Membership);
    one.stop().await.expect("stopped");
    two.stop().await.expect("stopped");
}

#[tokio::test]
async fn membership_changes_that_cannot_be_are_refused() {
    let (mut node, _a) = fresh().await;
    for unknown in [
        kind(
            node.cluster
                .promote(v1::PromoteRequest { node_id: 77 })
                .await,
        ),
        kind(node.cluster.demote(v1::DemoteRequest { node_id: 77 }).await),
        kind(
            node.cluster
                .remove(v1::RemoveRequest {
                    node_id: 77,
                    force: true,
                })
                .await,
        ),
    ] {
        assert_eq!(unknown, ErrorKind::NodeNotFound);
    }
    let own = node.ready.node_id;
    let last = node
        .cluster
        .remove(v1::RemoveRequest {
            node_id: own,
            force: true,
        })
        .await;
    assert_eq!(kind(last), ErrorKind::Membership);

    let (stranger, _b) = fresh().await;
    let foreign = refused(node.cluster.add(add(&stranger.ready.api.to_string())).await);
    assert_eq!(foreign.kind(), ErrorKind::ForeignCluster);
    let theirs = stranger.ready.cluster_id.expect("a cluster").to_string();
    assert!(foreign.message.contains(&theirs), "{foreign:?}");
    let foreign = node
        .cluster
        .add(add(&stranger.ready.node.to_string()))
        .await;
    assert_eq!(kind(foreign), ErrorKind::ForeignCluster);

    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("its address").to_string()
    };
    let unreachable = refused(node.cluster.add(add(&nobody)).await);
    assert_eq!(unreachable.kind(), ErrorKind::Membership);
    assert!(unreachable.message.contains(&nobody), "{unreachable:?}");
    assert_eq!(status(&node).await.nodes.len(), 1);
    stranger.stop().await.expect("stopped");
    node.stop().await.expect("stopped");
}
