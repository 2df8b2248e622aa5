//! Queries by a sparse vector.

use rayon::prelude::*;

use super::{Ask, CollectionIndex, Searched};
use crate::matching::Matching;
use crate::sparse::SparseIndex;

impl CollectionIndex {
    /// Queries by the same sparse vector name, one by one. They have been checked, so each has a sparse vector.
    pub(super) fn search_sparse(
        &self,
        index: &SparseIndex,
        asks: &[Ask<'_>],
        matchings: &[Matching<'_>],
    ) -> Vec<Searched> {
        let search = |ask: &Ask<'_>| {
            let matching = ask.filter.map(|filter| &matchings[filter]);
            let vector = ask.query.sparse_vector.as_ref();
            let vector = vector.expect("the schema was asked whether the query fits its name");
            let (hits, plan) = index.search(&self.ids, ask.query, vector, matching);
            Searched { hits, plan }
        };
        match asks {
            [ask] => vec![search(ask)],
            asks => asks.par_iter().map(search).collect(),
        }
    }
}
