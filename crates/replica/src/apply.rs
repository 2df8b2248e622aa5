//! Apply: log entries in, results out.

use std::time::Instant;

use pando_model::WriteResult;

use crate::applied::{ApplyEntry, ApplyPayload};
use crate::diverge::as_applied;
use crate::error::ReplicaError;
use crate::plan::plan;
use crate::replica::{Replica, Writer};
use crate::times::Part;

impl Replica {
    /// Applies entries in log order. Each is one atomic storage batch; its result is the same on every replica.
    /// Nothing is durable before [`Replica::make_durable`]: until then the log holds it.
    ///
    /// # Errors
    /// When storage fails or an entry is out of order. The replica is then unusable until it is opened anew.
    pub fn apply(&self, entries: Vec<ApplyEntry>) -> Result<Vec<WriteResult>, ReplicaError> {
        let mut writer = self.writer()?;
        entries
            .into_iter()
            .map(|entry| self.or_poison(|| self.apply_one(&mut writer, entry)))
            .collect()
    }

    fn apply_one(
        &self,
        writer: &mut Writer,
        entry: ApplyEntry,
    ) -> Result<WriteResult, ReplicaError> {
        let entry = as_applied(entry);
        // Nobody else writes the state while the writer's place is taken: reading it twice is reading it once.
        let (plan, membership) = {
            let state = self.state.read();
            let applied = state.applied.index();
            if state.applied.position.is_some() && entry.position.index <= applied {
                return Err(ReplicaError::OutOfOrder {
                    index: entry.position.index,
                    applied,
                });
            }
            let (begun, hashed) = (Instant::now(), self.times.get(Part::Tree));
            let plan = plan(&state, self.store.as_ref(), self.rows, &self.times, &entry)?;
            let hashing = self.times.get(Part::Tree) - hashed;
            self.times
                .add(Part::Plan, begun.elapsed().saturating_sub(hashing));
            let membership = match entry.payload {
                ApplyPayload::Membership(bytes) => bytes,
                ApplyPayload::Blank | ApplyPayload::Command(_) => state.applied.membership.clone(),
            };
            (plan, membership)
        };
        self.commit(writer, plan.changes, entry.position, membership)?;
        Ok(plan.result)
    }
}
