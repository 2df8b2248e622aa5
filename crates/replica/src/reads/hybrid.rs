//! Several searches of one state, fused into one ranking.

use pando_index::Scored;
use pando_model::{CollectionName, Fused, HybridQuery, ReadError, fuse};

use super::{Patience, Replica};

impl Replica {
    /// The best points by several searches together.
    ///
    /// # Errors
    /// When a search does not fit the collection, storage fails, or the patience is at its end.
    pub fn search_hybrid(
        &self,
        name: &CollectionName,
        query: &HybridQuery,
        patience: Patience<'_>,
    ) -> Result<Fused, ReadError> {
        query.validate()?;
        self.read(|state| {
            let collection = state.collection(name)?;
            let ranked = self.rank(collection, &query.queries, patience)?;
            let ids = |ranked: &super::search::Ranked| {
                let scored = ranked.scored.iter();
                scored.map(|scored| scored.id).collect::<Vec<_>>()
            };
            let fused = fuse(ranked.iter().map(ids), query.rank_constant);
            let scored = (fused.into_iter())
                .skip(query.offset)
                .take(query.limit)
                .map(|(id, score)| Scored { id, score });
            let hits = self.hits(collection, scored, query.with_payload, &query.with_vectors)?;
            let plans = ranked.into_iter().map(|ranked| ranked.plan).collect();
            Ok(Fused { hits, plans })
        })
    }
}
