//! Mending: damaged rows are written anew, from what another replica has under the same digest.
//!
//! A row is asked for by its digest, checked against it, and written only while the tree still names that digest. So
//! whoever answers cannot bring in anything that is not in this replica's state already.

use pando_merkle::{Digest, leaf_digest, value_digest};
use pando_model::Row;
use pando_storage::{Batch, RowAddress};
use pando_sync::row_bytes;

use crate::error::ReplicaError;
use crate::replica::Replica;

/// A row that is wanted: where it is, and the digest it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedRow {
    /// Its tree and its key.
    pub at: RowAddress,
    /// Its leaf's digest.
    pub digest: Digest,
}

/// What came of a row that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    /// It is written.
    Written,
    /// The state has moved on, or the row was sound: nothing to mend.
    NotNeeded,
    /// It is not the row that is wanted.
    Wrong,
}

impl Replica {
    /// Damaged rows behind an address, and from the beginning again when there are no more. What the state does not name
    /// any more, and what storage gives after all, is forgotten.
    ///
    /// # Errors
    /// When storage fails.
    pub fn wanted_rows(
        &self,
        after: Option<RowAddress>,
        limit: usize,
    ) -> Result<Vec<WantedRow>, ReplicaError> {
        let mut wanted = Vec::new();
        for at in self.damage.behind(after, limit) {
            let digest = self.state.read().leaf(at).map(|leaf| leaf.digest);
            match digest {
                Some(digest) if !self.is_stored(at, &digest)? => {
                    wanted.push(WantedRow { at, digest });
                }
                Some(_) | None => self.damage.forget(at),
            }
        }
        Ok(wanted)
    }

    /// The rows that are stored here under exactly these digests, in the same order, read and checked. Ends early, with
    /// `None` for the rest, once they hold more than `bytes_max`.
    ///
    /// # Errors
    /// When storage fails; a row that is damaged here, too, is not an error.
    pub fn rows_of(
        &self,
        wanted: &[WantedRow],
        bytes_max: usize,
    ) -> Result<Vec<Option<Row>>, ReplicaError> {
        let mut bytes = 0;
        let row = |wanted: &WantedRow| {
            if bytes > bytes_max {
                return Ok(None);
            }
            let stored = match self.rows.get(self.store.as_ref(), wanted.at) {
                Ok(stored) => stored,
                Err(error) if error.is_rot() => {
                    self.damage.mark(wanted.at);
                    None
                }
                Err(error) => return Err(error.into()),
            };
            let stored = stored.filter(|stored| stored.leaf.digest == wanted.digest);
            Ok(stored.map(|stored| {
                bytes += stored.row.id.len() + stored.row.content.len();
                stored.row
            }))
        };
        wanted.iter().map(row).collect()
    }

    /// Writes a row that another replica has given for a damaged one, if it is the one wanted and still wanted.
    ///
    /// # Errors
    /// When storage fails.
    pub fn mend(&self, wanted: WantedRow, row: &Row) -> Result<Mended, ReplicaError> {
        let found = leaf_digest(&row.id, &row.version, &value_digest(&row.content));
        if found != wanted.digest {
            return Ok(Mended::Wrong);
        }
        let at = wanted.at;
        // Loading may wait for this row.
        let writer = self.writer_unloaded()?;
        let leaf = self.state.read().leaf(at).copied();
        let Some(leaf) = leaf.filter(|leaf| leaf.digest == wanted.digest) else {
            // Written anew since, or gone: if what is there now is damaged, it is found again.
            self.damage.forget(at);
            return Ok(Mended::NotNeeded);
        };
        if self.is_stored(at, &leaf.digest)? {
            self.damage.forget(at);
            return Ok(Mended::NotNeeded);
        }
        let mut batch = Batch::new();
        self.rows.put(&mut batch, at, row, &leaf)?;
        self.store.apply(batch)?;
        self.damage.mended(at);
        drop(writer);
        self.load_mended(at, row, leaf)?;
        Ok(Mended::Written)
    }

    /// Whether storage gives the row of this digest, with hints beside it that the next start takes.
    pub(crate) fn is_stored(&self, at: RowAddress, digest: &Digest) -> Result<bool, ReplicaError> {
        match self.rows.get(self.store.as_ref(), at) {
            Ok(stored) => Ok(stored.is_some_and(|stored| {
                stored.leaf.digest == *digest
                    && u64::from(stored.leaf.bytes) == row_bytes(&stored.row)
                    && stored.leaf.index <= self.latest.read().index()
            })),
            Err(error) if error.is_rot() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
