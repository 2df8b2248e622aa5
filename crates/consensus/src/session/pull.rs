//! The follower's side of a sync stream: pulls what differs, stages it durably, verifies it.
//!
//! The session's hashing and the stage's writes run on blocking threads, a few frames at a time; sending never waits
//! for receiving, nor the other way round, so two full queues cannot block each other. A broken stream is opened anew
//! and goes on from what is staged; only what was under way is lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pando_merkle::Tree;
use pando_model::{NodeId, TreeId};
use pando_replica::{Replica, ReplicaError, Stage, StagedDelta};
use pando_sync::{
    Compression, Finished, Follower, FollowerOptions, FrameError, Request, Response,
    SnapshotHeader, Source, Step, SyncError,
};
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::address::NodeAddress;
use crate::options::NodeOptions;
use crate::session::progress::Progress;
use crate::session::{Down, Offer, Up};
use crate::transport::{SyncPipe, Transport, TransportError};

/// Most frames taken to the blocking thread at once.
const FRAMES_PER_HOP: usize = 8;
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

/// The state that moves between the async side and the blocking threads.
struct Session {
    follower: Follower,
    stage: Stage,
    offer: Arc<Offer>,
    replica: Arc<Replica>,
}

/// What a few frames came to.
#[derive(Default)]
struct Hop {
    send: Vec<Bytes>,
    finished: Option<Verified>,
}

/// The state pulled, all roots equal to the leader's.
type Verified = (SnapshotHeader, BTreeMap<TreeId, Tree>);

impl Pull {
    /// Pulls until the offered state is staged and its intent durable.
    pub(super) async fn run(&self) -> Result<StagedDelta, PullError> {
        let mut failures = 0;
        loop {
            let before = self.received();
            let error = match self.attempt().await {
                Ok(delta) => return Ok(delta),
                Err(error) => error,
            };
            if self.received() > before {
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

    fn received(&self) -> u64 {
        Progress::get(&self.progress.rows_put) + Progress::get(&self.progress.rows_deleted)
    }

    /// One stream.
    async fn attempt(&self) -> Result<StagedDelta, PullError> {
        let (replica, offer) = (Arc::clone(&self.replica), Arc::clone(&self.offer));
        let opened = blocking(move || {
            let stage = replica.begin_stage()?;
            let mut follower = Follower::new(stage.base(), FollowerOptions::default());
            let hello = follower.start();
            Ok((
                Session {
                    follower,
                    stage,
                    offer,
                    replica,
                },
                hello,
            ))
        });
        let (session, hello) = opened.await?;
        let mut session = Some(session);
        let streamed = self.stream(&mut session, hello).await;
        let session = session.ok_or(PullError::Lost)?;
        let stats = session.follower.stats();
        self.progress.streamed(stats);
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

    async fn stream(
        &self,
        session: &mut Option<Session>,
        hello: Vec<Request>,
    ) -> Result<Verified, PullError> {
        let opening = self.transport.open_sync(self.leader, &self.address);
        let SyncPipe { tx, mut rx } = tokio::select! {
            opened = opening => opened?,
            () = self.superseded.cancelled() => return Err(PullError::Superseded),
        };
        let open = Up::Open {
            token: self.offer.token,
        };
        let mut outbox = VecDeque::from([pando_sync::encode(&open, Compression::None)?]);
        outbox.extend(encode(hello)?);
        loop {
            tokio::select! {
                permit = tx.reserve(), if !outbox.is_empty() => {
                    let permit = permit.map_err(|_| PullError::Closed)?;
                    if let Some(frame) = outbox.pop_front() {
                        Progress::add(&self.progress.bytes_out, frame.len() as u64);
                        permit.send(frame);
                    }
                }
                received = timeout(self.options.sync_idle, rx.recv()) => {
                    let idle = PullError::Idle { after: self.options.sync_idle };
                    let first = received.map_err(|_| idle)?.ok_or(PullError::Closed)??;
                    let mut frames = vec![first];
                    let mut broken = None;
                    while frames.len() < FRAMES_PER_HOP && let Ok(next) = rx.try_recv() {
                        match next {
                            Ok(frame) => frames.push(frame),
                            Err(error) => {
                                broken = Some(error);
                                break;
                            }
                        }
                    }
                    // What came before a break is kept.
                    let hop = self.hop(session, frames).await?;
                    outbox.extend(hop.send);
                    if let Some(verified) = hop.finished {
                        return Ok(verified);
                    }
                    broken.map_or(Ok(()), Err)?;
                }
                () = self.superseded.cancelled() => return Err(PullError::Superseded),
            }
        }
    }

    /// Takes frames to a blocking thread and brings back what they came to.
    async fn hop(
        &self,
        session: &mut Option<Session>,
        frames: Vec<Bytes>,
    ) -> Result<Hop, PullError> {
        let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
        Progress::add(&self.progress.bytes_in, bytes);
        let mut taken = session.take().ok_or(PullError::Lost)?;
        let hop = tokio::task::spawn_blocking(move || {
            let hop = taken.take(&frames);
            (taken, hop)
        });
        let (back, hop) = hop.await.map_err(|_| PullError::Lost)?;
        self.progress
            .moved(back.follower.progress(), back.follower.stats());
        *session = Some(back);
        hop
    }
}

impl Session {
    fn take(&mut self, frames: &[Bytes]) -> Result<Hop, PullError> {
        let mut hop = Hop::default();
        for frame in frames {
            fail::fail_point!("sync::frame", |_| Err(PullError::Closed));
            let response = match pando_sync::decode(frame)? {
                Down::Response(response) => response,
                Down::Refused { reason } => return Err(PullError::Refused { reason }),
            };
            if let Response::Snapshot(header) = &response
                && *header != self.offer.header
            {
                return Err(PullError::OtherView);
            }
            let step = self.follower.on_response(response)?;
            self.follow(step, &mut hop)?;
        }
        Ok(hop)
    }

    /// Does what a step says: stage first, send after.
    fn follow(&mut self, mut step: Step, hop: &mut Hop) -> Result<(), PullError> {
        loop {
            if !step.stage.is_empty() {
                self.stage.put(std::mem::take(&mut step.stage))?;
            }
            hop.send.extend(encode(std::mem::take(&mut step.send))?);
            match step.finished {
                Some(Finished::Verified { header, trees }) => {
                    hop.finished = Some((header, trees));
                    return Ok(());
                }
                Some(Finished::Equal { .. }) => {
                    hop.finished = Some((self.offer.header.clone(), self.installed()?));
                    return Ok(());
                }
                None if step.more => step = self.follower.proceed()?,
                None => return Ok(()),
            }
        }
    }

    /// The trees as they are installed, for a leader whose state is the same: only the position is to be installed.
    fn installed(&self) -> Result<BTreeMap<TreeId, Tree>, PullError> {
        let view = self.replica.freeze()?;
        let ids = view.header().trees.iter().map(|tree| tree.id);
        Ok(ids
            .filter_map(|id| Some((id, view.tree(id)?.clone())))
            .collect())
    }
}

fn encode(requests: Vec<Request>) -> Result<Vec<Bytes>, FrameError> {
    let frames = requests
        .into_iter()
        .map(|request| pando_sync::encode(&Up::Request(request), Compression::default()));
    frames.collect()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(PullError::Lost))
}
