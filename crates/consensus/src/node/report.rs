//! What a node says about itself and the members it knows.

use std::collections::BTreeSet;

use openraft::{LogIdOptionExt, ServerState};
use pando_model::NodeId;

use crate::address::NodeAddress;
use crate::node::{Node, known_leader, stop_reason};
use crate::session::Progress;
use crate::status::{
    CatchUpCounters, MemberStatus, NodeState, NodeStatus, Role, SyncFigures, SyncStatus,
};
use crate::types::RaftMetrics;

impl Node {
    /// The Raft term this node is in.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.raft.metrics().borrow().current_term
    }

    /// Waits until the members are not these, or are elsewhere; returns them, in the order of their ids.
    pub async fn members_other_than(
        &self,
        known: &[(NodeId, NodeAddress)],
    ) -> Vec<(NodeId, NodeAddress)> {
        let mut changes = self.raft.server_metrics();
        loop {
            let members: Vec<_> = (changes.borrow_and_update().membership_config.nodes())
                .map(|(id, address)| (*id, address.clone()))
                .collect();
            if members != known {
                return members;
            }
            if changes.changed().await.is_err() {
                // The core has ended: nothing changes any more.
                return std::future::pending().await;
            }
        }
    }

    /// This node's status.
    pub async fn status(&self) -> NodeStatus {
        let committed = self.raft.with_raft_state(|state| state.committed).await;
        let metrics = self.raft.metrics().borrow().clone();
        let applied = self.replica.applied();
        let log = self.log.size();
        NodeStatus {
            id: self.options.id,
            role: role(metrics.state),
            term: metrics.current_term,
            leader: known_leader(&metrics),
            last_log: metrics.last_log_index,
            committed: committed.ok().flatten().index(),
            applied: applied.position.map(|position| position.index),
            snapshot: metrics.snapshot.index(),
            purged: metrics.purged.index(),
            log_entries: log.entries,
            log_bytes: log.bytes,
            root: applied.root,
            state: self.state(&metrics),
            members: members(&metrics),
            catch_up: self.catch_up(),
            views_served: self.views.len(),
            scrub: self.scrub.status(&self.replica),
            sync: self.sync_figures(),
            trust: self.trust.status(),
        }
    }

    fn state(&self, metrics: &RaftMetrics) -> NodeState {
        let waiting = |reason: &str| NodeState::Waiting {
            reason: reason.to_owned(),
        };
        if let Some(reason) = stop_reason(metrics) {
            let repair = None;
            return NodeState::Quarantined { reason, repair };
        }
        if let Some(found) = self.trust.quarantine() {
            let reason = found.reason();
            let repair = self.progress.running();
            return NodeState::Quarantined { reason, repair };
        }
        if let Some(running) = self.progress.running() {
            return NodeState::Syncing(running);
        }
        if self.replica.is_installing() {
            return NodeState::Syncing(SyncStatus {
                installing: true,
                ..SyncStatus::default()
            });
        }
        if let Some((done, total)) = self.replica.load_progress() {
            return waiting(&format!("it is loading its points, {done} of {total}"));
        }
        if metrics.membership_config.nodes().next().is_none() {
            return waiting("it is not a member of a cluster yet");
        }
        if metrics.current_leader.is_none() {
            return waiting("it knows no leader");
        }
        NodeState::Serving
    }

    fn sync_figures(&self) -> SyncFigures {
        let progress = &self.progress;
        let outcomes = &progress.outcomes;
        SyncFigures {
            row_bytes: Progress::get(&progress.row_bytes),
            metadata_bytes: Progress::get(&progress.metadata_bytes),
            served_bytes: Progress::get(&progress.bytes_served),
            reruns: Progress::get(&progress.reruns),
            fallbacks: Progress::get(&progress.fallbacks),
            needless: Progress::get(&outcomes.needless),
            failed: Progress::get(&outcomes.failed),
            streams_served: Progress::get(&outcomes.served),
            streams_cut: Progress::get(&outcomes.cut),
            waiting: self.outgoing.waiting(),
            throttled: self.outgoing.limit.waited(),
            log: self.book.figures(),
        }
    }

    fn catch_up(&self) -> CatchUpCounters {
        let progress = &self.progress;
        let (count, last) = progress.finished();
        CatchUpCounters {
            log_entries_replayed: Progress::get(&progress.replayed),
            delta_sessions: Progress::get(&progress.sessions),
            resumed: Progress::get(&progress.resumed),
            rows_put: Progress::get(&progress.rows_put),
            rows_deleted: Progress::get(&progress.rows_deleted),
            sync_bytes_in: Progress::get(&progress.bytes_in),
            sync_bytes_out: Progress::get(&progress.bytes_out),
            count,
            last,
        }
    }
}

fn role(state: ServerState) -> Role {
    match state {
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Stopped,
    }
}

fn members(metrics: &RaftMetrics) -> Vec<MemberStatus> {
    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
    let matched = |id: &NodeId| {
        let of_leader = metrics.replication.as_ref()?;
        if *id == metrics.id {
            metrics.last_log_index
        } else {
            of_leader.get(id)?.index()
        }
    };
    membership
        .nodes()
        .map(|(id, address)| MemberStatus {
            id: *id,
            address: address.clone(),
            voter: voters.contains(id),
            matched: matched(id),
        })
        .collect()
}
