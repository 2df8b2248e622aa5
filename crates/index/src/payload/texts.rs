//! The index of a field's words.

use std::collections::BTreeSet;

use pando_model::{Value, words};
use roaring::RoaringBitmap;

use super::known::Known;
use super::postings::Postings;
use super::values::items;

/// One field's words.
#[derive(Debug, Default)]
pub(super) struct Texts {
    words: Postings,
    /// Slots with several texts, whose words are not told apart.
    several: RoaringBitmap,
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    items(value).iter().filter_map(|item| match item {
        Value::Str(text) => Some(text.as_str()),
        _ => None,
    })
}

fn all_words(value: &Value) -> BTreeSet<String> {
    texts(value).flat_map(words).collect()
}

impl Texts {
    pub(super) fn insert(&mut self, slot: u32, value: &Value) {
        for word in all_words(value) {
            self.words.insert(&word, slot);
        }
        if texts(value).nth(1).is_some() {
            self.several.insert(slot);
        }
    }

    pub(super) fn remove(&mut self, slot: u32, value: &Value) {
        for word in all_words(value) {
            self.words.remove(&word, slot);
        }
        self.several.remove(slot);
    }

    /// The slots in whose field all words of a text occur; `None` if it has no words.
    pub(super) fn with_all(&self, text: &str) -> Option<Known> {
        let wanted = words(text);
        let slots = (wanted.iter())
            .map(|word| self.words.slots(word))
            .reduce(|slots, others| slots & others)?;
        if wanted.len() == 1 {
            return Some(Known::exactly(slots));
        }
        Some(Known {
            doubt: &slots & &self.several,
            sure: slots - &self.several,
        })
    }

    /// Bytes allocated, estimated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.words.memory_bytes() + self.several.serialized_size()
    }
}
