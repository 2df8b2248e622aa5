//! The stage: three nodes, the directory they live in, and what is told to whoever watches.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use pando_client::{ClientError, ClusterStatus, Pando};
use pando_model::{CollectionName, NodeId};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::context::Context;
use crate::exit::Late;
use crate::output::{self, Format};
use crate::process::NodeProcess;

/// Pause between two looks at a state that is waited for.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the cluster may take for anything the demo waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct World {
    // Declared before the directory: the processes end first, then what they write to is removed.
    pub(super) nodes: Vec<NodeProcess>,
    directory: TempDir,
    context: Context,
    summary: Map<String, Value>,
    /// Where the points are.
    pub(super) collection: CollectionName,
}

impl World {
    pub(super) fn new(context: &Context, keep: bool) -> anyhow::Result<Self> {
        let mut directory = tempfile::Builder::new().prefix("pando-demo-").tempdir()?;
        directory.disable_cleanup(keep);
        let world = Self {
            nodes: Vec::new(),
            directory,
            context: context.clone(),
            summary: Map::new(),
            collection: CollectionName::parse("wordnet")?,
        };
        if keep {
            world.say(format_args!(
                "nodes and logs are kept in {}",
                world.root().display()
            ))?;
        }
        Ok(world)
    }

    pub(super) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Tells the watcher; scripts get the summary instead.
    pub(super) fn say(&self, text: impl Display) -> io::Result<()> {
        match self.context.format {
            Format::Table => output::line(text),
            Format::Json => Ok(()),
        }
    }

    /// Announces a step.
    pub(super) fn step(&self, number: u32, title: &str) -> io::Result<()> {
        self.say(format_args!("\n== {number}/6  {title}"))
    }

    /// Adds to what scripts get.
    pub(super) fn note(&mut self, key: &str, value: Value) {
        self.summary.insert(key.to_owned(), value);
    }

    pub(super) fn summary(&self) -> Value {
        Value::Object(self.summary.clone())
    }

    /// What the nodes said last, for whoever has to find out what went wrong.
    pub(super) fn last_words(&self) {
        const LINES: usize = 8;
        for node in &self.nodes {
            output::complain(format_args!(
                "-- end of the log of {}:\n{}",
                node.name,
                node.last_lines(LINES)
            ));
        }
    }

    /// A client of all nodes that run.
    pub(super) fn client(&self) -> Result<Pando, ClientError> {
        let running = self.nodes.iter().filter(|n| n.is_running());
        self.context.client_of(running.map(|n| n.at.api.as_str()))
    }

    /// A client of one node.
    pub(super) fn client_of(&self, node: usize) -> Result<Pando, ClientError> {
        self.context.client_of([self.nodes[node].at.api.as_str()])
    }

    pub(super) fn index_of(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|n| n.at.node_id == id)
    }

    /// The node that leads; waits until there is one.
    pub(super) async fn leader(&self) -> anyhow::Result<usize> {
        let client = self.client()?;
        let found = |status: &ClusterStatus| self.index_of(status.leader?);
        self.wait_for(&client, "a leader", found).await
    }

    /// A node that does not lead; waits until there is a leader.
    pub(super) async fn follower(&self) -> anyhow::Result<usize> {
        let leader = self.leader().await?;
        Ok((leader + 1) % self.nodes.len())
    }

    /// Looks at the cluster until `found` finds what it looks for.
    pub(super) async fn wait_for<T>(
        &self,
        client: &Pando,
        what: &str,
        found: impl Fn(&ClusterStatus) -> Option<T>,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        loop {
            let status = client.cluster_status().await?;
            if let Some(found) = found(&status) {
                return Ok(found);
            }
            if begun.elapsed() > PATIENCE {
                return Err(Late(format!(
                    "{what}: not within {PATIENCE:?}; last seen: {status:?}"
                ))
                .into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
