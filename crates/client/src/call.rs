//! One request: attempts at one member after the other until it is answered, refused, or out of time.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use pando_proto::v1;
use pando_proto::{GRPC_MESSAGE_BYTES_MAX, v1::cluster_client::ClusterClient};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::builder::Pando;
use crate::endpoints::Endpoints;
use crate::error::{ClientError, ErrorKind};

/// Shortest pause after every member was asked in vain.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a look at the member list may take.
const LEARN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) request: Duration,
    pub(crate) attempt: Duration,
}

/// What a second attempt may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Safety {
    /// Changes nothing.
    Read,
    /// Carries a request id: the cluster does it once.
    Write,
    /// Might be done twice: attempted again only if certainly nothing happened.
    Once,
}

/// What is tried, what has been, and what it might have done.
struct Attempts {
    deadline: Instant,
    want_leader: bool,
    tried: BTreeSet<String>,
    last: Option<ClientError>,
    maybe_done: bool,
}

impl Pando {
    /// Sends a request, again and elsewhere where that is safe and of use, until the deadline.
    pub(crate) async fn call<Req, Rep, Sent>(
        &self,
        safety: Safety,
        request: Req,
        send: impl Fn(Channel, Request<Req>) -> Sent,
    ) -> Result<Rep, ClientError>
    where
        Req: Clone,
        Sent: Future<Output = Result<Response<Rep>, Status>>,
    {
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(PAUSE_MIN)
            .with_max_delay(PAUSE_MAX)
            .without_max_times()
            .with_jitter()
            .build();
        let mut state = Attempts {
            deadline: Instant::now() + self.timeouts.request,
            want_leader: safety != Safety::Read,
            tried: BTreeSet::new(),
            last: None,
            maybe_done: false,
        };
        loop {
            let target = self.endpoints.pick(state.want_leader);
            if !state.tried.insert(target.uri.clone()) {
                let asked_for = state.last.as_ref().and_then(ClientError::retry_after);
                let pause = pauses.next().unwrap_or(PAUSE_MAX);
                let pause = pause.max(asked_for.unwrap_or_default());
                if Instant::now() + pause >= state.deadline {
                    return Err(self.out_of_time(&state));
                }
                sleep(pause).await;
                state.tried = BTreeSet::from([target.uri.clone()]);
            }
            let limit = self.attempt_limit(safety, state.deadline);
            let mut attempt = Request::new(request.clone());
            attempt.set_timeout(limit);
            let sent = send(target.channel, attempt);
            let error = match timeout_at(Instant::now() + limit, sent).await {
                Ok(Ok(response)) => {
                    self.endpoints.answered(&target.uri);
                    self.learn_in_background();
                    return Ok(response.into_inner());
                }
                Ok(Err(status)) => ClientError::from_status(&status),
                Err(_) => ClientError::attempt_timeout(limit),
            };
            self.after(safety, &mut state, error.at(&target.uri))?;
        }
    }

    /// How long the next attempt may take: where there are others to ask, one that is silent leaves time for them.
    /// What may not be repeated has all the time there is: giving it up early gains nothing.
    fn attempt_limit(&self, safety: Safety, deadline: Instant) -> Duration {
        let left = deadline.saturating_duration_since(Instant::now());
        match safety {
            Safety::Read | Safety::Write => {
                let limit = left.min(self.timeouts.attempt);
                match u32::try_from(self.endpoints.count()).unwrap_or(u32::MAX) {
                    0 | 1 => limit,
                    members => limit.min(self.timeouts.request / members.saturating_add(1)),
                }
            }
            Safety::Once => left,
        }
    }

    /// Learns from a failed attempt; returns the error if there is no point in, or no time for, another one.
    fn after(
        &self,
        safety: Safety,
        state: &mut Attempts,
        error: ClientError,
    ) -> Result<(), ClientError> {
        let unknown = safety != Safety::Read && !error.has_no_side_effects();
        state.maybe_done |= unknown;
        let give_up = !error.is_retryable() || (safety == Safety::Once && unknown);
        let uri = error.endpoint().unwrap_or_default();
        match (error.kind(), error.leader_hint()) {
            (ErrorKind::NotLeader, Some(hint)) if !hint.api_address.is_empty() => {
                self.endpoints.hint(&hint.api_address);
                state.want_leader = true;
            }
            // Any other member can answer a read.
            (ErrorKind::Overloaded, _) if safety == Safety::Read => self.endpoints.busy(uri),
            // It is the leader that is busy: the others would only pass the request on to it.
            (ErrorKind::Overloaded, _) => {}
            _ if error.is_retryable() => self.endpoints.failed(uri),
            _ => self.endpoints.answered(uri),
        }
        if give_up {
            return Err(error.with_outcome_unknown(state.maybe_done));
        }
        tracing::debug!(%error, "attempt failed, trying again");
        state.last = Some(error);
        if Instant::now() >= state.deadline {
            return Err(self.out_of_time(state));
        }
        Ok(())
    }

    fn out_of_time(&self, state: &Attempts) -> ClientError {
        let timeout = self.timeouts.request;
        ClientError::deadline(timeout, state.last.as_ref(), state.maybe_done)
    }

    /// Asks a member which others there are and who leads.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if no member answers in time.
    pub async fn learn_members(&self) -> Result<(), ClientError> {
        let request = v1::StatusRequest {
            only_this_node: true,
        };
        let send = |channel, request| async move { cluster(channel).status(request).await };
        let status = self.call(Safety::Read, request, send).await?;
        self.endpoints.learned(&status);
        Ok(())
    }

    fn learn_in_background(&self) {
        if self.endpoints.should_learn() {
            tokio::spawn(learn_once(Arc::clone(&self.endpoints)));
        }
    }
}

/// One look at the member list; it may fail, requests go on without it.
async fn learn_once(endpoints: Arc<Endpoints>) {
    let request = v1::StatusRequest {
        only_this_node: true,
    };
    let mut client = cluster(endpoints.pick(false).channel);
    match timeout(LEARN_TIMEOUT, client.status(request)).await {
        Ok(Ok(status)) => endpoints.learned(status.get_ref()),
        Ok(Err(error)) => tracing::debug!(%error, "the member list cannot be read"),
        Err(_) => tracing::debug!("the member list did not come in time"),
    }
}

pub(crate) fn cluster(channel: Channel) -> ClusterClient<Channel> {
    ClusterClient::new(channel).max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
}
