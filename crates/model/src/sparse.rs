//! Sparse vectors: a weight for each of a few indices, out of all that a `u32` counts.
//!
//! A [`SparseVector`] is always in its one form: indices strictly increasing, weights finite, none of them zero, at
//! least one. So equal vectors have equal bytes, and whoever holds one need not check it. A zero is refused rather than
//! dropped, so that what is read is what was written.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::SPARSE_ENTRIES_MAX;

/// Weights by index, in the order of the indices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct SparseVector {
    indices: Vec<u32>,
    values: Vec<f32>,
}

/// What a [`SparseVector`] is read from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl TryFrom<Parts> for SparseVector {
    type Error = SparseError;

    fn try_from(parts: Parts) -> Result<Self, Self::Error> {
        Self::new(parts.indices, parts.values)
    }
}

/// What is wrong with indices and values that are no sparse vector.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum SparseError {
    /// No entries.
    #[error(
        "a sparse vector without entries is like nothing: give at least one index, or leave the vector out"
    )]
    Empty,
    /// Lists that do not belong together.
    #[error(
        "a sparse vector has {indices} indices and {values} values: give one value for each index"
    )]
    Lengths {
        /// Indices given.
        indices: usize,
        /// Values given.
        values: usize,
    },
    /// Too many entries.
    #[error("a sparse vector of {count} entries is over the limit of {max}")]
    TooMany {
        /// How many were given.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// An index that is less than the one before it.
    #[error(
        "index {index} comes after {before} at position {position}: give the indices in increasing order"
    )]
    Unsorted {
        /// Where it stands.
        position: usize,
        /// The one before it.
        before: u32,
        /// The index.
        index: u32,
    },
    /// An index twice.
    #[error("index {index} is given twice, at position {position} again: add up its values")]
    Repeated {
        /// Where it stands for the second time.
        position: usize,
        /// The index.
        index: u32,
    },
    /// NaN or infinity.
    #[error("the value of index {index} is NaN or infinity: all values must be finite")]
    NotFinite {
        /// Of which index.
        index: u32,
    },
    /// A zero.
    #[error("the value of index {index} is 0, which says nothing: leave the index out")]
    Zero {
        /// Of which index.
        index: u32,
    },
}

impl SparseVector {
    /// Checks and takes indices and their values.
    ///
    /// # Errors
    /// Every [`SparseError`].
    pub fn new(indices: Vec<u32>, values: Vec<f32>) -> Result<Self, SparseError> {
        if indices.len() != values.len() {
            return Err(SparseError::Lengths {
                indices: indices.len(),
                values: values.len(),
            });
        }
        match indices.len() {
            0 => return Err(SparseError::Empty),
            count if count > SPARSE_ENTRIES_MAX => {
                let max = SPARSE_ENTRIES_MAX;
                return Err(SparseError::TooMany { count, max });
            }
            _ => {}
        }
        for (position, pair) in (1..).zip(indices.windows(2)) {
            let (before, index) = (pair[0], pair[1]);
            if index == before {
                return Err(SparseError::Repeated { position, index });
            }
            if index < before {
                return Err(SparseError::Unsorted {
                    position,
                    before,
                    index,
                });
            }
        }
        for (index, value) in indices.iter().copied().zip(&values) {
            if !value.is_finite() {
                return Err(SparseError::NotFinite { index });
            }
            if *value == 0.0 {
                return Err(SparseError::Zero { index });
            }
        }
        Ok(Self { indices, values })
    }

    /// The same from pairs of index and value in any order.
    ///
    /// # Errors
    /// As [`Self::new`], but for the order.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (u32, f32)>) -> Result<Self, SparseError> {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by_key(|(index, _)| *index);
        let (indices, values) = pairs.into_iter().unzip();
        Self::new(indices, values)
    }

    /// The indices, strictly increasing.
    #[must_use]
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The values, in the order of the indices.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Indices and values.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u32>, Vec<f32>) {
        (self.indices, self.values)
    }

    /// Pairs of index and value, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        self.indices
            .iter()
            .copied()
            .zip(self.values.iter().copied())
    }

    /// Bytes of its entries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(self.indices.as_slice()) + size_of_val(self.values.as_slice())
    }

    /// The dot product; `None` if there is no index that both have.
    ///
    /// Products of `f32` are exact in `f64`, and are added up in the order of the indices: everyone gets the same bits.
    #[must_use]
    pub fn dot(&self, other: &Self) -> Option<f32> {
        let (mut sum, mut shared) = (0.0, false);
        let mut others = other.pairs().peekable();
        for (index, value) in self.pairs() {
            while others.next_if(|(other, _)| *other < index).is_some() {}
            if let Some((_, weight)) = others.next_if(|(other, _)| *other == index) {
                sum += f64::from(value) * f64::from(weight);
                shared = true;
            }
        }
        shared.then(|| Self::score_of(sum))
    }

    /// The score that a sum of products is: always finite, never negative zero, which orders before zero.
    #[must_use]
    pub fn score_of(sum: f64) -> f32 {
        let max = f64::from(f32::MAX);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding to f32 is the point"
        )]
        let rounded = sum.clamp(-max, max) as f32;
        rounded + 0.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn refused(indices: &[u32], values: &[f32]) -> SparseError {
        SparseVector::new(indices.to_vec(), values.to_vec()).expect_err("it is none")
    }

    #[test]
    fn what_is_no_sparse_vector_is_refused() {
        assert_eq!(refused(&[], &[]), SparseError::Empty);
        let lengths = SparseError::Lengths {
            indices: 2,
            values: 1,
        };
        assert_eq!(refused(&[1, 2], &[1.0]), lengths);
        let unsorted = SparseError::Unsorted {
            position: 2,
            before: 7,
            index: 3,
        };
        assert_eq!(refused(&[1, 7, 3], &[1.0; 3]), unsorted);
        let repeated = SparseError::Repeated {
            position: 1,
            index: 7,
        };
        assert_eq!(refused(&[7, 7], &[1.0; 2]), repeated);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let not_finite = SparseError::NotFinite { index: 9 };
            assert_eq!(refused(&[4, 9], &[1.0, value]), not_finite);
        }
        for zero in [0.0, -0.0] {
            assert_eq!(refused(&[4], &[zero]), SparseError::Zero { index: 4 });
        }
        let count = u32::try_from(SPARSE_ENTRIES_MAX).expect("small");
        let most = SparseVector::new((0..count).collect(), vec![1.0; SPARSE_ENTRIES_MAX]);
        assert!(most.is_ok());
        let many = refused(
            &(0..=count).collect::<Vec<_>>(),
            &vec![1.0; SPARSE_ENTRIES_MAX + 1],
        );
        let too_many = SparseError::TooMany {
            count: SPARSE_ENTRIES_MAX + 1,
            max: SPARSE_ENTRIES_MAX,
        };
        assert_eq!(many, too_many);
    }

    #[test]
    fn pairs_are_sorted_and_still_checked() {
        let vector = SparseVector::from_pairs([(u32::MAX, 1.5), (0, -2.0)]).expect("fine");
        assert_eq!(vector.indices(), [0, u32::MAX]);
        assert_eq!(vector.values(), [-2.0, 1.5]);
        let twice = SparseVector::from_pairs([(3, 1.0), (1, 1.0), (3, 1.0)]);
        assert!(matches!(twice, Err(SparseError::Repeated { index: 3, .. })));
    }

    #[test]
    fn json_is_checked_like_anything_else() {
        let read = |text: &str| serde_json::from_str::<SparseVector>(text);
        let vector = read(r#"{"indices": [1, 5], "values": [0.5, -1]}"#).expect("fine");
        assert_eq!(vector.values(), [0.5, -1.0]);
        for (bad, says) in [
            (r#"{"indices": [5, 1], "values": [1, 1]}"#, "increasing"),
            (r#"{"indices": [1], "values": [0]}"#, "leave the index out"),
            (r#"{"indices": [1]}"#, "values"),
            (r#"{"indices": [1], "values": [1], "x": 1}"#, "unknown"),
            (r#"{"indices": [-1], "values": [1]}"#, "-1"),
        ] {
            let error = read(bad).expect_err(bad).to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn scores_stay_finite() {
        let of = |value| SparseVector::new(vec![1], vec![value]).expect("fine");
        assert_eq!(of(1e30).dot(&of(1e30)), Some(f32::MAX));
        assert_eq!(of(1e30).dot(&of(-1e30)), Some(f32::MIN));
        let tiny = of(-1e-30).dot(&of(1e-30)).expect("shared");
        assert!(tiny == 0.0 && tiny.is_sign_positive());
        let other = SparseVector::new(vec![2], vec![1.0]).expect("fine");
        assert_eq!(of(1.0).dot(&other), None);
    }

    proptest! {
        #[test]
        fn the_product_is_that_of_the_shared_indices(
            a in prop::collection::btree_map(0_u32..40, 1_i16..100, 1..20),
            b in prop::collection::btree_map(0_u32..40, -100_i16..-1, 1..20),
        ) {
            let of = |map: &BTreeMap<u32, i16>| {
                SparseVector::from_pairs(map.iter().map(|(i, v)| (*i, f32::from(*v))))
            };
            let shared: Vec<f32> = (a.iter())
                .filter_map(|(i, v)| Some(f32::from(*v) * f32::from(*b.get(i)?)))
                .collect();
            let expected = (!shared.is_empty()).then(|| shared.iter().sum::<f32>());
            let (a, b) = (of(&a).expect("fine"), of(&b).expect("fine"));
            prop_assert_eq!(a.dot(&b), expected);
            prop_assert_eq!(b.dot(&a), expected);
        }
    }
}
