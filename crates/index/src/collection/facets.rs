//! Facets: how many points have each value of a payload field.

use std::collections::HashMap;

use pando_model::{FieldValue, Filter};
use rayon::prelude::*;

use super::CollectionIndex;

impl CollectionIndex {
    /// How many of the points that pass have each value of a field.
    #[must_use]
    pub fn facets(&self, key: &str, filter: Option<&Filter>) -> HashMap<FieldValue, u64> {
        let matching = filter.map(|filter| self.matching(filter));
        let passes = |slot| (matching.as_ref()).is_none_or(|matching| matching.passes(slot));
        (self.payloads.par_iter().enumerate())
            .filter(|(slot, _)| passes(*slot))
            .fold(HashMap::new, |mut counts, (_, payload)| {
                for value in FieldValue::all_at(payload, key) {
                    *counts.entry(value).or_insert(0) += 1;
                }
                counts
            })
            .reduce(HashMap::new, |a, b| {
                let (mut all, some) = if a.len() < b.len() { (b, a) } else { (a, b) };
                for (value, count) in some {
                    *all.entry(value).or_insert(0) += count;
                }
                all
            })
    }
}
