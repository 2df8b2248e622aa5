//! Every point of one collection in memory.
//!
//! Points occupy slots 0 to len - 1 without gaps: the point in the last slot moves into one that becomes free.
//! Memory is therefore given back as soon as there is a chunk of vectors no point is in any more; what stays
//! allocated beyond the points is at most one chunk (1 MiB, or one row) for each vector name, the lists of ids and
//! payloads, which shrink when less than a quarter is used, and the free room of graph segments.

use std::collections::BTreeMap;
use std::sync::Arc;

use pando_model::{
    CollectionSchema, EncodedPayload, Filter, InvalidInput, PointId, SearchQuery, Stamp, VectorName,
};
use rayon::prelude::*;

use crate::exact::{self, Points};
use crate::hybrid;
use crate::options::IndexOptions;
use crate::plan::{self, Plan, Situation, Why};
use crate::top::Scored;
use crate::vectors::Vectors;

/// What a search came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Searched {
    /// The hits, nearest first, equal scores by id.
    pub hits: Vec<Scored>,
    /// How they were found.
    pub plan: Plan,
}

/// Every point of one collection in memory: ids, versions, canonical payload bytes, and the vectors by name.
pub struct CollectionIndex {
    schema: CollectionSchema,
    slots: BTreeMap<PointId, usize>,
    ids: Vec<PointId>,
    versions: Vec<Stamp>,
    payloads: Vec<EncodedPayload>,
    payload_bytes: usize,
    vectors: BTreeMap<VectorName, Vectors>,
    options: Arc<IndexOptions>,
}

impl CollectionIndex {
    /// An empty index. The schema is valid.
    #[must_use]
    pub fn new(schema: &CollectionSchema) -> Self {
        Self::with_options(schema, IndexOptions::default())
    }

    /// The same, with sizes and defaults of one's own.
    #[must_use]
    pub fn with_options(schema: &CollectionSchema, options: IndexOptions) -> Self {
        let options = Arc::new(options);
        let vectors = |params: &_| Vectors::new(*params, Arc::clone(&options));
        Self {
            schema: schema.clone(),
            slots: BTreeMap::new(),
            ids: Vec::new(),
            versions: Vec::new(),
            payloads: Vec::new(),
            payload_bytes: 0,
            vectors: (schema.vectors.iter())
                .map(|(name, params)| (name.clone(), vectors(params)))
                .collect(),
            options,
        }
    }

    /// How many points there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether there is a point of this id.
    #[must_use]
    pub fn contains(&self, id: PointId) -> bool {
        self.slots.contains_key(&id)
    }

    /// Bytes allocated; the map of ids is estimated.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        // A B-tree's nodes are about two thirds full.
        let slots = self.slots.len() * size_of::<(PointId, usize)>() * 3 / 2;
        let lists = self.ids.capacity() * size_of::<PointId>()
            + self.versions.capacity() * size_of::<Stamp>()
            + self.payloads.capacity() * size_of::<EncodedPayload>();
        let vectors: usize = self.vectors.values().map(Vectors::memory_bytes).sum();
        (slots + lists + self.payload_bytes + vectors) as u64
    }

    /// Inserts a point or replaces it whole: a vector it is not given, it does not have.
    ///
    /// # Panics
    /// If a vector is not of the schema: the caller has checked every point with it.
    pub fn upsert(
        &mut self,
        id: PointId,
        version: Stamp,
        vectors: &BTreeMap<VectorName, Vec<f32>>,
        payload: EncodedPayload,
    ) {
        for (name, values) in vectors {
            let expected = self.vectors.get(name).map(|v| v.slab().dimension());
            assert_eq!(expected, Some(values.len()), "vector {name} of point {id}");
        }
        let slot = *self.slots.entry(id).or_insert(self.ids.len());
        self.payload_bytes += payload.as_bytes().len();
        if slot == self.ids.len() {
            self.ids.push(id);
            self.versions.push(version);
            self.payloads.push(payload);
        } else {
            self.payload_bytes -= self.payloads[slot].as_bytes().len();
            self.payloads[slot] = payload;
            self.versions[slot] = version;
        }
        for (name, kept) in &mut self.vectors {
            kept.set(slot, vectors.get(name).map(Vec::as_slice));
        }
    }

    /// Removes a point; says whether there was one.
    pub fn remove(&mut self, id: PointId) -> bool {
        let Some(slot) = self.slots.remove(&id) else {
            return false;
        };
        self.payload_bytes -= self.payloads[slot].as_bytes().len();
        self.ids.swap_remove(slot);
        self.versions.swap_remove(slot);
        self.payloads.swap_remove(slot);
        let last = self.ids.len();
        for vectors in self.vectors.values_mut() {
            if slot == last {
                vectors.set(slot, None);
            } else {
                vectors.move_row(last, slot);
            }
        }
        if let Some(moved) = self.ids.get(slot) {
            self.slots.insert(*moved, slot);
        }
        if self.ids.capacity() / 4 > self.ids.len() {
            self.ids.shrink_to(self.ids.len() * 2);
            self.versions.shrink_to(self.versions.len() * 2);
            self.payloads.shrink_to(self.payloads.len() * 2);
        }
        true
    }

    /// A point's version.
    #[must_use]
    pub fn version(&self, id: PointId) -> Option<Stamp> {
        self.slots.get(&id).map(|slot| self.versions[*slot])
    }

    /// A point's payload.
    #[must_use]
    pub fn payload(&self, id: PointId) -> Option<&EncodedPayload> {
        self.slots.get(&id).map(|slot| &self.payloads[*slot])
    }

    /// Vectors that no graph holds yet, though there is one for their name. They are found all the same.
    #[must_use]
    pub fn backlog(&self) -> usize {
        let graphs = self.vectors.values().filter_map(Vectors::rows);
        graphs.map(|rows| rows.graph.backlog()).sum()
    }

    /// Whether background threads are at work for this collection, or will be.
    #[must_use]
    pub fn is_indexing(&self) -> bool {
        let mut graphs = self.vectors.values().filter_map(Vectors::rows);
        graphs.any(|rows| rows.graph.is_busy())
    }

    /// Graph segments, over all vector names.
    #[must_use]
    pub fn segments(&self) -> usize {
        let graphs = self.vectors.values().filter_map(Vectors::rows);
        graphs.map(|rows| rows.graph.segments()).sum()
    }

    /// The nearest points to each query, nearest first, equal scores by id. See [`Self::search_planned`].
    ///
    /// # Errors
    /// When a query does not fit the schema.
    pub fn search(&self, queries: &[SearchQuery]) -> Result<Vec<Vec<Scored>>, InvalidInput> {
        let searched = self.search_planned(queries)?;
        Ok(searched.into_iter().map(|searched| searched.hits).collect())
    }

    /// The nearest points to each query, and how they were found. Scores are exact; which points are found is, if
    /// the plan says so, and nearly so otherwise. Nothing is found that was not there when the search began, and
    /// everything that was can be.
    ///
    /// The queries are validated and their vectors brought into stored form ([`CollectionSchema::normalise`]).
    ///
    /// # Errors
    /// When a query does not fit the schema.
    pub fn search_planned(&self, queries: &[SearchQuery]) -> Result<Vec<Searched>, InvalidInput> {
        let mut by_name: BTreeMap<&VectorName, Vec<usize>> = BTreeMap::new();
        for (i, query) in queries.iter().enumerate() {
            (self.schema).check_vector(&query.vector_name, &query.vector)?;
            by_name.entry(&query.vector_name).or_default().push(i);
        }
        let mut results: Vec<Option<Searched>> = vec![None; queries.len()];
        for (name, members) in by_name {
            let group: Vec<_> = members.iter().map(|i| &queries[*i]).collect();
            let found = self.search_by(name, self.schema.vector(name)?.metric, &group);
            for (i, searched) in members.into_iter().zip(found) {
                results[i] = Some(searched);
            }
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// Queries by the same vector name: the graph answers one by one, the scan takes the others together.
    fn search_by(
        &self,
        name: &VectorName,
        metric: pando_model::Metric,
        queries: &[&SearchQuery],
    ) -> Vec<Searched> {
        let vectors = &self.vectors[name];
        let points = Points {
            metric,
            slab: vectors.slab(),
            ids: &self.ids,
            payloads: &self.payloads,
        };
        let by_graph = |query: &&SearchQuery| self.search_graph(points, vectors, query);
        let mut found: Vec<Result<Searched, Why>> = match queries {
            [query] => vec![by_graph(query)],
            queries => queries.par_iter().map(by_graph).collect(),
        };
        let left: Vec<_> = (queries.iter().zip(&found))
            .filter_map(|(query, found)| found.is_err().then_some(*query))
            .collect();
        let mut scanned = exact::search(points, &left).into_iter();
        (found.drain(..))
            .map(|found| {
                found.unwrap_or_else(|why| Searched {
                    hits: scanned.next().unwrap_or_default(),
                    plan: Plan::Exact(why),
                })
            })
            .collect()
    }

    fn search_graph(
        &self,
        points: Points<'_>,
        vectors: &Vectors,
        query: &SearchQuery,
    ) -> Result<Searched, Why> {
        let situation = Situation {
            points: vectors.len(),
            unindexed: vectors.rows().map(|rows| rows.graph.backlog()),
            ef: self.options.ef,
        };
        let ef = plan::choose(query, situation, || hybrid::share(points, query))?;
        let rows = vectors.rows().ok_or(Why::FewPoints)?;
        let (hits, plan) = hybrid::search(points, rows, query, situation, ef)?;
        Ok(Searched { hits, plan })
    }

    /// The ids of all points that pass, in order.
    #[must_use]
    pub fn select(&self, filter: Option<&Filter>) -> Vec<PointId> {
        let Some(filter) = filter else {
            return self.slots.keys().copied().collect();
        };
        let mut ids: Vec<_> = (self.ids.par_iter().zip(&self.payloads))
            .filter(|(id, payload)| filter.matches(**id, payload))
            .map(|(id, _)| *id)
            .collect();
        ids.par_sort_unstable();
        ids
    }

    /// The first `limit` points that pass, in order of their ids, starting at `from`; and where to go on.
    #[must_use]
    pub fn scroll(
        &self,
        filter: Option<&Filter>,
        from: Option<PointId>,
        limit: usize,
    ) -> (Vec<PointId>, Option<PointId>) {
        let start = from.unwrap_or(PointId::Num(0));
        let mut passing = (self.slots.range(start..))
            .filter(|(id, slot)| filter.is_none_or(|f| f.matches(**id, &self.payloads[**slot])))
            .map(|(id, _)| *id);
        let page = passing.by_ref().take(limit).collect();
        (page, passing.next())
    }

    /// How many points pass.
    #[must_use]
    pub fn count(&self, filter: Option<&Filter>) -> u64 {
        let count = match filter {
            None => self.len(),
            Some(filter) => (self.ids.par_iter().zip(&self.payloads))
                .filter(|(id, payload)| filter.matches(**id, payload))
                .count(),
        };
        count as u64
    }
}
