//! A real node: one `pando serve` process with its data directory, its ports and its log file.
//!
//! Invariants: a process never outlives its `NodeProcess`; a node keeps its addresses over restarts, as its cluster
//! knows it by them. Knows nothing of clusters.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pando_model::NodeId;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::ports::{free_port, loopback};
use crate::wait::eventually;

/// How long a start may take: recovery included, on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);
/// Lines of a log shown when something went wrong.
const LOG_LINES_SHOWN: usize = 60;

/// How a node is started. Data directory and addresses stay; arguments and fail points may change between starts.
#[derive(Clone, Debug)]
pub struct NodeSetup {
    /// The program.
    pub binary: PathBuf,
    /// Where its data is.
    pub data: PathBuf,
    /// The file it logs to.
    pub log: PathBuf,
    /// The node's id.
    pub id: NodeId,
    /// Port of the public API.
    pub api_port: u16,
    /// Port of the node-to-node API.
    pub node_port: u16,
    /// Port of health and metrics.
    pub http_port: u16,
    /// Where other nodes are told to reach it, if not at `node_port`.
    pub advertise_node: Option<String>,
    /// Further arguments of `pando serve`.
    pub args: Vec<String>,
    /// Fail points, as the environment variable `FAILPOINTS` takes them.
    pub failpoints: String,
}

impl NodeSetup {
    /// A node with free ports that keeps what it has below `dir`.
    ///
    /// # Errors
    /// When there are no free ports or the directory cannot be made.
    pub fn new(binary: &Path, dir: &Path, id: NodeId) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self {
            binary: binary.to_owned(),
            data: dir.join("data"),
            log: dir.join("node.log"),
            id,
            api_port: free_port()?,
            node_port: free_port()?,
            http_port: free_port()?,
            advertise_node: None,
            args: Vec::new(),
            failpoints: String::new(),
        })
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(&self.binary);
        command
            .args([
                "serve",
                "--output",
                "json",
                "--bootstrap",
                "false",
                "--node-id",
            ])
            .arg(self.id.to_string())
            .arg("--data-dir")
            .arg(&self.data);
        for (flag, port) in [
            ("--api-listen", self.api_port),
            ("--node-listen", self.node_port),
            ("--http-listen", self.http_port),
        ] {
            command.arg(flag).arg(loopback(port).to_string());
        }
        if let Some(address) = &self.advertise_node {
            command.arg("--advertise-node").arg(address);
        }
        command.args(&self.args).env_remove("FAILPOINTS");
        if !self.failpoints.is_empty() {
            command.env("FAILPOINTS", &self.failpoints);
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        Ok(command)
    }
}

/// A node's process, running or not.
#[derive(Debug)]
pub struct NodeProcess {
    /// How it is started next time.
    pub setup: NodeSetup,
    child: Option<Child>,
}

impl NodeProcess {
    /// A node that was not started yet.
    #[must_use]
    pub fn new(setup: NodeSetup) -> Self {
        Self { setup, child: None }
    }

    /// Starts the process, tells its id, and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it runs already, ends before it is ready, or takes too long; with the end of its log.
    pub async fn start(&mut self, spawned: impl FnOnce(u32)) -> Result<()> {
        let ready = self.launch()?;
        if let Some(pid) = self.pid() {
            spawned(pid);
        }
        let id = match timeout(START_MAX, ready).await {
            Ok(Ok(line)) => line["node_id"].as_u64(),
            Ok(Err(_)) => {
                let status = self.exited(START_MAX).await?;
                bail!(
                    "{} ended before it was ready: {status}\n{}",
                    self.name(),
                    self.log_tail()
                );
            }
            Err(_) => {
                bail!(
                    "{} was not ready after {START_MAX:?}\n{}",
                    self.name(),
                    self.log_tail()
                );
            }
        };
        ensure!(
            id == Some(self.setup.id),
            "{} says it is node {id:?}",
            self.name()
        );
        Ok(())
    }

    /// Starts the process, which is expected to end by itself, and waits for that.
    ///
    /// # Errors
    /// When it runs already or does not end.
    pub async fn start_to_end(&mut self) -> Result<ExitStatus> {
        drop(self.launch()?);
        self.exited(START_MAX).await
    }

    fn launch(&mut self) -> Result<oneshot::Receiver<serde_json::Value>> {
        ensure!(self.child.is_none(), "{} runs already", self.name());
        let binary = self.setup.binary.display().to_string();
        let mut child = self
            .setup
            .command()?
            .spawn()
            .with_context(|| format!("cannot start {binary}"))?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        self.child = Some(child);
        let (tell, ready) = oneshot::channel();
        // Ends with the process: its standard output is closed then.
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let json = serde_json::from_str::<serde_json::Value>(&line).ok();
                let json = json.filter(|json| json.get("node_id").is_some());
                if let Some((tell, json)) = json.and_then(|json| Some((tell.take()?, json)))
                    && tell.send(json).is_err()
                {
                    tracing::debug!("nobody waits for the node to be ready");
                }
            }
        });
        Ok(ready)
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    /// When it does not run, or goes on running.
    pub async fn exited(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("{} has ended", self.name());
        let child = self.child.as_mut().context("the process does not run")?;
        let status = eventually(what, deadline, async || {
            child.try_wait()?.context("it runs")
        });
        let status = status.await?;
        self.child = None;
        Ok(status)
    }

    /// SIGKILL: the process ends where it is, and nothing it has in memory is written.
    ///
    /// # Errors
    /// When it does not run or cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the process does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM: the process shuts down.
    ///
    /// # Errors
    /// When it does not run, or goes on running for longer than the deadline.
    pub async fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.exited(deadline).await
    }

    /// SIGSTOP: the process stands still, its connections stay.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// SIGCONT: a paused process goes on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.pid().context("the process does not run")?;
        let mut kill = Command::new("kill");
        let status = kill
            .arg(format!("-{signal}"))
            .arg(pid.to_string())
            .status()?;
        ensure!(status.success(), "kill -{signal} {pid} failed: {status}");
        Ok(())
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether the process runs (or is paused).
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// host:port of the public API.
    #[must_use]
    pub fn api(&self) -> String {
        loopback(self.setup.api_port).to_string()
    }

    /// host:port of the node-to-node API, as other nodes are told.
    #[must_use]
    pub fn node_address(&self) -> String {
        let listening = || loopback(self.setup.node_port).to_string();
        self.setup.advertise_node.clone().unwrap_or_else(listening)
    }

    /// Everything it has logged, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.setup.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of its log, for error messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!(
            "--- end of the log of {}:\n{}",
            self.name(),
            shown.join("\n")
        )
    }

    fn name(&self) -> String {
        format!("node {}", self.setup.id)
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Fails if the process has ended already, which is what is wanted.
            let killed = child.kill();
            let reaped = child.wait();
            tracing::debug!(?killed, ?reaped, "a node was left running");
        }
    }
}
