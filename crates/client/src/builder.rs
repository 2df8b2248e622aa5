//! The client and how it is made.

use std::sync::Arc;
use std::time::Duration;

use crate::call::Timeouts;
use crate::endpoints::{Endpoints, Transport};
use crate::error::{ClientError, ErrorKind};

/// How long one request may take, retries included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long one attempt may take before another member is asked.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A client of one cluster. Cheap to clone; clones share connections and what they learned.
#[derive(Clone, Debug)]
pub struct Pando {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) timeouts: Timeouts,
}

impl Pando {
    /// Says where the cluster is and how long requests may take.
    #[must_use]
    pub fn builder() -> PandoBuilder {
        PandoBuilder {
            endpoints: Vec::new(),
            timeouts: Timeouts {
                request: TIMEOUT,
                attempt: ATTEMPT_TIMEOUT,
            },
            transport: Transport {
                connect_timeout: CONNECT_TIMEOUT,
                follow: true,
            },
        }
    }

    /// The same client with another deadline per request.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let mut clone = self.clone();
        clone.timeouts.request = timeout;
        clone
    }
}

/// Settings of a [`Pando`].
#[derive(Clone, Debug)]
pub struct PandoBuilder {
    endpoints: Vec<String>,
    timeouts: Timeouts,
    transport: Transport,
}

impl PandoBuilder {
    /// Adds a member's public API: `http://host:port`, or just `host:port`.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints.push(endpoint.into());
        self
    }

    /// Adds several members. One that works is enough; the client learns the others from it.
    #[must_use]
    pub fn endpoints(mut self, endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// How long one request may take, retries included. 30 s unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.request = timeout;
        self
    }

    /// How long one attempt may take before another member is asked. 10 s unless set.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.attempt = timeout;
        self
    }

    /// How long a connection may take. 2 s unless set.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.transport.connect_timeout = timeout;
        self
    }

    /// Whether members other than the given endpoints are asked, too, once they are known. They are unless this is
    /// switched off, which is for requests meant for one particular node.
    #[must_use]
    pub fn follow_members(mut self, follow: bool) -> Self {
        self.transport.follow = follow;
        self
    }

    /// Reaches a member and learns the others from it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an endpoint that is no address, or none at all; [`ErrorKind::Timeout`] if no
    /// member answers within the request timeout.
    pub async fn connect(self) -> Result<Pando, ClientError> {
        let pando = self.connect_lazy()?;
        pando.learn_members().await?;
        Ok(pando)
    }

    /// Does not reach out before the first request. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an endpoint that is no address, or none at all.
    pub fn connect_lazy(self) -> Result<Pando, ClientError> {
        if self.endpoints.is_empty() {
            let message = "no endpoint given: name at least one, such as http://127.0.0.1:7700";
            return Err(ClientError::new(ErrorKind::InvalidInput, message));
        }
        Ok(Pando {
            endpoints: Arc::new(Endpoints::new(&self.endpoints, self.transport)?),
            timeouts: self.timeouts,
        })
    }
}
