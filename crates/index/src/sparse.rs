//! The sparse vectors of one name: an inverted index, from each index to the points that have it.
//!
//! It holds exactly the vectors it was given, and changes with them: there is nothing to build, and nothing that a search
//! could miss. What a point has is found again by its indices, which are kept by slot; the weights are in the lists.

mod postings;
mod search;

use std::collections::BTreeMap;

use pando_model::SparseVector;

use postings::{Postings, shrink};

/// Sparse vectors of one name by slot.
#[derive(Debug, Default)]
pub(crate) struct SparseIndex {
    /// By index; none of the lists is empty.
    lists: BTreeMap<u32, Postings>,
    /// The indices of each slot's vector, none if it has no vector; up to the last slot that has one.
    indices: Vec<Box<[u32]>>,
    /// Entries of all vectors.
    entries: usize,
}

impl SparseIndex {
    /// Sets the vector of a slot, or takes it away.
    pub(crate) fn set(&mut self, slot: usize, vector: Option<&SparseVector>) {
        let new = vector.map_or(&[][..], SparseVector::indices);
        for index in self.take_indices(slot) {
            if new.binary_search(&index).is_err() {
                self.take(index, slot);
            }
        }
        if let Some(vector) = vector {
            for (index, weight) in vector.pairs() {
                self.put(index, slot, weight);
            }
            self.put_indices(slot, new.into());
        }
    }

    /// Moves the vector of one slot, or its absence, into another.
    pub(crate) fn move_slot(&mut self, from: usize, to: usize) {
        self.set(to, None);
        let indices = self.take_indices(from);
        for index in indices.iter().copied() {
            let weight = self.take(index, from);
            self.put(index, to, weight);
        }
        if !indices.is_empty() {
            self.put_indices(to, indices);
        }
    }

    fn put(&mut self, index: u32, slot: usize, weight: f32) {
        self.lists.entry(index).or_default().set(slot, weight);
    }

    /// Takes an entry out of its list.
    fn take(&mut self, index: u32, slot: usize) -> f32 {
        let list = self.lists.get_mut(&index);
        let list = list.expect("an index that a slot has, has a list");
        let weight = list.take(slot).expect("the list has the slot");
        if list.len() == 0 {
            self.lists.remove(&index);
        }
        weight
    }

    fn take_indices(&mut self, slot: usize) -> Box<[u32]> {
        let Some(indices) = self.indices.get_mut(slot) else {
            return Box::default();
        };
        let indices = std::mem::take(indices);
        self.entries -= indices.len();
        while self.indices.last().is_some_and(|last| last.is_empty()) {
            self.indices.pop();
        }
        shrink(&mut self.indices);
        indices
    }

    fn put_indices(&mut self, slot: usize, indices: Box<[u32]>) {
        if self.indices.len() <= slot {
            self.indices.resize_with(slot + 1, Box::default);
        }
        self.entries += indices.len();
        self.indices[slot] = indices;
    }

    /// Bytes allocated; the map of lists is estimated.
    pub(crate) fn memory_bytes(&self) -> usize {
        // A B-tree's nodes are about two thirds full.
        let map = self.lists.len() * size_of::<(u32, Postings)>() * 3 / 2;
        let lists: usize = self.lists.values().map(Postings::memory_bytes).sum();
        let slots = self.indices.capacity() * size_of::<Box<[u32]>>();
        map + lists + slots + self.entries * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(pairs: &[(u32, f32)]) -> SparseVector {
        SparseVector::from_pairs(pairs.iter().copied()).expect("fine")
    }

    /// All entries, by index and slot.
    fn entries(index: &SparseIndex) -> Vec<(u32, usize, f32)> {
        let lists = index.lists.iter().flat_map(|(number, list)| {
            let block = list.block(0).expect("the only block");
            block
                .entries()
                .map(|(slot, weight)| (*number, slot, weight))
        });
        lists.collect()
    }

    #[test]
    fn what_is_replaced_removed_or_moved_leaves_nothing_behind() {
        let mut index = SparseIndex::default();
        let empty = index.memory_bytes();
        index.set(0, Some(&vector(&[(1, 1.0), (9, 2.0)])));
        index.set(2, Some(&vector(&[(9, 3.0)])));
        assert_eq!(entries(&index), [(1, 0, 1.0), (9, 0, 2.0), (9, 2, 3.0)]);
        index.set(0, Some(&vector(&[(9, 4.0), (u32::MAX, 5.0)])));
        let replaced = [(9, 0, 4.0), (9, 2, 3.0), (u32::MAX, 0, 5.0)];
        assert_eq!(entries(&index), replaced);
        index.move_slot(2, 0);
        assert_eq!(entries(&index), [(9, 0, 3.0)]);
        index.move_slot(1, 0);
        assert!(entries(&index).is_empty(), "absence moves, too");
        index.set(5, None);
        assert_eq!((index.entries, index.memory_bytes()), (0, empty));
    }
}
