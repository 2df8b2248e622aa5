//! Reads: consistency, what comes back, searches, scrolls, hits.

use pando_model::{
    CollectionName, Consistency, Hit, ScrollPage, ScrollQuery, SearchQuery, SparseVector,
    StoredPoint, VectorName, WithVectors,
};

use super::{all, decode_collection, decode_filter};
use crate::error::DecodeError;
use crate::v1::{self, consistency as level, vector::Data};

impl From<Consistency> for v1::Consistency {
    fn from(consistency: Consistency) -> Self {
        let level = match consistency {
            Consistency::Local => level::Level::Local(level::Local {}),
            Consistency::AtLeast(index) => level::Level::AtLeast(index),
            Consistency::Linearizable => level::Level::Linearizable(level::Linearizable {}),
        };
        Self { level: Some(level) }
    }
}

/// What a read must have seen; absent means `local`.
#[must_use]
pub fn decode_consistency(wire: Option<v1::Consistency>) -> Consistency {
    match wire.and_then(|c| c.level) {
        None | Some(level::Level::Local(_)) => Consistency::Local,
        Some(level::Level::AtLeast(index)) => Consistency::AtLeast(index),
        Some(level::Level::Linearizable(_)) => Consistency::Linearizable,
    }
}

impl From<bool> for v1::WithPayload {
    fn from(all: bool) -> Self {
        Self {
            selector: Some(v1::with_payload::Selector::All(all)),
        }
    }
}

/// Whether payloads come back; they do where nothing is said.
#[must_use]
pub fn with_payload(wire: Option<v1::WithPayload>) -> bool {
    match wire.and_then(|w| w.selector) {
        None => true,
        Some(v1::with_payload::Selector::All(all)) => all,
    }
}

impl From<WithVectors> for v1::WithVectors {
    fn from(with: WithVectors) -> Self {
        let all = match with {
            WithVectors::None => false,
            WithVectors::All => true,
        };
        Self {
            selector: Some(v1::with_vectors::Selector::All(all)),
        }
    }
}

/// Which vectors come back; none where nothing is said.
#[must_use]
pub fn with_vectors(wire: Option<v1::WithVectors>) -> WithVectors {
    match wire.and_then(|w| w.selector) {
        None | Some(v1::with_vectors::Selector::All(false)) => WithVectors::None,
        Some(v1::with_vectors::Selector::All(true)) => WithVectors::All,
    }
}

/// A count for the wire; what does not fit is over every limit anyway and will be refused.
pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl From<SearchQuery> for v1::SearchQuery {
    fn from(query: SearchQuery) -> Self {
        Self {
            vector_name: query.vector_name.into(),
            vector: match query.sparse_vector {
                Some(vector) => Some(vector.into()),
                None if query.like.is_some() && query.vector.is_empty() => None,
                None => Some(query.vector.into()),
            },
            like: query.like.map(Into::into),
            filter: query.filter.map(Into::into),
            limit: count(query.limit),
            offset: count(query.offset),
            score_threshold: query.score_threshold,
            with_payload: Some(query.with_payload.into()),
            with_vectors: Some(query.with_vectors.into()),
            ef: query.ef,
            oversampling: query.oversampling,
            exact: query.exact,
            explain: query.explain,
        }
    }
}

impl TryFrom<v1::SearchQuery> for SearchQuery {
    type Error = DecodeError;

    fn try_from(wire: v1::SearchQuery) -> Result<Self, Self::Error> {
        let like =
            (wire.like.map(TryInto::try_into).transpose()).map_err(DecodeError::within("like"))?;
        let (vector, sparse_vector) = match wire.vector {
            Some(vector) => either(vector).map_err(DecodeError::within("vector"))?,
            None if like.is_some() => (Vec::new(), None),
            None => return Err(DecodeError::missing("vector")),
        };
        Ok(Self {
            vector_name: VectorName::parse(&wire.vector_name)
                .map_err(DecodeError::refused("vector_name"))?,
            vector,
            sparse_vector,
            like,
            filter: decode_filter(wire.filter)?,
            limit: wire.limit as usize,
            offset: wire.offset as usize,
            score_threshold: wire.score_threshold,
            with_payload: with_payload(wire.with_payload),
            with_vectors: with_vectors(wire.with_vectors),
            ef: wire.ef,
            oversampling: wire.oversampling,
            exact: wire.exact,
            explain: wire.explain,
        })
    }
}

/// A query's vector: a dense one, or none and a sparse one.
fn either(wire: v1::Vector) -> Result<(Vec<f32>, Option<SparseVector>), DecodeError> {
    match wire.data {
        Some(Data::Sparse(sparse)) => Ok((Vec::new(), Some(sparse.try_into()?))),
        _ => Ok((wire.try_into()?, None)),
    }
}

/// The queries of a batch search.
pub fn decode_queries(wire: Vec<v1::SearchQuery>) -> Result<Vec<SearchQuery>, DecodeError> {
    all("queries", wire, SearchQuery::try_from)
}

/// A request for one page.
#[must_use]
pub fn encode_scroll(
    collection: &CollectionName,
    query: ScrollQuery,
    consistency: Consistency,
) -> v1::ScrollRequest {
    v1::ScrollRequest {
        collection: collection.as_str().to_owned(),
        filter: query.filter.map(Into::into),
        from: query.from.map(Into::into),
        limit: count(query.limit),
        with_payload: Some(query.with_payload.into()),
        with_vectors: Some(query.with_vectors.into()),
        consistency: Some(consistency.into()),
        order_by: None,
        page_token: Vec::new(),
    }
}

/// A request for one page.
pub fn decode_scroll(
    wire: v1::ScrollRequest,
) -> Result<(CollectionName, ScrollQuery, Consistency), DecodeError> {
    if !wire.page_token.is_empty() {
        let reason = "it goes with order_by; use from in the order of ids";
        return Err(DecodeError::malformed("page_token", reason));
    }
    let query = ScrollQuery {
        filter: decode_filter(wire.filter)?,
        from: wire
            .from
            .map(TryInto::try_into)
            .transpose()
            .map_err(DecodeError::within("from"))?,
        limit: wire.limit as usize,
        with_payload: with_payload(wire.with_payload),
        with_vectors: with_vectors(wire.with_vectors),
    };
    let collection = decode_collection("collection", &wire.collection)?;
    Ok((collection, query, decode_consistency(wire.consistency)))
}

impl From<Hit> for v1::Hit {
    fn from(hit: Hit) -> Self {
        Self {
            score: hit.score,
            point: Some(hit.point.into()),
        }
    }
}

impl TryFrom<v1::Hit> for Hit {
    type Error = DecodeError;

    fn try_from(wire: v1::Hit) -> Result<Self, Self::Error> {
        Ok(Self {
            score: wire.score,
            point: wire
                .point
                .ok_or_else(|| DecodeError::missing("point"))?
                .try_into()
                .map_err(DecodeError::within("point"))?,
        })
    }
}

impl From<Vec<Hit>> for v1::Hits {
    fn from(hits: Vec<Hit>) -> Self {
        Self {
            hits: hits.into_iter().map(Into::into).collect(),
            explanation: None,
        }
    }
}

impl TryFrom<v1::Hits> for Vec<Hit> {
    type Error = DecodeError;

    fn try_from(wire: v1::Hits) -> Result<Self, Self::Error> {
        all("hits", wire.hits, Hit::try_from)
    }
}

impl TryFrom<v1::ScrollResponse> for ScrollPage {
    type Error = DecodeError;

    fn try_from(wire: v1::ScrollResponse) -> Result<Self, Self::Error> {
        Ok(Self {
            points: all("points", wire.points, StoredPoint::try_from)?,
            next: wire
                .next
                .map(TryInto::try_into)
                .transpose()
                .map_err(DecodeError::within("next"))?,
        })
    }
}

impl TryFrom<v1::GetResponse> for Vec<StoredPoint> {
    type Error = DecodeError;

    fn try_from(wire: v1::GetResponse) -> Result<Self, Self::Error> {
        all("points", wire.points, StoredPoint::try_from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::strategies::{examples, filters, ids, sparse_vectors, stored_points};
    use super::*;

    proptest! {
        #[test]
        fn searches_round_trip(
            vector in prop::collection::vec(-1.0f32..1.0, 0..8),
            filter in prop::option::of(filters()),
            (limit, offset) in (0usize..20_000, 0usize..20_000),
            score_threshold in prop::option::of(-1.0f32..1.0),
            (with_payload, vectors) in any::<(bool, bool)>(),
            (ef, exact, explain) in any::<(Option<u32>, bool, bool)>(),
            oversampling in prop::option::of(1.0f32..100.0),
            (like, by) in (prop::option::of(examples()), sparse_vectors()),
        ) {
            let query = SearchQuery {
                ef,
                oversampling,
                exact,
                explain,
                vector_name: VectorName::parse(if vectors { "" } else { "b" }).expect("name"),
                vector,
                sparse_vector: None,
                like,
                filter,
                limit,
                offset,
                score_threshold,
                with_payload,
                with_vectors: if vectors { WithVectors::All } else { WithVectors::None },
            };
            let sparse = SearchQuery {
                vector: Vec::new(),
                sparse_vector: Some(by),
                ..query.clone()
            };
            for query in [query, sparse] {
                let wire = v1::SearchQuery::from(query.clone());
                prop_assert_eq!(SearchQuery::try_from(wire).expect("own message"), query);
            }
        }

        #[test]
        fn scrolls_round_trip(
            filter in prop::option::of(filters()),
            from in prop::option::of(ids()),
            (limit, index) in (0usize..20_000, any::<u64>()),
            (with_payload, vectors) in any::<(bool, bool)>(),
        ) {
            let query = ScrollQuery {
                filter,
                from,
                limit,
                with_payload,
                with_vectors: if vectors { WithVectors::All } else { WithVectors::None },
            };
            let name = CollectionName::parse("words").expect("name");
            for consistency in
                [Consistency::Local, Consistency::AtLeast(index), Consistency::Linearizable]
            {
                let wire = encode_scroll(&name, query.clone(), consistency);
                let back = decode_scroll(wire).expect("own message");
                prop_assert_eq!(back, (name.clone(), query.clone(), consistency));
            }
        }

        #[test]
        fn hits_round_trip(
            points in prop::collection::vec((-1.0f32..1.0, stored_points()), 0..3),
        ) {
            let hits: Vec<_> =
                points.into_iter().map(|(score, point)| Hit { score, point }).collect();
            let back = Vec::<Hit>::try_from(v1::Hits::from(hits.clone())).expect("own message");
            prop_assert_eq!(back, hits);
        }
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        assert_eq!(decode_consistency(None), Consistency::Local);
        assert!(with_payload(Some(v1::WithPayload::default())));
        assert_eq!(with_vectors(None), WithVectors::None);
    }

    #[test]
    fn a_search_needs_a_vector() {
        let error = decode_queries(vec![v1::SearchQuery::default()]).expect_err("no vector");
        assert_eq!(error, DecodeError::missing("queries[0].vector"));
    }
}
