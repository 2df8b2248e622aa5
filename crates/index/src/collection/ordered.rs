//! Points in the order of a payload field.

use pando_model::{Filter, OrderBy, PageToken, PointId, SortKey};
use rayon::prelude::*;

use super::CollectionIndex;

impl CollectionIndex {
    /// The first `limit` points that pass and come after a place in the order, with their places.
    #[must_use]
    pub fn ordered(
        &self,
        filter: Option<&Filter>,
        order: &OrderBy,
        after: Option<&PageToken>,
        limit: usize,
    ) -> Vec<(SortKey, PointId)> {
        let matching = filter.map(|filter| self.matching(filter));
        let passes = |slot| (matching.as_ref()).is_none_or(|matching| matching.passes(slot));
        let points = self.ids.par_iter().zip(&self.payloads).enumerate();
        let mut places: Vec<(SortKey, PointId)> = points
            .filter(|(slot, _)| passes(*slot))
            .map(|(_, (id, payload))| (order.key_of(payload), *id))
            .filter(|(key, id)| {
                after.is_none_or(|token| order.compare((&token.key, token.id), (key, *id)).is_lt())
            })
            .collect();
        let compare = |a: &(SortKey, PointId), b: &(SortKey, PointId)| {
            order.compare((&a.0, a.1), (&b.0, b.1))
        };
        if limit < places.len() {
            places.select_nth_unstable_by(limit, compare);
            places.truncate(limit);
        }
        places.par_sort_unstable_by(compare);
        places
    }
}
