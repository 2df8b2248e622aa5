//! Facets: how many points have each value of a payload field.

use crate::error::InvalidInput;
use crate::field_value::FieldValue;
use crate::filter::Filter;
use crate::limits::FACETS_MAX;
use crate::path::check_path;

/// Asks how many points have each value of a field. Counted are strings, integers (whole floats, too) and bools; a list counts once for
/// each different item.
#[derive(Clone, Debug, PartialEq)]
pub struct FacetQuery {
    /// Dotted path of the payload field.
    pub key: String,
    /// Which points; all without a filter.
    pub filter: Option<Filter>,
    /// Most values, 1 to 10,000.
    pub limit: usize,
}

impl FacetQuery {
    /// Refuses limits out of range and paths and filters that are malformed.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        check_path("key", &self.key)?;
        if !(1..=FACETS_MAX).contains(&self.limit) {
            return Err(InvalidInput::BadField {
                field: "limit".into(),
                reason: format!("it is {}; use 1 to {FACETS_MAX}", self.limit),
            });
        }
        self.filter.as_ref().map_or(Ok(()), Filter::validate)
    }
}

/// One value, and how many points have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facet {
    /// The value.
    pub value: FieldValue,
    /// Points that have it.
    pub count: u64,
}

impl Facet {
    /// The most frequent of these, highest count first, equal counts by value.
    #[must_use]
    pub fn top(counts: impl IntoIterator<Item = (FieldValue, u64)>, limit: usize) -> Vec<Self> {
        let mut facets: Vec<Self> = (counts.into_iter())
            .map(|(value, count)| Self { value, count })
            .collect();
        let order = |a: &Self, b: &Self| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value));
        if limit < facets.len() {
            facets.select_nth_unstable_by(limit, order);
            facets.truncate(limit);
        }
        facets.sort_unstable_by(order);
        facets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_come_first_and_ties_by_value() {
        let counts = [("b", 2), ("a", 2), ("c", 9), ("d", 1)];
        let counts = counts.map(|(value, count)| (FieldValue::Str(value.into()), count));
        let top = |limit| {
            let facets = Facet::top(counts.clone(), limit).into_iter();
            facets.map(|f| (f.value, f.count)).collect::<Vec<_>>()
        };
        let [b, a, c, d] = counts.clone();
        assert_eq!(top(10), [c.clone(), a.clone(), b, d]);
        assert_eq!(top(2), [c, a]);
    }
}
