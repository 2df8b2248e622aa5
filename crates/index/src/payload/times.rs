//! The index of a field's dates and times.

use pando_model::{DatetimeRange, Moment, Value};

use super::known::Known;
use super::ordered::Ordered;
use super::values::items;

/// One field's moments.
#[derive(Debug, Default)]
pub(super) struct Times(Ordered<Moment>);

fn moments(value: &Value) -> impl Iterator<Item = Moment> + '_ {
    items(value).iter().filter_map(|item| match item {
        Value::Str(text) => Moment::parse(text),
        _ => None,
    })
}

impl Times {
    pub(super) fn insert(&mut self, slot: u32, value: &Value) {
        moments(value).for_each(|moment| self.0.insert(moment, slot));
    }

    pub(super) fn remove(&mut self, slot: u32, value: &Value) {
        moments(value).for_each(|moment| self.0.remove(moment, slot));
    }

    /// The slots whose field is within the bounds.
    pub(super) fn within(&self, range: &DatetimeRange) -> Known {
        Known::exactly((self.0).range(|m| range.is_past_lower(m), |m| range.is_before_upper(m)))
    }

    /// Bytes allocated, estimated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}
