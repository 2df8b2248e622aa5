//! The tasks a node is made of: named, watched, stopped in order. One that ends before its time, or panics,
//! stops the node.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, warn};

/// How long a worker may take to stop once it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The workers of one node.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    tasks: JoinSet<anyhow::Result<()>>,
    running: HashMap<Id, Worker>,
}

#[derive(Clone, Debug)]
struct Worker {
    name: &'static str,
    stop: CancellationToken,
}

impl Workers {
    /// Starts a worker. It gets a token and is to end soon after the token is cancelled, not before.
    pub(crate) fn spawn<F>(&mut self, name: &'static str, work: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = self.tasks.spawn(work(stop.clone()).in_current_span());
        self.running.insert(task.id(), Worker { name, stop });
    }

    /// Waits until a worker ends that was not asked to, and says which and why.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.join_next_with_id().await {
            Some(ended) => {
                let (name, outcome) = self.take(ended);
                match outcome {
                    Ok(()) => anyhow!("the worker {name} ended before its time"),
                    Err(error) => error,
                }
            }
            None => std::future::pending().await,
        }
    }

    /// Stops one worker and waits for it, for a while.
    pub(crate) async fn stop(&mut self, name: &str) {
        for worker in self.running.values().filter(|w| w.name == name) {
            worker.stop.cancel();
        }
        while self.running.values().any(|w| w.name == name) {
            let ended = tokio::time::timeout(STOP_TIMEOUT, self.tasks.join_next_with_id()).await;
            match ended {
                Ok(Some(ended)) => {
                    let (name, outcome) = self.take(ended);
                    match outcome {
                        Ok(()) => debug!(worker = name, "stopped"),
                        Err(error) => warn!(worker = name, error = %error, "stopped with an error"),
                    }
                }
                Ok(None) => return,
                Err(_) => {
                    // Its task is dropped with the set.
                    warn!(worker = name, "did not stop within {STOP_TIMEOUT:?}");
                    self.running.retain(|_, w| w.name != name);
                }
            }
        }
    }

    fn take(
        &mut self,
        ended: Result<(Id, anyhow::Result<()>), JoinError>,
    ) -> (&'static str, anyhow::Result<()>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(anyhow!(error))),
        };
        let name = self.running.remove(&id).map_or("unknown", |w| w.name);
        (
            name,
            outcome.with_context(|| format!("the worker {name} failed")),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_panics_is_named() {
        let mut workers = Workers::default();
        workers.spawn("steady", |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        workers.spawn("shaky", |_| async { panic!("shaken") });
        let error = format!("{:#}", workers.failed().await);
        assert!(
            error.contains("shaky") && error.contains("shaken"),
            "{error}"
        );
        workers.stop("steady").await;
        assert!(workers.running.is_empty());
    }

    #[tokio::test]
    async fn a_worker_that_ends_by_itself_is_a_failure() {
        let mut workers = Workers::default();
        workers.spawn("short", |_| async { Ok(()) });
        let error = workers.failed().await.to_string();
        assert!(error.contains("short"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_hangs_does_not_hold_up_the_others() {
        let mut workers = Workers::default();
        workers.spawn("stuck", |_| std::future::pending());
        workers.stop("stuck").await;
        assert!(workers.running.is_empty());
    }
}
