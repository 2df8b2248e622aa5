//! Reads: what a client asks, answered from one committed state.
//!
//! A commit reaches storage shortly before it is shown. So a row read from storage counts only if it is the one that
//! the tree names; if it is not, the read saw a commit halfway and is repeated with the writer held off.

mod fields;
mod groups;
mod hybrid;
mod originals;
mod plan;
mod search;

use std::fmt;
use std::sync::Arc;

use pando_merkle::Leaf;
use pando_model::{
    CollectionInfo, CollectionName, CountQuery, Definition, PointId, ReadError, Record, ScrollPage,
    ScrollQuery, Stamp, StoredPoint, WithVectors,
};
use pando_storage::{DigestRow, RowAddress, StorageError};

use crate::collection::Collection;
use crate::replica::Replica;
use crate::state::State;

pub use search::Patience;

/// Why a read came to nothing.
pub(crate) enum Unread {
    /// A row in storage is not the one the state names.
    Torn(RowAddress),
    Error(ReadError),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn(at) => {
                let (key, tree) = (at.key, at.tree);
                write!(
                    f,
                    "row {key:?} of tree {tree} is not the one the state names"
                )
            }
            Self::Error(error) => write!(f, "{error}"),
        }
    }
}

impl<E: Into<ReadError>> From<E> for Unread {
    fn from(e: E) -> Self {
        Self::Error(e.into())
    }
}

impl Replica {
    /// The definition behind a name or an alias.
    ///
    /// # Errors
    /// When there is none, or nothing is served.
    pub fn resolve(&self, name: &CollectionName) -> Result<Arc<Definition>, ReadError> {
        Ok(Arc::clone(&self.readable()?.collection(name)?.definition))
    }

    /// All collections by name.
    ///
    /// # Errors
    /// When nothing is served.
    pub fn collections(&self) -> Result<Vec<CollectionInfo>, ReadError> {
        let state = self.readable()?;
        let collections = state.catalogue.collections.values();
        let collections = collections.filter_map(|d| state.collections.get(&d.tree));
        Ok(collections.map(|c| info(&state, c)).collect())
    }

    /// One collection.
    ///
    /// # Errors
    /// When there is none, or nothing is served.
    pub fn collection(&self, name: &CollectionName) -> Result<CollectionInfo, ReadError> {
        let state = self.readable()?;
        Ok(info(&state, state.collection(name)?))
    }

    /// All aliases and their collections.
    ///
    /// # Errors
    /// When nothing is served.
    pub fn aliases(&self) -> Result<Vec<(CollectionName, CollectionName)>, ReadError> {
        let state = self.readable()?;
        Ok(state
            .catalogue
            .aliases
            .iter()
            .map(|(a, c)| (a.clone(), c.clone()))
            .collect())
    }

    /// The points of these ids that exist, in the order of the ids.
    ///
    /// # Errors
    /// When the collection does not exist, or storage fails.
    pub fn get(
        &self,
        name: &CollectionName,
        ids: &[PointId],
        with_payload: bool,
        with_vectors: &WithVectors,
    ) -> Result<Vec<StoredPoint>, ReadError> {
        self.read(|state| {
            let collection = state.collection(name)?;
            let points = ids
                .iter()
                .map(|id| self.point(collection, *id, with_payload, with_vectors));
            points.filter_map(Result::transpose).collect()
        })
    }

    /// A page of points in id order.
    ///
    /// # Errors
    /// When the collection does not exist, the query is bad, or storage fails.
    pub fn scroll(
        &self,
        name: &CollectionName,
        query: &ScrollQuery,
    ) -> Result<ScrollPage, ReadError> {
        query.validate()?;
        self.read(|state| {
            let collection = state.collection(name)?;
            let (ids, next) =
                (collection.index).scroll(query.filter.as_ref(), query.from, query.limit);
            let points = ids
                .into_iter()
                .map(|id| self.point(collection, id, query.with_payload, &query.with_vectors));
            let points = points
                .filter_map(Result::transpose)
                .collect::<Result<_, _>>()?;
            Ok(ScrollPage { points, next })
        })
    }

    /// How many points pass.
    ///
    /// # Errors
    /// When the collection does not exist or the filter is malformed.
    pub fn count(&self, name: &CollectionName, query: &CountQuery) -> Result<u64, ReadError> {
        if let Some(filter) = &query.filter {
            filter.validate()?;
        }
        let state = self.readable()?;
        Ok(state.collection(name)?.index.count(query.filter.as_ref()))
    }

    /// Reads from one state, whole.
    fn read<T>(&self, mut read: impl FnMut(&State) -> Result<T, Unread>) -> Result<T, ReadError> {
        match read(&*self.readable()?) {
            Ok(value) => return Ok(value),
            Err(Unread::Error(error)) => return Err(error),
            Err(Unread::Torn(_)) => {}
        }
        let _writer = self.writer().map_err(|e| ReadError::NotServing {
            reason: e.to_string(),
        })?;
        read(&*self.readable()?).map_err(|unread| match unread {
            Unread::Error(error) => error,
            Unread::Torn(at) => {
                self.damage.mark(at);
                ReadError::Storage {
                    detail: format!(
                        "row {:?} of tree {} is damaged here and is being mended from another replica; try again \
                         in a moment or ask another node",
                        at.key, at.tree
                    ),
                }
            }
        })
    }

    /// One point, if it exists. Payload and version are in memory; vectors are read from the content that the tree
    /// names, so that an install, which changes storage first, disturbs no reader.
    fn point(
        &self,
        collection: &Collection,
        id: PointId,
        with_payload: bool,
        with_vectors: &WithVectors,
    ) -> Result<Option<StoredPoint>, Unread> {
        let Some((version, payload)) = collection.index.stored(id) else {
            return Ok(None);
        };
        let (vectors, sparse_vectors) = match with_vectors {
            WithVectors::None => Default::default(),
            WithVectors::All => {
                let (at, leaf) = named(collection, id)?;
                let record = self.record(at, leaf, id, version)?;
                (record.vectors, record.sparse_vectors)
            }
        };
        let payload = with_payload.then(|| payload.decode()).transpose();
        let payload = payload.map_err(|e| broken(&e))?;
        Ok(Some(StoredPoint {
            id,
            version,
            payload,
            vectors,
            sparse_vectors,
        }))
    }

    /// The stored record of a point that the index has at this version: the one that [`named`] tells, checked.
    pub(crate) fn record(
        &self,
        at: RowAddress,
        leaf: &Leaf,
        id: PointId,
        version: Stamp,
    ) -> Result<Record, Unread> {
        let digest = DigestRow::of_leaf(id.to_bytes(), version.to_bytes(), leaf);
        let digest = digest.map_err(|e| broken(&e))?;
        // Not there is perhaps a commit's doing, which deletes what it replaces before it is shown.
        let stored = self.rows.read(self.store.as_ref(), at, digest);
        let row = stored.map_err(|e| unread(at, &e))?.row;
        Ok(Record::decode(&row.content).map_err(|e| broken(&e))?)
    }
}

/// Where the row of a point of the index is, and the leaf that the tree has for it.
pub(crate) fn named(collection: &Collection, id: PointId) -> Result<(RowAddress, &Leaf), Unread> {
    let at = RowAddress::new(collection.definition.tree, collection.key(id));
    let leaf = collection.tree.get(&at.key).ok_or(Unread::Torn(at))?;
    Ok((at, leaf))
}

fn broken(error: &dyn fmt::Display) -> ReadError {
    ReadError::Storage {
        detail: error.to_string(),
    }
}

/// A row that is rotten is read again with the writer held off before it counts as damaged.
fn unread(at: RowAddress, error: &StorageError) -> Unread {
    if error.is_rot() {
        return Unread::Torn(at);
    }
    Unread::Error(broken(error))
}

fn info(state: &State, collection: &Collection) -> CollectionInfo {
    let name = &collection.definition.name;
    let aliases = state
        .catalogue
        .aliases
        .iter()
        .filter(|(_, target)| *target == name);
    CollectionInfo {
        definition: Definition::clone(&collection.definition),
        aliases: aliases.map(|(alias, _)| alias.clone()).collect(),
        points: collection.tree.len(),
        bytes: collection.tree.bytes(),
        root: collection.root.0,
    }
}
