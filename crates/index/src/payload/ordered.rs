//! Values in order, each with its slots, so that a range is found without looking at every value in it.
//!
//! Values stand in blocks, and a block knows the slots of all its values: a range takes whole blocks as they are, and
//! looks into the two at its ends only.

use roaring::RoaringBitmap;

use super::posting::Posting;

/// Values of a block before it is split. A range of many values costs a block's union for each so many of them, and
/// up to two of these in single slots: about the square root of a million values evens the two out.
const BLOCK_VALUES_MAX: usize = 1024;

/// Values in order with their slots. All values of a slot are added and taken away together.
#[derive(Debug)]
pub(super) struct Ordered<K> {
    /// In order, none of them empty.
    blocks: Vec<Block<K>>,
    bytes: usize,
}

#[derive(Debug)]
struct Block<K> {
    values: Vec<(K, Posting)>,
    slots: RoaringBitmap,
}

impl<K> Default for Ordered<K> {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            bytes: 0,
        }
    }
}

impl<K: Copy + Ord> Block<K> {
    fn first(&self) -> K {
        self.values[0].0
    }

    fn last(&self) -> K {
        self.values[self.values.len() - 1].0
    }

    fn split(&mut self) -> Self {
        let values = self.values.split_off(self.values.len() / 2);
        let of = |values: &[(K, Posting)]| {
            let mut slots = RoaringBitmap::new();
            values
                .iter()
                .for_each(|(_, posting)| posting.add_to(&mut slots));
            slots
        };
        self.slots = of(&self.values);
        // Where values come in order, this half never grows again.
        self.values.shrink_to_fit();
        Self {
            slots: of(&values),
            values,
        }
    }
}

impl<K: Copy + Ord> Ordered<K> {
    /// The block a value is in, or would be; 0 if there is none.
    fn block_of(&self, value: K) -> usize {
        let after = self.blocks.partition_point(|block| block.first() <= value);
        after.saturating_sub(1)
    }

    /// Adds a value of a slot.
    pub(super) fn insert(&mut self, value: K, slot: u32) {
        let at = self.block_of(value);
        if self.blocks.is_empty() {
            self.blocks.push(Block {
                values: Vec::new(),
                slots: RoaringBitmap::new(),
            });
        }
        let block = &mut self.blocks[at];
        match block
            .values
            .binary_search_by_key(&value, |(value, _)| *value)
        {
            Ok(i) => self.bytes += block.values[i].1.insert(slot),
            Err(i) => block.values.insert(i, (value, Posting::One(slot))),
        }
        block.slots.insert(slot);
        if block.values.len() > BLOCK_VALUES_MAX {
            let upper = block.split();
            self.blocks.insert(at + 1, upper);
        }
    }

    /// Takes a value of a slot away, if it is there; the slot's other values must go, too.
    pub(super) fn remove(&mut self, value: K, slot: u32) {
        let at = self.block_of(value);
        let Some(block) = self.blocks.get_mut(at) else {
            return;
        };
        block.slots.remove(slot);
        if let Ok(i) = block
            .values
            .binary_search_by_key(&value, |(value, _)| *value)
        {
            let removed = block.values[i].1.remove(slot);
            self.bytes -= removed.bytes;
            if removed.is_empty {
                block.values.remove(i);
            }
        }
        if block.values.is_empty() {
            self.blocks.remove(at);
        } else if block.values.capacity() / 4 > block.values.len() {
            block.values.shrink_to(block.values.len() * 2);
        }
    }

    /// The slots of all values that are both past the lower end and not past the upper one: once a value is past an
    /// end, so are all that follow.
    pub(super) fn range(
        &self,
        past_lower: impl Fn(K) -> bool,
        before_upper: impl Fn(K) -> bool,
    ) -> RoaringBitmap {
        let from = self
            .blocks
            .partition_point(|block| !past_lower(block.last()));
        let to = self
            .blocks
            .partition_point(|block| before_upper(block.first()));
        let mut slots = RoaringBitmap::new();
        for block in self.blocks.get(from..to).unwrap_or_default() {
            if past_lower(block.first()) && before_upper(block.last()) {
                slots |= &block.slots;
                continue;
            }
            let from = block
                .values
                .partition_point(|(value, _)| !past_lower(*value));
            let to = block
                .values
                .partition_point(|(value, _)| before_upper(*value));
            let within = block.values.get(from..to).unwrap_or_default();
            within
                .iter()
                .for_each(|(_, posting)| posting.add_to(&mut slots));
        }
        slots
    }

    /// Bytes allocated, estimated.
    pub(super) fn memory_bytes(&self) -> usize {
        let block = |block: &Block<K>| {
            block.values.capacity() * size_of::<(K, Posting)>()
                + block.slots.serialized_size()
                + size_of::<Block<K>>()
        };
        self.bytes + self.blocks.iter().map(block).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_across_blocks_and_after_removals() {
        let mut ordered = Ordered::default();
        // Two slots for each value, in an order that splits blocks at both ends.
        let value = |slot: u32| slot * 1009 % 3001;
        for slot in 0..6000 {
            ordered.insert(value(slot), slot);
        }
        assert!(ordered.blocks.len() > 2, "several blocks");
        let check = |ordered: &Ordered<u32>, left: &dyn Fn(u32) -> bool| {
            for (low, high) in [(0, 3001), (5, 5), (17, 2900), (1500, 1501), (2000, 100)] {
                let found = ordered.range(|v| v >= low, |v| v < high);
                let expected: RoaringBitmap = (0..6000)
                    .filter(|slot| left(*slot) && (low..high).contains(&value(*slot)))
                    .collect();
                assert_eq!(found, expected, "{low}..{high}");
            }
        };
        check(&ordered, &|_| true);
        for slot in (0..6000).filter(|slot| slot % 3 > 0) {
            ordered.remove(value(slot), slot);
        }
        check(&ordered, &|slot| slot % 3 == 0);
        for slot in (0..6000).step_by(3) {
            ordered.remove(value(slot), slot);
        }
        assert!(ordered.blocks.is_empty());
        assert_eq!(ordered.memory_bytes(), 0);
    }
}
