//! Payload indexes: which points have which values in a field.
//!
//! An index is made on demand: the first filter on a field begins it, and that filter and those after it take in some
//! thousands of points each until it covers all. Until then it knows of the others only that they may pass, which
//! is asked of their payloads. So nothing waits long for an index, and no thread works for one that nobody asks.
//!
//! Indexes name points by slot, which is what a search needs. A point that moves into the slot of one that was removed
//! is moved in every index: its values are taken out and put in again, and only removals pay for it.
//!
//! Everything here is derived from the payloads of this replica, and never decides more than what a filter is asked of
//! the payloads themselves: [`Filter::matches`] is what every answer is equal to.

mod evaluate;
mod field;
mod known;
mod ordered;
mod places;
mod posting;
mod postings;
mod texts;
mod times;
mod values;

use std::sync::atomic::{AtomicU64, Ordering};

use pando_model::{Condition, EncodedPayload, Filter};

use field::{Field, Need};
pub(crate) use known::Known;

/// Most indexes of a collection. What is not indexed is asked of the payloads.
const FIELDS_MAX: usize = 64;
/// An index gives way to another one if so many filters did not need it.
const FILTERS_UNUSED: u64 = 256;
/// So many filters that want one index complete it.
const FILTERS_TO_COVER: usize = 32;

/// The payload indexes of a collection.
#[derive(Debug, Default)]
pub(crate) struct PayloadIndexes {
    fields: Vec<Field>,
    /// Filters asked so far.
    filters: AtomicU64,
}

/// When there are indexes, and how fast they come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Points from which on a filter begins indexes; at half as many they are given up.
    pub(crate) points_min: usize,
    /// Points that a filter takes into the indexes it wants, at least, shared out among them.
    pub(crate) points_per_filter: usize,
}

fn slot_number(slot: usize) -> u32 {
    u32::try_from(slot).expect("a collection has fewer points than a u32 counts")
}

/// Calls back for every condition, nested ones included.
fn each_condition<'a>(filter: &'a Filter, see: &mut impl FnMut(&'a Condition)) {
    for condition in (filter.must.iter())
        .chain(&filter.should)
        .chain(&filter.must_not)
    {
        see(condition);
        if let Condition::Nested(filter) = condition {
            each_condition(filter, see);
        }
    }
}

fn needs(filter: &Filter) -> Vec<Need<'_>> {
    let mut needs = Vec::new();
    each_condition(filter, &mut |condition| {
        needs.extend(Need::of(condition).filter(|need| !needs.contains(need)));
    });
    needs
}

impl PayloadIndexes {
    fn find(&self, need: Need<'_>) -> Option<&Field> {
        self.fields.iter().find(|field| field.is(need))
    }

    /// Whether a filter asks for indexes that are not there, or do not cover all points yet.
    pub(crate) fn is_wanting(&self, filter: &Filter, points: usize, demand: Demand) -> bool {
        let now = self.filters.fetch_add(1, Ordering::Relaxed) + 1;
        let wants = |need: Need<'_>| match self.find(need) {
            Some(field) => {
                field.touch(now);
                (field.covered() as usize) < points
            }
            None => points >= demand.points_min && self.has_room(now),
        };
        // All are touched.
        let wanting = needs(filter)
            .into_iter()
            .filter(|need| wants(*need))
            .count();
        wanting > 0
    }

    fn has_room(&self, now: u64) -> bool {
        self.fields.len() < FIELDS_MAX || self.unused(now).is_some()
    }

    /// The index that was not needed for longest, if that is long.
    fn unused(&self, now: u64) -> Option<usize> {
        let fields = self.fields.iter().enumerate();
        let (at, field) = fields.min_by_key(|(_, field)| field.used())?;
        (field.used() + FILTERS_UNUSED <= now).then_some(at)
    }

    /// Begins the indexes that a filter asks for, and goes on with those that are not complete.
    pub(crate) fn build(&mut self, filter: &Filter, payloads: &[EncodedPayload], demand: Demand) {
        let needs = needs(filter);
        if payloads.len() >= demand.points_min {
            needs.iter().for_each(|need| self.begin(*need));
        }
        let is_wanted = |field: &&mut Field| {
            (field.covered() as usize) < payloads.len() && needs.iter().any(|need| field.is(*need))
        };
        let wanted: Vec<_> = self.fields.iter_mut().filter(is_wanted).collect();
        let points = (payloads.len() / FILTERS_TO_COVER).max(demand.points_per_filter);
        let share = (points / wanted.len().max(1)).max(1);
        wanted
            .into_iter()
            .for_each(|field| field.cover(payloads, share));
    }

    /// Begins an index, if it is not there and there is room.
    fn begin(&mut self, need: Need<'_>) {
        if self.find(need).is_some() {
            return;
        }
        let now = self.filters.load(Ordering::Relaxed);
        if self.fields.len() >= FIELDS_MAX {
            let Some(at) = self.unused(now) else {
                return;
            };
            self.fields.swap_remove(at);
        }
        let field = Field::new(need);
        field.touch(now);
        self.fields.push(field);
    }

    /// A point was added behind all others.
    pub(crate) fn added(&mut self, slot: usize, payload: &EncodedPayload) {
        for field in &mut self.fields {
            field.added(slot_number(slot), payload);
        }
    }

    /// A point's payload is another one.
    pub(crate) fn replaced(&mut self, slot: usize, old: &EncodedPayload, new: &EncodedPayload) {
        if old == new {
            return;
        }
        for field in &mut self.fields {
            field.replaced(slot_number(slot), old, new);
        }
    }

    /// A point goes, and the last one takes its slot. `payloads` are those from before.
    pub(crate) fn removed(&mut self, slot: usize, payloads: &[EncodedPayload], demand: Demand) {
        let last = payloads.len() - 1;
        if last < demand.points_min / 2 || last == 0 {
            self.fields = Vec::new();
            return;
        }
        let (gone, moved) = (&payloads[slot], &payloads[last]);
        for field in &mut self.fields {
            field.removed(slot_number(slot), gone, slot_number(last), moved);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Bytes allocated, estimated.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.fields.iter().map(Field::memory_bytes).sum()
    }
}
