//! Which searches are so little work that handing them to another thread would be much of it.

use pando_model::SearchQuery;

use super::CollectionIndex;
use crate::packed::Form;
use crate::plan;

/// Products of two values that take some tenths of a millisecond.
const PRODUCTS_MAX: usize = 1 << 21;

impl CollectionIndex {
    /// Whether a search takes well under a millisecond, as far as can be told beforehand. It may wait for a vector that
    /// has to be read.
    #[must_use]
    pub fn is_quick(&self, query: &SearchQuery) -> bool {
        let vectors = self.vectors.get(&query.vector_name);
        let Some(vectors) = vectors.filter(|_| query.filter.is_none()) else {
            return false;
        };
        // All that is looked at has to be read.
        if vectors.slab().form() == Some(Form::Nothing) {
            return false;
        }
        let situation = self.situation(vectors);
        let rows = match plan::choose(query, situation, || None) {
            Ok(choice) => choice.rows() + situation.unindexed.unwrap_or(0),
            Err(_) => situation.points,
        };
        rows.saturating_mul(vectors.slab().dimension()) <= PRODUCTS_MAX
    }
}
