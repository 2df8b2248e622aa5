//! Two nodes on real ports with a handler that answers what it was asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pando_consensus::{
    NodeAddress, PeerError, PeerRpc, RefusalCode, SyncPipe, Transport as _, TransportError,
};
use pando_model::{ClusterId, NodeId};
use pando_proto::cluster_v1 as wire;
use pando_proto::cluster_v1::peer_client::PeerClient;
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::*;
use crate::identity::Identity;
use crate::traffic::Traffic;

const LONG: Duration = Duration::from_secs(30);
const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(9));
const OTHER: ClusterId = ClusterId(Uuid::from_u128(10));

/// Answers a call with its body, a stream with its frames; an election call never, a vote with a refusal.
#[derive(Default)]
struct Echo {
    asked: AtomicU64,
}

#[async_trait]
impl PeerHandler for Echo {
    async fn handle(&self, _: NodeId, rpc: PeerRpc, body: Vec<u8>) -> Result<Vec<u8>, PeerError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match rpc {
            PeerRpc::Elect => std::future::pending().await,
            PeerRpc::Vote => Err(PeerError {
                code: RefusalCode::Stale,
                reason: "there is a newer term".into(),
            }),
            _ => Ok(body),
        }
    }

    async fn serve_sync(&self, _: NodeId, mut pipe: SyncPipe) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        while let Some(Ok(frame)) = pipe.rx.recv().await {
            if pipe.tx.send(frame).await.is_err() {
                return;
            }
        }
    }
}

struct TestNode {
    id: NodeId,
    envelope: Envelope,
    address: NodeAddress,
    handler: Arc<Echo>,
    transport: NodeTransport,
    traffic: Arc<Traffic>,
    served: Arc<Traffic>,
    _stop: DropGuard,
    _dir: tempfile::TempDir,
}

impl TestNode {
    async fn start(id: NodeId, cluster: Option<ClusterId>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let identity = Arc::new(Identity::open(dir.path(), Some(id)).expect("an identity"));
        if let Some(cluster) = cluster {
            identity.join(cluster).expect("no cluster yet");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let bound: SocketAddr = listener.local_addr().expect("its address");
        let address = NodeAddress {
            node: bound.to_string(),
            api: "api.test:1".into(),
        };
        let (traffic, served) = (Arc::new(Traffic::default()), Arc::new(Traffic::default()));
        let envelope = Envelope::new(identity);
        let handler = Arc::new(Echo::default());
        let stop = CancellationToken::new();
        let service = PeerService::new(
            envelope.clone(),
            address.clone(),
            Arc::clone(&handler) as _,
            TaskTracker::new(),
            stop.clone(),
        );
        tokio::spawn(serve_peers(
            listener,
            service,
            Arc::clone(&served),
            stop.clone(),
        ));
        let transport = NodeTransport::new(envelope.clone(), Connector::new(Arc::clone(&traffic)));
        Self {
            id,
            envelope,
            address,
            handler,
            transport,
            traffic,
            served,
            _stop: stop.drop_guard(),
            _dir: dir,
        }
    }

    async fn call(&self, to: &Self, rpc: PeerRpc) -> Result<Vec<u8>, TransportError> {
        self.transport
            .call(to.id, &to.address, rpc, b"body".to_vec(), LONG)
            .await
    }

    fn asked(&self) -> u64 {
        self.handler.asked.load(Ordering::Relaxed)
    }

    async fn raw_client(&self) -> PeerClient<tonic::transport::Channel> {
        PeerClient::connect(format!("http://{}", self.address.node))
            .await
            .expect("connected")
    }
}

fn refusal(error: &TransportError) -> RefusalCode {
    match error {
        TransportError::Refused { code, .. } => *code,
        other => panic!("not a refusal: {other}"),
    }
}

#[tokio::test]
async fn calls_within_a_cluster_are_answered_and_counted() {
    let [one, two] = [
        TestNode::start(1, Some(CLUSTER)).await,
        TestNode::start(2, Some(CLUSTER)).await,
    ];
    let body = vec![7; 300_000];
    let call = one
        .transport
        .call(2, &two.address, PeerRpc::Append, body.clone(), LONG);
    assert_eq!(call.await, Ok(body.clone()));
    for (traffic, name) in [(&one.traffic, "caller"), (&two.served, "server")] {
        assert!(traffic.sent() > body.len() as u64, "{name}");
        assert!(traffic.received() > body.len() as u64, "{name}");
        assert!(traffic.sent() < 2 * body.len() as u64, "{name}");
    }
    assert_eq!(
        refusal(&one.call(&two, PeerRpc::Vote).await.expect_err("refused")),
        RefusalCode::Stale
    );
}

#[tokio::test]
async fn what_is_not_for_this_node_never_reaches_it() {
    let two = TestNode::start(2, Some(CLUSTER)).await;
    let foreign = TestNode::start(1, Some(OTHER)).await;
    let error = foreign
        .call(&two, PeerRpc::Append)
        .await
        .expect_err("another cluster");
    assert_eq!(refusal(&error), RefusalCode::Foreign);
    assert!(error.to_string().contains(&CLUSTER.to_string()), "{error}");

    let one = TestNode::start(1, Some(CLUSTER)).await;
    let astray = one
        .transport
        .call(3, &two.address, PeerRpc::Append, b"body".to_vec(), LONG)
        .await;
    assert_eq!(
        refusal(&astray.expect_err("for node 3")),
        RefusalCode::Foreign
    );

    let mut client = two.raw_client().await;
    let header = one.envelope.header(2);
    let newer = wire::Header {
        protocol_version: PROTOCOL_VERSION + 1,
        ..header
    };
    // A body that means nothing in this protocol: it must not be looked at.
    let request = wire::PeerRequest {
        header: Some(newer),
        rpc: wire::PeerRpc::Append.into(),
        body: Bytes::from_static(&[0xff; 9]),
    };
    let reply = client.call(request).await.expect("answered").into_inner();
    match reply.result {
        Some(wire::peer_reply::Result::Refusal(refusal)) => {
            assert_eq!(refusal.code(), wire::RefusalCode::ProtocolVersion);
            assert!(
                refusal.reason.contains(&PROTOCOL_VERSION.to_string()),
                "{}",
                refusal.reason
            );
        }
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(two.asked(), 0);
}

#[tokio::test]
async fn an_answer_of_another_node_is_refused() {
    // Node 2 has moved away, and node 3 of another cluster listens where it was.
    let one = TestNode::start(1, Some(CLUSTER)).await;
    let stranger = TestNode::start(2, Some(OTHER)).await;
    let error = one
        .call(&stranger, PeerRpc::Append)
        .await
        .expect_err("another cluster");
    assert_eq!(refusal(&error), RefusalCode::Foreign);
}

#[tokio::test]
async fn frames_go_both_ways_until_one_side_ends() {
    let [one, two] = [
        TestNode::start(1, Some(CLUSTER)).await,
        TestNode::start(2, Some(CLUSTER)).await,
    ];
    let mut pipe = one
        .transport
        .open_sync(2, &two.address)
        .await
        .expect("opened");
    for n in 0..50_u8 {
        let frame = Bytes::from(vec![n; 10_000]);
        pipe.tx.send(frame.clone()).await.expect("open");
        assert_eq!(pipe.rx.recv().await, Some(Ok(frame)));
    }
    drop(pipe.tx);
    assert_eq!(pipe.rx.recv().await, None);
}

#[tokio::test]
async fn every_frame_is_judged() {
    let [one, two] = [
        TestNode::start(1, Some(CLUSTER)).await,
        TestNode::start(2, Some(CLUSTER)).await,
    ];
    let message = |header: wire::Header| wire::SyncFrame {
        header: Some(header),
        content: Some(wire::sync_frame::Content::Frame(Bytes::from_static(
            b"frame",
        ))),
    };
    let good = one.envelope.header(2);
    let foreign = wire::Header {
        cluster_id: Bytes::from_static(&[1; 16]),
        ..good.clone()
    };
    let newer = wire::Header {
        protocol_version: PROTOCOL_VERSION + 1,
        ..good.clone()
    };
    let imposter = wire::Header {
        from: 4,
        ..good.clone()
    };
    for (bad, code) in [
        (foreign, wire::RefusalCode::ForeignCluster),
        (newer, wire::RefusalCode::ProtocolVersion),
        (imposter, wire::RefusalCode::WrongNode),
    ] {
        let outbound = tokio_stream::iter([message(good.clone()), message(bad)]);
        let mut client = two.raw_client().await;
        let mut inbound = client.sync(outbound).await.expect("opened").into_inner();
        let mut refused = None;
        while let Some(reply) = inbound.next().await {
            match reply.expect("a frame").content {
                Some(wire::sync_frame::Content::Refusal(refusal)) => refused = Some(refusal.code()),
                content => assert!(refused.is_none(), "{content:?} after a refusal"),
            }
        }
        assert_eq!(refused, Some(code));
    }
    // A first frame that is bad never opens a session.
    let before = two.asked();
    let foreigner = TestNode::start(5, Some(OTHER)).await;
    let mut pipe = foreigner
        .transport
        .open_sync(2, &two.address)
        .await
        .expect("opened");
    pipe.tx
        .send(Bytes::from_static(b"frame"))
        .await
        .expect("open");
    let answer = pipe
        .rx
        .recv()
        .await
        .expect("an answer")
        .expect_err("refused");
    assert_eq!(refusal(&answer), RefusalCode::Foreign);
    assert_eq!(two.asked(), before);
}

#[tokio::test]
async fn failures_say_whether_the_request_can_have_arrived() {
    let one = TestNode::start(1, Some(CLUSTER)).await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("its address").to_string()
    };
    let gone = NodeAddress {
        node: gone,
        api: String::new(),
    };
    let call = one
        .transport
        .call(2, &gone, PeerRpc::Append, vec![], LONG)
        .await;
    assert!(
        matches!(call, Err(TransportError::Unreachable { .. })),
        "{call:?}"
    );
    let sync = one.transport.open_sync(2, &gone).await;
    assert!(
        matches!(sync, Err(TransportError::Unreachable { .. })),
        "{sync:?}"
    );
    let nonsense = NodeAddress {
        node: "not an address".into(),
        api: String::new(),
    };
    let call = one
        .transport
        .call(2, &nonsense, PeerRpc::Append, vec![], LONG)
        .await;
    assert!(
        matches!(call, Err(TransportError::Unreachable { .. })),
        "{call:?}"
    );

    let two = TestNode::start(2, Some(CLUSTER)).await;
    let short = Duration::from_millis(50);
    let call = one
        .transport
        .call(2, &two.address, PeerRpc::Elect, vec![], short)
        .await;
    assert_eq!(call, Err(TransportError::Timeout { after: short }));

    // A peer that takes the connection and closes it: the request may have been read.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let closing = NodeAddress {
        node: address,
        api: String::new(),
    };
    let call = one
        .transport
        .call(2, &closing, PeerRpc::Append, vec![], LONG);
    let close = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut read = [0; 1024];
        tokio::io::AsyncReadExt::read(&mut stream, &mut read)
            .await
            .expect("read");
    };
    let (call, ()) = tokio::join!(call, close);
    assert!(
        matches!(call, Err(TransportError::Broken { .. })),
        "{call:?}"
    );
}

#[tokio::test]
async fn a_waiting_node_takes_the_first_offer_only() {
    let member = TestNode::start(1, Some(CLUSTER)).await;
    let new = TestNode::start(2, None).await;
    let early = member
        .call(&new, PeerRpc::Append)
        .await
        .expect_err("it belongs to no cluster");
    assert_eq!(refusal(&early), RefusalCode::Foreign);

    let joined = member
        .transport
        .join(0, &new.address.node, LONG)
        .await
        .expect("accepted");
    assert_eq!((joined.node_id, &joined.address), (2, &new.address));
    assert_eq!(joined.instance, new.envelope.identity().instance());
    let again = member
        .transport
        .join(2, &new.address.node, LONG)
        .await
        .expect("accepted");
    assert_eq!(again, joined);
    assert!(member.call(&new, PeerRpc::Append).await.is_ok());

    let other = TestNode::start(3, Some(OTHER)).await;
    match other.transport.join(2, &new.address.node, LONG).await {
        Err(JoinError::Refused(refusal)) => {
            assert_eq!(refusal.code, wire::RefusalCode::AlreadyInitialized);
        }
        outcome => panic!("not refused: {outcome:?}"),
    }
    assert_eq!(new.envelope.identity().cluster_id(), Some(CLUSTER));
}
