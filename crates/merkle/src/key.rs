//! Where a row lives in the tree. Owns the derivation of keys; knows nothing of leaves.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Length of a key in nibbles, and so the greatest depth of the tree.
pub(crate) const KEY_NIBBLES: u8 = 32;

/// A row's place in the tree: sixteen bytes, ordered as bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key([u8; 16]);

impl Key {
    /// The first sixteen bytes of SHA-256(salt | id).
    ///
    /// The salt is random per collection, so that nobody who chooses ids can crowd one bucket. It
    /// has a fixed length, so salt and id cannot be shifted against each other.
    pub fn derive(salt: &[u8; 16], id: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(salt)
            .chain_update(id)
            .finalize()
            .into();
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        Self(key)
    }

    /// A key from its stored bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The nibble at `depth` (0 is the high half of the first byte). Depths wrap at 32, the number
    /// of nibbles a key has.
    pub const fn nibble(&self, depth: u8) -> u8 {
        nibble_of(&self.0, depth)
    }

    /// The first eight bytes as a big-endian integer: what the wire carries in a leaf list.
    pub const fn short(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The nibble at `depth` of sixteen packed bytes; depths wrap at 32.
pub(crate) const fn nibble_of(bytes: &[u8; 16], depth: u8) -> u8 {
    let depth = depth % KEY_NIBBLES;
    let byte = bytes[(depth / 2) as usize];
    if depth.is_multiple_of(2) {
        byte >> 4
    } else {
        byte & 0x0f
    }
}
