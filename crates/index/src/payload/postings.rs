//! Strings, each with its slots.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use super::posting::Posting;

/// What allocating a string takes on top, about.
const ALLOCATION_BYTES: usize = 16;

/// Strings with their slots.
#[derive(Debug, Default)]
pub(super) struct Postings {
    of: HashMap<Box<str>, Posting>,
    bytes: usize,
}

impl Postings {
    pub(super) fn insert(&mut self, string: &str, slot: u32) {
        if let Some(posting) = self.of.get_mut(string) {
            self.bytes += posting.insert(slot);
        } else {
            self.bytes += string.len() + ALLOCATION_BYTES;
            self.of.insert(string.into(), Posting::One(slot));
        }
    }

    pub(super) fn remove(&mut self, string: &str, slot: u32) {
        let Some(posting) = self.of.get_mut(string) else {
            return;
        };
        let removed = posting.remove(slot);
        self.bytes -= removed.bytes;
        if removed.is_empty {
            self.bytes -= string.len() + ALLOCATION_BYTES;
            self.of.remove(string);
            if self.of.capacity() / 4 > self.of.len() {
                self.of.shrink_to(self.of.len() * 2);
            }
        }
    }

    /// The slots of a string.
    pub(super) fn slots(&self, string: &str) -> RoaringBitmap {
        (self.of.get(string)).map_or_else(RoaringBitmap::new, Posting::slots)
    }

    /// Bytes allocated, estimated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.of.capacity() * (size_of::<(Box<str>, Posting)>() + 1) + self.bytes
    }
}
