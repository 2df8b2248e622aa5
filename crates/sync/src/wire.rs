//! How the messages' fields look on the wire, where serde's derive would be slow, large or unbounded.
//!
//! Owns the encoded forms of rows, prefixes, byte strings and lists. Decoding trusts no length: a list says how many items it may
//! have, and byte strings are borrowed from the frame before they are copied, so memory stays in proportion to the
//! bytes received. Knows nothing of sessions.

mod prefixes;
mod rows;

use std::fmt;
use std::marker::PhantomData;

use pando_merkle::{Digest, Key};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::message::Tag;

pub(crate) use prefixes::{Prefixes, Wants};
pub use rows::RowBlock;

/// `deserialize_with = "Bounded::<MAX>::deserialize"`: a list of at most `MAX` items.
pub(crate) struct Bounded<const MAX: usize>;

impl<const MAX: usize> Bounded<MAX> {
    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        struct List<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                if let Some(claimed) = seq.size_hint()
                    && claimed > MAX
                {
                    return Err(A::Error::invalid_length(claimed, &self));
                }
                // Grown as items really arrive: the claimed count reserves nothing.
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if list.len() == MAX {
                        return Err(A::Error::invalid_length(MAX + 1, &self));
                    }
                    list.push(item);
                }
                Ok(list)
            }
        }
        from.deserialize_seq(List::<T, MAX>(PhantomData))
    }
}

/// A type whose encoded form always has the same length.
pub(crate) trait Fixed: Sized {
    const BYTES: usize;
    fn put(&self, to: &mut Vec<u8>);
    /// `from` has exactly `Self::BYTES` bytes.
    fn take(from: &[u8]) -> Option<Self>;
}

impl Fixed for u32 {
    const BYTES: usize = 4;

    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.to_be_bytes());
    }

    fn take(from: &[u8]) -> Option<Self> {
        from.try_into().ok().map(Self::from_be_bytes)
    }
}

impl Fixed for Tag {
    const BYTES: usize = 3;

    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.0);
    }

    fn take(from: &[u8]) -> Option<Self> {
        from.try_into().ok().map(Self)
    }
}

impl Fixed for Digest {
    const BYTES: usize = 32;

    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.0);
    }

    fn take(from: &[u8]) -> Option<Self> {
        from.try_into().ok().map(Self)
    }
}

impl Fixed for Key {
    const BYTES: usize = 16;

    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.as_bytes());
    }

    fn take(from: &[u8]) -> Option<Self> {
        from.try_into().ok().map(Self::from_bytes)
    }
}

impl<A: Fixed, B: Fixed> Fixed for (A, B) {
    const BYTES: usize = A::BYTES + B::BYTES;

    fn put(&self, to: &mut Vec<u8>) {
        self.0.put(to);
        self.1.put(to);
    }

    fn take(from: &[u8]) -> Option<Self> {
        let (a, b) = from.split_at_checked(A::BYTES)?;
        Some((A::take(a)?, B::take(b)?))
    }
}

/// `#[serde(with = "Packed")]`: values of fixed length, one after the other in one byte string.
pub(crate) struct Packed;

impl Packed {
    pub(crate) fn serialize<T: Fixed, S: Serializer>(list: &[T], to: S) -> Result<S::Ok, S::Error> {
        let mut flat = Vec::with_capacity(list.len() * T::BYTES);
        for item in list {
            item.put(&mut flat);
        }
        to.serialize_bytes(&flat)
    }

    pub(crate) fn deserialize<'de, T: Fixed, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        let flat = Blob::deserialize(from)?.0;
        if !flat.len().is_multiple_of(T::BYTES) {
            return Err(D::Error::custom(format_args!(
                "a packed list of {} bytes is no multiple of {}",
                flat.len(),
                T::BYTES
            )));
        }
        flat.chunks_exact(T::BYTES)
            .map(|item| T::take(item).ok_or_else(|| D::Error::custom("a packed item is short")))
            .collect()
    }
}

/// A byte string, copied only after the decoder has found all of it in the frame.
struct Blob(Vec<u8>);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        from.deserialize_bytes(Bytes)
    }
}

struct Slice<'a>(&'a [u8]);

impl Serialize for Slice<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

/// `#[serde(with = "ByteString")]`: bytes as one string, not as a list of numbers.
pub(crate) struct ByteString;

impl ByteString {
    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        Blob::deserialize(from).map(|blob| blob.0)
    }
}
