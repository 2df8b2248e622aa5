//! Sharing out a tree by key.

use pando_merkle::Key;

/// Some of a tree's keys: all behind `after`, up to and with `last`.
#[derive(Clone, Copy)]
pub(crate) struct KeyRange {
    pub(crate) after: Option<Key>,
    last: Option<Key>,
}

impl KeyRange {
    /// Whether a key behind `after` is not behind the end.
    pub(crate) fn holds(&self, key: &Key) -> bool {
        self.last.is_none_or(|last| *key <= last)
    }
}

/// All keys in so many ranges of equal width: keys are hashes, so each holds about as many rows.
pub(crate) fn key_ranges(parts: usize) -> impl Iterator<Item = KeyRange> {
    let width = u128::MAX / parts as u128;
    let end = move |part: usize| Key::from_bytes((width * part as u128).to_be_bytes());
    (0..parts).map(move |part| KeyRange {
        after: (part > 0).then(|| end(part)),
        last: (part + 1 < parts).then(|| end(part + 1)),
    })
}
