//! Several searches, fused.

use pando_model::{Explanation, FusedExplained, Hit, HybridQuery, RANK_CONSTANT};

use super::query::count;
use super::{all, decode_queries, with_payload, with_vectors};
use crate::error::DecodeError;
use crate::v1;

impl From<HybridQuery> for v1::HybridQuery {
    fn from(query: HybridQuery) -> Self {
        Self {
            queries: query.queries.into_iter().map(Into::into).collect(),
            limit: count(query.limit),
            offset: count(query.offset),
            rank_constant: Some(query.rank_constant),
            with_payload: Some(query.with_payload.into()),
            with_vectors: Some(query.with_vectors.into()),
            explain: query.explain,
        }
    }
}

impl TryFrom<v1::HybridQuery> for HybridQuery {
    type Error = DecodeError;

    fn try_from(wire: v1::HybridQuery) -> Result<Self, Self::Error> {
        Ok(Self {
            queries: decode_queries(wire.queries)?,
            rank_constant: wire.rank_constant.unwrap_or(RANK_CONSTANT),
            limit: wire.limit as usize,
            offset: wire.offset as usize,
            with_payload: with_payload(wire.with_payload),
            with_vectors: with_vectors(wire.with_vectors),
            explain: wire.explain,
        })
    }
}

impl TryFrom<v1::SearchHybridResponse> for FusedExplained {
    type Error = DecodeError;

    fn try_from(wire: v1::SearchHybridResponse) -> Result<Self, Self::Error> {
        Ok(Self {
            hits: all("hits", wire.hits, Hit::try_from)?,
            explanations: all("explanations", wire.explanations, Explanation::try_from)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use pando_model::{Examples, SearchQuery, WithVectors};

    use super::*;

    #[test]
    fn hybrid_queries_round_trip_and_have_a_constant() {
        let query = HybridQuery {
            rank_constant: 7,
            offset: 2,
            with_vectors: WithVectors::All,
            explain: true,
            ..HybridQuery::new(
                [
                    SearchQuery::new(vec![1.0, 0.0], 5),
                    SearchQuery::by_examples(Examples::point(3), 9),
                ],
                10,
            )
        };
        let mut wire = v1::HybridQuery::from(query.clone());
        assert_eq!(HybridQuery::try_from(wire.clone()), Ok(query));
        wire.rank_constant = None;
        let usual = HybridQuery::try_from(wire.clone()).expect("fine");
        assert_eq!(usual.rank_constant, 60);
        wire.queries.push(v1::SearchQuery::default());
        let error = HybridQuery::try_from(wire).expect_err("no vector");
        assert_eq!(error, DecodeError::missing("queries[2].vector"));
    }
}
