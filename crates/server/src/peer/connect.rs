//! Connections to other nodes: counted, with keepalive, so that no call hangs on a dead peer.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use pando_consensus::TransportError;
use tokio::net::TcpStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::traffic::{Counted, Traffic};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that carries nothing is asked this often whether it lives,
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// and is given up when it has not answered for this long; its calls fail then.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Flow-control windows: what may be under way to a reader that has not caught up.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Makes connections whose bytes are counted.
#[derive(Clone, Debug)]
pub struct Connector {
    traffic: Arc<Traffic>,
}

impl Connector {
    /// Counts in `traffic`.
    #[must_use]
    pub fn new(traffic: Arc<Traffic>) -> Self {
        Self { traffic }
    }

    /// A channel that connects when it is used, and again whenever it has to.
    pub(crate) fn lazy(&self, address: &str) -> Result<Channel, TransportError> {
        Ok(endpoint(address)?.connect_with_connector_lazy(self.service()))
    }

    /// A connection of its own, made now.
    pub(crate) async fn connect(&self, address: &str) -> Result<Channel, TransportError> {
        endpoint(address)?
            .connect_with_connector(self.service())
            .await
            .map_err(|e| TransportError::Unreachable { reason: chain(&e) })
    }

    fn service(
        &self,
    ) -> impl tower::Service<
        Uri,
        Response = TokioIo<Counted<TcpStream>>,
        Error = std::io::Error,
        Future: Send,
    > + Send
    + 'static {
        let traffic = Arc::clone(&self.traffic);
        tower::service_fn(move |uri: Uri| {
            let traffic = Arc::clone(&traffic);
            async move {
                let authority = uri.authority().map_or("", |a| a.as_str());
                let stream = TcpStream::connect(authority).await?;
                stream.set_nodelay(true)?;
                Ok(TokioIo::new(Counted::new(stream, traffic)))
            }
        })
    }
}

fn endpoint(address: &str) -> Result<Endpoint, TransportError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| {
        TransportError::Unreachable {
            reason: format!("{address:?} is no address: {e}"),
        }
    })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}

/// What a failed call means: whether the request can have reached the peer.
pub(crate) fn transport_error(status: &Status) -> TransportError {
    let mut source: Option<&(dyn Error + 'static)> = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return TransportError::Unreachable {
                reason: chain(error),
            };
        }
        source = error.source();
    }
    match status.code() {
        // Something answers there that is not a node's API.
        tonic::Code::Unimplemented => TransportError::Unreachable {
            reason: "no node API at this address".to_owned(),
        },
        code => TransportError::Broken {
            reason: format!("{code:?}: {}", status.message()),
        },
    }
}

/// An error and its causes, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
