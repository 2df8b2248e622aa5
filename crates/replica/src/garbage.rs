//! Garbage: what dropped views, installs and dropped collections have left in storage.
//!
//! An entry clears as many rows as it changes, so that garbage never grows faster than it is cleared and no entry pays
//! for what others have left: a row is asked after, and deleted, at a place of its own, a quarter of a millisecond. The
//! rest is cleared beside the writes. What a process leaves behind, the next one finds when it starts.

use pando_merkle::Key;
use pando_model::TreeId;
use pando_storage::{
    Batch, DigestRow, Laid, Overlay, OverlayId, RowAddress, StorageError, StoredKey,
};

use crate::error::ReplicaError;
use crate::intent::Intent;
use crate::replica::{Replica, Writer};
use crate::stage::stage_overlay;
use crate::state::State;

/// Rows cleared at a time beside the writes, which wait that long: some milliseconds.
const ROWS_PER_TIDY: usize = 32;

impl Replica {
    /// Clears a little of what dropped views, installs and dropped collections have left in storage; writes do as much
    /// by themselves. Returns whether there may be more. Holds writers up for a few milliseconds.
    ///
    /// # Errors
    /// When storage fails.
    pub fn tidy(&self) -> Result<bool, ReplicaError> {
        let mut writer = self.writer()?;
        self.or_poison(|| self.clear_garbage(&mut writer, ROWS_PER_TIDY))
    }

    /// Clears up to so many rows, by the writer. Returns whether there may be more.
    pub(crate) fn clear_garbage(
        &self,
        writer: &mut Writer,
        rows: usize,
    ) -> Result<bool, ReplicaError> {
        writer.overlays.extend(self.views.take_garbage());
        let mut left = rows;
        while left > 0 {
            match self.clear_one_page(writer, left)? {
                0 => return Ok(false),
                cleared => left = left.saturating_sub(cleared),
            }
        }
        Ok(true)
    }

    /// Clears one page of at most so many rows, if there is one that may go. Returns how many were cleared.
    fn clear_one_page(&self, writer: &mut Writer, rows: usize) -> Result<usize, ReplicaError> {
        let store = self.store.as_ref();
        while let Some(id) = writer.overlays.last() {
            let overlay = Overlay::new(self.options.group, *id);
            let page = |batch: &mut Batch| overlay.take_page(store, batch, rows);
            match self.clear_overlay_page(*id, page)? {
                0 => {}
                cleared => return Ok(cleared),
            }
            if *id == OverlayId::STAGE {
                Intent::clear(store, self.options.group)?;
            }
            writer.overlays.pop();
        }
        while let Some(at) = (writer.dropped.iter()).position(|tree| !self.views.holds(*tree)) {
            let page = |batch: &mut Batch| {
                self.rows
                    .delete_page(store, batch, writer.dropped[at], rows)
            };
            match self.clear_page(page)? {
                0 => {}
                cleared => return Ok(cleared),
            }
            writer.dropped.remove(at);
        }
        Ok(0)
    }

    /// Clears a page of heads, and the content they name where nobody else reads it: it is not a row's, no living
    /// view's, and not staged (unless it is the stage that is cleared). Returns how many heads.
    pub(crate) fn clear_overlay_page(
        &self,
        cleared: OverlayId,
        page: impl FnOnce(&mut Batch) -> Result<Vec<(RowAddress, Laid<DigestRow>)>, StorageError>,
    ) -> Result<usize, ReplicaError> {
        let store = self.store.as_ref();
        let stage = stage_overlay(self);
        let mut batch = Batch::new();
        let page = page(&mut batch)?;
        for (at, laid) in &page {
            let Laid::Put(digest) = laid else { continue };
            // Read only where it decides something: an overlay can hold as many heads as a full copy has rows.
            let staged = match cleared {
                OverlayId::STAGE => None,
                _ => match stage.head(store, *at)? {
                    Some(Laid::Put(staged)) => Some(staged),
                    Some(Laid::Delete) | None => None,
                },
            };
            if staged.is_none_or(|staged| staged.digest() != digest.digest()) {
                self.delete_unread(&mut batch, *at, digest)?;
            }
        }
        store.apply(batch)?;
        Ok(page.len())
    }

    /// Adds the deletes of content that is neither a row's nor a living view's. By the writer: nobody else makes it one.
    pub(crate) fn delete_unread(
        &self,
        batch: &mut Batch,
        at: RowAddress,
        digest: &DigestRow,
    ) -> Result<(), ReplicaError> {
        let row = self.rows.digest(self.store.as_ref(), at)?;
        if row.is_none_or(|row| row.digest() != digest.digest())
            && !self.views.reads(at, &digest.digest())
        {
            self.rows.delete_content(batch, at, digest);
        }
        Ok(())
    }

    fn clear_page(
        &self,
        page: impl FnOnce(&mut Batch) -> Result<usize, StorageError>,
    ) -> Result<usize, ReplicaError> {
        let mut batch = Batch::new();
        let cleared = page(&mut batch)?;
        self.store.apply(batch)?;
        Ok(cleared)
    }

    /// Clears page after page until nothing is left.
    pub(crate) fn clear_pages(
        &self,
        page: impl Fn(&mut Batch) -> Result<usize, StorageError>,
    ) -> Result<(), ReplicaError> {
        while self.clear_page(&page)? > 0 {}
        Ok(())
    }

    /// The stored trees that the state does not have: of collections dropped shortly before the last process ended.
    pub(crate) fn orphans(&self, state: &State) -> Result<Vec<TreeId>, ReplicaError> {
        let first = Key::from_bytes([0; 16]);
        let last = Key::from_bytes([u8::MAX; 16]);
        let address =
            |tree, key| StoredKey::Digest(RowAddress::new(tree, key)).encode(self.options.group);
        let mut prefix = address(TreeId::SYSTEM, first);
        prefix.truncate(prefix.len() - size_of::<TreeId>() - size_of::<Key>());
        let mut orphans = Vec::new();
        let mut after = address(TreeId::SYSTEM, last);
        loop {
            let next = self.store.scan(&prefix, Some(&after), 1)?;
            let Some((key, _)) = next.first() else {
                return Ok(orphans);
            };
            let (_, key) = StoredKey::decode(key).map_err(StorageError::from)?;
            let Some(at) = key.address() else {
                return Ok(orphans);
            };
            if !state.collections.contains_key(&at.tree) {
                orphans.push(at.tree);
            }
            after = address(at.tree, last);
        }
    }
}
