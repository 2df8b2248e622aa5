//! Every point of one collection in memory.
//!
//! Points occupy slots 0 to len - 1 without gaps: the point in the last slot moves into one that becomes free.
//! Memory is therefore given back as soon as there is a chunk of vectors no point is in any more; what stays
//! allocated beyond the points is at most one chunk (1 MiB, or one row) for each vector name, and the lists of ids
//! and payloads, which shrink when less than a quarter is used.

use std::collections::BTreeMap;

use pando_model::{
    CollectionSchema, EncodedPayload, Filter, InvalidInput, PointId, SearchQuery, Stamp, VectorName,
};
use rayon::prelude::*;

use crate::exact::{self, Points};
use crate::slab::Slab;
use crate::top::Scored;

/// Every point of one collection in memory: ids, versions, canonical payload bytes, and one slab of rows per vector
/// name.
pub struct CollectionIndex {
    schema: CollectionSchema,
    slots: BTreeMap<PointId, usize>,
    ids: Vec<PointId>,
    versions: Vec<Stamp>,
    payloads: Vec<EncodedPayload>,
    payload_bytes: usize,
    slabs: BTreeMap<VectorName, Slab>,
}

impl CollectionIndex {
    /// An empty index. The schema is valid.
    #[must_use]
    pub fn new(schema: &CollectionSchema) -> Self {
        let slab = |params: &pando_model::VectorParams| Slab::new(params.dimension as usize);
        Self {
            schema: schema.clone(),
            slots: BTreeMap::new(),
            ids: Vec::new(),
            versions: Vec::new(),
            payloads: Vec::new(),
            payload_bytes: 0,
            slabs: (schema.vectors.iter())
                .map(|(name, params)| (name.clone(), slab(params)))
                .collect(),
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
        let slabs: usize = self.slabs.values().map(Slab::memory_bytes).sum();
        (slots + lists + self.payload_bytes + slabs) as u64
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
            let expected = self.slabs.get(name).map(Slab::dimension);
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
        for (name, slab) in &mut self.slabs {
            slab.set(slot, vectors.get(name).map(Vec::as_slice));
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
        for slab in self.slabs.values_mut() {
            if slot == last {
                slab.set(slot, None);
            } else {
                slab.move_row(last, slot);
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

    /// The nearest points to each query, nearest first, equal scores by id. Exact.
    ///
    /// The queries are validated and their vectors brought into stored form ([`CollectionSchema::normalise`]).
    pub fn search(&self, queries: &[SearchQuery]) -> Result<Vec<Vec<Scored>>, InvalidInput> {
        let mut by_name: BTreeMap<&VectorName, Vec<usize>> = BTreeMap::new();
        for (i, query) in queries.iter().enumerate() {
            (self.schema).check_vector(&query.vector_name, &query.vector)?;
            by_name.entry(&query.vector_name).or_default().push(i);
        }
        let mut results = vec![Vec::new(); queries.len()];
        for (name, members) in by_name {
            let points = Points {
                metric: self.schema.vector(name)?.metric,
                slab: &self.slabs[name],
                ids: &self.ids,
                payloads: &self.payloads,
            };
            let group: Vec<_> = members.iter().map(|i| &queries[*i]).collect();
            for (i, hits) in members.into_iter().zip(exact::search(points, &group)) {
                results[i] = hits;
            }
        }
        Ok(results)
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
