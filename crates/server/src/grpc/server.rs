//! The public port: the services behind admission, with health and reflection beside them.

use std::sync::Arc;
use std::time::Duration;

use pando_proto::v1::cluster_server::ClusterServer;
use pando_proto::v1::collections_server::CollectionsServer;
use pando_proto::v1::diff_server::DiffServer;
use pando_proto::v1::points_server::PointsServer;
use pando_proto::v1::search_server::SearchServer;
use pando_proto::{FILE_DESCRIPTOR_SET, GRPC_MESSAGE_BYTES_MAX};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::cluster::ClusterService;
use super::collections::CollectionsService;
use super::diff::DiffService;
use super::points::PointsService;
use super::search::SearchService;
use super::{Admission, Api};
use crate::figures::NodeView;
use crate::peer::NodeTransport;

/// A client's connection that carries nothing is asked this often whether it lives,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// and closed when it has not answered for this long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

const SERVICES: [&str; 5] = [
    CollectionsServer::<CollectionsService>::NAME,
    PointsServer::<PointsService>::NAME,
    SearchServer::<SearchService>::NAME,
    ClusterServer::<ClusterService>::NAME,
    DiffServer::<DiffService>::NAME,
];
const HEALTH_SERVICE: &str = "grpc.health.v1.Health";

/// What the public port is made of.
pub(crate) struct PublicApi {
    pub(crate) api: Api,
    pub(crate) view: Arc<NodeView>,
    pub(crate) transport: Arc<NodeTransport>,
    pub(crate) admission: Admission,
    pub(crate) health: HealthReporter,
}

/// Serves until `stop`; requests in work are finished.
pub(crate) async fn serve(
    listener: TcpListener,
    public: PublicApi,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let PublicApi {
        api,
        view,
        transport,
        admission,
        health,
    } = public;
    let reflection_v1 = reflection().build_v1()?;
    // Many tools still ask for the older version only.
    let reflection_v1alpha = reflection().build_v1alpha()?;
    let health = tonic_health::pb::health_server::HealthServer::new(
        tonic_health::server::HealthService::from_health_reporter(health),
    );
    let max = GRPC_MESSAGE_BYTES_MAX;
    let collections = CollectionsServer::new(CollectionsService(api.clone()));
    let points = PointsServer::new(PointsService(api.clone()));
    let search = SearchServer::new(SearchService(api.clone()));
    let diff = DiffServer::new(DiffService(api.clone()));
    let cluster = ClusterServer::new(ClusterService {
        api,
        view,
        transport,
    });
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(admission)
        .add_service(collections.max_decoding_message_size(max))
        .add_service(points.max_decoding_message_size(max))
        .add_service(search.max_decoding_message_size(max))
        .add_service(cluster.max_decoding_message_size(max))
        .add_service(diff.max_decoding_message_size(max))
        .add_service(health)
        .add_service(reflection_v1)
        .add_service(reflection_v1alpha)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stop.cancelled_owned(),
        )
        .await?;
    Ok(())
}

/// What this port serves, for clients that ask.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(HEALTH_SERVICE);
    // By name, since the descriptors know the node-to-node service too, which is not served here.
    SERVICES
        .into_iter()
        .fold(reflection, |r, service| r.with_service_name(service))
}

/// Tells the health service whether this node is ready.
pub(crate) async fn set_health(health: &HealthReporter, ready: bool) {
    let status = if ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    // The empty name stands for the node as a whole.
    for service in SERVICES.into_iter().chain([""]) {
        health.set_service_status(service, status).await;
    }
}
