//! A server that does what a test tells it: applies, refuses, breaks off, or never answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pando_proto::v1::cluster_server::{Cluster, ClusterServer};
use pando_proto::v1::points_server::{Points, PointsServer};
use pando_proto::v1::{self, ErrorDetail, ErrorKind};
use pando_proto::{GRPC_MESSAGE_BYTES_MAX, detail};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<T>, Status>;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Apply,
    /// The side effect happens, the reply is lost.
    ApplyThenCut,
    Refuse(ErrorDetail),
    Hang,
    /// Waits until as many requests are on their way as the barrier is for, then applies.
    Meet(Arc<Barrier>),
    /// Deletes by filter only: applies, and says where to go on.
    ApplyPart(u64),
}

pub(crate) fn refuse(kind: ErrorKind) -> Action {
    Action::Refuse(detail::new(kind, "scripted"))
}

pub(crate) fn not_leader(api_address: &str) -> Action {
    Action::Refuse(ErrorDetail {
        leader: Some(v1::LeaderHint {
            node_id: 9,
            api_address: api_address.to_owned(),
        }),
        ..detail::new(ErrorKind::NotLeader, "scripted")
    })
}

#[derive(Default)]
pub(crate) struct State {
    /// What to do with the next requests; afterwards `always`, or else apply.
    pub(crate) script: VecDeque<Action>,
    pub(crate) always: Option<Action>,
    /// The request id of every write received (the address for `Add`), in order.
    pub(crate) received: Vec<String>,
    /// Times each request id took effect.
    pub(crate) effects: BTreeMap<String, u64>,
    pub(crate) points: Vec<v1::Point>,
    pub(crate) selectors: Vec<v1::Selector>,
    pub(crate) in_flight: usize,
    pub(crate) in_flight_max: usize,
    /// What `Status` answers.
    pub(crate) members: Vec<(u64, String)>,
    pub(crate) leader: u64,
}

#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) address: String,
}

impl Scripted {
    pub(crate) async fn start(script: impl IntoIterator<Item = Action>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let state = State {
            script: script.into_iter().collect(),
            ..State::default()
        };
        let server = Self {
            state: Arc::new(Mutex::new(state)),
            address,
        };
        let points =
            PointsServer::new(server.clone()).max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX);
        let serve = Server::builder()
            .add_service(points)
            .add_service(ClusterServer::new(server.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serve);
        server
    }

    pub(crate) fn always(self, action: Action) -> Self {
        self.state.lock().always = Some(action);
        self
    }

    pub(crate) fn received(&self) -> Vec<String> {
        self.state.lock().received.clone()
    }

    /// Plays the next action. The effect of a request id happens once, as in a real cluster.
    async fn play(&self, id: &str, effect: impl FnOnce(&mut State)) -> Reply<v1::WriteResponse> {
        let action = {
            let mut state = self.state.lock();
            state.received.push(id.to_owned());
            let scripted = state.script.pop_front().or_else(|| state.always.clone());
            scripted.unwrap_or(Action::Apply)
        };
        let mut reply = v1::WriteResponse {
            log_index: 7,
            affected: 1,
            next: None,
        };
        match &action {
            Action::Refuse(detail) => return Err(detail::to_status(detail)),
            Action::Hang => std::future::pending().await,
            Action::ApplyPart(next) => reply.next = Some(pando_model::PointId::Num(*next).into()),
            Action::Meet(barrier) => {
                barrier.wait().await;
            }
            Action::Apply | Action::ApplyThenCut => {}
        }
        {
            let mut state = self.state.lock();
            if !state.effects.contains_key(id) {
                effect(&mut state);
                state.effects.insert(id.to_owned(), 1);
            }
        }
        if matches!(action, Action::ApplyThenCut) {
            panic!("scripted: the reply is lost");
        }
        Ok(Response::new(reply))
    }
}

/// Counts a request while it is on its way, also if it ends in a panic.
struct InFlight<'a>(&'a Mutex<State>);

impl<'a> InFlight<'a> {
    fn new(state: &'a Mutex<State>) -> Self {
        let mut s = state.lock();
        s.in_flight += 1;
        s.in_flight_max = s.in_flight_max.max(s.in_flight);
        drop(s);
        Self(state)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

fn unused<T>() -> Reply<T> {
    Err(Status::unimplemented("not scripted"))
}

#[tonic::async_trait]
impl Points for Scripted {
    async fn upsert(&self, request: Request<v1::UpsertRequest>) -> Reply<v1::WriteResponse> {
        let request = request.into_inner();
        let _in_flight = InFlight::new(&self.state);
        self.play(&request.request_id, |s| s.points.extend(request.points))
            .await
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Reply<v1::WriteResponse> {
        let request = request.into_inner();
        self.play(&request.request_id, |s| {
            s.selectors.extend(request.selector)
        })
        .await
    }

    async fn count(&self, _: Request<v1::CountRequest>) -> Reply<v1::CountResponse> {
        self.play("count", |_| ()).await?;
        Ok(Response::new(v1::CountResponse {
            count: 3,
            log_index: 7,
        }))
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Reply<v1::GetResponse> {
        unused()
    }

    async fn set_payload(&self, _: Request<v1::SetPayloadRequest>) -> Reply<v1::WriteResponse> {
        unused()
    }

    async fn clear_payload(&self, _: Request<v1::ClearPayloadRequest>) -> Reply<v1::WriteResponse> {
        unused()
    }

    async fn scroll(&self, request: Request<v1::ScrollRequest>) -> Reply<v1::ScrollResponse> {
        // Points 0 to 4, two on a page, whatever the limit.
        let from = match request.into_inner().from.and_then(|id| id.id) {
            Some(v1::point_id::Id::Num(n)) => n,
            _ => 0,
        };
        let id = |n: u64| v1::PointId::from(pando_model::PointId::Num(n));
        let point = |n| v1::StoredPoint {
            id: Some(id(n)),
            version: Some(v1::Stamp::default()),
            ..v1::StoredPoint::default()
        };
        Ok(Response::new(v1::ScrollResponse {
            points: (from..5.min(from + 2)).map(point).collect(),
            next: (from + 2 < 5).then(|| id(from + 2)),
            log_index: 7,
            ..v1::ScrollResponse::default()
        }))
    }

    async fn facets(&self, _: Request<v1::FacetsRequest>) -> Reply<v1::FacetsResponse> {
        unused()
    }
}

#[tonic::async_trait]
impl Cluster for Scripted {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Reply<v1::StatusResponse> {
        let state = self.state.lock();
        let node = |(node_id, api): &(u64, String)| v1::NodeReport {
            node_id: *node_id,
            address: Some(v1::NodeAddress {
                node: String::new(),
                api: api.clone(),
            }),
            voter: true,
            result: Some(v1::node_report::Result::Error("not asked".into())),
        };
        Ok(Response::new(v1::StatusResponse {
            cluster_id: String::new(),
            answered_by: 1,
            leader_id: state.leader,
            nodes: state.members.iter().map(node).collect(),
        }))
    }

    async fn add(&self, request: Request<v1::AddRequest>) -> Reply<v1::AddResponse> {
        self.play(&request.into_inner().node_address, |_| ())
            .await?;
        Ok(Response::new(v1::AddResponse {
            node_id: 4,
            address: None,
        }))
    }

    async fn init(&self, _: Request<v1::InitRequest>) -> Reply<v1::InitResponse> {
        unused()
    }

    async fn promote(&self, _: Request<v1::PromoteRequest>) -> Reply<v1::PromoteResponse> {
        unused()
    }

    async fn demote(&self, _: Request<v1::DemoteRequest>) -> Reply<v1::DemoteResponse> {
        unused()
    }

    async fn remove(&self, _: Request<v1::RemoveRequest>) -> Reply<v1::RemoveResponse> {
        unused()
    }

    async fn transfer_leader(
        &self,
        _: Request<v1::TransferLeaderRequest>,
    ) -> Reply<v1::TransferLeaderResponse> {
        unused()
    }

    async fn verify(&self, _: Request<v1::VerifyRequest>) -> Reply<v1::VerifyResponse> {
        unused()
    }

    async fn snapshot(&self, _: Request<v1::SnapshotRequest>) -> Reply<v1::SnapshotResponse> {
        unused()
    }
}
