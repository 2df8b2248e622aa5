//! Clears what installs, views and dropped collections have left in storage, also while nothing is written.
//!
//! A little at a time on a blocking thread, so that writers are never held up for long; what a little is, the replica
//! says.

use std::sync::Arc;
use std::time::Duration;

use pando_replica::Replica;
use tokio_util::sync::CancellationToken;

/// Pause while there is more, so that writers come in between.
const BUSY_PAUSE: Duration = Duration::from_millis(2);
/// Pause when there was nothing.
const IDLE_PAUSE: Duration = Duration::from_secs(1);

/// Clears until the node stops or its storage fails.
pub(crate) async fn run(replica: Arc<Replica>, stopping: CancellationToken) {
    loop {
        let clearing = Arc::clone(&replica);
        let cleared = tokio::task::spawn_blocking(move || clearing.tidy());
        let pause = match cleared.await {
            Ok(Ok(true)) => BUSY_PAUSE,
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
