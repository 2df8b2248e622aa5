//! The points that have one index of a sparse vector, each with its weight there.
//!
//! Slots are kept in order, in blocks of consecutive slots: a point that moves into a slot in the middle moves at most a
//! block's entries, and blocks can be scored one by one, or side by side.

/// Slots of a block: as many as a `u16` counts.
pub(super) const BLOCK_SLOTS: usize = 1 << 16;

/// Lists keep up to so many times the room they need.
const ROOM_MAX: usize = 4;

/// Weights by slot.
#[derive(Debug, Default)]
pub(super) struct Postings {
    /// Those with entries, in the order of their numbers.
    blocks: Vec<Block>,
    count: usize,
}

/// The entries of consecutive slots.
#[derive(Debug)]
pub(super) struct Block {
    number: u32,
    /// Within the block, in order.
    slots: Vec<u16>,
    /// Of the same entries.
    weights: Vec<f32>,
}

/// The block of a slot, and its place there.
fn place(slot: usize) -> (u32, u16) {
    let slot = u32::try_from(slot).expect("a collection has fewer points than a u32 counts");
    let within = u16::try_from(slot % (1 << 16)).expect("the remainder of a division by 2^16");
    (slot >> 16, within)
}

impl Postings {
    /// How many points there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The numbers of the blocks with entries.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.blocks.iter().map(|block| block.number)
    }

    fn find(&self, number: u32) -> Result<usize, usize> {
        self.blocks
            .binary_search_by_key(&number, |block| block.number)
    }

    /// A block, if it has entries.
    pub(super) fn block(&self, number: u32) -> Option<&Block> {
        self.find(number).ok().map(|at| &self.blocks[at])
    }

    /// Sets the weight of a slot; says whether it had none.
    pub(super) fn set(&mut self, slot: usize, weight: f32) -> bool {
        let (number, within) = place(slot);
        let at = self.find(number).unwrap_or_else(|at| {
            // Few of the lists there are have many blocks.
            self.blocks.reserve_exact(1);
            self.blocks.insert(at, Block::new(number));
            at
        });
        let new = self.blocks[at].set(within, weight);
        self.count += usize::from(new);
        new
    }

    /// Takes the weight of a slot away.
    pub(super) fn take(&mut self, slot: usize) -> Option<f32> {
        let (number, within) = place(slot);
        let at = self.find(number).ok()?;
        let weight = self.blocks[at].take(within)?;
        if self.blocks[at].slots.is_empty() {
            self.blocks.remove(at);
            shrink(&mut self.blocks);
        }
        self.count -= 1;
        Some(weight)
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        let entries = self.blocks.iter().map(|block| {
            block.slots.capacity() * size_of::<u16>() + block.weights.capacity() * size_of::<f32>()
        });
        self.blocks.capacity() * size_of::<Block>() + entries.sum::<usize>()
    }
}

impl Block {
    /// With room for one entry: most indices that texts have are rare.
    fn new(number: u32) -> Self {
        Self {
            number,
            slots: Vec::with_capacity(1),
            weights: Vec::with_capacity(1),
        }
    }

    fn set(&mut self, slot: u16, weight: f32) -> bool {
        match self.slots.binary_search(&slot) {
            Ok(at) => {
                self.weights[at] = weight;
                false
            }
            Err(at) => {
                self.slots.insert(at, slot);
                self.weights.insert(at, weight);
                true
            }
        }
    }

    fn take(&mut self, slot: u16) -> Option<f32> {
        let at = self.slots.binary_search(&slot).ok()?;
        self.slots.remove(at);
        let weight = self.weights.remove(at);
        shrink(&mut self.slots);
        shrink(&mut self.weights);
        Some(weight)
    }

    /// Slots within the block and their weights, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, f32)> + '_ {
        let slots = self.slots.iter().map(|slot| usize::from(*slot));
        slots.zip(self.weights.iter().copied())
    }
}

/// Gives memory back where most of a list is unused.
pub(super) fn shrink<T>(list: &mut Vec<T>) {
    if list.is_empty() {
        *list = Vec::new();
    } else if list.capacity() / ROOM_MAX > list.len() {
        list.shrink_to(list.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_in_order_across_blocks() {
        let mut postings = Postings::default();
        let slots = [70_000, 3, 1, 65_536, 200_000, 65_535];
        for (slot, weight) in slots.into_iter().zip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) {
            assert!(postings.set(slot, weight), "new");
        }
        assert!(!postings.set(3, 7.0), "replaced");
        assert_eq!(postings.len(), 6);
        assert_eq!(postings.numbers().collect::<Vec<_>>(), [0, 1, 3]);
        let entries = |postings: &Postings, number| {
            let block = postings.block(number).expect("there");
            block.entries().collect::<Vec<_>>()
        };
        let first = [(1, 3.0), (3, 7.0), (65_535, 6.0)];
        assert_eq!(entries(&postings, 0), first);
        assert_eq!(entries(&postings, 1), [(0, 4.0), (4_464, 1.0)]);
        assert_eq!(postings.take(200_000), Some(5.0));
        assert_eq!(postings.take(200_000), None);
        assert_eq!(postings.take(2), None);
        assert!(postings.block(3).is_none(), "an empty block is gone");
        assert_eq!(postings.len(), 5);
    }

    #[test]
    fn memory_is_given_back() {
        let mut postings = Postings::default();
        assert_eq!(postings.memory_bytes(), 0);
        postings.set(9, 1.0);
        assert!(postings.memory_bytes() < 100, "a rare index costs little");
        for slot in 0..10_000 {
            postings.set(slot, 1.0);
        }
        assert!(postings.memory_bytes() >= 10_000 * 6);
        for slot in 5..10_000 {
            assert_eq!(postings.take(slot), Some(1.0));
        }
        assert!(
            postings.memory_bytes() < 1000,
            "{}",
            postings.memory_bytes()
        );
        for slot in 0..5 {
            postings.take(slot);
        }
        assert_eq!(postings.memory_bytes(), 0);
    }
}
