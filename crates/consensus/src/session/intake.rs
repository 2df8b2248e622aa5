//! The follower's threads: one reads frames, one runs the session and stages.
//!
//! Checking, decompressing and decoding go on while what came before is hashed and staged; a few frames wait between
//! the two, so memory is bounded by the queues. The changes of all messages that are there are staged at once, before
//! anything is sent. When no more frames come, what is in the queues is still staged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use pando_merkle::Tree;
use pando_model::TreeId;
use pando_replica::{Replica, Stage};
use pando_sync::{
    Compression, Finished, Follower, FrameError, Request, Response, SnapshotHeader, Source, Step,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::pull::PullError;
use crate::session::{Down, Offer, Up};

/// Most frames that wait before and after they are read.
const FRAMES_QUEUED_MAX: usize = 8;

/// The state pulled, all roots equal to the leader's.
pub(super) type Verified = (SnapshotHeader, BTreeMap<TreeId, Tree>);

/// How the session's thread ended: what it came to, if the session was over.
pub(super) type Ended = (Session, Result<Option<Verified>, PullError>);

/// Told after each batch of messages.
pub(super) type Moved = Box<dyn Fn(&Follower) + Send>;

/// The state of a session, on its thread while there is one.
pub(super) struct Session {
    pub(super) follower: Follower,
    pub(super) stage: Stage,
    pub(super) offer: Arc<Offer>,
    pub(super) replica: Arc<Replica>,
}

/// Where frames from the leader go. Dropped: no more come.
pub(super) struct Feed {
    frames: mpsc::Sender<Bytes>,
    under_way: Arc<AtomicUsize>,
}

/// The async side of the threads.
pub(super) struct Intake {
    pub(super) feed: Feed,
    /// Frames to the leader. Few: each answers to a place in the session's window.
    pub(super) requests: mpsc::UnboundedReceiver<Bytes>,
    pub(super) thread: JoinHandle<Ended>,
}

/// A frame that was read.
struct Received {
    frame: Bytes,
    response: Result<Response, PullError>,
}

impl Intake {
    /// Starts the threads of a session.
    pub(super) fn start(session: Session, moved: Moved) -> Self {
        let (frames, frames_in) = mpsc::channel(FRAMES_QUEUED_MAX);
        let (read, read_in) = mpsc::channel(FRAMES_QUEUED_MAX);
        let (requests_out, requests) = mpsc::unbounded_channel();
        let under_way = Arc::new(AtomicUsize::new(0));
        // Ends when either side is gone; the session's thread tells what it has seen.
        drop(tokio::task::spawn_blocking(move || {
            read_all(frames_in, &read)
        }));
        let taken = Arc::clone(&under_way);
        let thread = tokio::task::spawn_blocking(move || {
            let mut session = session;
            let ended = session.run(read_in, &requests_out, &taken, &moved);
            (session, ended)
        });
        let feed = Feed { frames, under_way };
        Self {
            feed,
            requests,
            thread,
        }
    }
}

impl Feed {
    /// Hands a frame to the threads. Waits while they have enough.
    pub(super) async fn take(&self, frame: Bytes) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        // Refused only when the session is over, which its thread will say.
        drop(self.frames.send(frame).await);
    }

    /// Whether frames are being worked on: then the leader has nothing to send, perhaps, and is not to blame.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }
}

fn read_all(mut frames: mpsc::Receiver<Bytes>, read: &mpsc::Sender<Received>) {
    while let Some(frame) = frames.blocking_recv() {
        let response = match pando_sync::decode(&frame) {
            Ok(Down::Response(response)) => Ok(response),
            Ok(Down::Refused { reason }) => Err(PullError::Refused { reason }),
            Err(error) => Err(error.into()),
        };
        if read.blocking_send(Received { frame, response }).is_err() {
            return;
        }
    }
}

impl Session {
    fn run(
        &mut self,
        mut received: mpsc::Receiver<Received>,
        requests: &mpsc::UnboundedSender<Bytes>,
        under_way: &AtomicUsize,
        moved: &Moved,
    ) -> Result<Option<Verified>, PullError> {
        while let Some(first) = received.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < FRAMES_QUEUED_MAX
                && let Ok(next) = received.try_recv()
            {
                batch.push(next);
            }
            let count = batch.len();
            let ended = self.take(batch, requests);
            under_way.fetch_sub(count, Ordering::Relaxed);
            moved(&self.follower);
            if let Some(verified) = ended? {
                return Ok(Some(verified));
            }
        }
        Ok(None)
    }

    fn take(
        &mut self,
        batch: Vec<Received>,
        requests: &mpsc::UnboundedSender<Bytes>,
    ) -> Result<Option<Verified>, PullError> {
        let mut all = Step::default();
        let mut failed = None;
        for Received { frame, response } in batch {
            match self.message(&frame, response) {
                Ok(step) => {
                    all.stage.extend(step.stage);
                    all.send.extend(step.send);
                    (all.more, all.finished) = (step.more, step.finished);
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
            if all.finished.is_some() {
                break;
            }
        }
        // What came before an error is sound, and kept.
        if failed.is_some() {
            (all.more, all.finished) = (false, None);
        }
        let verified = self.follow(all, requests)?;
        failed.map_or(Ok(verified), Err)
    }

    fn message(
        &mut self,
        frame: &[u8],
        response: Result<Response, PullError>,
    ) -> Result<Step, PullError> {
        self.follower.count_received(frame);
        fail::fail_point!("sync::frame", |_| Err(PullError::Closed));
        let response = response?;
        if let Response::Snapshot(header) = &response
            && *header != self.offer.header
        {
            return Err(PullError::OtherView);
        }
        Ok(self.follower.on_response(response)?)
    }

    /// Does what a step says: stage first, send after.
    fn follow(
        &mut self,
        mut step: Step,
        requests: &mpsc::UnboundedSender<Bytes>,
    ) -> Result<Option<Verified>, PullError> {
        loop {
            if !step.stage.is_empty() {
                self.stage.put(std::mem::take(&mut step.stage))?;
            }
            for request in std::mem::take(&mut step.send) {
                let frame = self.frame(request)?;
                // Refused only when the stream is gone: its end says so.
                drop(requests.send(frame));
            }
            match step.finished {
                Some(Finished::Verified { header, trees }) => return Ok(Some((header, trees))),
                Some(Finished::Equal { .. }) => {
                    let header = self.offer.header.clone();
                    return Ok(Some((header, self.installed()?)));
                }
                None if step.more => step = self.follower.proceed()?,
                None => return Ok(None),
            }
        }
    }

    /// The frame of a request. Requests are hashes and prefixes: compression is not tried.
    pub(super) fn frame(&mut self, request: Request) -> Result<Bytes, FrameError> {
        let frame = pando_sync::encode(&Up::Request(request), Compression::None)?;
        self.follower.count_sent(&frame);
        Ok(frame)
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
