//! Leaders, quorums, writes and reads.

use std::time::Duration;

use openraft::{CommittedLeaderId, EntryPayload};
use pando_model::{Command, Consistency, GroupId, Proposal, RequestId, Stamp, TreeId};
use pando_replica::{Replica, ReplicaOptions};
use pando_storage::{KvStore, MemoryStore};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::timeout;
use uuid::Uuid;

use openraft::storage::RaftStateMachine;

use crate::cluster_tests::harness::{Cluster, DEADLINE, create_command, point};
use crate::state_machine::StateMachine;
use crate::types::{Entry, LogId, Membership};
use crate::{NodeAddress, PeerRpc, ReadFailure, WriteFailure};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_takes_writes_and_reads() {
    let cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    for (id, first) in [(1, 0), (2, 100), (3, 200)] {
        let index = cluster.upsert(id, tree, first..first + 10, 1).await;
        for reader in cluster.ids() {
            let node = cluster.node(reader);
            let seen = node
                .barrier(Consistency::Linearizable, DEADLINE)
                .await
                .unwrap();
            assert!(
                seen >= index,
                "node {reader} read at {seen}, the write was at {index}"
            );
            assert!(cluster.has(reader, first + 9));
        }
    }
    cluster.settle().await;
    let follower = cluster.follower().await;
    let report = cluster.node(follower).verify(DEADLINE).await.unwrap();
    assert!(report.equal, "{report:?}");
    assert_eq!(report.nodes.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let first = cluster.leader().await;
    cluster.upsert(first, tree, 0..20, 1).await;
    cluster.crash(first).await;
    let second = cluster.leader().await;
    assert_ne!(first, second);
    cluster.upsert(second, tree, 20..40, 1).await;
    cluster.boot(first).await;
    cluster.settle().await;
    for id in cluster.ids() {
        assert_eq!(cluster.count(id), 40);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_crashing_at_once_lose_nothing_acknowledged() {
    let mut cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let leader = cluster.leader().await;
    cluster.upsert(leader, tree, 0..300, 1).await;
    for id in cluster.ids() {
        cluster.crash(id).await;
    }
    for id in cluster.ids() {
        cluster.boot(id).await;
    }
    cluster.settle().await;
    assert_eq!(cluster.count(leader), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_answers_with_a_clear_error_within_the_deadline() {
    let cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let leader = cluster.leader().await;
    cluster.net.isolate(leader, cluster.ids());
    let alone = cluster.node(leader);
    let write = |id| Command::Upsert {
        tree,
        points: vec![point(id, 1)],
    };
    // Appended where nobody hears of it: it may yet take effect, and the error says so.
    let first = alone.write(write(1), None, Duration::from_secs(1));
    let first = timeout(DEADLINE, first)
        .await
        .expect("within the deadline")
        .unwrap_err();
    assert!(
        !first.has_no_side_effects() || first == WriteFailure::NoLeader,
        "{first}"
    );
    // Once the lease is over nothing is even tried.
    let lost = alone.raft().wait(Some(DEADLINE));
    let lease = |ms: Option<u64>| ms.is_some_and(|ms| ms > 1_000);
    lost.metrics(|m| lease(m.millis_since_quorum_ack), "the lease is over")
        .await
        .unwrap();
    let second = alone.write(write(2), None, Duration::from_secs(1));
    let second = timeout(DEADLINE, second)
        .await
        .expect("within the deadline")
        .unwrap_err();
    assert_eq!(second, WriteFailure::NoLeader);
    let read = alone.barrier(Consistency::Linearizable, Duration::from_secs(1));
    let read = timeout(DEADLINE, read)
        .await
        .expect("within the deadline")
        .unwrap_err();
    assert_eq!(read, ReadFailure::NoLeader);
    assert!(
        alone
            .barrier(Consistency::Local, Duration::ZERO)
            .await
            .is_ok()
    );
    // The majority goes on.
    let other = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.leader_seen_by(other, Some(leader)).await;
    cluster.upsert(other, tree, [3], 1).await;
    cluster.net.heal();
    cluster.settle().await;
    assert!(cluster.has(leader, 3));
    assert!(!cluster.has(other, 2), "it was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_carry_one_way_only_do_not_stop_the_cluster() {
    let cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let leader = cluster.leader().await;
    let mut others = cluster.ids().into_iter().filter(|id| *id != leader);
    let (deaf, slow) = (others.next().unwrap(), others.next().unwrap());
    cluster.net.delay(slow, leader, Duration::from_millis(20));
    // The leader is heard, its follower is not.
    cluster.net.cut(deaf, leader);
    cluster.upsert(leader, tree, 0..5, 1).await;
    // The follower hears no leader, and everybody hears it ask for votes.
    cluster.net.heal();
    cluster.net.cut(leader, deaf);
    let term = cluster.node(deaf).status().await.term;
    let asking = cluster.node(deaf).raft().wait(Some(DEADLINE));
    asking
        .metrics(|m| m.current_term > term, "it stands for election")
        .await
        .unwrap();
    // The election may take the leader from under the write: only with a request id may it be repeated.
    let command = Command::Upsert {
        tree,
        points: (5..10).map(|id| point(id, 1)).collect(),
    };
    let request = RequestId(Uuid::from_u128(1));
    let written = cluster.node(slow).write(command, Some(request), DEADLINE);
    written.await.unwrap();
    cluster.net.heal();
    cluster.settle().await;
    assert_eq!(cluster.count(deaf), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_repeated_only_with_a_request_id() {
    let cluster = Cluster::start(3).await;
    let tree = cluster.create().await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let write = |id| Command::Upsert {
        tree,
        points: vec![point(id, 1)],
    };
    let proposals = || cluster.net.calls(follower, leader, PeerRpc::Propose);

    cluster
        .net
        .lose_answers(follower, leader, PeerRpc::Propose, 1);
    let before = proposals();
    let once = cluster.node(follower).write(write(1), None, DEADLINE).await;
    assert_eq!(once.unwrap_err(), WriteFailure::Timeout);
    assert_eq!(
        proposals(),
        before + 1,
        "its outcome is unknown: it must not be repeated"
    );
    cluster.settle().await;
    assert!(cluster.has(follower, 1), "it did take effect");

    cluster
        .net
        .lose_answers(follower, leader, PeerRpc::Propose, 1);
    let request = Some(RequestId(Uuid::from_u128(7)));
    let first = cluster
        .node(follower)
        .write(write(2), request, DEADLINE)
        .await
        .unwrap();
    assert!(proposals() >= before + 3, "it was repeated");
    let again = cluster
        .node(leader)
        .write(write(2), request, DEADLINE)
        .await
        .unwrap();
    assert_eq!(first.effect, again.effect, "the first reply is repeated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_and_nothing_is_written() {
    let cluster = Cluster::start(1).await;
    let tree = cluster.create().await;
    let before = cluster.node(1).status().await.last_log;
    let refuse = async |command| {
        let failure = cluster
            .node(1)
            .write(command, None, DEADLINE)
            .await
            .unwrap_err();
        assert!(failure.has_no_side_effects(), "{failure}");
        failure
    };
    let mut short = point(1, 1);
    short
        .vectors
        .values_mut()
        .for_each(|vector| vector.truncate(3));
    let upsert = |point, tree| Command::Upsert {
        tree,
        points: vec![point],
    };
    assert!(matches!(
        refuse(upsert(short, tree)).await,
        WriteFailure::Invalid(_)
    ));
    let mut nan = point(1, 1);
    nan.vectors
        .values_mut()
        .for_each(|vector| vector[0] = f32::NAN);
    assert!(matches!(
        refuse(upsert(nan, tree)).await,
        WriteFailure::Invalid(_)
    ));
    let empty = Command::Upsert {
        tree,
        points: vec![],
    };
    assert!(matches!(refuse(empty).await, WriteFailure::Invalid(_)));
    let unknown = refuse(upsert(point(1, 1), TreeId(99))).await;
    assert!(matches!(unknown, WriteFailure::Rejected(_)), "{unknown}");
    assert_eq!(
        cluster.node(1).status().await.last_log,
        before,
        "none was even proposed"
    );
    assert!(matches!(
        refuse(create_command()).await,
        WriteFailure::Rejected(_)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_writes_than_allowed_are_refused() {
    let cluster = Cluster::start_with(3, |options| options.writes_in_flight_max = 1).await;
    let tree = cluster.create().await;
    let leader = cluster.leader().await;
    cluster.net.isolate(leader, cluster.ids());
    let write = |id| Command::Upsert {
        tree,
        points: vec![point(id, 1)],
    };
    let node = cluster.node(leader);
    let mut waiting = Box::pin(node.write(write(1), None, DEADLINE));
    assert!(
        futures::poll!(&mut waiting).is_pending(),
        "it holds the only place"
    );
    let refused = node.write(write(2), None, DEADLINE).await;
    assert_eq!(refused.unwrap_err(), WriteFailure::Overloaded { limit: 1 });
}

#[tokio::test]
async fn two_nodes_applying_one_log_hold_byte_equal_state() {
    let id = |index| LogId::new(CommittedLeaderId::new(3, 1), index);
    let tree = TreeId(1);
    let normal = |index: u64, command| {
        let stamp = Stamp::at(1_000 - index);
        let request = Some(RequestId(Uuid::from_u128(index.into())));
        let proposal = Proposal {
            group: GroupId::CATALOGUE,
            stamp,
            request,
            command,
        };
        Entry {
            log_id: id(index),
            payload: EntryPayload::Normal(proposal),
        }
    };
    let nodes = BTreeMap::from([(1, NodeAddress::default()), (2, NodeAddress::default())]);
    let membership = Membership::new(vec![[1, 2].into()], nodes);
    let mut entries = vec![
        Entry {
            log_id: id(0),
            payload: EntryPayload::Membership(membership),
        },
        Entry {
            log_id: id(1),
            payload: EntryPayload::Blank,
        },
        normal(2, create_command()),
    ];
    for index in 3..30 {
        let points = (0..20).map(|n| point(index * 7 + n, index)).collect();
        entries.push(normal(index, Command::Upsert { tree, points }));
    }
    let ids = (30..60).map(pando_model::PointId::Num).collect();
    let selector = pando_model::Selector::Ids(ids);
    entries.push(normal(30, Command::Delete { tree, selector }));

    let mut states = Vec::new();
    for batch in [1, 7, 64] {
        let store = Arc::new(MemoryStore::new());
        let data: Arc<dyn KvStore> = store.clone();
        let replica = Arc::new(Replica::open(data, ReplicaOptions::default(), None).unwrap());
        let mut machine = StateMachine::new(Arc::clone(&replica), Arc::default()).unwrap();
        let mut outcomes = Vec::new();
        for entries in entries.chunks(batch) {
            outcomes.extend(machine.apply(entries.to_vec()).await.unwrap());
        }
        states.push((store.scan(b"", None, usize::MAX).unwrap(), outcomes));
    }
    assert!(states[0].0.len() > 100);
    assert_eq!(states[0], states[1]);
    assert_eq!(states[0], states[2]);
}
