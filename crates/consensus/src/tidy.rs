//! Clears what installs, views and dropped collections have left in storage, also while nothing is written.
//!
//! A little at a time on a blocking thread, so that writers are never held up for long; what a little is, the replica
//! says. In between the writers have the store for themselves for longer than the clearing had it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pando_replica::Replica;
use tokio_util::sync::CancellationToken;

/// While there is more: how many times longer the pause is than what was cleared took.
const PAUSE_FACTOR: u32 = 2;
/// Pause when there was nothing.
const IDLE_PAUSE: Duration = Duration::from_secs(1);

/// Clears until the node stops or its storage fails.
pub(crate) async fn run(replica: Arc<Replica>, stopping: CancellationToken) {
    loop {
        let (clearing, begun) = (Arc::clone(&replica), Instant::now());
        let cleared = tokio::task::spawn_blocking(move || clearing.tidy());
        let pause = match cleared.await {
            Ok(Ok(true)) => begun.elapsed() * PAUSE_FACTOR,
            Ok(Ok(false)) => IDLE_PAUSE,
            Ok(Err(error)) => {
                tracing::debug!(%error, "nothing is cleared any more");
                return;
            }
            Err(_) => return,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.cancelled() => return,
        }
    }
}
