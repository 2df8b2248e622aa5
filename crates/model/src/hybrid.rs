//! Several searches of one collection, fused into one ranking.

use std::collections::BTreeMap;

use crate::error::InvalidInput;
use crate::explain::SearchPlan;
use crate::limits::HYBRID_QUERIES_MAX;
use crate::point_id::PointId;
use crate::query::{Hit, SearchQuery, WithVectors, check_limit};

/// How fast the worth of a rank falls, where nothing else is said: that of Cormack, Clarke and Buettcher (2009).
pub const RANK_CONSTANT: u32 = 60;

/// Several searches, whose rankings are fused by reciprocal rank: a point's score is the sum of 1 / (constant + rank) over
/// the searches that found it, ranks counted from 1. Scores of the searches themselves need not be comparable.
#[derive(Clone, Debug, PartialEq)]
pub struct HybridQuery {
    /// The searches, 1 to 16; each looks as deep as its limit. What they say about payload and vectors does not matter.
    pub queries: Vec<SearchQuery>,
    /// The constant: the higher, the less the first ranks count more than the others.
    pub rank_constant: u32,
    /// How many hits, after the offset.
    pub limit: usize,
    /// How many hits to skip.
    pub offset: usize,
    /// Whether hits carry their payload.
    pub with_payload: bool,
    /// Whether hits carry their vectors.
    pub with_vectors: WithVectors,
    /// Whether the answer tells how the searches were answered.
    pub explain: bool,
}

impl HybridQuery {
    /// The best `limit` points by all of these searches, with payloads.
    #[must_use]
    pub fn new(queries: impl IntoIterator<Item = SearchQuery>, limit: usize) -> Self {
        Self {
            queries: queries.into_iter().collect(),
            rank_constant: RANK_CONSTANT,
            limit,
            offset: 0,
            with_payload: true,
            with_vectors: WithVectors::None,
            explain: false,
        }
    }

    /// Refuses limits out of range, no and too many searches, and bad ones.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        check_limit(self.limit, self.offset)?;
        let what = || "sub-queries".to_owned();
        match self.queries.len() {
            0 => return Err(InvalidInput::Empty { what: what() }),
            count if count > HYBRID_QUERIES_MAX => {
                return Err(InvalidInput::TooMany {
                    what: what(),
                    count,
                    max: HYBRID_QUERIES_MAX,
                });
            }
            _ => {}
        }
        self.queries.iter().try_for_each(SearchQuery::validate)
    }
}

/// The hits of several searches.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused {
    /// The hits by fused score, highest first, equal scores by id.
    pub hits: Vec<Hit>,
    /// How each search went, in order.
    pub plans: Vec<SearchPlan>,
}

/// Fuses rankings by reciprocal rank: highest first, equal scores by id.
#[must_use]
pub fn fuse(
    rankings: impl IntoIterator<Item = impl IntoIterator<Item = PointId>>,
    constant: u32,
) -> Vec<(PointId, f32)> {
    let mut shares: BTreeMap<PointId, Vec<f64>> = BTreeMap::new();
    for ranking in rankings {
        for (id, rank) in ranking.into_iter().zip(1_u32..) {
            let share = 1.0 / (f64::from(constant) + f64::from(rank));
            shares.entry(id).or_default().push(share);
        }
    }
    let sum = |mut shares: Vec<f64>| {
        // In one order, so that points of the same ranks tie whichever search gave them which.
        shares.sort_by(f64::total_cmp);
        shares.iter().sum::<f64>()
    };
    let mut fused: Vec<(PointId, f64)> = (shares.into_iter())
        .map(|(id, shares)| (id, sum(shares)))
        .collect();
    // The sort is stable, and the map in order of the ids.
    fused.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    fused
        .into_iter()
        .map(|(id, score)| (id, to_f32(score)))
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is the point"
)]
fn to_f32(score: f64) -> f32 {
    score as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranks_are_worth_their_reciprocal() {
        let ids = |ids: &[u64]| ids.iter().copied().map(PointId::Num).collect::<Vec<_>>();
        let fused = fuse([ids(&[1, 2, 3]), ids(&[3, 4]), ids(&[])], 60);
        let expected = [
            (3, 1.0 / 61.0 + 1.0 / 63.0),
            (1, 1.0 / 61.0),
            (2, 1.0 / 62.0),
            (4, 1.0 / 62.0),
        ];
        assert_eq!(fused.len(), expected.len());
        for ((id, score), (n, exact)) in fused.into_iter().zip(expected) {
            assert_eq!(id, PointId::Num(n));
            assert!((f64::from(score) - exact).abs() < 1e-8, "{score} {exact}");
        }
    }

    proptest! {
        #[test]
        fn the_order_of_the_searches_does_not_matter(
            mut rankings in prop::collection::vec(
                prop::collection::btree_set(0_u64..20, 0..10), 1..5,
            ),
            constant in 0_u32..100,
        ) {
            let fuse = |rankings: &[std::collections::BTreeSet<u64>]| {
                fuse(rankings.iter().map(|r| r.iter().rev().copied().map(PointId::Num)), constant)
            };
            let fused = fuse(&rankings);
            rankings.reverse();
            prop_assert_eq!(fuse(&rankings), fused.clone());
            let union: std::collections::BTreeSet<_> = rankings.iter().flatten().collect();
            prop_assert_eq!(fused.len(), union.len());
            prop_assert!(fused.windows(2).all(|w| w[0].1 >= w[1].1));
        }
    }

    #[test]
    fn bad_hybrid_queries_are_refused() {
        let search = SearchQuery::new(vec![1.0], 5);
        let good = HybridQuery::new([search.clone()], 5);
        assert!(good.validate().is_ok());
        let none = HybridQuery::new([], 5);
        assert!(matches!(none.validate(), Err(InvalidInput::Empty { .. })));
        let many = HybridQuery::new(vec![search.clone(); 17], 5);
        let refused = many.validate();
        assert!(matches!(
            refused,
            Err(InvalidInput::TooMany {
                count: 17,
                max: 16,
                ..
            })
        ));
        let shallow = SearchQuery { limit: 0, ..search };
        let refused = HybridQuery::new([shallow], 5).validate();
        assert!(matches!(refused, Err(InvalidInput::BadField { .. })));
    }
}
