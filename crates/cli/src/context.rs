//! What every command has: the nodes to ask, how long to wait, how to print.

use std::time::Duration;

use pando_client::{ClientError, Pando};

use crate::args::Global;
use crate::output::Format;

/// Settings shared by all commands.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Public APIs of nodes.
    pub(crate) nodes: Vec<String>,
    /// Deadline of one request, retries included.
    pub(crate) timeout: Duration,
    /// How results are printed.
    pub(crate) format: Format,
}

impl From<Global> for Context {
    fn from(global: Global) -> Self {
        Self {
            nodes: global.nodes,
            timeout: Duration::from_secs(global.timeout),
            format: global.output,
        }
    }
}

impl Context {
    /// A client of the nodes that were named. It asks only them: what a node answers is that node's own answer, and
    /// any node passes on what is the leader's to do.
    pub(crate) fn client(&self) -> Result<Pando, ClientError> {
        self.client_of(self.nodes.iter())
    }

    /// A client of other nodes, with the same deadline.
    pub(crate) fn client_of(
        &self,
        nodes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Pando, ClientError> {
        Pando::builder()
            .endpoints(nodes)
            .timeout(self.timeout)
            .follow_members(false)
            .connect_lazy()
    }
}
