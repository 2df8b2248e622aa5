//! What the client promises, against servers that fail as they are told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use pando_model::{
    CollectionName, CountQuery, Filter, Payload, Point, PointId, ScrollQuery, Selector, WithVectors,
};
use pando_proto::v1::{self, ErrorDetail};
use pando_proto::{decode_id, decode_selector, detail};

use crate::scripted::{Action, Scripted, not_leader, refuse};
use crate::{BulkOptions, ClientError, Consistency, ErrorKind, Pando, PandoBuilder};

/// Long enough never to decide a test.
const LONG: Duration = Duration::from_secs(60);
/// For tests that want to run out of time.
const SHORT: Duration = Duration::from_secs(1);

fn builder(servers: &[&Scripted]) -> PandoBuilder {
    let addresses: Vec<_> = servers.iter().map(|s| s.address.clone()).collect();
    Pando::builder()
        .endpoints(addresses)
        .timeout(LONG)
        .attempt_timeout(LONG)
}

fn client(servers: &[&Scripted]) -> Pando {
    builder(servers).connect_lazy().expect("good addresses")
}

fn words() -> CollectionName {
    CollectionName::parse("words").expect("name")
}

fn point(id: u64) -> Point {
    Point::new(id, vec![1.0, 2.0], Payload::default())
}

async fn upsert(pando: &Pando) -> Result<crate::Written, ClientError> {
    pando.upsert(&words(), vec![point(1)]).await
}

#[tokio::test]
async fn a_lost_reply_is_retried_with_the_same_request_id() {
    let server = Scripted::start([Action::ApplyThenCut, Action::ApplyThenCut]).await;
    let pando = client(&[&server]);
    let written = upsert(&pando).await.expect("the third attempt is answered");
    assert_eq!(written.log_index, 7);
    let ids = server.received();
    assert_eq!(ids.len(), 3);
    assert!(
        !ids[0].is_empty() && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
    assert_eq!(server.state.lock().points.len(), 1, "it happened once");

    upsert(&pando).await.expect("fine");
    assert_ne!(server.received()[3], ids[0], "another write has another id");
}

#[tokio::test]
async fn the_leader_is_followed_and_remembered() {
    let leader = Scripted::start([]).await;
    let other = Scripted::start([not_leader(&leader.address)]).await;
    let pando = client(&[&other]);
    upsert(&pando).await.expect("passed on");
    assert_eq!(other.received(), leader.received(), "the same request id");
    upsert(&pando).await.expect("goes straight to the leader");
    assert_eq!((other.received().len(), leader.received().len()), (1, 2));
}

#[tokio::test]
async fn reads_follow_a_hint_too() {
    let leader = Scripted::start([]).await;
    let other = Scripted::start([])
        .await
        .always(not_leader(&leader.address));
    let pando = client(&[&other]);
    let count = pando
        .count(&words(), CountQuery::default(), Consistency::Linearizable)
        .await;
    assert_eq!(count.expect("the leader answers"), 3);
}

#[tokio::test]
async fn hints_are_not_followed_where_that_is_switched_off() {
    let leader = Scripted::start([]).await;
    let other = Scripted::start([])
        .await
        .always(not_leader(&leader.address));
    let pando = builder(&[&other]).follow_members(false).timeout(SHORT);
    let error = upsert(&pando.connect_lazy().expect("good"))
        .await
        .expect_err("no leader");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.has_no_side_effects());
    assert!(leader.received().is_empty());
}

#[tokio::test]
async fn what_is_down_or_stopping_is_passed_over() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound").to_string()
    };
    let stopping = Scripted::start([])
        .await
        .always(refuse(v1::ErrorKind::Stopped));
    let server = Scripted::start([]).await;
    let pando = Pando::builder()
        .endpoints([
            gone.clone(),
            stopping.address.clone(),
            server.address.clone(),
        ])
        .timeout(LONG)
        .connect_lazy()
        .expect("good addresses");
    upsert(&pando).await.expect("the third answers");
    assert_eq!(server.received().len(), 1);

    let alone = Pando::builder()
        .endpoint(gone)
        .timeout(Duration::from_secs(2));
    let error = upsert(&alone.connect_lazy().expect("good address"))
        .await
        .expect_err("gone");
    assert!(
        error.has_no_side_effects(),
        "nothing was ever sent: {error}"
    );
    assert!(error.is_retryable());
}

#[tokio::test]
async fn members_are_learned_when_connecting() {
    let leader = Scripted::start([]).await;
    let first = Scripted::start([]).await;
    {
        let mut state = first.state.lock();
        state.members = vec![(1, first.address.clone()), (2, leader.address.clone())];
        state.leader = 2;
    }
    let pando = builder(&[&first]).connect().await.expect("it answers");
    upsert(&pando).await.expect("goes to the leader");
    assert_eq!((first.received().len(), leader.received().len()), (0, 1));
    leader.state.lock().always = Some(refuse(v1::ErrorKind::Stopped));
    upsert(&pando).await.expect("falls back to the first");
    assert_eq!(first.received().len(), 1);
}

#[tokio::test]
async fn a_silent_member_does_not_hold_up_a_request() {
    let silent = Scripted::start([]).await.always(Action::Hang);
    let server = Scripted::start([]).await;
    let pando = builder(&[&silent, &server]).attempt_timeout(SHORT);
    upsert(&pando.connect_lazy().expect("good"))
        .await
        .expect("the other answers");
    let mut ids = [silent.received(), server.received()].concat();
    assert!(!silent.received().is_empty());
    ids.dedup();
    assert_eq!(ids.len(), 1, "the same request id");
}

#[tokio::test]
async fn the_deadline_holds_over_all_attempts() {
    let silent = Scripted::start([]).await.always(Action::Hang);
    let error = upsert(&client(&[&silent]).with_timeout(SHORT))
        .await
        .expect_err("silence");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(!error.has_no_side_effects(), "it may have happened");

    let leaderless = Scripted::start([])
        .await
        .always(refuse(v1::ErrorKind::NoLeader));
    let error = upsert(&client(&[&leaderless]).with_timeout(SHORT))
        .await
        .expect_err("no leader");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.has_no_side_effects());
    let attempts = leaderless.received().len();
    assert!(attempts < 16, "pauses grow: {attempts}");
}

#[tokio::test]
async fn an_election_is_waited_for() {
    let election = [
        v1::ErrorKind::NoLeader,
        v1::ErrorKind::Overloaded,
        v1::ErrorKind::NoLeader,
    ];
    let server = Scripted::start(election.map(refuse)).await;
    upsert(&client(&[&server]))
        .await
        .expect("the fourth attempt is answered");
    assert_eq!(server.received().len(), 4);
}

#[tokio::test]
async fn an_overloaded_node_is_given_the_time_it_asks_for() {
    let overloaded = ErrorDetail {
        retry_after_ms: Some(300),
        ..detail::new(v1::ErrorKind::Overloaded, "scripted")
    };
    let server = Scripted::start([Action::Refuse(overloaded)]).await;
    let begun = Instant::now();
    upsert(&client(&[&server]))
        .await
        .expect("the second attempt is answered");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn what_cannot_succeed_is_not_retried() {
    let refusal = ErrorDetail {
        limit: Some(1024),
        actual: Some(2000),
        ..detail::new(
            v1::ErrorKind::InvalidInput,
            "2000 points are over the limit of 1024",
        )
    };
    let server = Scripted::start([Action::Refuse(refusal)]).await;
    let error = upsert(&client(&[&server])).await.expect_err("refused");
    assert_eq!(server.received().len(), 1);
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!((error.limit(), error.actual()), (Some(1024), Some(2000)));
    assert!(!error.is_retryable() && error.has_no_side_effects());
    assert!(
        error
            .endpoint()
            .is_some_and(|e| e.ends_with(&server.address))
    );
}

#[tokio::test]
async fn a_refused_retry_does_not_hide_what_the_first_attempt_did() {
    let script = [
        Action::ApplyThenCut,
        refuse(v1::ErrorKind::CollectionNotFound),
    ];
    let server = Scripted::start(script).await;
    let error = upsert(&client(&[&server])).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::CollectionNotFound);
    assert!(!error.has_no_side_effects());
}

#[tokio::test]
async fn membership_changes_are_repeated_only_if_nothing_happened() {
    let server = Scripted::start([refuse(v1::ErrorKind::NoLeader), Action::ApplyThenCut]).await;
    let error = client(&[&server])
        .add_node("10.0.0.4:7701")
        .await
        .expect_err("reply lost");
    assert_eq!(
        server.received().len(),
        2,
        "after the refusal, but not after the loss"
    );
    assert!(!error.has_no_side_effects());
    let added = client(&[&server])
        .add_node("10.0.0.5:7701")
        .await
        .expect("fine");
    assert_eq!(added.node, 4);
}

#[tokio::test]
async fn a_large_upsert_is_split_and_every_point_written_once() {
    let script = [Action::ApplyThenCut, refuse(v1::ErrorKind::Overloaded)];
    let server = Scripted::start(script).await;
    let options = BulkOptions {
        concurrency: 3,
        points_per_write: 100,
    };
    let mut seen = Vec::new();
    let done = client(&[&server])
        .upsert_all(&words(), (0..2_050).map(point), options, |p| {
            seen.push(p.points)
        })
        .await
        .expect("all written");
    assert_eq!((done.points, done.writes, done.log_index), (2_050, 21, 7));
    assert!(seen.is_sorted() && seen.last() == Some(&2_050));
    let state = server.state.lock();
    assert!(
        state.in_flight_max <= 3 + 1,
        "one more while a cut one is taken down"
    );
    let ids: BTreeSet<PointId> = state
        .points
        .iter()
        .map(|p| decode_id("id", p.id.clone()).expect("id"))
        .collect();
    assert_eq!((state.points.len(), ids.len()), (2_050, 2_050));
}

#[tokio::test]
async fn writes_of_a_large_upsert_overlap() {
    let barrier = Arc::new(tokio::sync::Barrier::new(3));
    let server = Scripted::start([]).await.always(Action::Meet(barrier));
    let options = BulkOptions {
        concurrency: 3,
        points_per_write: 10,
    };
    let done = client(&[&server])
        .upsert_all(&words(), (0..90).map(point), options, |_| ())
        .await
        .expect("each write waits for two others");
    assert_eq!(done.writes, 9);
}

#[tokio::test]
async fn a_failed_write_ends_a_large_upsert_and_says_how_far_it_came() {
    let server = Scripted::start([Action::Apply])
        .await
        .always(refuse(v1::ErrorKind::Internal));
    let options = BulkOptions {
        concurrency: 1,
        points_per_write: 10,
    };
    let error = client(&[&server])
        .upsert_all(&words(), (0..50).map(point), options, |_| ())
        .await
        .expect_err("the second write is refused");
    let crate::BulkError::Write {
        error,
        first,
        progress,
    } = error;
    assert_eq!((progress.points, first), (10, PointId::Num(10)));
    assert_eq!(server.received().len(), 2, "no write is begun after it");
    assert!(error.to_string().contains("scripted"), "{error}");
}

#[tokio::test]
async fn a_large_delete_goes_on_where_the_last_write_ended() {
    let server = Scripted::start([Action::ApplyPart(50), Action::ApplyPart(90)]).await;
    let selector = Selector::Filter {
        filter: Filter::default(),
        from: None,
    };
    let written = client(&[&server])
        .delete(&words(), selector)
        .await
        .expect("done");
    assert_eq!(written.affected, 3);
    let state = server.state.lock();
    let from: Vec<_> = state
        .selectors
        .iter()
        .map(|s| match decode_selector(Some(s.clone())) {
            Ok(Selector::Filter { from, .. }) => from,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(from, [None, Some(PointId::Num(50)), Some(PointId::Num(90))]);
    assert_eq!(state.effects.len(), 3, "each write has its own request id");
}

#[tokio::test]
async fn scrolling_reads_all_pages() {
    let server = Scripted::start([]).await;
    let query = ScrollQuery {
        filter: None,
        from: None,
        limit: 2,
        with_payload: true,
        with_vectors: WithVectors::None,
    };
    let pando = client(&[&server]);
    let words = words();
    let points: Vec<_> = pando
        .scroll_all(&words, query, Consistency::Local)
        .map_ok(|p| p.id)
        .try_collect()
        .await
        .expect("all pages");
    assert_eq!(points, (0..5).map(PointId::Num).collect::<Vec<_>>());
}

#[tokio::test]
async fn bad_endpoints_are_refused() {
    for builder in [Pando::builder(), Pando::builder().endpoint("http://a b")] {
        let error = builder.connect_lazy().expect_err("no address");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test]
async fn a_large_delete_that_fails_half_way_says_that_something_happened() {
    let refusal = refuse(v1::ErrorKind::CollectionNotFound);
    let server = Scripted::start([Action::ApplyPart(50), refusal]).await;
    let selector = Selector::Filter {
        filter: Filter::default(),
        from: None,
    };
    let error = client(&[&server])
        .delete(&words(), selector)
        .await
        .expect_err("dropped meanwhile");
    assert_eq!(error.kind(), ErrorKind::CollectionNotFound);
    assert!(!error.has_no_side_effects());
}

#[tokio::test]
async fn writes_on_their_way_are_counted_when_another_one_fails() {
    // The two that meet are answered only when both are there, so after the refusal of the first is on its way.
    let barrier = Arc::new(tokio::sync::Barrier::new(2));
    let script = [
        refuse(v1::ErrorKind::Internal),
        Action::Meet(Arc::clone(&barrier)),
        Action::Meet(barrier),
    ];
    let server = Scripted::start(script).await;
    let options = BulkOptions {
        concurrency: 3,
        points_per_write: 10,
    };
    let error = client(&[&server])
        .upsert_all(&words(), (0..30).map(point), options, |_| ())
        .await
        .expect_err("the first write is refused");
    let crate::BulkError::Write { progress, .. } = error;
    assert_eq!(
        (progress.points, server.state.lock().points.len()),
        (20, 20)
    );
}

#[tokio::test]
async fn a_silent_member_leaves_time_for_the_next_one() {
    let silent = Scripted::start([]).await.always(Action::Hang);
    let server = Scripted::start([]).await;
    let pando = builder(&[&silent, &server]).timeout(3 * SHORT);
    upsert(&pando.connect_lazy().expect("good"))
        .await
        .expect("the other answers before the request is out of time");
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_pando_is_said() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound").to_string()
    };
    let alone = Pando::builder().endpoint(gone).timeout(SHORT);
    let error = upsert(&alone.connect_lazy().expect("good"))
        .await
        .expect_err("gone");
    assert!(error.to_string().contains("connection refused"), "{error}");
    let server = Scripted::start([]).await;
    let error = client(&[&server])
        .init_cluster()
        .await
        .expect_err("not implemented there");
    assert!(error.to_string().contains("not the public API"), "{error}");
}
