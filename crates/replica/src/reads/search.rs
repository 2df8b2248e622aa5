//! Searches: what a query means in this state, what the index finds, and the points of the hits.

use std::collections::BTreeSet;

use pando_index::{Scored, Searched};
use pando_model::{
    CollectionName, Example, Examples, Found, Hit, InvalidInput, PointId, ReadError, SearchPlan,
    SearchQuery, SparseVector, VectorName, WithVectors,
};

use super::plan::describe;
use super::{Replica, Unread};
use crate::collection::Collection;
use crate::state::State;

/// Queries of a batch that go over the points together. Between such parts the work can be given up.
pub(super) const QUERIES_TOGETHER: usize = 32;

/// Says whether whoever asked still waits for the answer.
pub type Patience<'a> = &'a (dyn Fn() -> bool + Sync);

/// Ends a read that nobody waits for.
pub(super) fn check(patience: Patience<'_>) -> Result<(), ReadError> {
    patience().then_some(()).ok_or(ReadError::OutOfTime)
}

/// A query as the index takes it, and what of its answer is no hit.
pub(super) struct Resolved {
    /// It has a vector of either kind in stored form, and asks for as many points more as are left out of the hits.
    pub(super) query: SearchQuery,
    left_out: BTreeSet<PointId>,
    offset: usize,
    limit: usize,
}

impl Resolved {
    /// The same query for another number of hits, from the nearest on.
    pub(super) fn with_limit(&self, limit: usize) -> Self {
        let query = SearchQuery {
            limit: limit + self.left_out.len(),
            ..self.query.clone()
        };
        Self {
            query,
            left_out: self.left_out.clone(),
            offset: 0,
            limit,
        }
    }

    /// The hits among what the index found.
    pub(super) fn hits(&self, found: Vec<Scored>) -> Vec<Scored> {
        (found.into_iter())
            .filter(|scored| !self.left_out.contains(&scored.id))
            .skip(self.offset)
            .take(self.limit)
            .collect()
    }
}

/// What the index finds for one query.
pub(super) struct Ranked {
    /// The hits, nearest first.
    pub(super) scored: Vec<Scored>,
    pub(super) plan: SearchPlan,
}

impl Replica {
    /// The nearest points to each query's vector.
    ///
    /// # Errors
    /// When a query does not fit the collection, or storage fails.
    pub fn search(
        &self,
        name: &CollectionName,
        queries: impl AsRef<[SearchQuery]>,
    ) -> Result<Vec<Vec<Hit>>, ReadError> {
        let found = self.search_planned(name, queries.as_ref(), &|| true)?;
        Ok(found.into_iter().map(|found| found.hits).collect())
    }

    /// The nearest points to each query's vector, and how they were found, all from one state.
    ///
    /// # Errors
    /// When a query does not fit the collection, storage fails, or the patience is at its end.
    pub fn search_planned(
        &self,
        name: &CollectionName,
        queries: &[SearchQuery],
        patience: Patience<'_>,
    ) -> Result<Vec<Found>, ReadError> {
        self.read(|state| self.search_in(state, name, queries, patience))
    }

    /// Whether a search is so little work that it can be done anywhere, as far as can be told beforehand.
    #[must_use]
    pub fn is_quick(&self, name: &CollectionName, queries: &[SearchQuery]) -> bool {
        let [query] = queries else { return false };
        let is_quick = |state: &State| {
            let index = &state.collection(name)?.index;
            Ok(query.like.is_none() && index.is_quick(query))
        };
        self.read(is_quick).unwrap_or(false)
    }

    fn search_in(
        &self,
        state: &State,
        name: &CollectionName,
        queries: &[SearchQuery],
        patience: Patience<'_>,
    ) -> Result<Vec<Found>, Unread> {
        let collection = state.collection(name)?;
        let ranked = self.rank(collection, queries, patience)?;
        let found = ranked.into_iter().zip(queries);
        let found = found.map(|(Ranked { scored, plan }, query)| {
            let hits = self.hits(collection, scored, query.with_payload, &query.with_vectors)?;
            Ok(Found { hits, plan })
        });
        found.collect()
    }

    /// What the index finds for each query.
    pub(super) fn rank(
        &self,
        collection: &Collection,
        queries: &[SearchQuery],
        patience: Patience<'_>,
    ) -> Result<Vec<Ranked>, Unread> {
        let resolve = |query| self.resolve_query(collection, query);
        let resolved: Vec<_> = queries.iter().map(resolve).collect::<Result<_, _>>()?;
        let mut ranked = Vec::with_capacity(queries.len());
        for part in resolved.chunks(QUERIES_TOGETHER) {
            check(patience)?;
            let queries: Vec<_> = part.iter().map(|r| &r.query).collect();
            let searched = self.search_index(collection, &queries, patience)?;
            ranked.extend(part.iter().zip(searched).map(|(resolved, searched)| {
                let Searched { hits, plan } = searched;
                Ranked {
                    scored: resolved.hits(hits),
                    plan: describe(plan),
                }
            }));
        }
        Ok(ranked)
    }

    /// Finds out what a query means here, and refuses it if it means nothing.
    pub(super) fn resolve_query(
        &self,
        collection: &Collection,
        query: &SearchQuery,
    ) -> Result<Resolved, Unread> {
        query.validate()?;
        let mut query = query.clone();
        let mut left_out = BTreeSet::new();
        let schema = &collection.definition.schema;
        if let Some(examples) = query.like.take() {
            let name = &query.vector_name;
            if schema.is_sparse(name)? {
                query.sparse_vector = Some(self.sparse_like(collection, name, &examples)?);
            } else {
                query.vector = self.vector_like(collection, name, &examples)?;
            }
            left_out = examples.ids();
        }
        if query.sparse_vector.is_none() {
            schema.normalise(&query.vector_name, &mut query.vector)?;
        }
        schema.check_query(&query)?;
        let (offset, limit) = (query.offset, query.limit);
        query.limit = offset + limit + left_out.len();
        query.offset = 0;
        Ok(Resolved {
            query,
            left_out,
            offset,
            limit,
        })
    }

    /// The sparse vector of the one point that hits are to be like.
    fn sparse_like(
        &self,
        collection: &Collection,
        name: &VectorName,
        examples: &Examples,
    ) -> Result<SparseVector, Unread> {
        let id = examples.single();
        let id = id.ok_or_else(|| InvalidInput::SparseExamples {
            vector: name.clone(),
        })?;
        let point = self.point(collection, id, false, &WithVectors::All)?;
        let mut point = point.ok_or(ReadError::PointNotFound { id })?;
        let vector = point.sparse_vectors.remove(name);
        Ok(vector.ok_or_else(|| InvalidInput::ExampleWithoutVector {
            id,
            vector: name.clone(),
        })?)
    }

    /// The query vector that examples make. Each counts in its stored form, so that under cosine none outweighs
    /// another by its length.
    fn vector_like(
        &self,
        collection: &Collection,
        name: &VectorName,
        examples: &Examples,
    ) -> Result<Vec<f32>, Unread> {
        collection.definition.schema.vector(name)?;
        let vectors = |of: &[Example]| -> Result<Vec<_>, Unread> {
            let vector = |example| self.example(collection, name, example);
            of.iter().map(vector).collect()
        };
        let positive = vectors(&examples.positive)?;
        let negative = vectors(&examples.negative)?;
        Ok(Examples::combine(&positive, &negative))
    }

    fn example(
        &self,
        collection: &Collection,
        name: &VectorName,
        example: &Example,
    ) -> Result<Vec<f32>, Unread> {
        match example {
            Example::Id(id) => {
                let point = self.point(collection, *id, false, &WithVectors::All)?;
                let mut point = point.ok_or(ReadError::PointNotFound { id: *id })?;
                let vector = point.vectors.remove(name);
                Ok(vector.ok_or_else(|| InvalidInput::ExampleWithoutVector {
                    id: *id,
                    vector: name.clone(),
                })?)
            }
            Example::Vector(vector) => {
                let mut vector = vector.clone();
                let schema = &collection.definition.schema;
                schema.normalise(name, &mut vector)?;
                Ok(vector)
            }
        }
    }

    /// The points of hits.
    pub(super) fn hits(
        &self,
        collection: &Collection,
        scored: impl IntoIterator<Item = Scored>,
        with_payload: bool,
        with_vectors: &WithVectors,
    ) -> Result<Vec<Hit>, Unread> {
        let mut hits = Vec::new();
        for Scored { id, score } in scored {
            let point = self.point(collection, id, with_payload, with_vectors)?;
            hits.extend(point.map(|point| Hit { score, point }));
        }
        Ok(hits)
    }
}
