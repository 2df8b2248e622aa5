//! Searching by examples: stored points and vectors that hits are to be like, or unlike.

use std::collections::BTreeSet;

use crate::error::InvalidInput;
use crate::limits::EXAMPLES_MAX;
use crate::point_id::PointId;

/// A stored point or a vector.
#[derive(Clone, Debug, PartialEq)]
pub enum Example {
    /// The vector of this point.
    Id(PointId),
    /// This vector.
    Vector(Vec<f32>),
}

impl From<PointId> for Example {
    fn from(id: PointId) -> Self {
        Self::Id(id)
    }
}

impl From<u64> for Example {
    fn from(id: u64) -> Self {
        Self::Id(id.into())
    }
}

impl From<Vec<f32>> for Example {
    fn from(vector: Vec<f32>) -> Self {
        Self::Vector(vector)
    }
}

/// What hits are to be like, and unlike. Points that are examples are left out of the hits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// Hits are to be like these; at least one.
    pub positive: Vec<Example>,
    /// And unlike these.
    pub negative: Vec<Example>,
}

impl Examples {
    /// One stored point.
    #[must_use]
    pub fn point(id: impl Into<PointId>) -> Self {
        Self::default().like([id.into()])
    }

    /// Adds what hits are to be like: ids and vectors.
    #[must_use]
    pub fn like(mut self, examples: impl IntoIterator<Item = impl Into<Example>>) -> Self {
        self.positive.extend(examples.into_iter().map(Into::into));
        self
    }

    /// Adds what hits are to be unlike: ids and vectors.
    #[must_use]
    pub fn unlike(mut self, examples: impl IntoIterator<Item = impl Into<Example>>) -> Self {
        self.negative.extend(examples.into_iter().map(Into::into));
        self
    }

    /// Refuses examples without a positive one, and too many.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        if self.positive.is_empty() {
            return Err(InvalidInput::BadField {
                field: "like".into(),
                reason: "there is no positive example; give at least one id or vector".into(),
            });
        }
        let count = self.positive.len() + self.negative.len();
        if count > EXAMPLES_MAX {
            return Err(InvalidInput::TooMany {
                what: "examples".into(),
                count,
                max: EXAMPLES_MAX,
            });
        }
        Ok(())
    }

    /// The point, if there is nothing but one that hits are to be like.
    #[must_use]
    pub fn single(&self) -> Option<PointId> {
        match (self.positive.as_slice(), self.negative.as_slice()) {
            ([Example::Id(id)], []) => Some(*id),
            _ => None,
        }
    }

    /// The points among them.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<PointId> {
        let all = self.positive.iter().chain(&self.negative);
        all.filter_map(|example| match example {
            Example::Id(id) => Some(*id),
            Example::Vector(_) => None,
        })
        .collect()
    }

    /// The query vector that vectors of one length make: avg(positive), and where there are negative ones
    /// avg(positive) + (avg(positive) - avg(negative)).
    #[must_use]
    pub fn combine(positive: &[Vec<f32>], negative: &[Vec<f32>]) -> Vec<f32> {
        let like = mean(positive);
        let combined: Vec<f64> = match negative {
            [] => like,
            negative => (like.iter().zip(mean(negative)))
                .map(|(like, unlike)| like + (like - unlike))
                .collect(),
        };
        combined.into_iter().map(to_f32).collect()
    }
}

fn mean(vectors: &[Vec<f32>]) -> Vec<f64> {
    let mut sums = vec![0.0; vectors.first().map_or(0, Vec::len)];
    for vector in vectors {
        for (sum, value) in sums.iter_mut().zip(vector) {
            *sum += f64::from(*value);
        }
    }
    sums.iter_mut().for_each(|sum| *sum /= vectors.len() as f64);
    sums
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is the point"
)]
fn to_f32(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_averaged_and_pushed_away_from_the_negative_ones() {
        let one = vec![0.1_f32, -2.5e-7, 3.0];
        assert_eq!(Examples::combine(std::slice::from_ref(&one), &[]), one);
        let positive = [vec![1.0, 0.0], vec![3.0, 2.0]];
        assert_eq!(Examples::combine(&positive, &[]), [2.0, 1.0]);
        let negative = [vec![1.0, 1.0], vec![0.0, 3.0]];
        assert_eq!(Examples::combine(&positive, &negative), [3.5, 0.0]);
    }

    #[test]
    fn examples_that_say_nothing_are_refused() {
        let none = Examples::default().unlike([1]);
        assert!(matches!(
            none.validate(),
            Err(InvalidInput::BadField { reason, .. }) if reason.contains("no positive")
        ));
        let many = Examples::default().like(0..200).unlike(0..57);
        assert!(matches!(
            many.validate(),
            Err(InvalidInput::TooMany {
                count: 257,
                max: EXAMPLES_MAX,
                ..
            })
        ));
        let mixed = Examples::point(3)
            .like([vec![1.0]])
            .unlike([PointId::Num(5), PointId::Num(3)]);
        assert!(mixed.validate().is_ok());
        assert_eq!(Examples::point(3).single(), Some(PointId::Num(3)));
        assert_eq!(Examples::point(3).unlike([4]).single(), None);
        assert_eq!(mixed.single(), None);
        assert_eq!(mixed.ids(), BTreeSet::from([3, 5].map(PointId::Num)));
    }
}
