//! Which row of the graph a slot's vector is, and back.
//!
//! A row is one vector that was written once. Writing another one makes another row, and the old one is forgotten
//! at the same time: rows the graph still names, but that are nobody's any more, lead to no slot.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::checkpoint::Fingerprint;
use crate::graph::Coding;
use crate::graph::live::LiveGraph;
use crate::half_form::HalfForm;

/// A slot without a vector.
const NONE: u64 = u64::MAX;

/// The rows of one vector name.
pub(crate) struct Rows {
    pub(crate) graph: LiveGraph,
    pub(crate) form: HalfForm,
    of_slots: Vec<u64>,
    slots: HashMap<u64, u32, BuildHasherDefault<RowHasher>>,
    next: u64,
    /// Rows of the checkpoint this began with that no vector has taken yet, until all vectors are there.
    known: Option<HashMap<Fingerprint, u64>>,
}

impl Rows {
    pub(crate) fn new(graph: LiveGraph, form: HalfForm) -> Self {
        Self {
            graph,
            form,
            of_slots: Vec::new(),
            slots: HashMap::default(),
            next: 0,
            known: None,
        }
    }

    /// Begins with the rows of a checkpoint, whose numbers end before `end`.
    pub(crate) fn restored(
        graph: LiveGraph,
        form: HalfForm,
        known: HashMap<Fingerprint, u64>,
        end: u64,
    ) -> Self {
        Self {
            next: end,
            known: Some(known),
            ..Self::new(graph, form)
        }
    }

    /// Whether vectors may still take rows of a checkpoint.
    pub(crate) fn is_restoring(&self) -> bool {
        self.known.is_some()
    }

    /// All vectors are there that are to take rows of the checkpoint.
    pub(crate) fn forget_checkpoint(&mut self) {
        self.known = None;
    }

    /// Numbers of rows to come begin here.
    pub(crate) fn end(&self) -> u64 {
        self.next
    }

    /// Every slot that has a vector, and its row.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let slots = self.of_slots.iter().copied().enumerate();
        slots.filter(|(_, row)| *row != NONE)
    }

    /// The slot that holds this row now.
    pub(crate) fn slot(&self, row: u64) -> Option<usize> {
        self.slots.get(&row).map(|slot| *slot as usize)
    }

    /// A slot has a new vector. Says whether the checkpoint that this began with has a row for it.
    pub(crate) fn put(
        &mut self,
        slot: usize,
        vector: &[f32],
        fingerprint: Option<Fingerprint>,
    ) -> bool {
        self.forget(slot);
        let known = fingerprint.and_then(|it| self.known.as_mut()?.remove(&it));
        // A row is one vector's, whatever the checkpoint says.
        let known = known.filter(|row| !self.slots.contains_key(row));
        let row = known.unwrap_or(self.next);
        self.next += u64::from(known.is_none());
        self.place(slot, row);
        self.graph.insert(row, self.form.convert(vector));
        known.is_some()
    }

    /// How many slots have a vector.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The row of a slot, if it has a vector.
    pub(crate) fn row(&self, slot: usize) -> Option<u64> {
        self.of_slots.get(slot).copied().filter(|row| *row != NONE)
    }

    /// Whether the row of a slot is of this vector's half form, as far as can be told.
    pub(crate) fn has(&self, slot: usize, vector: &[f32]) -> bool {
        let row = self.row(slot);
        // Signs tell nothing apart that is kept alike beside the graph.
        if self.graph.params().coding == Coding::Signs {
            return row.is_some();
        }
        let half = self.form.convert(vector);
        row.is_some_and(|row| self.graph.is_of(row, half.as_deref()))
    }

    /// A slot has no vector any more.
    pub(crate) fn forget(&mut self, slot: usize) {
        let row = self.take(slot);
        if row != NONE {
            self.slots.remove(&row);
            self.graph.remove(row);
        }
    }

    /// The vector of one slot is in another one now, if it had any.
    pub(crate) fn relocate(&mut self, from: usize, to: usize) {
        self.forget(to);
        let row = self.take(from);
        if row != NONE {
            self.place(to, row);
        }
    }

    fn place(&mut self, slot: usize, row: u64) {
        if self.of_slots.len() <= slot {
            self.of_slots.resize(slot + 1, NONE);
        }
        self.of_slots[slot] = row;
        let slot = u32::try_from(slot).expect("a collection has fewer points than a u32 counts");
        self.slots.insert(row, slot);
    }

    fn take(&mut self, slot: usize) -> u64 {
        let row = (self.of_slots.get_mut(slot)).map_or(NONE, |row| std::mem::replace(row, NONE));
        while self.of_slots.last() == Some(&NONE) {
            self.of_slots.pop();
        }
        if self.of_slots.capacity() / 4 > self.of_slots.len() {
            self.of_slots.shrink_to(self.of_slots.len() * 2);
            self.slots.shrink_to(self.slots.len() * 2);
        }
        row
    }

    /// Bytes allocated, those of the map estimated.
    pub(crate) fn memory_bytes(&self) -> usize {
        let map = self.slots.capacity() * (size_of::<(u64, u32)>() + 1);
        self.of_slots.capacity() * size_of::<u64>() + map + self.graph.memory_bytes()
    }
}

/// Rows and slots are consecutive numbers that nobody chooses: multiplying spreads them well enough.
#[derive(Default)]
pub(crate) struct RowHasher(u64);

impl Hasher for RowHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, row: u64) {
        let spread = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }
}
