//! Keeps the log bounded in entries and in bytes.
//!
//! What is purged here decides how a follower that was away catches up: by the entries it missed while they are kept,
//! by delta once they are not. Each node bounds its own log.

use std::time::Duration;

use openraft::LogIdOptionExt;
use tokio_util::sync::CancellationToken;

use crate::error::AdminFailure;
use crate::log_store::LogStore;
use crate::node::Node;
use crate::options::NodeOptions;
use crate::types::{Fatal, Raft};

/// How long a purge may be put off because entries are being replicated; then the bound is looked at anew.
const PURGE_WAIT: Duration = Duration::from_secs(5);

/// Purges whenever more is kept than the options allow, until the node stops.
pub(crate) async fn run(
    raft: Raft,
    log: LogStore,
    options: NodeOptions,
    stopping: CancellationToken,
) {
    let mut changes = raft.data_metrics();
    loop {
        let size = log.size();
        if (size.entries > options.log_entries_max || size.bytes > options.log_bytes_max)
            && let Some(upto) = log.purge_for(options.log_entries_keep, options.log_bytes_max / 2)
        {
            tokio::select! {
                done = purge(&raft, upto, PURGE_WAIT) => match done {
                    Ok(purged) => tracing::debug!(upto, ?purged, entries = size.entries, "log bounded"),
                    Err(error) => {
                        tracing::error!(%error, "the log is not bounded any more");
                        return;
                    }
                },
                () = stopping.cancelled() => return,
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = stopping.cancelled() => return,
        }
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
            let purged = self::purge(raft, upto, after).await.map_err(stopped)?;
            if purged < Some(upto) {
                return Err(AdminFailure::Timeout { after });
            }
        }
        Ok(snapshot)
    }
}
