//! The index of a field's values: strings, bools, numbers, null and nothing.

use pando_model::{Range, Value};
use roaring::RoaringBitmap;

use super::known::Known;
use super::ordered::Ordered;
use super::postings::Postings;

/// Longer strings are not kept: a point that has one is looked at if one is asked for.
const STRING_BYTES_MAX: usize = 256;

/// A number as a filter sees it: integers and floats compare as floats, but two integers are equal only if they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    value: f64,
    int: Option<i64>,
}

impl Number {
    fn float(value: f64) -> Self {
        // Negative zero equals zero.
        Self {
            value: value + 0.0,
            int: None,
        }
    }

    fn int(int: i64) -> Self {
        Self {
            value: int as f64,
            int: Some(int),
        }
    }
}

impl Eq for Number {}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.value.total_cmp(&other.value)).then(self.int.cmp(&other.int))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// One field's values.
#[derive(Debug, Default)]
pub(super) struct Values {
    strings: Postings,
    /// Slots with strings that are too long.
    long: RoaringBitmap,
    bools: [RoaringBitmap; 2],
    numbers: Ordered<Number>,
    null: RoaringBitmap,
    /// Slots where the field is something else than null or an empty list.
    filled: RoaringBitmap,
}

/// What conditions look at: the items of a list, or the value itself.
pub(super) fn items(value: &Value) -> &[Value] {
    match value {
        Value::List(items) => items,
        other => std::slice::from_ref(other),
    }
}

impl Values {
    /// A slot's field has this value.
    pub(super) fn insert(&mut self, slot: u32, value: &Value) {
        if *value == Value::Null {
            self.null.insert(slot);
            return;
        }
        let items = items(value);
        if !items.is_empty() {
            self.filled.insert(slot);
        }
        for item in items {
            match item {
                Value::Bool(bool) => {
                    self.bools[usize::from(*bool)].insert(slot);
                }
                Value::Int(int) => self.numbers.insert(Number::int(*int), slot),
                Value::Float(float) => self.numbers.insert(Number::float(*float), slot),
                Value::Str(string) if string.len() > STRING_BYTES_MAX => {
                    self.long.insert(slot);
                }
                Value::Str(string) => self.strings.insert(string, slot),
                Value::Null | Value::List(_) | Value::Map(_) => {}
            }
        }
    }

    /// A slot's field has this value no more.
    pub(super) fn remove(&mut self, slot: u32, value: &Value) {
        self.null.remove(slot);
        self.filled.remove(slot);
        for item in items(value) {
            match item {
                Value::Bool(bool) => {
                    self.bools[usize::from(*bool)].remove(slot);
                }
                Value::Int(int) => self.numbers.remove(Number::int(*int), slot),
                Value::Float(float) => self.numbers.remove(Number::float(*float), slot),
                Value::Str(string) if string.len() > STRING_BYTES_MAX => {
                    self.long.remove(slot);
                }
                Value::Str(string) => self.strings.remove(string, slot),
                Value::Null | Value::List(_) | Value::Map(_) => {}
            }
        }
    }

    /// The slots whose field equals the value.
    pub(super) fn equal(&self, value: &Value) -> Known {
        Known::exactly(match value {
            Value::Bool(bool) => self.bools[usize::from(*bool)].clone(),
            Value::Str(string) if string.len() > STRING_BYTES_MAX => {
                return Known::perhaps(self.long.clone());
            }
            Value::Str(string) => self.strings.slots(string),
            Value::Int(int) => {
                let (float, int) = (Number::float(*int as f64), Number::int(*int));
                let float = self.numbers.range(|n| n >= float, |n| n <= float);
                float | self.numbers.range(|n| n >= int, |n| n <= int)
            }
            Value::Float(float) => {
                let (number, value) = (Number::float(*float), float + 0.0);
                self.numbers.range(|n| n >= number, |n| n.value <= value)
            }
            Value::Null | Value::List(_) | Value::Map(_) => RoaringBitmap::new(),
        })
    }

    /// The slots whose field is a number within the bounds.
    pub(super) fn within(&self, range: &Range) -> Known {
        Known::exactly((self.numbers).range(
            |n| range.is_past_lower(n.value),
            |n| range.is_before_upper(n.value),
        ))
    }

    /// The slots whose field is null.
    pub(super) fn null(&self) -> Known {
        Known::exactly(self.null.clone())
    }

    /// The slots, of the first `covered` ones, whose field is missing, null or an empty list.
    pub(super) fn empty(&self, covered: u32) -> Known {
        let mut empty = RoaringBitmap::new();
        empty.insert_range(0..covered);
        Known::exactly(empty - &self.filled)
    }

    /// Bytes allocated, estimated.
    pub(super) fn memory_bytes(&self) -> usize {
        let bitmaps = [&self.long, &self.null, &self.filled];
        let bitmaps = bitmaps.into_iter().chain(&self.bools);
        self.strings.memory_bytes()
            + self.numbers.memory_bytes()
            + bitmaps.map(RoaringBitmap::serialized_size).sum::<usize>()
    }
}
