//! Membership: adding, promoting, demoting and removing nodes, at the leader, asked from anywhere.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use openraft::error::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};
use openraft::{ChangeMembers, LogIdOptionExt};
use pando_model::NodeId;
use tokio::time::{Instant, timeout_at};

use crate::address::NodeAddress;
use crate::error::{AdminFailure, chain};
use crate::members::Members;
use crate::messages::{Change, ChangeReply, LeaderRequest, ReportRequest};
use crate::node::Node;
use crate::transport::{PeerRpc, TransportError};
use crate::types::{Membership, RaftMetrics};
use crate::wire;

/// A change openraft was asked for: `None` if this node does not lead.
type Asked = Option<ChangeReply>;

impl Node {
    /// Begins a new cluster with this node, at this address, as its only voter, and waits until it leads.
    ///
    /// # Errors
    /// [`AdminFailure::AlreadyInitialized`] on a node that has ever been a member of a cluster.
    pub async fn initialize(&self, address: NodeAddress) -> ChangeReply {
        let members = BTreeMap::from([(self.options.id, address)]);
        match self.raft.initialize(members).await {
            Ok(()) => {}
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                return Err(AdminFailure::AlreadyInitialized);
            }
            Err(RaftError::APIError(InitializeError::NotInMembers(error))) => {
                return Err(AdminFailure::Refused {
                    reason: chain(&error),
                });
            }
            Err(RaftError::Fatal(error)) => return Err(AdminFailure::Stopped(chain(&error))),
        }
        let after = self.options.change_timeout;
        let leads = self
            .raft
            .wait(Some(after))
            .current_leader(self.options.id, "initialize")
            .await;
        leads
            .map(|_| ())
            .map_err(|_| AdminFailure::Timeout { after })
    }

    /// Adds a node that follows without a vote.
    ///
    /// # Errors
    /// [`AdminFailure::IdUsed`] when the id was ever used for another node.
    pub async fn add_learner(&self, id: NodeId, address: NodeAddress) -> ChangeReply {
        self.change(Change::AddLearner { id, address }).await
    }

    /// Gives a learner a vote, once it has caught up.
    ///
    /// # Errors
    /// [`AdminFailure::NotCaughtUp`] when it does not catch up in time.
    pub async fn promote(&self, id: NodeId) -> ChangeReply {
        self.change(Change::Promote { id }).await
    }

    /// Takes a voter's vote; it goes on following.
    ///
    /// # Errors
    /// When it is the last voter, or too few of the others are up.
    pub async fn demote(&self, id: NodeId) -> ChangeReply {
        self.change(Change::Demote { id }).await
    }

    /// Removes a node for good. Its id is never used again.
    ///
    /// # Errors
    /// When it is the last voter or, unless forced, too few of the others are up.
    pub async fn remove(&self, id: NodeId, force: bool) -> ChangeReply {
        self.change(Change::Remove { id, force }).await
    }

    /// Hands the leadership to another voter.
    ///
    /// # Errors
    /// [`AdminFailure::NotTransferred`] when it does not come about; the leader then leads on.
    pub async fn transfer_leader(&self, to: NodeId) -> ChangeReply {
        self.change(Change::Transfer { to }).await
    }

    /// Has the leader make a change.
    async fn change(&self, change: Change) -> ChangeReply {
        let until = Instant::now() + self.options.change_timeout;
        loop {
            let reply = match self.leader() {
                Some((id, _)) if id == self.options.id => self.change_here(&change, until).await,
                Some((id, address)) => self.forward_change(id, &address, &change, until).await,
                None => self
                    .stopped()
                    .map(|reason| Err(AdminFailure::Stopped(reason))),
            };
            if let Some(reply) = reply {
                return reply;
            }
            if !self.leader_pause(until).await {
                return Err(AdminFailure::NoLeader);
            }
        }
    }

    async fn forward_change(
        &self,
        leader: NodeId,
        address: &NodeAddress,
        change: &Change,
        until: Instant,
    ) -> Asked {
        let left = until.saturating_duration_since(Instant::now());
        let message = LeaderRequest::Change {
            change: change.clone(),
            within: left * 9 / 10,
        };
        let refused = |reason: String| Some(Err(AdminFailure::Refused { reason }));
        let body = match wire::encode(&message) {
            Ok(body) => body,
            Err(error) => return refused(chain(&error)),
        };
        let answer = self
            .transport
            .call(leader, address, PeerRpc::Propose, body, left)
            .await;
        match answer.as_deref().map(wire::decode::<ChangeReply>) {
            Ok(Ok(Err(AdminFailure::NotLeader { .. }))) => None,
            Ok(Ok(reply)) => Some(reply),
            Ok(Err(error)) => refused(chain(&error)),
            Err(TransportError::Unreachable { .. } | TransportError::Refused { .. }) => None,
            Err(TransportError::Broken { .. } | TransportError::Timeout { .. }) => {
                Some(Err(AdminFailure::Timeout {
                    after: self.options.change_timeout,
                }))
            }
        }
    }

    /// Makes a change as leader; `None` if this node is not the leader.
    pub(super) async fn change_here(&self, change: &Change, until: Instant) -> Asked {
        if !self.is_leader() || self.is_transferring() {
            return None;
        }
        if !matches!(change, Change::Transfer { .. })
            && let Some(unsettled) = self.flatten(until).await
        {
            return unsettled;
        }
        match change {
            Change::AddLearner { id, address } => self.add_here(*id, address, until).await,
            Change::Promote { id } => self.promote_here(*id, until).await,
            Change::Demote { id } => {
                if self.is_learner(*id) {
                    return Some(Ok(()));
                }
                if let Err(failure) = self.check_leaving(*id, false, until).await {
                    return Some(Err(failure));
                }
                let change = ChangeMembers::RemoveVoters(BTreeSet::from([*id]));
                self.ask(change, true, until).await
            }
            Change::Remove { id, force } => {
                let ids = BTreeSet::from([*id]);
                if self.is_learner(*id) {
                    return self
                        .ask(ChangeMembers::RemoveNodes(ids), false, until)
                        .await;
                }
                if let Err(failure) = self.check_leaving(*id, *force, until).await {
                    return Some(Err(failure));
                }
                self.ask(ChangeMembers::RemoveVoters(ids), false, until)
                    .await
            }
            Change::Transfer { to } => self.transfer_here(*to, until).await,
        }
    }

    /// Ends a joint configuration that another leader, or one that was restarted, left behind: what is asked for next
    /// is meant for one set of voters. The answer to give if that does not come about.
    async fn flatten(&self, until: Instant) -> Option<Asked> {
        if !self.with_membership(|membership| membership.get_joint_config().len() > 1) {
            return None;
        }
        let nothing = ChangeMembers::AddVoterIds(BTreeSet::new());
        match self.ask(nothing, true, until).await {
            Some(Ok(())) => None,
            unsettled => Some(unsettled),
        }
    }

    pub(super) fn address_of(&self, id: NodeId) -> Option<NodeAddress> {
        self.with_membership(|membership| membership.get_node(&id).cloned())
    }

    pub(super) fn is_learner(&self, id: NodeId) -> bool {
        self.with_membership(|membership| membership.learner_ids().any(|learner| learner == id))
    }

    pub(super) fn is_voter(&self, id: NodeId) -> bool {
        self.with_membership(|membership| membership.voter_ids().any(|voter| voter == id))
    }

    pub(super) fn voters(&self) -> BTreeSet<NodeId> {
        self.with_membership(|membership| membership.voter_ids().collect())
    }

    fn with_membership<T>(&self, look: impl FnOnce(&Membership) -> T) -> T {
        look(self.raft.metrics().borrow().membership_config.membership())
    }

    async fn add_here(&self, id: NodeId, address: &NodeAddress, until: Instant) -> Asked {
        let known = self.with_membership(|membership| {
            if let Some(present) = membership.get_node(&id) {
                let same = present == address;
                return Some(if same {
                    Ok(())
                } else {
                    Err(AdminFailure::IdUsed { id })
                });
            }
            let there = membership
                .nodes()
                .find(|(_, other)| other.node == address.node);
            there.map(|(other, _)| {
                let reason = format!(
                    "address {} is that of node {other}: remove that node first",
                    address.node
                );
                Err(AdminFailure::Refused { reason })
            })
        });
        if known.is_some() {
            return known;
        }
        match Members::decode(&self.replica.applied().membership) {
            Ok(members) if members.used.contains(&id) => {
                return Some(Err(AdminFailure::IdUsed { id }));
            }
            Ok(_) => {}
            Err(error) => return Some(Err(AdminFailure::Stopped(chain(&error)))),
        }
        let nodes = BTreeMap::from([(id, address.clone())]);
        self.ask(ChangeMembers::AddNodes(nodes), true, until).await
    }

    async fn promote_here(&self, id: NodeId, until: Instant) -> Asked {
        if self.is_voter(id) {
            return Some(Ok(()));
        }
        if !self.is_learner(id) {
            return Some(Err(AdminFailure::UnknownNode { id }));
        }
        let started = Instant::now();
        let near = self.options.caught_up_entries;
        let mut metrics = self.raft.metrics();
        let caught_up = metrics.wait_for(|metrics| {
            metrics.replication.is_none() || behind(metrics, id).is_some_and(|lag| lag <= near)
        });
        let waited = timeout_at(until, caught_up).await;
        match waited {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => {
                return Some(Err(AdminFailure::Stopped(
                    self.stopped().unwrap_or_default(),
                )));
            }
            Err(_) => {
                let behind = behind(&self.raft.metrics().borrow(), id).unwrap_or(u64::MAX);
                let after = started.elapsed();
                return Some(Err(AdminFailure::NotCaughtUp { id, behind, after }));
            }
        }
        drop(waited);
        self.ask(
            ChangeMembers::AddVoterIds(BTreeSet::from([id])),
            true,
            until,
        )
        .await
    }

    /// Whether a voter may lose its vote.
    async fn check_leaving(
        &self,
        id: NodeId,
        force: bool,
        until: Instant,
    ) -> Result<(), AdminFailure> {
        let rest: Vec<(NodeId, NodeAddress)> = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let membership = metrics.membership_config.membership();
            let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
            if !voters.contains(&id) {
                return Err(AdminFailure::UnknownNode { id });
            }
            if voters.len() == 1 {
                return Err(AdminFailure::LastVoter { id });
            }
            let rest = voters.iter().filter(|voter| **voter != id);
            rest.filter_map(|voter| Some((*voter, membership.get_node(voter)?.clone())))
                .collect()
        };
        // Forced or not, the change is committed by a majority of those who stay: without one it would hang halfway.
        let up = join_all(rest.iter().map(async |(id, address)| {
            if force {
                self.answers(*id, address, until).await
            } else {
                self.is_up(*id, address, until).await
            }
        }))
        .await;
        let up = up.into_iter().filter(|up| *up).count();
        let (voters, needed) = (rest.len(), rest.len() / 2 + 1);
        if up < needed {
            return Err(AdminFailure::QuorumAtRisk {
                id,
                up,
                voters,
                needed,
            });
        }
        Ok(())
    }

    /// Whether a voter answers and has nearly all of the log.
    pub(super) async fn is_up(&self, id: NodeId, address: &NodeAddress, until: Instant) -> bool {
        if id == self.options.id {
            return true;
        }
        // A new leader learns only from the first answers how far the others are.
        let mut metrics = self.raft.metrics();
        let close = |lag: u64| lag <= self.options.caught_up_entries;
        let caught_up = metrics.wait_for(|metrics| behind(metrics, id).is_some_and(close));
        let soon = until.min(Instant::now() + self.options.call_timeout);
        if !matches!(timeout_at(soon, caught_up).await, Ok(Ok(_))) {
            return false;
        }
        self.answers(id, address, until).await
    }

    /// Whether a node answers.
    async fn answers(&self, id: NodeId, address: &NodeAddress, until: Instant) -> bool {
        if id == self.options.id {
            return true;
        }
        let left = until
            .saturating_duration_since(Instant::now())
            .min(self.options.call_timeout);
        let Ok(body) = wire::encode(&ReportRequest {
            index: None,
            within: left,
        }) else {
            return false;
        };
        self.transport
            .call(id, address, PeerRpc::Report, body, left)
            .await
            .is_ok()
    }

    /// Asks openraft for a change; `None` if this node does not lead.
    ///
    /// A change of voters takes two steps, and openraft takes the second only while its caller waits. A task waits, so
    /// that a request that is given up does not leave the cluster between them.
    async fn ask(
        &self,
        change: ChangeMembers<NodeId, NodeAddress>,
        retain: bool,
        until: Instant,
    ) -> Asked {
        let started = Instant::now();
        let (raft, stopping) = (self.raft.clone(), self.stopping.clone());
        let changing = self.tasks.spawn(async move {
            tokio::select! {
                changed = raft.change_membership(change, retain) => Some(changed),
                () = stopping.cancelled() => None,
            }
        });
        let changed = match timeout_at(until, changing).await {
            Ok(Ok(Some(changed))) => changed,
            Ok(Ok(None) | Err(_)) => {
                let reason = "this node is shutting down".to_owned();
                return Some(Err(AdminFailure::Stopped(reason)));
            }
            Err(_) => {
                return Some(Err(AdminFailure::Timeout {
                    after: started.elapsed(),
                }));
            }
        };
        match changed {
            Ok(_) => Some(Ok(())),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => None,
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                Some(Err(match error {
                    ChangeMembershipError::InProgress(_) => AdminFailure::InProgress,
                    ChangeMembershipError::EmptyMembership(_) => AdminFailure::LastVoter {
                        id: self.options.id,
                    },
                    ChangeMembershipError::LearnerNotFound(missing) => AdminFailure::UnknownNode {
                        id: missing.node_id,
                    },
                }))
            }
            Err(RaftError::Fatal(error)) => Some(Err(AdminFailure::Stopped(chain(&error)))),
        }
    }
}

/// How many entries a member lacks, as its leader knows.
pub(super) fn behind(metrics: &RaftMetrics, id: NodeId) -> Option<u64> {
    let matched = metrics.replication.as_ref()?.get(&id)?.index();
    let next = |index: Option<u64>| index.map_or(0, |index| index + 1);
    Some(next(metrics.last_log_index).saturating_sub(next(matched)))
}
