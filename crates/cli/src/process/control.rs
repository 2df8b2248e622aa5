//! A node's process held, let go, and ended in order: what a benchmark needs to measure one thing at a time.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::{NodeProcess, Running};
use crate::exit::Late;

/// Pause between two looks whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl NodeProcess {
    /// Asks it to end (SIGTERM), so that it leaves its stores in order, and waits until it has.
    pub(crate) async fn stop(&mut self, patience: Duration) -> anyhow::Result<()> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        running.signal(Signal::TERM)?;
        let begun = Instant::now();
        while running.child.0.try_wait()?.is_none() {
            if begun.elapsed() > patience {
                let name = &self.name;
                return Err(Late(format!("{name} did not end within {patience:?}")).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Holds the process where it is (SIGSTOP): it keeps its memory and its connections, and does nothing.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.running()?.signal(Signal::STOP)
    }

    /// Lets a held process go on (SIGCONT).
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.running()?.signal(Signal::CONT)
    }

    /// The process id.
    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        Ok(self.running()?.pid()?.as_raw_nonzero().get())
    }

    fn running(&self) -> anyhow::Result<&Running> {
        let running = self.running.as_ref();
        running.with_context(|| format!("{} does not run", self.name))
    }
}

impl Running {
    fn pid(&self) -> anyhow::Result<Pid> {
        let pid = i32::try_from(self.child.0.id()).ok();
        pid.and_then(Pid::from_raw)
            .context("the child has no process id")
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.pid()?, signal)?;
        Ok(())
    }
}
