//! What stands beside the services: HTTP, health, reflection.

use pando_proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::{TestNode, config, kind, point, start, until, with_words};

async fn get(node: &TestNode, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(node.ready.http)
        .await
        .expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let code = head
        .split(' ')
        .nth(1)
        .expect("a code")
        .parse()
        .expect("a number");
    (code, body.to_owned())
}

#[tokio::test]
async fn a_serving_node_is_ready_and_counted() {
    let (mut node, _dir) = with_words().await;
    node.upsert("words", vec![point(1, &[1.0, 0.0], &[])])
        .await
        .expect("written");
    kind(
        node.upsert("nothing", vec![point(1, &[1.0, 0.0], &[])])
            .await,
    );
    assert_eq!(get(&node, "/healthz").await.0, 200);
    let (code, body) = get(&node, "/readyz").await;
    assert_eq!(code, 200, "{body}");
    let (code, metrics) = get(&node, "/metrics").await;
    assert_eq!(code, 200);
    for line in [
        "pando_requests_total{method=\"Points/Upsert\",code=\"Ok\"} 1",
        "pando_requests_total{method=\"Points/Upsert\",code=\"NotFound\"} 1",
        "pando_points 1",
        "pando_node_state{name=\"serving\"} 1",
        &format!("pando_node_id {}", node.ready.node_id),
    ] {
        assert!(
            metrics.lines().any(|l| l == line),
            "{line} is missing in\n{metrics}"
        );
    }
    assert!(
        metrics.contains("pando_request_duration_seconds_bucket{"),
        "{metrics}"
    );
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_waiting_node_lives_but_is_not_ready() {
    let dir = tempfile::tempdir().expect("a directory");
    let waiting = pando_server::Config {
        bootstrap: false,
        ..config(dir.path())
    };
    let mut node = start(waiting).await.expect("started");
    assert_eq!(get(&node, "/healthz").await.0, 200);
    let (code, body) = get(&node, "/readyz").await;
    assert_eq!(code, 503);
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["ready"], false);
    assert!(
        answer["reason"]
            .as_str()
            .expect("a reason")
            .contains("no cluster"),
        "{answer}"
    );

    let url = format!("http://{}", node.ready.api);
    let channel = Channel::from_shared(url)
        .expect("a url")
        .connect()
        .await
        .expect("connected");
    let health = HealthClient::new(channel);
    let check = |service: &str| {
        let (mut health, service) = (health.clone(), service.to_owned());
        async move {
            let answer = health
                .check(HealthCheckRequest { service })
                .await
                .expect("known");
            answer.into_inner().status()
        }
    };
    assert_eq!(check("").await, ServingStatus::NotServing);
    node.cluster.init(v1::InitRequest {}).await.expect("formed");
    for service in ["", "pando.v1.Points", "pando.v1.Search"] {
        until("it serves", || async {
            check(service).await == ServingStatus::Serving
        })
        .await;
    }
    assert_eq!(get(&node, "/readyz").await.0, 200);
    node.stop().await.expect("stopped");
}

#[tokio::test]
async fn the_services_describe_themselves() {
    let (node, _dir) = with_words().await;
    let url = format!("http://{}", node.ready.api);
    let channel = Channel::from_shared(url)
        .expect("a url")
        .connect()
        .await
        .expect("connected");
    let mut client = ServerReflectionClient::new(channel);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await;
    let answer = answers
        .expect("answered")
        .into_inner()
        .message()
        .await
        .expect("one")
        .expect("one");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    for service in ["Collections", "Points", "Search", "Cluster"] {
        assert!(
            names.contains(&format!("pando.v1.{service}").as_str()),
            "{names:?}"
        );
    }
    assert!(
        !names.iter().any(|n| n.contains("cluster.v1")),
        "the node API is not public: {names:?}"
    );
    node.stop().await.expect("stopped");
}
