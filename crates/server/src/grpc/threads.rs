//! Threads of the public API: consensus has others, so nothing that a client asks for makes it wait.
//!
//! That lets a search that is soon done run where its request was read. Handing it to another thread and the answer
//! back costs more than half as much as the search.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;
use tracing::Instrument as _;

/// How long connections and searches that were begun have to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A runtime that may be dropped anywhere.
#[derive(Debug)]
pub(crate) struct Threads(Option<Runtime>);

impl Threads {
    /// As many threads as there are cores.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("pando-api")
            .enable_all()
            .build();
        let runtime = runtime.context("the threads of the public API could not be started")?;
        Ok(Self(Some(runtime)))
    }

    /// Runs a task here to its end, and then ends what it has left here, so that nothing of it outlives this.
    pub(crate) async fn run<F>(mut self, task: F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let runtime = self.0.as_ref().ok_or_else(|| anyhow!("they have ended"))?;
        let outcome = runtime.spawn(task.in_current_span()).await;
        if let Some(runtime) = self.0.take() {
            spawn_blocking(|| runtime.shutdown_timeout(PATIENCE)).await?;
        }
        outcome?
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
