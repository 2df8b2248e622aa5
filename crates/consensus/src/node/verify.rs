//! Comparing all members: one entry makes every replica record its roots, then the leader asks each for them, judges,
//! and has those that are wrong stop serving. What is done about them after that is in `node/quarantine`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use pando_model::{CheckReport, Command, NodeId};
use tokio::time::{Instant, timeout_at};

use crate::address::NodeAddress;
use crate::error::{WriteFailure, chain};
use crate::messages::{LeaderRequest, ReportReply, ReportRequest, TrustRequest, VerifyReply};
use crate::node::Node;
use crate::node::write::Attempt;
use crate::status::VerifyReport;
use crate::transport::{PeerRpc, TransportError};
use crate::verdict::Verdict;
use crate::wire;

/// What a member reported, or why it did not.
type Reports = Vec<(NodeId, Result<CheckReport, String>)>;

impl Node {
    /// Compares the roots of all members at one log index. The leader does it, and acts on what it finds.
    ///
    /// # Errors
    /// When the check itself cannot be written. A member that does not answer is in the report.
    pub async fn verify(&self, deadline: Duration) -> Result<VerifyReport, WriteFailure> {
        let until = Instant::now() + deadline;
        loop {
            let reply = match self.leader() {
                Some((id, _)) if id == self.options.id => self.verify_here(until).await,
                Some((id, address)) => self.forward_verify(id, &address, until).await,
                None => self
                    .stopped()
                    .map(|reason| Err(WriteFailure::Stopped(reason))),
            };
            if let Some(reply) = reply {
                return reply;
            }
            if !self.leader_pause(until).await {
                return Err(WriteFailure::NoLeader);
            }
        }
    }

    async fn forward_verify(
        &self,
        leader: NodeId,
        address: &NodeAddress,
        until: Instant,
    ) -> Option<VerifyReply> {
        let left = until.saturating_duration_since(Instant::now());
        let within = left * 9 / 10;
        let body = wire::encode(&LeaderRequest::Verify { within });
        let body = match body {
            Ok(body) => body,
            Err(error) => return Some(Err(WriteFailure::Stopped(chain(&error)))),
        };
        let answer = self
            .transport
            .call(leader, address, PeerRpc::Propose, body, left)
            .await;
        match answer.as_deref().map(wire::decode::<VerifyReply>) {
            Ok(Ok(Err(WriteFailure::NotLeader { .. } | WriteFailure::NoLeader))) => None,
            Ok(Ok(reply)) => Some(reply),
            Ok(Err(error)) => Some(Err(WriteFailure::Stopped(chain(&error)))),
            Err(TransportError::Timeout { .. }) => Some(Err(WriteFailure::Timeout)),
            // A check does no harm, so it is simply made again.
            Err(
                TransportError::Unreachable { .. }
                | TransportError::Refused { .. }
                | TransportError::Broken { .. },
            ) => None,
        }
    }

    /// Compares all members as leader; `None` if this node does not lead.
    pub(super) async fn verify_here(&self, until: Instant) -> Option<VerifyReply> {
        let Ok(_one) = timeout_at(until, self.trust.comparing.lock()).await else {
            return Some(Err(WriteFailure::Timeout));
        };
        let check = self.propose(Command::ConsistencyCheck, None, until).await;
        let index = match check {
            Attempt::Done(Ok(receipt)) => receipt.index,
            Attempt::Done(Err(failure)) => return Some(Err(failure)),
            Attempt::NotDone | Attempt::Unknown => return None,
        };
        let nodes = self.gather(index, until).await;
        let voters: BTreeSet<NodeId> = self.voters();
        let roots: BTreeMap<_, _> = nodes
            .iter()
            .map(|(id, report)| (*id, report.as_ref().ok().map(|report| report.root)))
            .collect();
        let verdict = Verdict::of(&voters, &roots);
        let all = roots.values().all(Option::is_some);
        self.trust.judged(index, &verdict, self.clock.now_ms());
        let (quarantined, resigning) = self.act_on(index, &verdict, &roots).await;
        Some(Ok(VerifyReport {
            index,
            equal: all && matches!(verdict, Verdict::Equal { .. }),
            nodes,
            verdict,
            quarantined,
            resigning,
        }))
    }

    async fn gather(&self, index: u64, until: Instant) -> Reports {
        let members = self.raft.metrics().borrow().membership_config.clone();
        let asked = members
            .nodes()
            .map(|(id, address)| self.ask_report(*id, address, index, until));
        join_all(asked).await
    }

    /// Says what was found, and has those that are wrong stop serving.
    async fn act_on(
        &self,
        index: u64,
        verdict: &Verdict,
        roots: &BTreeMap<NodeId, Option<[u8; 32]>>,
    ) -> (Vec<(NodeId, Result<(), String>)>, bool) {
        match verdict {
            Verdict::Equal { .. } => tracing::debug!(index, "all members that answered are equal"),
            Verdict::Unknown { answered } => {
                tracing::warn!(index, answered, "too few members answered to be compared");
            }
            Verdict::NoMajority { roots } => tracing::error!(
                index,
                roots,
                "THE REPLICAS DIFFER AND NONE HAS A MAJORITY: nobody knows which is right, so nothing is repaired; \
                 compare them with `pando diff` and remove those that are wrong"
            ),
            Verdict::Minority { nodes, .. } => tracing::error!(
                index,
                ?nodes,
                "THESE REPLICAS DIFFER FROM THE MAJORITY: they are quarantined and repaired"
            ),
        }
        let Some(majority) = verdict.root() else {
            return (Vec::new(), false);
        };
        let wrong: BTreeSet<NodeId> = verdict.minority().collect();
        if wrong.contains(&self.options.id) {
            // Its successor finds it again, as one of its followers.
            let right =
                |(id, root): (&NodeId, &Option<_>)| (*root == Some(majority)).then_some(*id);
            self.trust
                .resign_to(roots.iter().filter_map(right).collect());
            return (Vec::new(), true);
        }
        let told = wrong.iter().map(async |id| {
            let request = TrustRequest::Quarantine { index, majority };
            (*id, self.tell(*id, &request).await)
        });
        (join_all(told).await, false)
    }

    async fn tell(&self, id: NodeId, request: &TrustRequest) -> Result<(), String> {
        let address = self.address_of(id).ok_or("it is not a member any more")?;
        let told: Result<(), _> = self.ask_trust((id, &address), request).await;
        if let Err(error) = &told {
            tracing::error!(node = id, %error, "a member that is wrong was not told so");
        }
        told.map_err(|error| error.to_string())
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

    pub(super) async fn call_report(
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
        if let Some(found) = self.trust.quarantine() {
            return Err(format!("it is quarantined: {}", found.reason()));
        }
        self.wait_applied(index, until)
            .await
            .map_err(|error| error.to_string())?;
        match self.replica.checked(index) {
            Some(checked) => Ok(checked.report().clone()),
            None => Err(
                "it caught up past the check by delta, or newer checks took its place: check again"
                    .to_owned(),
            ),
        }
    }
}
