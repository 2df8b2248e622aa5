//! Every point of one collection in memory.
//!
//! Points occupy slots 0 to len - 1 without gaps: the point in the last slot moves into one that becomes free.
//! Memory is therefore given back as soon as there is a chunk of vectors no point is in any more; what stays
//! allocated beyond the points is at most one chunk (1 MiB, or one row) for each vector name, the lists of ids and
//! payloads, which shrink when less than a quarter is used, and the free room of graph segments.

mod facets;
mod ordered;
mod quantize;
mod quick;
mod sparse;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pando_model::{
    CollectionSchema, EncodedPayload, Filter, PointId, SearchQuery, Stamp, VectorName,
};
use parking_lot::RwLock;
use rayon::prelude::*;

use crate::checkpoint::{Checkpoint, Fingerprint, Saving};
use crate::exact::{self, Points};
use crate::given::Given;
use crate::graph::{self, GraphWork, WhenRestored};
use crate::hybrid;
use crate::matching::{Matching, Payloads};
use crate::options::IndexOptions;
use crate::originals::{self, Originals, SearchError};
use crate::payload::PayloadIndexes;
use crate::plan::{self, Plan, Situation, Why};
use crate::sparse::SparseIndex;
use crate::top::Scored;
use crate::vectors::Vectors;

pub use quantize::Replaced;

/// The next point written is the one of this number, whatever the index.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

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
    numbers: Vec<u64>,
    payloads: Vec<EncodedPayload>,
    payload_bytes: usize,
    /// Changed by reads, too: they make what they need. Never locked while waiting for other threads.
    payload_indexes: RwLock<PayloadIndexes>,
    vectors: BTreeMap<VectorName, Vectors>,
    sparse: BTreeMap<VectorName, SparseIndex>,
    options: Arc<IndexOptions>,
    changes: u64,
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
            numbers: Vec::new(),
            payloads: Vec::new(),
            payload_bytes: 0,
            payload_indexes: RwLock::default(),
            vectors: (schema.vectors.iter())
                .map(|(name, params)| (name.clone(), vectors(params)))
                .collect(),
            sparse: (schema.sparse_vectors.iter())
                .map(|name| (name.clone(), SparseIndex::default()))
                .collect(),
            options,
            changes: 0,
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
            + self.numbers.capacity() * size_of::<u64>()
            + self.payloads.capacity() * size_of::<EncodedPayload>();
        let vectors: usize = self.vectors.values().map(Vectors::memory_bytes).sum();
        let indexes = self.payload_indexes.read().memory_bytes();
        let sparse: usize = self.sparse.values().map(SparseIndex::memory_bytes).sum();
        (slots + lists + self.payload_bytes + indexes + vectors + sparse) as u64
    }

    /// How many payload indexes there are.
    #[must_use]
    pub fn payload_indexes(&self) -> usize {
        self.payload_indexes.read().len()
    }

    /// Inserts a point or replaces it whole: a vector it is not given, it does not have.
    ///
    /// # Panics
    /// If a vector is not of the schema: the caller has checked every point with it.
    pub fn upsert<'a>(
        &mut self,
        id: PointId,
        version: Stamp,
        vectors: impl Into<Given<'a>>,
        payload: EncodedPayload,
    ) {
        self.changes += 1;
        self.put(id, version, vectors.into(), payload, None);
    }

    /// The same while the points are loaded that there were when the index was closed: a point whose fingerprint a
    /// checkpoint knows ([`Self::restore`]) takes its place in the graph.
    ///
    /// # Panics
    /// As [`Self::upsert`].
    pub fn load<'a>(
        &mut self,
        id: PointId,
        version: Stamp,
        vectors: impl Into<Given<'a>>,
        payload: EncodedPayload,
        fingerprint: Fingerprint,
    ) {
        let known = self.put(id, version, vectors.into(), payload, Some(fingerprint));
        self.changes += u64::from(!known);
    }

    /// Begins with a graph that was saved. It waits until [`Self::loaded`] is called; `when_restored` is called by a
    /// background thread after that, unless the graph is given up before. Which points there are is for the caller to
    /// say: they are loaded one by one ([`Self::load`]).
    ///
    /// # Panics
    /// When there are points already, or no such vector in the schema.
    pub fn restore(
        &mut self,
        name: &VectorName,
        checkpoint: Checkpoint,
        when_restored: WhenRestored,
    ) {
        let vectors = self.vectors.get_mut(name);
        let vectors = vectors.expect("the caller has the name from the schema");
        vectors.restore(checkpoint, when_restored);
    }

    /// All points are loaded: what checkpoints do not know is indexed.
    pub fn loaded(&mut self) {
        self.vectors.values_mut().for_each(Vectors::loaded);
    }

    /// Points written, removed, or loaded without a checkpoint to know them, so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The names that have a graph, and what background threads do for it.
    pub fn graphs(&self) -> impl Iterator<Item = (&VectorName, GraphWork)> {
        (self.vectors.iter()).filter_map(|(name, vectors)| Some((name, vectors.work()?)))
    }

    /// The graph of a name as it is now, to be written down; `None` where there is none.
    #[must_use]
    pub fn saving(&self, name: &VectorName) -> Option<Saving> {
        self.vectors.get(name)?.saving(&self.ids)
    }

    /// Puts a point; says whether checkpoints have every vector of it.
    fn put(
        &mut self,
        id: PointId,
        version: Stamp,
        given: Given<'_>,
        payload: EncodedPayload,
        fingerprint: Option<Fingerprint>,
    ) -> bool {
        for (name, values) in given.dense {
            let expected = self.vectors.get(name).map(|v| v.slab().dimension());
            assert_eq!(expected, Some(values.len()), "vector {name} of point {id}");
        }
        for name in given.sparse_names() {
            let known = self.sparse.contains_key(name);
            assert!(known, "sparse vector {name} of point {id}");
        }
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let slot = *self.slots.entry(id).or_insert(self.ids.len());
        self.payload_bytes += payload.as_bytes().len();
        let indexes = self.payload_indexes.get_mut();
        if slot == self.ids.len() {
            indexes.added(slot, &payload);
            self.ids.push(id);
            self.versions.push(version);
            self.numbers.push(number);
            self.payloads.push(payload);
        } else {
            indexes.replaced(slot, &self.payloads[slot], &payload);
            self.payload_bytes -= self.payloads[slot].as_bytes().len();
            self.payloads[slot] = payload;
            self.versions[slot] = version;
            self.numbers[slot] = number;
        }
        let mut known = true;
        for (name, kept) in &mut self.vectors {
            let vector = given.dense.get(name).map(Vec::as_slice);
            known &= kept.set(slot, vector, fingerprint);
        }
        for (name, kept) in &mut self.sparse {
            kept.set(slot, given.sparse(name));
        }
        known
    }

    /// Removes a point; says whether there was one.
    pub fn remove(&mut self, id: PointId) -> bool {
        let Some(slot) = self.slots.remove(&id) else {
            return false;
        };
        self.changes += 1;
        let indexes = self.payload_indexes.get_mut();
        indexes.removed(slot, &self.payloads, self.options.demand());
        self.payload_bytes -= self.payloads[slot].as_bytes().len();
        self.ids.swap_remove(slot);
        self.versions.swap_remove(slot);
        self.numbers.swap_remove(slot);
        self.payloads.swap_remove(slot);
        let last = self.ids.len();
        for vectors in self.vectors.values_mut() {
            if slot == last {
                vectors.set(slot, None, None);
            } else {
                vectors.move_row(last, slot);
            }
        }
        for vectors in self.sparse.values_mut() {
            if slot == last {
                vectors.set(slot, None);
            } else {
                vectors.move_slot(last, slot);
            }
        }
        if let Some(moved) = self.ids.get(slot) {
            self.slots.insert(*moved, slot);
        }
        if self.ids.capacity() / 4 > self.ids.len() {
            self.ids.shrink_to(self.ids.len() * 2);
            self.versions.shrink_to(self.versions.len() * 2);
            self.numbers.shrink_to(self.numbers.len() * 2);
            self.payloads.shrink_to(self.payloads.len() * 2);
        }
        true
    }

    /// A point's version and payload.
    #[must_use]
    pub fn stored(&self, id: PointId) -> Option<(Stamp, &EncodedPayload)> {
        let slot = *self.slots.get(&id)?;
        Some((self.versions[slot], &self.payloads[slot]))
    }

    /// Vectors that no graph holds yet, though there is one for their name. They are found all the same.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.vectors.values().map(Vectors::backlog).sum()
    }

    /// Whether background threads are at work for this collection, or will be.
    #[must_use]
    pub fn is_indexing(&self) -> bool {
        let mut works = self.vectors.values().filter_map(Vectors::work);
        works.any(|work| work != GraphWork::None)
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
    /// As [`Self::search_planned`].
    pub fn search(
        &self,
        queries: &[impl Borrow<SearchQuery>],
        originals: &dyn Originals,
    ) -> Result<Vec<Vec<Scored>>, SearchError> {
        let searched = self.search_planned(queries, originals)?;
        Ok(searched.into_iter().map(|searched| searched.hits).collect())
    }

    /// The nearest points to each query, and how they were found. Scores are exact; which points are found is, if
    /// the plan says so, and nearly so otherwise. Nothing is found that was not there when the search began, and
    /// everything that was can be.
    ///
    /// The queries are validated and their vectors brought into stored form ([`CollectionSchema::normalise`]). `originals`
    /// has the vectors of the points there are now; it is asked only where there is a graph, or was.
    ///
    /// # Errors
    /// When a query does not fit the schema, or a vector that is needed cannot be had.
    pub fn search_planned(
        &self,
        queries: &[impl Borrow<SearchQuery>],
        originals: &dyn Originals,
    ) -> Result<Vec<Searched>, SearchError> {
        let queries: Vec<&SearchQuery> = queries.iter().map(Borrow::borrow).collect();
        let mut by_name: BTreeMap<&VectorName, Vec<usize>> = BTreeMap::new();
        for (i, query) in queries.iter().copied().enumerate() {
            self.schema.check_query(query)?;
            by_name.entry(&query.vector_name).or_default().push(i);
        }
        let mut filters: Vec<&Filter> = Vec::new();
        let asks: Vec<Ask<'_>> = (queries.iter().copied())
            .map(|query| Ask {
                query,
                filter: query
                    .filter
                    .as_ref()
                    .map(|filter| place(&mut filters, filter)),
            })
            .collect();
        let matchings: Vec<_> = filters.iter().map(|filter| self.matching(filter)).collect();
        let mut results: Vec<Option<Searched>> = vec![None; queries.len()];
        for (name, members) in by_name {
            let group: Vec<_> = members.iter().map(|i| asks[*i]).collect();
            let found = match self.sparse.get(name) {
                Some(index) => self.search_sparse(index, &group, &matchings),
                None => {
                    let vectors = &self.vectors[name];
                    let points = Points {
                        metric: self.schema.vector(name)?.metric,
                        name,
                        originals,
                        slab: vectors.slab(),
                        ids: &self.ids,
                        versions: &self.versions,
                        numbers: &self.numbers,
                        payloads: &self.payloads,
                    };
                    self.search_by(points, vectors, &group, &matchings)?
                }
            };
            for (i, searched) in members.into_iter().zip(found) {
                results[i] = Some(searched);
            }
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// Queries by the same vector name: the graph, or a scan of what passes, answers one by one; the scan of everything
    /// takes the others together.
    fn search_by(
        &self,
        points: Points<'_>,
        vectors: &Vectors,
        asks: &[Ask<'_>],
        matchings: &[Matching<'_>],
    ) -> Result<Vec<Searched>, SearchError> {
        let one_by_one = |ask: &Ask<'_>| {
            let matching = ask.filter.map(|filter| &matchings[filter]);
            match self.search_one(points, vectors, ask.query, matching) {
                Ok((band, plan)) => {
                    originals::check(points.originals)?;
                    let hits = exact::settle(points, ask.query, band)?;
                    Ok(Ok(Searched { hits, plan }))
                }
                Err(why) => Ok(Err(why)),
            }
        };
        let found: Vec<Result<Searched, Why>> = match asks {
            [ask] => vec![one_by_one(ask)?],
            asks => (asks.par_iter().map(one_by_one)).collect::<Result<_, SearchError>>()?,
        };
        let left: Vec<_> = (asks.iter().zip(&found))
            .filter_map(|(ask, found)| found.is_err().then_some(ask.query))
            .collect();
        let mut scanned = exact::search(points, &left)?.into_iter();
        let searched = found.into_iter().map(|found| {
            found.unwrap_or_else(|why| Searched {
                hits: scanned.next().unwrap_or_default(),
                plan: Plan::Exact(why),
            })
        });
        Ok(searched.collect())
    }

    /// A search by the graph, or of what passes the filter; or why everything has to be scanned.
    fn search_one(
        &self,
        points: Points<'_>,
        vectors: &Vectors,
        query: &SearchQuery,
        matching: Option<&Matching<'_>>,
    ) -> Result<hybrid::Found, Why> {
        self.search_graph(points, vectors, query, matching)
            .or_else(|why| match matching {
                Some(matching) if matching.is_narrow() => {
                    Ok(hybrid::scan(points, query, matching, why))
                }
                _ => Err(why),
            })
    }

    fn search_graph(
        &self,
        points: Points<'_>,
        vectors: &Vectors,
        query: &SearchQuery,
        matching: Option<&Matching<'_>>,
    ) -> Result<hybrid::Found, Why> {
        if !query.exact && !graph::knows(points.metric) {
            return Err(Why::Metric);
        }
        let choice = plan::choose(query, self.situation(vectors), || {
            matching.and_then(Matching::passing)
        })?;
        let rows = vectors.rows().ok_or(Why::FewPoints)?;
        hybrid::search(points, rows, query, matching, choice)
    }

    fn situation(&self, vectors: &Vectors) -> Situation {
        Situation {
            points: vectors.len(),
            unindexed: vectors.rows().map(|rows| rows.graph.backlog()),
            ef: self.options.ef,
            oversampling: (vectors.rows())
                .map_or(1, |rows| rows.graph.params().coding.oversampling()),
        }
    }

    /// The points that pass a filter, as far as payload indexes know. Those that it lacks are made, or made a bit more
    /// complete.
    fn matching<'a>(&'a self, filter: &'a Filter) -> Matching<'a> {
        let (points, demand) = (self.len(), self.options.demand());
        let wanting = (self.payload_indexes.read()).is_wanting(filter, points, demand);
        // Where another read is at it, this one takes what there is.
        if wanting && let Some(mut indexes) = self.payload_indexes.try_write() {
            indexes.build(filter, &self.payloads, demand);
        }
        let slot_of = |id: PointId| self.slots.get(&id).copied();
        let known = (self.payload_indexes.read()).evaluate(filter, points, &slot_of);
        let payloads = Payloads {
            ids: &self.ids,
            payloads: &self.payloads,
        };
        Matching::new(filter, payloads, known)
    }

    /// The ids of all points that pass, in order.
    #[must_use]
    pub fn select(&self, filter: Option<&Filter>) -> Vec<PointId> {
        let Some(filter) = filter else {
            return self.slots.keys().copied().collect();
        };
        let slots = self.matching(filter).slots();
        let mut ids: Vec<_> = slots.into_iter().map(|slot| self.ids[slot]).collect();
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
        let matching = filter.map(|filter| self.matching(filter));
        if let Some(matching) = &matching
            && self.is_sorting_cheaper(matching, limit)
        {
            let mut ids: Vec<_> = (matching.slots().into_iter())
                .map(|slot| self.ids[slot])
                .filter(|id| *id >= start)
                .collect();
            ids.sort_unstable();
            let next = ids.get(limit).copied();
            ids.truncate(limit);
            return (ids, next);
        }
        let passes = |slot| (matching.as_ref()).is_none_or(|matching| matching.passes(slot));
        let mut passing = (self.slots.range(start..))
            .filter(|(_, slot)| passes(**slot))
            .map(|(id, _)| *id);
        let page = passing.by_ref().take(limit).collect();
        (page, passing.next())
    }

    /// Whether sorting all that may pass is less work than walking over the points until a page is full.
    fn is_sorting_cheaper(&self, matching: &Matching<'_>, limit: usize) -> bool {
        let candidates = matching.candidates_len();
        // A page's share of the points is walked over, as if those that pass were spread evenly among them.
        let walked = self.len().saturating_mul(limit) / candidates.max(1);
        candidates < walked.min(self.len())
    }

    /// How many points pass.
    #[must_use]
    pub fn count(&self, filter: Option<&Filter>) -> u64 {
        filter.map_or(self.len() as u64, |filter| self.matching(filter).count())
    }
}

/// A query, and which of the batch's filters it has.
#[derive(Clone, Copy)]
struct Ask<'a> {
    query: &'a SearchQuery,
    filter: Option<usize>,
}

/// The place of a filter among the different ones of a batch.
fn place<'a>(filters: &mut Vec<&'a Filter>, filter: &'a Filter) -> usize {
    let known = filters.iter().position(|known| *known == filter);
    known.unwrap_or_else(|| {
        filters.push(filter);
        filters.len() - 1
    })
}
