//! The leader's side of a sync stream: answers requests from the view its token names.
//!
//! Reading rows, hashing and compressing run on blocking threads; what they make waits in a bounded queue until the
//! follower takes it, so a slow follower slows its own session and nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pando_merkle::{Key, Tree};
use pando_model::{NodeId, Row, TreeId};
use pando_replica::{FrozenView, ViewError};
use pando_sync::{Compression, Leader, LeaderOptions, Request, SnapshotHeader, Source};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::error::chain;
use crate::options::NodeOptions;
use crate::session::limit::RateLimit;
use crate::session::progress::Progress;
use crate::session::views::Views;
use crate::session::{Down, Up};
use crate::transport::{SyncPipe, TransportError};

/// How long a row that is damaged here is waited for, while it is mended from another member.
const MEND_MAX: Duration = Duration::from_secs(5);

/// Why the leader's side ended early.
#[derive(Debug, Error)]
enum ServeError {
    #[error("the follower closed the stream before it opened a view")]
    Unopened,
    #[error("the follower's first frame names no view")]
    NotOpen,
    #[error("there is no view {token} for this follower: it was closed, ask for a new offer")]
    UnknownView { token: u64 },
    #[error("nothing moved on the stream for {after:?}")]
    Idle { after: Duration },
    #[error("the follower is gone")]
    Gone,
    #[error("the offer was withdrawn")]
    Withdrawn,
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("a frame from the follower cannot be read")]
    Frame(#[from] pando_sync::FrameError),
    #[error("an answer failed: {reason}")]
    Answer { reason: String },
}

/// A frozen view shared by the threads that answer from it.
struct Shared(Arc<FrozenView>);

impl Source for Shared {
    type Error = ViewError;

    fn header(&self) -> &SnapshotHeader {
        self.0.header()
    }

    fn tree(&self, id: TreeId) -> Option<&Tree> {
        self.0.tree(id)
    }

    fn rows(&self, id: TreeId, keys: &[Key]) -> Result<Vec<Row>, ViewError> {
        self.0.rows_or_wait(id, keys, MEND_MAX)
    }
}

/// Serves one stream until the follower is done with it or the offer is withdrawn.
pub(crate) async fn serve(
    views: &Views,
    from: NodeId,
    mut pipe: SyncPipe,
    options: &NodeOptions,
    progress: &Progress,
    limit: &RateLimit,
) {
    match run(views, from, &mut pipe, options, progress, limit).await {
        Ok(()) => {
            Progress::add(&progress.outcomes.served, 1);
            tracing::debug!(follower = from, "sync stream served");
        }
        Err(error) => {
            Progress::add(&progress.outcomes.cut, 1);
            tracing::info!(follower = from, error = %chain(&error), "sync stream ended early");
            let refused = Down::Refused {
                reason: chain(&error),
            };
            if let Ok(frame) = pando_sync::encode(&refused, Compression::None)
                && timeout(options.sync_idle, pipe.tx.send(frame))
                    .await
                    .is_err()
            {
                tracing::debug!(follower = from, "the follower does not hear why");
            }
        }
    }
}

async fn run(
    views: &Views,
    from: NodeId,
    pipe: &mut SyncPipe,
    options: &NodeOptions,
    progress: &Progress,
    limit: &RateLimit,
) -> Result<(), ServeError> {
    let first = next(pipe, options.sync_idle)
        .await?
        .ok_or(ServeError::Unopened)?;
    let Up::Open { token } = pando_sync::decode(&first)? else {
        return Err(ServeError::NotOpen);
    };
    let (view, closed) = views
        .get(token, from)
        .ok_or(ServeError::UnknownView { token })?;
    tracing::info!(
        follower = from,
        index = view.applied().index(),
        "serving a sync stream"
    );
    let leader = Arc::new(Leader::new(Shared(view), LeaderOptions::default()));
    let answering = async {
        while let Some(frame) = next(pipe, options.sync_idle).await? {
            let Up::Request(request) = pando_sync::decode(&frame)? else {
                return Err(ServeError::NotOpen);
            };
            answer(
                Arc::clone(&leader),
                request,
                &pipe.tx,
                options,
                progress,
                limit,
            )
            .await?;
        }
        Ok(())
    };
    tokio::select! {
        done = answering => done,
        () = closed.cancelled() => Err(ServeError::Withdrawn),
    }
}

async fn next(pipe: &mut SyncPipe, idle: Duration) -> Result<Option<Bytes>, ServeError> {
    let received = timeout(idle, pipe.rx.recv()).await;
    Ok(received
        .map_err(|_| ServeError::Idle { after: idle })?
        .transpose()?)
}

async fn answer(
    leader: Arc<Leader<Shared>>,
    request: Request,
    tx: &mpsc::Sender<Bytes>,
    options: &NodeOptions,
    progress: &Progress,
    limit: &RateLimit,
) -> Result<(), ServeError> {
    let (frames_tx, mut frames) = mpsc::channel(options.sync_frames_queued_max);
    // Ends by itself when `frames` is dropped.
    let making = tokio::task::spawn_blocking(move || make(&leader, request, &frames_tx));
    let idle = options.sync_idle;
    while let Some(frame) = frames.recv().await {
        let frame: Bytes = frame;
        let bytes = frame.len() as u64;
        limit.acquire(bytes).await;
        let sent = timeout(idle, tx.send(frame)).await;
        sent.map_err(|_| ServeError::Idle { after: idle })?
            .map_err(|_| ServeError::Gone)?;
        Progress::add(&progress.bytes_served, bytes);
    }
    let made = making.await;
    made.unwrap_or_else(|_| Err("the answering thread was lost".to_owned()))
        .map_err(|reason| ServeError::Answer { reason })
}

/// Makes all frames of an answer, as fast as they are taken.
fn make(
    leader: &Leader<Shared>,
    request: Request,
    frames: &mpsc::Sender<Bytes>,
) -> Result<(), String> {
    let answer = leader.answer(request).map_err(|error| chain(&error))?;
    for response in answer {
        let response = response.map_err(|error| chain(&error))?;
        let frame = pando_sync::encode(&Down::Response(response), Compression::default())
            .map_err(|error| chain(&error))?;
        if frames.blocking_send(frame).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
