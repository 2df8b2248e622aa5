//! A cluster of real processes, formed through the public API, with helpers that wait for facts.
//!
//! Knows how nodes are started, stopped and asked; not what is written into them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pando_client::{NodeState, NodeStatus, Pando, Role, VerifyReport};
use pando_model::NodeId;
use tempfile::TempDir;

use crate::direct::Direct;
use crate::network::Network;
use crate::process::{NodeProcess, NodeSetup};
use crate::wait::eventually;

/// How long a fact may take to come true. Generous: it decides how long a failure takes, not whether there is one.
pub const FACT_MAX: Duration = Duration::from_secs(60);
/// How long a node may take to shut down.
const STOP_MAX: Duration = Duration::from_secs(20);

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Further arguments of every node.
    pub args: Vec<String>,
    /// Whether nodes reach each other through proxies, so that links can be broken.
    pub proxied: bool,
}

impl Default for ClusterOptions {
    /// Elections within a second or two, so that tests of failures need not wait long.
    fn default() -> Self {
        let args = ["--raft-heartbeat-ms", "250", "--raft-election-ms", "1000"];
        Self {
            args: args.map(str::to_owned).to_vec(),
            proxied: false,
        }
    }
}

impl ClusterOptions {
    /// With proxies between the nodes.
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// With further arguments for every node.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }
}

/// The processes of a cluster.
#[derive(Debug)]
pub struct ProcessCluster {
    /// The links between the nodes, if they are proxied.
    pub network: Network,
    nodes: BTreeMap<NodeId, NodeProcess>,
    binary: PathBuf,
    options: ClusterOptions,
    dir: TempDir,
    passed: bool,
}

impl ProcessCluster {
    /// No nodes yet.
    ///
    /// # Errors
    /// When there is no place for their data.
    pub fn empty(binary: impl AsRef<Path>, options: ClusterOptions) -> Result<Self> {
        Ok(Self {
            network: Network::default(),
            nodes: BTreeMap::new(),
            binary: binary.as_ref().to_owned(),
            options,
            dir: tempfile::tempdir()?,
            passed: false,
        })
    }

    /// A cluster of voters with the ids 1 to `nodes`.
    ///
    /// # Errors
    /// When it cannot be formed.
    pub async fn start(
        binary: impl AsRef<Path>,
        nodes: u64,
        options: ClusterOptions,
    ) -> Result<Self> {
        let mut cluster = Self::empty(binary, options)?;
        for id in 1..=nodes {
            cluster.spawn(id).await?;
        }
        cluster.sdk_of(1)?.init_cluster().await.context("init")?;
        for id in 2..=nodes {
            cluster.join(id).await?;
            cluster.promote(id).await?;
        }
        for id in 1..=nodes {
            cluster.wait_serving(id).await?;
        }
        Ok(cluster)
    }

    /// Starts a new node, which belongs to no cluster yet.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn spawn(&mut self, id: NodeId) -> Result<()> {
        let setup = self.setup(id).await?;
        self.nodes.insert(id, NodeProcess::new(setup));
        self.restart(id).await
    }

    /// How a node of this cluster is started; with a proxy of its own, if nodes are proxied.
    ///
    /// # Errors
    /// When there are no free ports.
    pub async fn setup(&mut self, id: NodeId) -> Result<NodeSetup> {
        let mut setup = NodeSetup::new(&self.binary, &self.dir.path().join(id.to_string()), id)?;
        if self.options.proxied {
            setup.advertise_node = Some(self.network.front(id, setup.node_port).await?);
        }
        setup.args.clone_from(&self.options.args);
        Ok(setup)
    }

    /// A directory for whatever a test needs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds a running node as a learner.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn join(&self, id: NodeId) -> Result<()> {
        let address = self.node(id)?.node_address();
        let added = self
            .sdk()?
            .add_node(&address)
            .await
            .with_context(|| format!("add {id}"))?;
        ensure!(
            added.node == id,
            "node {} was added instead of {id}",
            added.node
        );
        Ok(())
    }

    /// Makes a learner a voter once it has caught up.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn promote(&self, id: NodeId) -> Result<()> {
        self.wait_caught_up(id).await?;
        self.sdk()?
            .promote_node(id)
            .await
            .with_context(|| format!("promote {id}"))
    }

    /// A node's process.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn node(&self, id: NodeId) -> Result<&NodeProcess> {
        self.nodes.get(&id).with_context(|| format!("no node {id}"))
    }

    /// A node's process.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn node_mut(&mut self, id: NodeId) -> Result<&mut NodeProcess> {
        self.nodes
            .get_mut(&id)
            .with_context(|| format!("no node {id}"))
    }

    /// The ids of all nodes, running or not.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// The ids of the nodes whose process runs.
    #[must_use]
    pub fn running(&self) -> Vec<NodeId> {
        let running = self.nodes.iter().filter(|(_, node)| node.is_running());
        running.map(|(id, _)| *id).collect()
    }

    /// The ids of all nodes but one.
    #[must_use]
    pub fn others(&self, id: NodeId) -> Vec<NodeId> {
        self.ids()
            .into_iter()
            .filter(|other| *other != id)
            .collect()
    }

    /// A client of the cluster that knows the running nodes.
    ///
    /// # Errors
    /// When there are none.
    pub fn sdk(&self) -> Result<Pando> {
        let running = self.nodes.values().filter(|node| node.is_running());
        Ok(Pando::builder()
            .endpoints(running.map(NodeProcess::api))
            .connect_lazy()?)
    }

    /// A client that knows one node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn sdk_of(&self, id: NodeId) -> Result<Pando> {
        Ok(Pando::builder()
            .endpoint(self.node(id)?.api())
            .connect_lazy()?)
    }

    /// One node, asked directly.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn direct(&self, id: NodeId) -> Result<Direct> {
        Direct::new(&self.node(id)?.api())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, id: NodeId) -> Result<()> {
        self.node_mut(id)?.kill()
    }

    /// SIGTERM: the node shuts down, with everything on disk. (What one that is killed has applied is in its log,
    /// but not all of it in its state.)
    ///
    /// # Errors
    /// When it does not run, or does not end well.
    pub async fn stop(&mut self, id: NodeId) -> Result<()> {
        let status = self.node_mut(id)?.terminate(STOP_MAX).await?;
        ensure!(status.success(), "node {id} ended with {status}");
        Ok(())
    }

    /// Starts a node that does not run, on its addresses and its data.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, id: NodeId) -> Result<()> {
        let node = self
            .nodes
            .get_mut(&id)
            .with_context(|| format!("no node {id}"))?;
        // Known before it makes its first connection.
        node.start(|pid| self.network.runs_as(id, pid)).await
    }

    /// How a node is, by its own account.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self, id: NodeId) -> Result<NodeStatus> {
        self.direct(id)?
            .status()
            .await
            .with_context(|| format!("status of node {id}"))
    }

    /// The node that leads: it says so itself, and no other running node that answers knows a newer term.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn leader(&self) -> Result<NodeId> {
        self.leader_among(&self.running()).await
    }

    /// The node that leads, as some of the nodes see it.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn leader_among(&self, ids: &[NodeId]) -> Result<NodeId> {
        let what = format!("one of {ids:?} leads");
        eventually(what, FACT_MAX, async || {
            let mut seen = BTreeMap::new();
            for id in ids {
                if let Ok(status) = self.status(*id).await {
                    seen.insert((status.term, *id), status.role);
                }
            }
            match seen.last_key_value() {
                None => bail!("no node answers"),
                Some(((newest, _), _)) => {
                    let leads = |((term, id), role): (&(u64, NodeId), &Role)| {
                        (term == newest && *role == Role::Leader).then_some(*id)
                    };
                    seen.iter()
                        .find_map(leads)
                        .with_context(|| format!("{seen:?}"))
                }
            }
        })
        .await
    }

    /// A running node that does not lead.
    ///
    /// # Errors
    /// When nobody leads in time, or everybody does.
    pub async fn follower(&self) -> Result<NodeId> {
        let leader = self.leader().await?;
        let mut followers = self.running().into_iter().filter(|id| *id != leader);
        followers.next().context("there is no follower")
    }

    /// Waits until a node's status passes a test; returns it.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wait_status(
        &self,
        id: NodeId,
        what: &str,
        mut is: impl FnMut(&NodeStatus) -> bool,
    ) -> Result<NodeStatus> {
        eventually(format!("node {id}: {what}"), FACT_MAX, async || {
            let status = self.status(id).await?;
            ensure!(is(&status), "{status:?}");
            Ok(status)
        })
        .await
    }

    /// Waits until a node serves.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wait_serving(&self, id: NodeId) -> Result<NodeStatus> {
        self.wait_status(id, "it serves", |status| status.state == NodeState::Serving)
            .await
    }

    /// Waits until a node has applied a log index.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn wait_applied(&self, id: NodeId, index: u64) -> Result<NodeStatus> {
        let what = format!("it has applied {index}");
        self.wait_status(id, &what, |status| status.applied >= index)
            .await
    }

    /// Waits until a node has applied what the leader has committed by now.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn wait_caught_up(&self, id: NodeId) -> Result<NodeStatus> {
        let leader = self.leader().await?;
        let committed = self.status(leader).await?.committed;
        self.wait_applied(id, committed).await
    }

    /// Waits until all running nodes have applied the same and have the same root.
    ///
    /// # Errors
    /// When they have not in time.
    pub async fn wait_equal(&self) -> Result<()> {
        let ids = self.running();
        eventually(format!("nodes {ids:?} are equal"), FACT_MAX, async || {
            let mut states = BTreeMap::new();
            for id in &ids {
                let status = self.status(*id).await?;
                states.insert(
                    *id,
                    (
                        status.applied,
                        status.root.map(|b| format!("{b:02x}")).concat(),
                    ),
                );
            }
            let first = states.values().next().context("there are no nodes")?;
            ensure!(states.values().all(|state| state == first), "{states:?}");
            Ok(())
        })
        .await
    }

    /// `Cluster.Verify`: every member answers, and all roots are equal. A member that cannot say yet is asked again;
    /// one that says another root never gets a second chance.
    ///
    /// # Errors
    /// When they are not equal.
    pub async fn verify(&self) -> Result<VerifyReport> {
        let sdk = self.sdk()?;
        let report = eventually("every member says its root", FACT_MAX, async || {
            let report = sdk.verify_cluster().await.context("verify")?;
            let roots = report.nodes.values().flatten().map(|state| state.root);
            let differ = roots.collect::<BTreeSet<_>>().len() > 1;
            ensure!(report.equal || differ, "{report:?}");
            Ok(report)
        });
        let report = report.await?;
        ensure!(report.equal, "the members are not equal: {report:?}");
        ensure!(
            !report.nodes.is_empty() && report.nodes.values().all(Result::is_ok),
            "{report:?}"
        );
        Ok(report)
    }

    /// Ends a test that has passed: stops every node, each of which must end cleanly.
    ///
    /// # Errors
    /// When one does not.
    pub async fn finish(mut self) -> Result<()> {
        for id in self.running() {
            self.stop(id).await?;
        }
        self.passed = true;
        Ok(())
    }
}

impl Drop for ProcessCluster {
    fn drop(&mut self) {
        if !self.passed {
            self.nodes.values().for_each(|node| show(&node.log_tail()));
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the test runner shows it with the failed test"
)]
fn show(text: &str) {
    eprintln!("{text}");
}
