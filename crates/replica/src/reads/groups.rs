//! Searches whose hits are grouped by a payload field.
//!
//! The groups are those of the nearest points: the search is widened until there are enough of them. A group that is
//! then not full is filled by a search of its own, of the points that have its value.

use std::collections::BTreeMap;

use pando_index::{Scored, Searched};
use pando_model::limits::RESULTS_MAX;
use pando_model::{
    CollectionName, Condition, FieldValue, Filter, Group, GroupQuery, Grouped, ReadError,
    SearchQuery,
};

use super::plan::describe;
use super::search::{QUERIES_TOGETHER, Resolved, check};
use super::{Patience, Replica, Unread};
use crate::collection::Collection;

/// The first search looks this much deeper than the groups could hold.
const FIRST_DEPTH: usize = 2;
/// The next one, so many times deeper.
const WIDER: usize = 4;

/// Groups in the order of their nearest hits, while they are found.
struct Groups {
    most: usize,
    size: usize,
    order: Vec<FieldValue>,
    hits: BTreeMap<FieldValue, Vec<Scored>>,
}

impl Groups {
    /// The groups of a ranking.
    fn of(collection: &Collection, query: &GroupQuery, ranking: Vec<Scored>) -> Self {
        let mut groups = Self {
            most: query.query.limit,
            size: query.group_size,
            order: Vec::new(),
            hits: BTreeMap::new(),
        };
        for scored in ranking {
            let payload = collection
                .index
                .stored(scored.id)
                .map(|(_, payload)| payload);
            let values = payload.map(|p| FieldValue::all_at(p, &query.group_by));
            for value in values.unwrap_or_default() {
                groups.add(value, scored);
            }
        }
        groups
    }

    fn add(&mut self, value: FieldValue, scored: Scored) {
        if let Some(hits) = self.hits.get_mut(&value) {
            if hits.len() < self.size {
                hits.push(scored);
            }
        } else if self.order.len() < self.most {
            self.order.push(value.clone());
            self.hits.insert(value, vec![scored]);
        }
    }

    fn are_enough(&self) -> bool {
        self.order.len() >= self.most
    }

    fn not_full(&self) -> Vec<FieldValue> {
        let not_full = |value: &&FieldValue| self.hits[*value].len() < self.size;
        self.order.iter().filter(not_full).cloned().collect()
    }
}

impl Replica {
    /// The nearest points, so many of each group.
    ///
    /// # Errors
    /// When the query does not fit the collection, storage fails, or the patience is at its end.
    pub fn search_groups(
        &self,
        name: &CollectionName,
        query: &GroupQuery,
        patience: Patience<'_>,
    ) -> Result<Grouped, ReadError> {
        query.validate()?;
        self.read(|state| {
            let collection = state.collection(name)?;
            self.group(collection, query, patience)
        })
    }

    fn group(
        &self,
        collection: &Collection,
        query: &GroupQuery,
        patience: Patience<'_>,
    ) -> Result<Grouped, Unread> {
        let resolved = self.resolve_query(collection, &query.query)?;
        let mut depth = (query.query.limit * query.group_size * FIRST_DEPTH).min(RESULTS_MAX);
        let (mut groups, plan) = loop {
            check(patience)?;
            let deep = resolved.with_limit(depth);
            let Searched { hits, plan } = self.one(collection, deep.query.clone(), patience)?;
            let ranking = deep.hits(hits);
            let all_seen = ranking.len() < depth;
            let mut groups = Groups::of(collection, query, ranking);
            if all_seen {
                break (groups, plan);
            }
            if groups.are_enough() || depth == RESULTS_MAX {
                self.fill(collection, query, &resolved, &mut groups, patience)?;
                break (groups, plan);
            }
            depth = (depth * WIDER).min(RESULTS_MAX);
        };
        let (with_payload, with_vectors) = (query.query.with_payload, &query.query.with_vectors);
        let found = groups.order.into_iter().map(|value| {
            let scored = groups.hits.remove(&value).unwrap_or_default();
            let hits = self.hits(collection, scored, with_payload, with_vectors)?;
            Ok::<_, Unread>(Group { value, hits })
        });
        Ok(Grouped {
            groups: found.collect::<Result<_, _>>()?,
            plan: describe(plan),
        })
    }

    fn one(
        &self,
        collection: &Collection,
        query: SearchQuery,
        patience: Patience<'_>,
    ) -> Result<Searched, Unread> {
        let mut searched = self.search_index(collection, &[query], patience)?;
        Ok(searched.pop().expect("one answer to one query"))
    }

    /// Searches for the hits of groups that are not full yet.
    fn fill(
        &self,
        collection: &Collection,
        query: &GroupQuery,
        resolved: &Resolved,
        groups: &mut Groups,
        patience: Patience<'_>,
    ) -> Result<(), Unread> {
        let resolved = resolved.with_limit(query.group_size);
        for part in groups.not_full().chunks(QUERIES_TOGETHER) {
            check(patience)?;
            let queries: Vec<_> = part
                .iter()
                .map(|value| of_group(&resolved.query, &query.group_by, value))
                .collect();
            let searched = self.search_index(collection, &queries, patience)?;
            for (value, searched) in part.iter().zip(searched) {
                groups
                    .hits
                    .insert(value.clone(), resolved.hits(searched.hits));
            }
        }
        Ok(())
    }
}

/// The query, of the points of one group.
fn of_group(query: &SearchQuery, key: &str, value: &FieldValue) -> SearchQuery {
    let in_group = Condition::Match {
        key: key.to_owned(),
        value: value.clone().into(),
    };
    let also = query.filter.clone().map(Condition::Nested);
    let filter = Filter {
        must: also.into_iter().chain([in_group]).collect(),
        ..Filter::default()
    };
    SearchQuery {
        filter: Some(filter),
        ..query.clone()
    }
}
