//! Positions in the tree: up to 32 nibbles shared by every key below. Owns their compact form and
//! its checked decoding, since prefixes come from other nodes.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::key::{KEY_NIBBLES, Key, nibble_of};

/// Bytes of the longest compact form: the nibble count and sixteen packed bytes.
const COMPACT_MAX: usize = 17;

/// The leading nibbles that all keys under one node share.
///
/// The order is the order of a walk: a prefix comes before everything below it, and that before
/// its next sibling.
// Nibbles past `len` are zero, so the derived order and equality are right: bytes, then length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    packed: [u8; 16],
    len: u8,
}

/// Why bytes are not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// There was not even a nibble count.
    #[error("a prefix needs at least its nibble count, got no bytes")]
    NoBytes,
    /// More nibbles than a key has.
    #[error("a prefix has at most 32 nibbles, got {nibbles}")]
    TooLong {
        /// The nibble count as received.
        nibbles: u8,
    },
    /// The nibble count and the bytes after it disagree.
    #[error("a prefix of {nibbles} nibbles takes {expected} bytes after its count, got {got}")]
    WrongSize {
        /// The nibble count as received.
        nibbles: u8,
        /// Bytes that many nibbles pack into.
        expected: usize,
        /// Bytes received after the count.
        got: usize,
    },
    /// The unused half of the last byte is not zero, so two encodings would mean one prefix.
    #[error("a prefix of {nibbles} nibbles must leave the unused half of its last byte zero")]
    Padding {
        /// The nibble count as received.
        nibbles: u8,
    },
}

impl Prefix {
    /// The empty prefix: all keys.
    pub const ROOT: Self = Self {
        packed: [0; 16],
        len: 0,
    };

    /// The first `len` nibbles of `key`; lengths above 32 mean the whole key.
    pub fn of(key: &Key, len: u8) -> Self {
        let len = len.min(KEY_NIBBLES);
        let full = usize::from(len / 2);
        let mut packed = [0; 16];
        packed[..full].copy_from_slice(&key.as_bytes()[..full]);
        if len % 2 == 1 {
            packed[full] = key.as_bytes()[full] & 0xf0;
        }
        Self { packed, len }
    }

    /// This prefix with one more nibble, or `None` if it is a whole key already or `nibble` is not
    /// one (above 15).
    pub fn child(&self, nibble: u8) -> Option<Self> {
        if self.len >= KEY_NIBBLES || nibble > 0x0f {
            return None;
        }
        let mut child = *self;
        let shift = if self.len.is_multiple_of(2) { 4 } else { 0 };
        child.packed[usize::from(self.len / 2)] |= nibble << shift;
        child.len += 1;
        Some(child)
    }

    /// The sixteen prefixes one nibble longer, in order; none below a whole key.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<> {
        let parent = *self;
        (0..16).filter_map(move |nibble| parent.child(nibble))
    }

    /// Length in nibbles, 0 to 32.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether this is [`Prefix::ROOT`].
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The nibbles from the root down.
    pub fn nibbles(&self) -> impl ExactSizeIterator<Item = u8> + use<> {
        let packed = self.packed;
        (0..self.len).map(move |depth| nibble_of(&packed, depth))
    }

    /// Whether `key` lies under this prefix.
    pub fn contains(&self, key: &Key) -> bool {
        Self::of(key, self.len) == *self
    }

    /// Whether `other` is this prefix or lies under it.
    pub fn covers(&self, other: &Self) -> bool {
        self.len <= other.len && other.nibbles().zip(self.nibbles()).all(|(a, b)| a == b)
    }

    /// The compact form: the nibble count, then the nibbles packed two to a byte.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.compact().collect()
    }

    /// Reads the compact form back; the bytes must be exactly one prefix.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PrefixError> {
        let Some((&nibbles, rest)) = bytes.split_first() else {
            return Err(PrefixError::NoBytes);
        };
        if nibbles > KEY_NIBBLES {
            return Err(PrefixError::TooLong { nibbles });
        }
        let expected = usize::from(nibbles.div_ceil(2));
        if rest.len() != expected {
            return Err(PrefixError::WrongSize {
                nibbles,
                expected,
                got: rest.len(),
            });
        }
        let mut packed = [0; 16];
        packed[..expected].copy_from_slice(rest);
        if nibbles % 2 == 1 && packed[expected - 1] & 0x0f != 0 {
            return Err(PrefixError::Padding { nibbles });
        }
        Ok(Self {
            packed,
            len: nibbles,
        })
    }

    pub(crate) const fn len_u8(&self) -> u8 {
        self.len
    }

    /// The packed nibbles without their count.
    pub(crate) fn packed(&self) -> &[u8] {
        &self.packed[..usize::from(self.len.div_ceil(2))]
    }

    fn compact(&self) -> impl Iterator<Item = u8> {
        std::iter::once(self.len).chain(self.packed().iter().copied())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("/")?;
        self.nibbles()
            .try_for_each(|nibble| write!(f, "{nibble:x}"))
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A sequence with its exact length: formats that are not self-describing need it up front.
        let bytes = self.to_bytes();
        serializer.collect_seq(bytes)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(CompactVisitor)
    }
}

struct CompactVisitor;

impl<'de> Visitor<'de> for CompactVisitor {
    type Value = Prefix;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a compact prefix of 1 to {COMPACT_MAX} bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Prefix, A::Error> {
        let mut buffer = [0; COMPACT_MAX];
        let mut len = 0;
        while let Some(byte) = seq.next_element::<u8>()? {
            // Refused at the first byte too many, whatever length the sender announced.
            let Some(slot) = buffer.get_mut(len) else {
                return Err(A::Error::invalid_length(len + 1, &self));
            };
            *slot = byte;
            len += 1;
        }
        Prefix::from_bytes(&buffer[..len]).map_err(A::Error::custom)
    }
}

#[cfg(test)]
#[path = "prefix_tests.rs"]
mod tests;
