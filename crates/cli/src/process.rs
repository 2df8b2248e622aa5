//! A node as a child process of this program: started, killed, started again.
//!
//! A process never outlives its [`NodeProcess`]: dropping it kills the child, however the command ends.

#[cfg(target_os = "linux")]
mod control;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::commands::serve::Announcement;
use crate::exit::Late;

/// How long a node with little data may take to say that it is up.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Lines of its log that are told when it did not come up.
const LAST_LINES: usize = 8;

/// What a node is told besides where it listens and keeps its data.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// Further arguments of `pando serve`.
    pub(crate) flags: Vec<String>,
    /// How long it may take to say that it is up.
    pub(crate) patience: Duration,
    /// The address it listens on, with ports of its choice.
    pub(crate) ip: IpAddr,
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            flags: Vec::new(),
            patience: START_TIMEOUT,
            ip: Ipv4Addr::LOCALHOST.into(),
        }
    }
}

/// A node and where it runs.
pub(crate) struct NodeProcess {
    /// For people, and the name of its directory.
    pub(crate) name: String,
    /// What it said when it was up.
    pub(crate) at: Announcement,
    directory: PathBuf,
    launch: Launch,
    running: Option<Running>,
}

struct Running {
    child: Killed,
    /// Held open, so that the child can write to it.
    _stdout: BufReader<ChildStdout>,
}

/// A child that is killed when nobody holds it any more.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself; waiting reaps it either way.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

impl NodeProcess {
    /// Starts a node on free ports, with an empty directory under `root`. It waits to be made part of a cluster.
    pub(crate) async fn start(name: String, root: &Path, launch: Launch) -> anyhow::Result<Self> {
        let directory = root.join(&name);
        fs::create_dir_all(&directory)?;
        let free = SocketAddr::new(launch.ip, 0).to_string();
        let (running, at) = run(&name, &directory, [free.as_str(); 3], &launch).await?;
        Ok(Self {
            name,
            at,
            directory,
            launch,
            running: Some(running),
        })
    }

    /// Ends it at once, as a power failure would (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts it again under its old addresses.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let old = [
            self.at.api.clone(),
            self.at.node.clone(),
            self.at.http.clone(),
        ];
        let old = old.each_ref().map(String::as_str);
        let (running, at) = run(&self.name, &self.directory, old, &self.launch).await?;
        self.running = Some(running);
        self.at = at;
        Ok(())
    }

    /// Deletes everything it had on disk but its log file.
    pub(crate) fn wipe(&mut self) -> io::Result<()> {
        self.kill();
        fs::remove_dir_all(self.directory.join("data"))
    }

    /// The end of its log.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        last_lines(&self.directory, count)
    }
}

fn last_lines(directory: &Path, count: usize) -> String {
    let log = fs::read_to_string(log_path(directory)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("node.log")
}

async fn run(
    name: &str,
    directory: &Path,
    [api, node, http]: [&str; 3],
    launch: &Launch,
) -> anyhow::Result<(Running, Announcement)> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_path(directory))?;
    let mut command = Command::new(std::env::current_exe()?);
    // What is set for nodes of the user's own is not meant for these.
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("PANDO_") {
            command.env_remove(key);
        }
    }
    command
        .args([
            "serve",
            "--output",
            "json",
            "--bootstrap",
            "false",
            "--data-dir",
        ])
        .arg(directory.join("data"))
        .args([
            "--api-listen",
            api,
            "--node-listen",
            node,
            "--http-listen",
            http,
        ])
        .args(&launch.flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut child = command
        .spawn()
        .with_context(|| format!("{name} cannot be started"))?;
    let stdout = child.stdout.take().context("the child has no stdout")?;
    let child = Killed(child);
    let first_line = tokio::task::spawn_blocking(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line).map(|_| (stdout, line))
    });
    let patience = launch.patience;
    let late = || Late(format!("{name} did not come up within {patience:?}"));
    let (stdout, line) = tokio::time::timeout(patience, first_line)
        .await
        .map_err(|_| late())???;
    anyhow::ensure!(
        !line.is_empty(),
        "{name} ended instead of coming up; the end of its log:\n{}",
        last_lines(directory, LAST_LINES)
    );
    let at = serde_json::from_str(&line).with_context(|| format!("{name} said {line:?}"))?;
    Ok((
        Running {
            child,
            _stdout: stdout,
        },
        at,
    ))
}
