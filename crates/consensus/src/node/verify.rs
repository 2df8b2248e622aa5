//! Comparing all members: one entry makes every replica record its root, then each is asked for it.

use std::time::Duration;

use futures::future::join_all;
use pando_model::{CheckReport, Command, NodeId};
use tokio::time::Instant;

use crate::address::NodeAddress;
use crate::error::WriteFailure;
use crate::messages::{ReportReply, ReportRequest};
use crate::node::Node;
use crate::status::VerifyReport;
use crate::transport::PeerRpc;
use crate::wire;

impl Node {
    /// Compares the roots of all members at one log index.
    ///
    /// # Errors
    /// When the check itself cannot be written. A member that does not answer is in the report.
    pub async fn verify(&self, deadline: Duration) -> Result<VerifyReport, WriteFailure> {
        let until = Instant::now() + deadline;
        let receipt = self
            .write(Command::ConsistencyCheck, None, deadline)
            .await?;
        let index = receipt.index;
        let members = self.raft.metrics().borrow().membership_config.clone();
        let asked = members
            .nodes()
            .map(|(id, address)| self.ask_report(*id, address, index, until));
        let nodes: Vec<(NodeId, Result<CheckReport, String>)> = join_all(asked).await;
        let reports: Option<Vec<&CheckReport>> = nodes
            .iter()
            .map(|(_, report)| report.as_ref().ok())
            .collect();
        let equal = reports.is_some_and(|reports| {
            !reports.is_empty() && reports.windows(2).all(|pair| pair[0] == pair[1])
        });
        Ok(VerifyReport {
            index,
            nodes,
            equal,
        })
    }

    async fn ask_report(
        &self,
        id: NodeId,
        address: &NodeAddress,
        index: u64,
        until: Instant,
    ) -> (NodeId, Result<CheckReport, String>) {
        let report = if id == self.options.id {
            self.report(index, until).await
        } else {
            self.call_report(id, address, index, until).await
        };
        (id, report)
    }

    async fn call_report(
        &self,
        id: NodeId,
        address: &NodeAddress,
        index: u64,
        until: Instant,
    ) -> Result<CheckReport, String> {
        let left = until.saturating_duration_since(Instant::now());
        let request = ReportRequest {
            index: Some(index),
            within: left * 9 / 10,
        };
        let body = wire::encode(&request).map_err(|error| error.to_string())?;
        let answer = self
            .transport
            .call(id, address, PeerRpc::Report, body, left)
            .await;
        let answer = answer.map_err(|error| error.to_string())?;
        let reply: ReportReply = wire::decode(&answer).map_err(|error| error.to_string())?;
        reply?.ok_or_else(|| "the node sent no report".to_owned())
    }

    /// This node's report of the check at `index`, when it has applied it.
    pub(super) async fn report(&self, index: u64, until: Instant) -> Result<CheckReport, String> {
        self.wait_applied(index, until)
            .await
            .map_err(|error| error.to_string())?;
        match self.replica.last_check() {
            Some(report) if report.index == index => Ok(report),
            Some(report) if report.index > index => Err(format!(
                "a newer check, at index {}, took its place",
                report.index
            )),
            Some(_) | None => Err("it caught up past the check by delta: check again".to_owned()),
        }
    }
}
