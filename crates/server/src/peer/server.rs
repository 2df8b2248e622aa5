//! The node port: the peer service on counted connections.

use std::io;
use std::sync::Arc;

use futures::TryStreamExt as _;
use pando_proto::GRPC_MESSAGE_BYTES_MAX;
use pando_proto::cluster_v1::peer_server::PeerServer;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::connect::{
    CONNECTION_WINDOW_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW_BYTES,
};
use super::service::PeerService;
use crate::traffic::{Counted, Traffic};

/// Serves until `stop`; calls in work are finished.
///
/// # Errors
/// When the port cannot be served any more.
pub async fn serve_peers(
    listener: TcpListener,
    service: PeerService,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let connections = TcpListenerStream::new(listener).and_then(move |stream: TcpStream| {
        let counted = stream
            .set_nodelay(true)
            .map(|()| Counted::new(stream, traffic.clone()));
        std::future::ready(counted as io::Result<_>)
    });
    let service = PeerServer::new(service)
        .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX);
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(service)
        .serve_with_incoming_shutdown(connections, stop.cancelled_owned())
        .await
}
