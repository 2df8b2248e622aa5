//! What every request of the public API passes through: the limit on requests in work, the deadline, the count.
//!
//! Requests to other services on the same port (health, reflection) pass untouched: they are cheap, and their
//! streams stay open.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use pando_proto::{GRPC_MESSAGE_BYTES_MAX, detail};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, debug, error, info_span};

use crate::error::ServiceError;
use crate::metrics::Metrics;

const PREFIX: &str = "/pando.v1.";

/// Membership changes wait for nodes to catch up, so they have a limit of their own.
const ADMIN_PREFIX: &str = "Cluster/";

/// What requests refused for their number are counted under; nobody has looked whether their method exists.
const ANY_METHOD: &str = "any";

/// Longest an administrative request may take, in place of the configured limit.
pub(crate) const ADMIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Taken off a client's deadline, so that a typed answer is there before the client gives up.
const HEAD_START_MAX: Duration = Duration::from_millis(200);

/// When a request has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// In so much time from now.
    pub(crate) fn within(budget: Duration) -> Self {
        Self(Instant::now() + budget)
    }

    /// The time that is left.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Lays admission around the services.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    permits: Arc<Semaphore>,
    limit: usize,
    timeout: Duration,
    metrics: Arc<Metrics>,
    /// Makes a request's span: requests run in tasks of the HTTP library, which know nothing of the node's.
    span: RequestSpan,
}

/// Makes the span of one request, with the node's term as it is then.
#[derive(Clone)]
pub(crate) struct RequestSpan(Arc<dyn Fn() -> Span + Send + Sync>);

impl RequestSpan {
    /// Spans within the current one, of the term that `term` tells.
    pub(crate) fn new(term: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let node = Span::current();
        Self(Arc::new(
            move || info_span!(parent: &node, "request", term = term()),
        ))
    }
}

impl fmt::Debug for RequestSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestSpan")
    }
}

impl Admission {
    /// At most `limit` requests at once, each at most as long as `timeout`.
    pub(crate) fn new(
        limit: usize,
        timeout: Duration,
        metrics: Arc<Metrics>,
        span: RequestSpan,
    ) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limit)),
            limit,
            timeout,
            metrics,
            span,
        }
    }

    /// Counts an answer, and says in the log what is the node's own fault.
    fn answered(&self, method: &str, took: Duration, response: &Response<Body>) {
        let status = Status::from_header_map(response.headers());
        let code = status.as_ref().map_or(Code::Ok, Status::code);
        // Methods that do not exist are not counted: anybody could invent labels.
        if code != Code::Unimplemented {
            self.metrics.requests().answered(method, code, took);
        }
        match status {
            Some(status) if matches!(code, Code::Internal | Code::Unknown | Code::DataLoss) => {
                error!(method, error = status.message(), "a request failed");
            }
            _ => debug!(method, ?code, ?took, "answered"),
        }
    }

    /// How long a request may take, and how long until it is cut off.
    fn budget(&self, method: &str, headers: &HeaderMap) -> (Duration, Duration) {
        let is_admin = method.starts_with(ADMIN_PREFIX);
        let limit = if is_admin {
            self.timeout.max(ADMIN_TIMEOUT)
        } else {
            self.timeout
        };
        match grpc_timeout(headers).filter(|asked| *asked <= limit) {
            Some(asked) => {
                let head_start = (asked / 5).min(HEAD_START_MAX);
                (asked - head_start, asked - head_start / 2)
            }
            None => (limit, limit + HEAD_START_MAX / 2),
        }
    }
}

impl<S> Layer<S> for Admission {
    type Service = Admitted<S>;

    fn layer(&self, inner: S) -> Admitted<S> {
        Admitted {
            inner,
            admission: self.clone(),
        }
    }
}

/// A service behind [`Admission`].
#[derive(Clone, Debug)]
pub(crate) struct Admitted<S> {
    inner: S,
    admission: Admission,
}

impl<S> Service<Request<Body>> for Admitted<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(method) = request.uri().path().strip_prefix(PREFIX).map(str::to_owned) else {
            return Box::pin(self.inner.call(request));
        };
        let admission = self.admission.clone();
        let begun = Instant::now();
        let Ok(permit) = Arc::clone(&admission.permits).try_acquire_owned() else {
            let limit = admission.limit as u64;
            let response = Status::from(ServiceError::Overloaded { limit }).into_http();
            admission.answered(ANY_METHOD, begun.elapsed(), &response);
            return Box::pin(async { Ok(response) });
        };
        let (budget, cut_off) = admission.budget(&method, request.headers());
        request.extensions_mut().insert(Deadline::within(budget));
        let work = self.inner.call(request);
        let in_flight = InFlight::new(Arc::clone(&admission.metrics));
        let span = (admission.span.0)();
        let answer = async move {
            let response = match tokio::time::timeout(cut_off, work).await {
                Ok(answer) => typed(answer?),
                Err(_) => Status::from(ServiceError::Timeout {
                    outcome_unknown: true,
                })
                .into_http(),
            };
            drop((permit, in_flight));
            admission.answered(&method, begun.elapsed(), &response);
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
}

/// Counts a request as in work for as long as it lives, cancelled ones too.
struct InFlight(Arc<Metrics>);

impl InFlight {
    fn new(metrics: Arc<Metrics>) -> Self {
        metrics.requests().begun();
        Self(metrics)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.requests().ended();
    }
}

/// Gives a detail to what tonic refuses by itself before a handler sees it.
fn typed(response: Response<Body>) -> Response<Body> {
    let Some(status) = Status::from_header_map(response.headers()) else {
        return response;
    };
    if detail::from_status(&status).is_some() {
        return response;
    }
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => Status::from(ServiceError::RequestTooLarge {
            max: GRPC_MESSAGE_BYTES_MAX,
        })
        .into_http(),
        _ => response,
    }
}

/// The header `grpc-timeout`: at most eight digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use pando_proto::v1::ErrorKind;
    use tokio::sync::oneshot;

    use super::*;
    use crate::traffic::Traffic;

    fn admission(limit: usize, timeout: Duration) -> Admission {
        Admission::new(
            limit,
            timeout,
            Arc::new(Metrics::new(Arc::new(Traffic::default()))),
            RequestSpan::new(|| 0),
        )
    }

    fn request(path: &str) -> Request<Body> {
        Request::builder()
            .uri(path)
            .body(Body::default())
            .expect("a request")
    }

    fn kind(response: &Response<Body>) -> ErrorKind {
        let status = Status::from_header_map(response.headers()).expect("a failure");
        detail::from_status(&status).expect("a detail").kind()
    }

    fn headers(timeout: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-timeout"),
            timeout.parse().expect("a header"),
        )])
    }

    #[test]
    fn timeouts_are_read_as_the_protocol_says() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("90S", Some(Duration::from_secs(90))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("", None),
            ("5", None),
            ("m", None),
            ("-5m", None),
            ("123456789m", None),
            ("5x", None),
        ] {
            assert_eq!(grpc_timeout(&headers(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn a_client_gets_its_answer_before_it_gives_up_and_cannot_ask_for_more_than_the_limit() {
        let admission = admission(1, Duration::from_secs(10));
        let asked = Duration::from_millis(500);
        let (budget, cut_off) = admission.budget("Points/Get", &headers("500m"));
        assert!(
            budget < cut_off && cut_off < asked,
            "{budget:?} {cut_off:?}"
        );
        let (budget, _) = admission.budget("Points/Get", &headers("99S"));
        assert_eq!(budget, Duration::from_secs(10));
        let (budget, _) = admission.budget("Cluster/Promote", &headers("99S"));
        assert_eq!(budget, ADMIN_TIMEOUT);
    }

    #[tokio::test]
    async fn over_the_limit_requests_are_refused_at_once() {
        let (release, released) = oneshot::channel::<()>();
        let released = std::sync::Mutex::new(Some(released));
        let released = Arc::new(released);
        let slow = tower::service_fn(move |_| {
            let wait = released.lock().expect("no panic").take();
            async move {
                if let Some(wait) = wait {
                    wait.await.expect("released");
                }
                Ok::<_, Infallible>(Response::new(Body::default()))
            }
        });
        let mut service = admission(1, Duration::from_secs(60)).layer(slow);
        let first = service.call(request("/pando.v1.Search/Search"));
        let second = service
            .call(request("/pando.v1.Search/Search"))
            .await
            .expect("answered");
        assert_eq!(kind(&second), ErrorKind::Overloaded);
        service
            .call(request("/grpc.health.v1.Health/Check"))
            .await
            .expect("not limited");
        release.send(()).expect("still waiting");
        let first = first.await.expect("answered");
        assert!(Status::from_header_map(first.headers()).is_none());
        let third = service
            .call(request("/pando.v1.Search/Search"))
            .await
            .expect("answered");
        assert!(Status::from_header_map(third.headers()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_hangs_is_answered_within_its_deadline() {
        let stuck = tower::service_fn(|_| std::future::pending::<Result<_, Infallible>>());
        let mut service = admission(1, Duration::from_secs(5)).layer(stuck);
        let begun = Instant::now();
        let answer = service
            .call(request("/pando.v1.Points/Upsert"))
            .await
            .expect("answered");
        assert_eq!(kind(&answer), ErrorKind::Timeout);
        assert!(begun.elapsed() < Duration::from_secs(6));
    }

    #[tokio::test]
    async fn what_tonic_refuses_by_itself_gets_a_detail() {
        let refuse = tower::service_fn(|_| async {
            Ok::<_, Infallible>(
                Status::out_of_range("decoded message length too large").into_http(),
            )
        });
        let mut service = admission(1, Duration::from_secs(5)).layer(refuse);
        let answer = service
            .call(request("/pando.v1.Points/Upsert"))
            .await
            .expect("answered");
        assert_eq!(kind(&answer), ErrorKind::InvalidInput);
    }
}
