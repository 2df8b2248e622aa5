//! Clears what installs, views and dropped collections have left in storage, also while nothing is written.
//!
//! A little at a time on a blocking thread, so that writers are never held up for long; what a little is, the replica
//! says. While entries come, the store is theirs for longer than the clearing had it; while none come, nobody waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pando_replica::Replica;
use tokio_util::sync::CancellationToken;

/// While there is more and entries come: how many times longer the pause is than what was cleared took.
const PAUSE_FACTOR: u32 = 2;
/// While there is more and none come.
const ALONE_PAUSE: Duration = Duration::from_millis(1);
/// Pause when there was nothing.
const IDLE_PAUSE: Duration = Duration::from_secs(1);

/// Clears until the node stops or its storage fails.
pub(crate) async fn run(replica: Arc<Replica>, stopping: CancellationToken) {
    let mut applied = replica.applied().index();
    loop {
        let (clearing, begun) = (Arc::clone(&replica), Instant::now());
        let cleared = tokio::task::spawn_blocking(move || clearing.tidy());
        let cleared = cleared.await;
        let now = replica.applied().index();
        let alone = std::mem::replace(&mut applied, now) == now;
        let pause = match cleared {
            Ok(Ok(true)) if alone => ALONE_PAUSE,
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
