//! The follower's side of a sync stream: pulls what differs, stages it durably, verifies it.
//!
//! Reading frames, the session's hashing and the stage's writes run on threads of their own (`intake`); sending never
//! waits for receiving, nor the other way round, so two full queues cannot block each other. A broken stream is opened anew
//! and goes on from what is staged; only what was under way is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pando_model::NodeId;
use pando_replica::{Replica, ReplicaError, StagedDelta};
use pando_sync::{Compression, Follower, FollowerOptions, FrameError, SyncError};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::address::NodeAddress;
use crate::options::NodeOptions;
use crate::session::intake::{Feed, Intake, Moved, Session, Verified};
use crate::session::progress::Progress;
use crate::session::{Offer, Up};
use crate::transport::{SyncPipe, Transport, TransportError};

/// Pause before a stream is opened anew, times the failures in a row.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Why nothing was pulled.
#[derive(Debug, Error)]
pub(crate) enum PullError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the leader closed the stream before all was sent")]
    Closed,
    #[error("nothing moved on the stream for {after:?}")]
    Idle { after: Duration },
    #[error("a frame from the leader cannot be read")]
    Frame(#[from] FrameError),
    #[error("the leader gave up: {reason}")]
    Refused { reason: String },
    #[error("the leader serves another view than it offered")]
    OtherView,
    #[error(transparent)]
    Session(#[from] SyncError),
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error("a newer offer took its place")]
    Superseded,
    #[error("the session's thread was lost")]
    Lost,
}

impl PullError {
    /// Whether the same offer may be tried again over a new stream.
    fn is_broken_stream(&self) -> bool {
        match self {
            Self::Transport(error) => match error {
                TransportError::Unreachable { .. }
                | TransportError::Broken { .. }
                | TransportError::Timeout { .. } => true,
                TransportError::Refused { .. } => false,
            },
            Self::Closed | Self::Idle { .. } | Self::Frame(_) => true,
            Self::Refused { .. }
            | Self::OtherView
            | Self::Session(_)
            | Self::Replica(_)
            | Self::Superseded
            | Self::Lost => false,
        }
    }
}

/// What a pull needs.
pub(super) struct Pull {
    pub(super) replica: Arc<Replica>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) options: NodeOptions,
    pub(super) progress: Arc<Progress>,
    pub(super) leader: NodeId,
    pub(super) address: NodeAddress,
    pub(super) offer: Arc<Offer>,
    pub(super) superseded: CancellationToken,
}

impl Pull {
    /// Pulls until the offered state is staged and its intent durable.
    pub(super) async fn run(&self) -> Result<StagedDelta, PullError> {
        let mut failures = 0;
        loop {
            let before = self.progress.rows();
            let error = match self.attempt().await {
                Ok(delta) => return Ok(delta),
                Err(error) => error,
            };
            if self.progress.rows() > before {
                failures = 0;
            }
            failures += 1;
            if !error.is_broken_stream() || failures > self.options.sync_reconnects_max {
                return Err(error);
            }
            tracing::info!(leader = self.leader, %error, failures, "sync stream broke, resuming");
            tokio::select! {
                () = tokio::time::sleep(RECONNECT_PAUSE * failures) => {}
                () = self.superseded.cancelled() => return Err(PullError::Superseded),
            }
            Progress::add(&self.progress.resumed, 1);
        }
    }

    /// One stream.
    async fn attempt(&self) -> Result<StagedDelta, PullError> {
        let (replica, offer) = (Arc::clone(&self.replica), Arc::clone(&self.offer));
        let options = FollowerOptions {
            lineage: self.options.sync_lineage,
            ..FollowerOptions::default()
        };
        let opened = blocking(move || {
            let stage = replica.begin_stage()?;
            let mut follower = Follower::new(stage.base(), options);
            let hello = follower.start();
            let mut session = Session {
                follower,
                stage,
                offer,
                replica,
            };
            let frames = hello.into_iter().map(|request| session.frame(request));
            let frames: Vec<Bytes> = frames.collect::<Result<_, FrameError>>()?;
            Ok((session, frames))
        });
        let (session, hello) = opened.await?;
        let (session, streamed) = self.stream(session, hello).await?;
        self.progress.streamed(session.follower.stats());
        match streamed {
            Ok((header, trees)) => {
                blocking(move || Ok(session.stage.finish(&header, trees)?)).await
            }
            Err(error) => {
                blocking(move || Ok(session.stage.keep()?)).await?;
                Err(error)
            }
        }
    }

    /// Runs the session over one stream, to its end or to the stream's. Always brings the session back.
    async fn stream(
        &self,
        session: Session,
        hello: Vec<Bytes>,
    ) -> Result<(Session, Result<Verified, PullError>), PullError> {
        let opening = self.transport.open_sync(self.leader, &self.address);
        let opened = tokio::select! {
            opened = opening => opened.map_err(PullError::from),
            () = self.superseded.cancelled() => Err(PullError::Superseded),
        };
        let pipe = match opened {
            Ok(pipe) => pipe,
            Err(error) => return Ok((session, Err(error))),
        };
        let SyncPipe { tx, mut rx } = pipe;
        let Intake {
            feed,
            mut requests,
            mut thread,
        } = Intake::start(session, self.moved());
        let broken = tokio::select! {
            ended = &mut thread => {
                let (session, result) = ended.map_err(|_| PullError::Lost)?;
                let result = whole(result, PullError::Lost);
                if result.is_ok() {
                    self.part(tx, rx).await;
                }
                return Ok((session, result));
            }
            error = self.receive(&mut rx, &feed) => error,
            error = self.send(&tx, hello, &mut requests) => error,
            () = self.superseded.cancelled() => PullError::Superseded,
        };
        // What came before a break is kept, and may even have been all.
        drop(feed);
        let (session, result) = thread.await.map_err(|_| PullError::Lost)?;
        Ok((session, whole(result, broken)))
    }

    /// Hands frames on until the stream breaks.
    async fn receive(
        &self,
        rx: &mut mpsc::Receiver<Result<Bytes, TransportError>>,
        feed: &Feed,
    ) -> PullError {
        let after = self.options.sync_idle;
        loop {
            match timeout(after, rx.recv()).await {
                Ok(Some(Ok(frame))) => {
                    Progress::add(&self.progress.bytes_in, frame.len() as u64);
                    feed.take(frame).await;
                }
                Ok(Some(Err(error))) => return error.into(),
                Ok(None) => return PullError::Closed,
                // The leader may be waiting for this node.
                Err(_) if feed.is_busy() => {}
                Err(_) => return PullError::Idle { after },
            }
        }
    }

    /// Sends frames until the stream breaks.
    async fn send(
        &self,
        tx: &mpsc::Sender<Bytes>,
        hello: Vec<Bytes>,
        requests: &mut mpsc::UnboundedReceiver<Bytes>,
    ) -> PullError {
        let open = Up::Open {
            token: self.offer.token,
            accepts: self.options.sync_compression,
        };
        let open = match pando_sync::encode(&open, Compression::None) {
            Ok(open) => open,
            Err(error) => return error.into(),
        };
        let mut first = VecDeque::from([open]);
        first.extend(hello);
        loop {
            let next = match first.pop_front() {
                Some(frame) => Some(frame),
                None => requests.recv().await,
            };
            let Some(frame) = next else {
                // The session is over: its thread says how.
                return std::future::pending().await;
            };
            Progress::add(&self.progress.bytes_out, frame.len() as u64);
            if tx.send(frame).await.is_err() {
                return PullError::Closed;
            }
        }
    }

    /// Tells the leader that nothing more is wanted, and waits until it closes the stream: with the stream goes what is
    /// under way. The state is here, whether the leader hears of it or not.
    async fn part(
        &self,
        tx: mpsc::Sender<Bytes>,
        mut rx: mpsc::Receiver<Result<Bytes, TransportError>>,
    ) {
        let parting = async {
            let done = pando_sync::encode(&Up::Done, Compression::None)?;
            Progress::add(&self.progress.bytes_out, done.len() as u64);
            if tx.send(done).await.is_ok() {
                while let Some(Ok(_)) = rx.recv().await {}
            }
            Ok::<_, FrameError>(())
        };
        match timeout(self.options.call_timeout, parting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the leader is not told that all is here"),
            Err(_) => tracing::debug!("the leader does not close a stream that is over"),
        }
    }

    /// What is shown of the session after each batch.
    fn moved(&self) -> Moved {
        let progress = Arc::clone(&self.progress);
        Box::new(move |follower| progress.moved(follower.progress(), follower.stats()))
    }
}

/// What a session came to; `otherwise` if it was not over when its stream was.
fn whole(
    result: Result<Option<Verified>, PullError>,
    otherwise: PullError,
) -> Result<Verified, PullError> {
    result.and_then(|verified| verified.ok_or(otherwise))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(PullError::Lost))
}
