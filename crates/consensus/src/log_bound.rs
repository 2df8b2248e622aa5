//! Keeps the log bounded in entries and in bytes, and no longer than it is worth.
//!
//! What is purged here decides how a follower that was away catches up: by the entries it missed while they are kept,
//! by delta once they are not. Each node bounds its own log; what is worth keeping is decided in `log_policy`. While a
//! follower is in a sync, and until it has come up with the log behind it, the log from its view on is kept, up to a
//! cap: purged too early, the next session would have to begin before the last one is over.

use std::sync::Arc;
use std::time::Duration;

use openraft::LogIdOptionExt;
use pando_replica::Replica;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::AdminFailure;
use crate::log_book::{LogBook, MARKS_MAX};
use crate::log_policy::{self, Cut, Limits, PurgeCause};
use crate::log_store::LogStore;
use crate::node::Node;
use crate::options::NodeOptions;
use crate::session::Views;
use crate::types::{Fatal, Raft};

/// How long a purge may be put off because entries are being replicated; then the bound is looked at anew.
const PURGE_WAIT: Duration = Duration::from_secs(5);
/// What a delta would cost is looked at no more often than this.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);
/// A log that is held whole is looked at no more often than this.
const HELD_PAUSE: Duration = Duration::from_millis(100);
/// For a follower in a sync the log may grow to this many times its caps.
const HELD_FACTOR: u64 = 4;

/// What bounds a log.
pub(crate) struct Bound {
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    pub(crate) replica: Arc<Replica>,
    pub(crate) views: Arc<Views>,
    pub(crate) book: Arc<LogBook>,
    pub(crate) options: NodeOptions,
}

impl Bound {
    /// Purges whenever more is kept than the options allow or than it is worth, until the node stops.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let mut changes = self.raft.data_metrics();
        let mut looked = Instant::now();
        loop {
            let bounding = async {
                if let Some(cut) = self.cut(&mut looked).await {
                    self.carry_out(cut).await?;
                }
                Ok::<(), Fatal>(())
            };
            tokio::select! {
                done = bounding => if let Err(error) = done {
                    tracing::error!(%error, "the log is not bounded any more");
                    return;
                },
                () = stopping.cancelled() => return,
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = stopping.cancelled() => return,
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            entries_max: self.options.log_entries_max,
            bytes_max: self.options.log_bytes_max,
            entries_keep: self.options.log_entries_keep,
            entries_keep_min: self.options.log_entries_keep_min,
            cost_ratio: self.options.replay_cost_ratio,
        }
    }

    async fn cut(&self, looked: &mut Instant) -> Option<Cut> {
        let limits = self.limits();
        if let Some(cut) = log_policy::over_caps(&limits, &self.log) {
            return Some(cut);
        }
        if looked.elapsed() < LOOK_INTERVAL || !log_policy::worth_a_look(&limits, &self.log) {
            return None;
        }
        let (log, replica) = (self.log.clone(), Arc::clone(&self.replica));
        let book = Arc::clone(&self.book);
        let look = tokio::task::spawn_blocking(move || {
            let mut first = true;
            log_policy::too_dear(&limits, &log, |since, enough| {
                let bytes = replica.delta_estimate(since, enough).bytes;
                if std::mem::take(&mut first) {
                    book.looked(bytes);
                }
                bytes
            })
        });
        let cut = look.await.ok().flatten();
        *looked = Instant::now();
        cut
    }

    async fn carry_out(&self, cut: Cut) -> Result<(), Fatal> {
        let upto = match self.held() {
            Some(held) if held < cut.upto && !self.is_beyond_patience() => held,
            _ => cut.upto,
        };
        self.book.holding(upto < cut.upto);
        let going = self.log.marks(upto, MARKS_MAX);
        if going.is_empty() {
            // The whole log is held; every write would ask again.
            tokio::time::sleep(HELD_PAUSE).await;
            return Ok(());
        }
        let before = self.log.purged_index();
        let purged = purge(&self.raft, upto, PURGE_WAIT).await?;
        if purged > before {
            self.book.purged(purged, &going, cut.cause);
            tracing::debug!(upto, ?purged, cause = cut.cause.code(), "log bounded");
        }
        Ok(())
    }

    /// The last index that may go without a follower in a sync, or just behind one, missing what comes after.
    fn held(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let end = metrics.last_log_index.unwrap_or_default();
        let near = self.options.caught_up_entries;
        self.views.held(|follower| {
            // Only a leader knows, and only of members.
            let matched = metrics.replication.as_ref()?.get(&follower)?.index();
            let matched = matched.unwrap_or_default();
            (matched + near < end).then_some(matched)
        })
    }

    fn is_beyond_patience(&self) -> bool {
        let size = self.log.size();
        size.entries > self.options.log_entries_max.saturating_mul(HELD_FACTOR)
            || size.bytes > self.options.log_bytes_max.saturating_mul(HELD_FACTOR)
    }
}

/// Makes the state durable and purges the log up to `upto`, or to what is applied if that is less. Returns the index
/// purged up to within `wait`.
async fn purge(raft: &Raft, upto: u64, wait: Duration) -> Result<Option<u64>, Fatal> {
    let mut metrics = raft.metrics();
    let upto = metrics
        .borrow()
        .last_applied
        .index()
        .map(|applied| applied.min(upto));
    raft.trigger().snapshot().await?;
    let durable = metrics.wait_for(|metrics| metrics.snapshot.index() >= upto);
    if tokio::time::timeout(wait, durable).await.is_err() {
        return Ok(metrics.borrow().purged.index());
    }
    if let Some(upto) = upto {
        raft.trigger().purge_log(upto).await?;
    }
    let purged = metrics.wait_for(|metrics| metrics.purged.index() >= upto);
    if tokio::time::timeout(wait, purged).await.is_err() {
        tracing::debug!(
            ?upto,
            "the purge waits for entries that are being replicated"
        );
    }
    let purged = metrics.borrow().purged.index();
    Ok(purged)
}

impl Node {
    /// Makes the state durable so that the log up to it may go; with `purge` it goes at once, and on the leader every
    /// follower that still lacks any of it will catch up by delta. Returns the index.
    ///
    /// # Errors
    /// When the core has stopped, or does not get there in time.
    pub async fn snapshot(&self, purge: bool) -> Result<Option<u64>, AdminFailure> {
        let (raft, after) = (self.raft(), self.options().change_timeout);
        let stopped = |error: Fatal| AdminFailure::Stopped(crate::error::chain(&error));
        let mut metrics = raft.metrics();
        let applied = metrics.borrow().last_applied.index();
        raft.trigger().snapshot().await.map_err(stopped)?;
        let durable = metrics.wait_for(|metrics| metrics.snapshot.index() >= applied);
        // Matched without a name: what it borrows of the metrics must not be held while the purge is awaited.
        let snapshot = match tokio::time::timeout(after, durable).await {
            Ok(Ok(metrics)) => metrics.snapshot.index(),
            Ok(Err(_)) => return Err(AdminFailure::Stopped("the core has ended".to_owned())),
            Err(_) => return Err(AdminFailure::Timeout { after }),
        };
        if let (true, Some(upto)) = (purge, snapshot) {
            let (going, before) = (self.log().marks(upto, MARKS_MAX), self.log().purged_index());
            let purged = self::purge(raft, upto, after).await.map_err(stopped)?;
            if purged > before {
                self.book().purged(purged, &going, PurgeCause::Operator);
            }
            if purged < Some(upto) {
                return Err(AdminFailure::Timeout { after });
            }
        }
        Ok(snapshot)
    }
}
