//! Reads: what a client asks, answered from the last committed state.

use std::sync::Arc;

use pando_model::{
    CollectionInfo, CollectionName, CountQuery, Definition, Hit, PointId, ReadError, Record,
    ScrollPage, ScrollQuery, SearchQuery, Stamp, StoredPoint, WithVectors,
};
use pando_storage::RowAddress;

use crate::collection::Collection;
use crate::replica::Replica;
use crate::state::State;

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

    /// The nearest points to each query's vector.
    ///
    /// # Errors
    /// When a query does not fit the collection, or storage fails.
    pub fn search(
        &self,
        name: &CollectionName,
        mut queries: Vec<SearchQuery>,
    ) -> Result<Vec<Vec<Hit>>, ReadError> {
        let state = self.readable()?;
        let collection = state.collection(name)?;
        for query in &mut queries {
            query.validate()?;
            collection
                .definition
                .schema
                .normalise(&query.vector_name, &mut query.vector)?;
        }
        let found = collection.index.search(&queries)?;
        let hits = queries.iter().zip(found).map(|(query, scored)| {
            let mut hits = Vec::with_capacity(scored.len());
            for scored in scored {
                let point = self.point(
                    collection,
                    scored.id,
                    query.with_payload,
                    &query.with_vectors,
                )?;
                hits.extend(point.map(|point| Hit {
                    score: scored.score,
                    point,
                }));
            }
            Ok(hits)
        });
        hits.collect()
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
        let state = self.readable()?;
        let collection = state.collection(name)?;
        let points = ids
            .iter()
            .map(|id| self.point(collection, *id, with_payload, with_vectors));
        points.filter_map(Result::transpose).collect()
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
        let state = self.readable()?;
        let collection = state.collection(name)?;
        let (ids, next) = collection
            .index
            .scroll(query.filter.as_ref(), query.from, query.limit);
        let points = ids
            .into_iter()
            .map(|id| self.point(collection, id, query.with_payload, &query.with_vectors));
        let points = points
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()?;
        Ok(ScrollPage { points, next })
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

    /// One point, if it exists. Version and payload come without its content; vectors need it.
    fn point(
        &self,
        collection: &Collection,
        id: PointId,
        with_payload: bool,
        with_vectors: &WithVectors,
    ) -> Result<Option<StoredPoint>, ReadError> {
        let Some(payload) = collection.index.payload(id) else {
            return Ok(None);
        };
        let broken = |detail: String| ReadError::Storage { detail };
        let at = RowAddress::new(collection.definition.tree, collection.key(id));
        let store = self.store.as_ref();
        let (version, vectors, payload) = match with_vectors {
            WithVectors::None => {
                let digest = self
                    .rows
                    .digest(store, at)
                    .map_err(|e| broken(e.to_string()))?;
                let Some(digest) = digest else {
                    return Ok(None);
                };
                (digest.version, Default::default(), payload.clone())
            }
            WithVectors::All => {
                let stored = self
                    .rows
                    .get(store, at)
                    .map_err(|e| broken(e.to_string()))?;
                let Some(stored) = stored else {
                    return Ok(None);
                };
                let record =
                    Record::decode(&stored.row.content).map_err(|e| broken(e.to_string()))?;
                (stored.row.version, record.vectors, record.payload)
            }
        };
        let payload = with_payload.then(|| payload.decode()).transpose();
        let payload = payload.map_err(|e| broken(e.to_string()))?;
        Ok(Some(StoredPoint {
            id,
            version: Stamp::from_bytes(version),
            payload,
            vectors,
        }))
    }
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
