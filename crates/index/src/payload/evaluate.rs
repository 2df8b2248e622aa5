//! A filter turned into slots.

use pando_model::{Condition, Filter, PointId};
use roaring::RoaringBitmap;

use super::field::Need;
use super::{Known, PayloadIndexes, slot_number};

/// Leads from a point's id to its slot.
type SlotOf<'a> = dyn Fn(PointId) -> Option<usize> + 'a;

impl PayloadIndexes {
    /// What is known of the slots that pass, of the first `points` ones: `slot_of` leads from ids to slots.
    pub(crate) fn evaluate(&self, filter: &Filter, points: usize, slot_of: &SlotOf<'_>) -> Known {
        let slots = slot_number(points);
        Evaluation {
            indexes: self,
            slots,
            slot_of,
        }
        .filter(filter)
    }
}

struct Evaluation<'a> {
    indexes: &'a PayloadIndexes,
    slots: u32,
    slot_of: &'a SlotOf<'a>,
}

impl Evaluation<'_> {
    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.slots);
        all
    }

    fn filter(&self, filter: &Filter) -> Known {
        let mut known: Option<Known> = None;
        let narrow = |known: Option<Known>, by: Known| match known {
            None => by,
            Some(known) => known.and(&by),
        };
        for condition in &filter.must {
            known = Some(narrow(known, self.condition(condition)));
        }
        if !filter.should.is_empty() {
            let any = (filter.should.iter())
                .map(|condition| self.condition(condition))
                .fold(Known::default(), |known, other| known.or(&other));
            known = Some(narrow(known, any));
        }
        let known = known.unwrap_or_else(|| Known::exactly(self.all()));
        (filter.must_not.iter())
            .map(|condition| self.condition(condition))
            .fold(known, |known, other| known.without(&other))
    }

    fn condition(&self, condition: &Condition) -> Known {
        match condition {
            Condition::HasId(ids) => {
                let slots = ids.iter().filter_map(|id| (self.slot_of)(*id));
                Known::exactly(slots.map(slot_number).collect())
            }
            Condition::Nested(filter) => self.filter(filter),
            condition => {
                let field = Need::of(condition).and_then(|need| self.indexes.find(need));
                let known = field.and_then(|field| field.known(condition, self.slots));
                known.unwrap_or_else(|| Known::perhaps(self.all()))
            }
        }
    }
}
