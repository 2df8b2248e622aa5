//! Faults for tests: a replica that differs from its peers while it agrees with itself, as a defect in apply, or a bit
//! that flipped in memory, would leave it. Does nothing in a program that is not built for tests.

use crate::applied::{ApplyEntry, ApplyPayload};

/// The entry as it is applied here. With the fail point `apply::diverge`, the points of an upsert get a payload field that
/// the peers do not have.
pub(crate) fn as_applied(entry: ApplyEntry) -> ApplyEntry {
    if let ApplyPayload::Command(proposal) = &entry.payload
        && let pando_model::Command::Upsert { .. } = proposal.command
    {
        // Whole in here: without fail points it is nothing, and uses nothing.
        fail::fail_point!("apply::diverge", |_| {
            let mut altered = entry.clone();
            if let ApplyPayload::Command(proposal) = &mut altered.payload
                && let pando_model::Command::Upsert { points, .. } = &mut proposal.command
            {
                for point in points {
                    let mark = pando_model::Value::Bool(true);
                    point.payload.0.insert("diverged".to_owned(), mark);
                }
            }
            altered
        });
    }
    entry
}

#[cfg(any(test, feature = "testing"))]
mod by_hand {
    use pando_model::Proposal;

    use super::{ApplyEntry, ApplyPayload};
    use crate::error::ReplicaError;
    use crate::plan::plan;
    use crate::replica::Replica;

    impl Replica {
        /// Makes this replica differ from its peers, as if it had applied this command at the index it is at: rows, digests,
        /// trees and root agree with each other, and with nobody else.
        ///
        /// # Errors
        /// When storage fails, or nothing was applied yet.
        pub fn diverge(&self, proposal: Proposal) -> Result<(), ReplicaError> {
            let mut writer = self.writer()?;
            let applied = self.applied();
            let position = applied.position.ok_or(ReplicaError::Poisoned)?;
            let entry = ApplyEntry {
                position,
                payload: ApplyPayload::Command(proposal),
            };
            let plan = {
                let state = self.state.read();
                plan(&state, self.store.as_ref(), self.rows, &self.times, &entry)?
            };
            self.commit(&mut writer, plan.changes, position, applied.membership)
        }
    }
}
