//! Recovery: what an interrupted install left behind is finished or forgotten, before anything is served.

use std::collections::BTreeSet;

use pando_model::TreeId;
use pando_storage::{Batch, Laid, Overlay, OverlayId, RowAddress, StoredKey, codec};

use crate::applied::{Applied, StoredApplied};
use crate::error::ReplicaError;
use crate::install::INSTALL_BATCH_ROWS;
use crate::intent::{Intent, Phase};
use crate::replica::Replica;
use crate::stage::stage_overlay;

/// Rows looked at per page.
const PAGE: usize = 512;

impl Replica {
    /// Finishes or forgets an interrupted install.
    ///
    /// APPLYING always rolls forward: the state may be a mixture, and the new one is committed by the cluster. With
    /// STAGED the old state is whole. As long as the log goes on from it, the intent is dropped (the staged rows
    /// stay, for the next session); if the log was purged past it, only the new state leads on, and it rolls forward.
    /// An intent that the log has overtaken since is dropped: applied never goes back.
    pub(crate) fn recover_install(&self, log_purged: Option<u64>) -> Result<(), ReplicaError> {
        let store = self.store.as_ref();
        let Some(intent) = Intent::read(store, self.options.group)? else {
            return Ok(());
        };
        let (phase, base) = (intent.phase, intent.base);
        if phase == Phase::Installed {
            // As many heads as the install had rows: cleared like other garbage, not before the start goes on.
            self.writer.lock().overlays.push(OverlayId::STAGE);
            return Ok(());
        }
        let (applied, trees) = intent.into_target()?;
        let at = self.stored_applied()?.and_then(|stored| stored.position);
        let log_goes_on = log_purged.is_none_or(|purged| at.is_some_and(|at| purged <= at.index));
        let overtaken = at.is_some_and(|at| at.index >= applied.index());
        if phase == Phase::Staged && (log_goes_on || overtaken) {
            Intent::clear(store, self.options.group)?;
            return Ok(store.flush()?);
        }
        tracing::warn!(
            index = applied.index(),
            ?phase,
            "an install was interrupted: rolling it forward"
        );
        if phase == Phase::Staged {
            self.stage_deletes_since(base, &trees)?;
            let mut batch = Batch::new();
            Intent::new(Phase::Applying, &applied, &trees, base)
                .put(&mut batch, self.options.group);
            store.apply(batch)?;
            store.flush()?;
        }
        self.roll_forward(&applied, &trees)
    }

    /// Lays down deletes for keys that were written after the stage was verified and are not in it.
    fn stage_deletes_since(&self, base: u64, trees: &[TreeId]) -> Result<(), ReplicaError> {
        let store = self.store.as_ref();
        let overlay = stage_overlay(self);
        for tree in trees {
            let mut after = None;
            loop {
                let page = self.rows.digest_page(store, *tree, after, PAGE)?;
                let Some((last, _)) = page.last() else { break };
                after = Some(*last);
                let mut batch = Batch::new();
                for (key, digest) in page {
                    let at = RowAddress::new(*tree, key);
                    if digest.leaf().index > base && overlay.head(store, at)?.is_none() {
                        overlay.delete(&mut batch, at);
                    }
                }
                store.apply(batch)?;
            }
        }
        Ok(())
    }

    /// Applies the whole stage. Done twice it comes to the same, so a crash in its middle costs nothing.
    fn roll_forward(&self, applied: &Applied, trees: &[TreeId]) -> Result<(), ReplicaError> {
        let store = self.store.as_ref();
        let overlay = stage_overlay(self);
        let kept: BTreeSet<TreeId> = trees.iter().copied().collect();
        let mut after = None;
        loop {
            let page = overlay.head_page(store, after, INSTALL_BATCH_ROWS)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            let mut batch = Batch::new();
            for (at, laid) in page.into_iter().filter(|(at, _)| kept.contains(&at.tree)) {
                let put = match &laid {
                    Laid::Put(staged) => Some(staged),
                    Laid::Delete => None,
                };
                self.install_row(&mut batch, at, put, applied.index())?;
            }
            store.apply(batch)?;
        }
        let mut meta = Batch::new();
        let value = codec::encode(&StoredApplied::from(applied));
        meta.put(StoredKey::Meta.encode(self.options.group), value);
        store.apply(meta)?;
        store.flush()?;
        self.clear_stage()
    }

    /// Removes what views and installs of the last process have left.
    pub(crate) fn clear_leftovers(&self) -> Result<(), ReplicaError> {
        let (group, store) = (self.options.group, self.store.as_ref());
        let page = |batch: &mut Batch| Overlay::take_leftover_page(group, store, batch, PAGE);
        while self.clear_overlay_page(OverlayId::REPLACED, page)? > 0 {}
        Ok(())
    }
}
