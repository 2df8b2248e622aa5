//! What the leader wrote since the follower's log index, as it comes. Hints found it: the root check decides.

use pando_merkle::BUCKET_MAX;
use pando_model::Row;

use super::Staged;
use super::pending::{Drop, Pending};
use super::session::Session;
use crate::error::SyncError;
use crate::message::Kept;
use crate::stats::Stats;

impl Session {
    pub(super) fn on_since(
        &mut self,
        id: u64,
        (puts, kept, done): (Vec<Row>, Vec<Kept>, bool),
        stage: &mut Vec<Staged>,
        stats: &mut Stats,
    ) -> Result<(), SyncError> {
        let what = "rows";
        let Some(Pending::Since {
            tree,
            mut wanted,
            mut last_kept,
        }) = self.outstanding.remove(&id)
        else {
            return Err(SyncError::NotRequested { what, id });
        };
        let invalid = |rule| Err(SyncError::Part { id, rule });
        if puts.is_empty() && kept.is_empty() && !done {
            return invalid("it goes on with a part that says nothing");
        }
        for row in puts {
            self.put(tree, &mut wanted, row, stage, stats)?;
        }
        for kept in kept {
            if !wanted.prefix.covers(&kept.prefix) {
                return invalid("a bucket does not lie under the prefix asked for");
            }
            if last_kept.is_some_and(|last| last >= kept.prefix) {
                return invalid("a bucket is repeated, or out of order");
            }
            if kept.tags.len() > BUCKET_MAX {
                return invalid("a bucket holds more than 32 leaves");
            }
            last_kept = Some(kept.prefix);
            self.drops.push((tree, Drop::from(kept)));
        }
        self.reach(tree, &mut wanted, done);
        if !done {
            let pending = Pending::Since {
                tree,
                wanted,
                last_kept,
            };
            self.outstanding.insert(id, pending);
        }
        Ok(())
    }
}
