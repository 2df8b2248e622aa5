//! How much of a tree's key space is known to be equal: keys are hashes, so a share of the space is that share of
//! the rows.

use pando_merkle::{Key, Prefix};

/// Nibbles that a position keeps, and the size of the whole space in positions.
const NIBBLES: usize = 15;
const WHOLE: u64 = 1 << (4 * NIBBLES);

/// The share of one tree that is done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cover(u64);

impl Cover {
    pub(super) fn add(&mut self, positions: u64) {
        self.0 = self.0.saturating_add(positions).min(WHOLE);
    }

    /// That share of `count`.
    pub(super) fn of(self, count: u64) -> u64 {
        let share = u128::from(count) * u128::from(self.0) / u128::from(WHOLE);
        u64::try_from(share).unwrap_or(count)
    }
}

/// Positions under a prefix; none if it is too deep to matter.
pub(super) fn span(prefix: &Prefix) -> u64 {
    NIBBLES
        .checked_sub(prefix.len())
        .map_or(0, |below| 1 << (4 * below))
}

/// Positions under a prefix before a key that lies there.
pub(super) fn before(prefix: &Prefix, key: &Key) -> u64 {
    (key.short() >> 4) & span(prefix).saturating_sub(1)
}
