//! The index of one field for one kind of condition.

use std::sync::atomic::{AtomicU64, Ordering};

use pando_model::{Condition, EncodedPayload, Value};

use super::known::Known;
use super::places::Places;
use super::texts::Texts;
use super::times::Times;
use super::values::Values;

/// What of a field is indexed: each kind answers some conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Equality, numeric ranges, null and empty.
    Values,
    /// Ranges in time.
    Times,
    /// Words of texts.
    Texts,
    /// Circles and boxes on the earth.
    Places,
}

/// An index that a condition asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need<'a> {
    pub(crate) path: &'a str,
    pub(crate) kind: Kind,
}

impl<'a> Need<'a> {
    /// What a condition asks for, if it is about a field.
    pub(crate) fn of(condition: &'a Condition) -> Option<Self> {
        let (path, kind) = match condition {
            Condition::Match { key, .. }
            | Condition::AnyOf { key, .. }
            | Condition::Range { key, .. }
            | Condition::IsNull { key }
            | Condition::IsEmpty { key } => (key, Kind::Values),
            Condition::DatetimeRange { key, .. } => (key, Kind::Times),
            Condition::Text { key, .. } => (key, Kind::Texts),
            Condition::GeoRadius { key, .. } | Condition::GeoBox { key, .. } => (key, Kind::Places),
            Condition::HasId(_) | Condition::Nested(_) => return None,
        };
        Some(Self { path, kind })
    }
}

#[derive(Debug)]
enum Index {
    Values(Values),
    Times(Times),
    Texts(Texts),
    Places(Places),
}

impl Index {
    fn insert(&mut self, slot: u32, value: &Value) {
        match self {
            Self::Values(values) => values.insert(slot, value),
            Self::Times(times) => times.insert(slot, value),
            Self::Texts(texts) => texts.insert(slot, value),
            Self::Places(places) => places.insert(slot, value),
        }
    }

    fn remove(&mut self, slot: u32, value: &Value) {
        match self {
            Self::Values(values) => values.remove(slot, value),
            Self::Times(times) => times.remove(slot, value),
            Self::Texts(texts) => texts.remove(slot, value),
            Self::Places(places) => places.remove(slot, value),
        }
    }
}

/// The index of one field. It covers the first so many slots; the others are not in it yet.
#[derive(Debug)]
pub(crate) struct Field {
    path: String,
    kind: Kind,
    index: Index,
    covered: u32,
    /// When it was last asked, in filters.
    used: AtomicU64,
}

impl Field {
    pub(crate) fn new(need: Need<'_>) -> Self {
        let index = match need.kind {
            Kind::Values => Index::Values(Values::default()),
            Kind::Times => Index::Times(Times::default()),
            Kind::Texts => Index::Texts(Texts::default()),
            Kind::Places => Index::Places(Places::default()),
        };
        Self {
            path: need.path.to_owned(),
            kind: need.kind,
            index,
            covered: 0,
            used: AtomicU64::new(0),
        }
    }

    pub(crate) fn is(&self, need: Need<'_>) -> bool {
        self.kind == need.kind && self.path == need.path
    }

    pub(crate) fn covered(&self) -> u32 {
        self.covered
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn touch(&self, now: u64) {
        self.used.store(now, Ordering::Relaxed);
    }

    /// Takes in some more slots. `payloads` are those of all slots.
    pub(crate) fn cover(&mut self, payloads: &[EncodedPayload], slots: usize) {
        let from = self.covered as usize;
        for payload in payloads.iter().skip(from).take(slots) {
            self.append(payload);
        }
    }

    fn append(&mut self, payload: &EncodedPayload) {
        if let Some(value) = payload.find(&self.path) {
            self.index.insert(self.covered, &value);
        }
        self.covered += 1;
    }

    /// A slot behind all others has come.
    pub(crate) fn added(&mut self, slot: u32, payload: &EncodedPayload) {
        if slot == self.covered {
            self.append(payload);
        }
    }

    /// A slot's payload is another one.
    pub(crate) fn replaced(&mut self, slot: u32, old: &EncodedPayload, new: &EncodedPayload) {
        if slot >= self.covered {
            return;
        }
        let (old, new) = (old.find(&self.path), new.find(&self.path));
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.index.remove(slot, &old);
        }
        if let Some(new) = new {
            self.index.insert(slot, &new);
        }
    }

    /// A slot's point is gone, and that of the last slot has taken its place.
    pub(crate) fn removed(
        &mut self,
        slot: u32,
        payload: &EncodedPayload,
        last: u32,
        moved: &EncodedPayload,
    ) {
        if slot < self.covered
            && let Some(value) = payload.find(&self.path)
        {
            self.index.remove(slot, &value);
        }
        if slot < self.covered
            && slot != last
            && let Some(value) = moved.find(&self.path)
        {
            if last < self.covered {
                self.index.remove(last, &value);
            }
            self.index.insert(slot, &value);
        }
        self.covered = self.covered.min(last);
    }

    /// What it knows of the slots for which a condition holds, of the first so many ones; `None` if it is of no use for
    /// such a condition.
    pub(crate) fn known(&self, condition: &Condition, slots: u32) -> Option<Known> {
        let mut known = match (&self.index, condition) {
            (Index::Values(index), Condition::Match { value, .. }) => index.equal(value),
            (Index::Values(index), Condition::AnyOf { values, .. }) => (values.iter())
                .map(|value| index.equal(value))
                .fold(Known::default(), |known, other| known.or(&other)),
            (Index::Values(index), Condition::Range { range, .. }) => index.within(range),
            (Index::Values(index), Condition::IsNull { .. }) => index.null(),
            (Index::Values(index), Condition::IsEmpty { .. }) => index.empty(self.covered),
            (Index::Times(index), Condition::DatetimeRange { range, .. }) => index.within(range),
            (Index::Texts(index), Condition::Text { text, .. }) => index.with_all(text)?,
            (Index::Places(index), Condition::GeoRadius { circle, .. }) => {
                index.within(&circle.bounds(), |place| circle.contains(place))
            }
            (Index::Places(index), Condition::GeoBox { area, .. }) => {
                index.within(area, |place| area.contains(place))
            }
            _ => return None,
        };
        known.doubt.insert_range(self.covered..slots);
        Some(known)
    }

    /// Bytes allocated, estimated.
    pub(crate) fn memory_bytes(&self) -> usize {
        let index = match &self.index {
            Index::Values(values) => values.memory_bytes(),
            Index::Times(times) => times.memory_bytes(),
            Index::Texts(texts) => texts.memory_bytes(),
            Index::Places(places) => places.memory_bytes(),
        };
        size_of::<Self>() + self.path.capacity() + index
    }
}
