//! The vectors themselves, for searches of an index that keeps less of them: from the records that the tree names.

use std::borrow::Borrow;
use std::sync::Arc;

use pando_index::{Originals, PointVersion, SearchError, Unavailable};
use pando_model::{ReadError, SearchQuery, VectorName};
use parking_lot::Mutex;

use super::search::check;
use super::{Patience, Unread, named};
use crate::collection::Collection;
use crate::replica::Replica;
use crate::vector_cache::Vectors;

/// The stored vectors of a collection, as the state has it that is being read.
///
/// Index and tree are of one state, so a row that has the leaf the tree names is of the version the index has. Another
/// one is refused and its read is torn, like any other that saw a commit halfway.
struct StoredVectors<'a> {
    replica: &'a Replica,
    collection: &'a Collection,
    /// Asked before each, too: there may be as many as points, where these are all alike.
    patience: Patience<'a>,
    /// Why the first read that failed did: the index knows only words for it.
    unread: Mutex<Option<Unread>>,
}

impl StoredVectors<'_> {
    fn vectors(&self, point: PointVersion) -> Result<Vectors, Unread> {
        check(self.patience)?;
        let PointVersion {
            id,
            version,
            number,
        } = point;
        let cache = &self.replica.vector_cache;
        if let Some(vectors) = cache.get(number) {
            return Ok(vectors);
        }
        let (at, leaf) = named(self.collection, id)?;
        let record = self.replica.record(at, leaf, id, version)?;
        let vectors = Arc::new(record.vectors);
        cache.put(number, Arc::clone(&vectors));
        Ok(vectors)
    }
}

impl Originals for StoredVectors<'_> {
    fn with(
        &self,
        point: PointVersion,
        name: &VectorName,
        use_it: &mut dyn FnMut(&[f32]),
    ) -> Result<bool, Unavailable> {
        let vectors = self.vectors(point).map_err(|unread| {
            let unavailable = Unavailable(unread.to_string());
            self.unread.lock().get_or_insert(unread);
            unavailable
        })?;
        Ok(vectors.get(name).inspect(|vector| use_it(vector)).is_some())
    }

    fn is_waited_for(&self) -> bool {
        (self.patience)()
    }
}

impl Replica {
    /// What the index of a collection finds.
    pub(super) fn search_index(
        &self,
        collection: &Collection,
        queries: &[impl Borrow<SearchQuery>],
        patience: Patience<'_>,
    ) -> Result<Vec<pando_index::Searched>, Unread> {
        let originals = StoredVectors {
            replica: self,
            collection,
            patience,
            unread: Mutex::new(None),
        };
        let error = match collection.index.search_planned(queries, &originals) {
            Ok(searched) => return Ok(searched),
            Err(error) => error,
        };
        Err(match error {
            SearchError::Invalid(invalid) => invalid.into(),
            SearchError::GivenUp => ReadError::OutOfTime.into(),
            SearchError::Original { .. } => {
                let detail = error.to_string();
                let unread = originals.unread.into_inner();
                unread.unwrap_or(Unread::Error(ReadError::Storage { detail }))
            }
        })
    }
}
