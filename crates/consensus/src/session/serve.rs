//! The leader's side of a sync stream: answers requests from the view its token names.
//!
//! Reading rows, hashing and compressing run on a few blocking threads, each with a request of its own; what they make
//! ahead of the wire waits in a bounded queue until the follower takes it, so a slow follower slows its own session and
//! nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pando_merkle::{Key, Tree};
use pando_model::{NodeId, Row, TreeId};
use pando_replica::{FrozenView, ViewError};
use pando_sync::{
    Compression, Framer, Leader, LeaderOptions, Request, Served, SnapshotHeader, Source,
};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
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
/// Most requests of one session answered at once.
const PLACES_MAX: usize = 4;

/// Why the leader's side ended early.
#[derive(Debug, Error)]
enum ServeError {
    #[error("the follower closed the stream before it opened a view")]
    Unopened,
    #[error("the follower's first frame names no view")]
    NotOpen,
    #[error("the follower opens a view on a stream that has one")]
    OpenAgain,
    #[error("there is no view {token} for this follower: it was closed, ask for a new offer")]
    UnknownView { token: u64 },
    #[error("nothing moved on the stream for {after:?}")]
    Idle { after: Duration },
    #[error("the follower is gone")]
    Gone,
    #[error("the follower closed the stream before it had all")]
    Left,
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
    let first = next(&mut pipe.rx, options.sync_idle)
        .await?
        .ok_or(ServeError::Unopened)?;
    let Up::Open { token, accepts } = pando_sync::decode(&first)? else {
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
    let (frames_tx, frames) = mpsc::channel(options.sync_frames_queued_max);
    let pool = Pool {
        leader: Leader::new(Shared(view), LeaderOptions::default()),
        framer: Mutex::new(Framer::new(accepts.least(options.sync_compression))),
        served: Mutex::default(),
        places: Arc::new(Semaphore::new(places())),
    };
    let pool = Arc::new(pool);
    pool.served.lock().received.count(&first);
    let SyncPipe { tx, rx } = pipe;
    let done = tokio::select! {
        done = take(&pool, rx, frames_tx, options) => done,
        done = send(tx, frames, options, progress, limit) => done,
        () = closed.cancelled() => Err(ServeError::Withdrawn),
    };
    let served = pool.served.lock().clone();
    tracing::debug!(follower = from, ?served, "what the stream served");
    progress.served(&served);
    if done.is_ok() {
        views.read_to_end(token);
    }
    done
}

/// Answers a session's requests.
struct Pool {
    leader: Leader<Shared>,
    framer: Mutex<Framer>,
    served: Mutex<Served>,
    /// One for each request that may be answered at once.
    places: Arc<Semaphore>,
}

/// A frame for the follower, or why there is none.
type Made = Result<Bytes, String>;

fn places() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(PLACES_MAX))
}

async fn next(
    rx: &mut mpsc::Receiver<Result<Bytes, TransportError>>,
    idle: Duration,
) -> Result<Option<Bytes>, ServeError> {
    let received = timeout(idle, rx.recv()).await;
    Ok(received
        .map_err(|_| ServeError::Idle { after: idle })?
        .transpose()?)
}

/// Takes requests, and has each answered as soon as there is a place for it.
async fn take(
    pool: &Arc<Pool>,
    rx: &mut mpsc::Receiver<Result<Bytes, TransportError>>,
    frames: mpsc::Sender<Made>,
    options: &NodeOptions,
) -> Result<(), ServeError> {
    let all = pool.places.available_permits();
    loop {
        // The semaphore is never closed.
        let place = Arc::clone(&pool.places).acquire_owned().await;
        let place = place.map_err(|_| ServeError::Gone)?;
        let frame = loop {
            match next(rx, options.sync_idle).await {
                // While it is sent answers, a follower need not ask. Whether it takes them is watched where they go.
                Err(ServeError::Idle { .. }) if pool.places.available_permits() + 1 < all => {}
                received => break received?,
            }
        };
        let frame = frame.ok_or(ServeError::Left)?;
        let request = match pando_sync::decode(&frame)? {
            Up::Request(request) => request,
            Up::Done => return Ok(()),
            Up::Open { .. } => return Err(ServeError::OpenAgain),
        };
        {
            let mut served = pool.served.lock();
            served.received.count(&frame);
            served.requests += 1;
        }
        let (pool, frames) = (Arc::clone(pool), frames.clone());
        // Ends by itself when nobody takes its frames; what went wrong goes the same way.
        drop(tokio::task::spawn_blocking(move || {
            if let Err(reason) = pool.answer(request, &frames) {
                drop(frames.blocking_send(Err(reason)));
            }
            drop(place);
        }));
    }
}

/// Sends what is made.
async fn send(
    tx: &mpsc::Sender<Bytes>,
    mut frames: mpsc::Receiver<Made>,
    options: &NodeOptions,
    progress: &Progress,
    limit: &RateLimit,
) -> Result<(), ServeError> {
    let after = options.sync_idle;
    while let Some(made) = frames.recv().await {
        let frame = made.map_err(|reason| ServeError::Answer { reason })?;
        let bytes = frame.len() as u64;
        limit.acquire(bytes).await;
        let sent = timeout(after, tx.send(frame)).await;
        sent.map_err(|_| ServeError::Idle { after })?
            .map_err(|_| ServeError::Gone)?;
        Progress::add(&progress.bytes_served, bytes);
    }
    // Nobody makes any more: whoever takes requests says why.
    std::future::pending().await
}

impl Pool {
    /// Makes all frames of an answer, as fast as they are taken.
    fn answer(&self, request: Request, frames: &mpsc::Sender<Made>) -> Result<(), String> {
        let mode = request.mode();
        let answer = self.leader.answer(request).map_err(|error| chain(&error))?;
        for response in answer {
            let mut response = response.map_err(|error| chain(&error))?;
            self.served.lock().count(mode, &response);
            let compression = self.framer.lock().prepare(&mut response);
            let frame = pando_sync::encode(&Down::Response(response), compression)
                .map_err(|error| chain(&error))?;
            self.framer.lock().learn(compression, &frame);
            self.served.lock().sent.count(&frame);
            if frames.blocking_send(Ok(frame)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}
