//! Copying what can still be read of a damaged store.
//!
//! The engine keeps a checksum per page, about sixteen records each: one flipped bit makes a whole page unreadable,
//! and every read or write that needs it fails. The records of such a page are left out; which they were, the engine
//! cannot say. Whoever knows what should be there has to look for what is missing.

use std::io;

use crate::batch::KEY_BYTES_MAX;

/// Pairs are written in batches of about this many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Progress is logged each time this many pairs were copied.
const LOG_EVERY: u64 = 1 << 18;

/// What a copy came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Pairs copied.
    pub(super) pairs: u64,
    /// Stretches of keys that could not be read.
    pub(super) holes: u64,
}

/// Whether the engine says that what it reads is not what it wrote.
pub(super) fn is_damage(error: &sled::Error) -> bool {
    match error {
        sled::Error::Corruption { .. } => true,
        // A length that leads beyond the end of the file.
        sled::Error::Io(error) => error.kind() == io::ErrorKind::UnexpectedEof,
        sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_) => false,
    }
}

/// Copies all pairs that can be read.
pub(super) fn copy(from: &sled::Db, to: &sled::Db) -> Result<Copied, sled::Error> {
    let mut copied = Copied::default();
    let mut start = Vec::new();
    loop {
        let (last, whole) = copy_stretch(from, to, &start, &mut copied)?;
        if whole {
            return Ok(copied);
        }
        copied.holes += 1;
        let Some(next) = behind_hole(from, &last.unwrap_or(start))? else {
            return Ok(copied);
        };
        start = next;
    }
}

/// Copies from `start` up to the end or the next hole. Returns the last key copied, and whether it was the end.
fn copy_stretch(
    from: &sled::Db,
    to: &sled::Db,
    start: &[u8],
    copied: &mut Copied,
) -> Result<(Option<Vec<u8>>, bool), sled::Error> {
    let (mut batch, mut bytes) = (sled::Batch::default(), 0);
    let mut last = None;
    let mut whole = true;
    for pair in from.range(start..) {
        let (key, value) = match pair {
            Ok(pair) => pair,
            Err(error) if is_damage(&error) => {
                whole = false;
                break;
            }
            Err(error) => return Err(error),
        };
        last = Some(key.to_vec());
        bytes += key.len() + value.len();
        batch.insert(key, value);
        copied.pairs += 1;
        if copied.pairs.is_multiple_of(LOG_EVERY) {
            tracing::warn!(pairs = copied.pairs, "rebuilding a damaged store");
        }
        if bytes >= BATCH_BYTES {
            to.apply_batch(std::mem::take(&mut batch))?;
            bytes = 0;
        }
    }
    to.apply_batch(batch)?;
    Ok((last, whole))
}

/// A key from which on the next pairs behind the hole that follows `last` can be read; none if the hole has no end.
///
/// Reading on from a key fails for all keys between `last` and the end of the hole, so the end is found by ever larger
/// steps and then by halving the last one. A readable stretch so small that a step leads over it is lost with the
/// hole.
fn behind_hole(from: &sled::Db, last: &[u8]) -> Result<Option<Vec<u8>>, sled::Error> {
    let readable = |key: &[u8]| match from.range(key..).next() {
        None | Some(Ok(_)) => Ok(true),
        Some(Err(error)) if is_damage(&error) => Ok(false),
        Some(Err(error)) => Err(error),
    };
    let mut low = Wide::new(last);
    let mut high = None;
    for bit in 0..Wide::BITS {
        let Some(next) = plus_power(&Wide::new(last), bit) else {
            break;
        };
        if readable(&next.0)? {
            high = Some(next);
            break;
        }
        low = next;
    }
    let mut high = match high {
        Some(high) => high,
        None if readable(&Wide::MAX.0)? => Wide::MAX,
        None => return Ok(None),
    };
    while let Some(middle) = low.half_way(&high) {
        if readable(&middle.0)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    // The first key of the stretch may be shorter: trailing zeros are only what it was filled up with.
    let filled = high
        .0
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    for len in filled..high.0.len() {
        if readable(&high.0[..len])? {
            return Ok(Some(high.0[..len].to_vec()));
        }
    }
    Ok(Some(high.0.to_vec()))
}

/// A key as a number, filled up with zeros at its end, so that numbers are in the order of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wide([u8; KEY_BYTES_MAX]);

impl Wide {
    const BITS: usize = KEY_BYTES_MAX * 8;
    const MAX: Self = Self([u8::MAX; KEY_BYTES_MAX]);

    fn new(key: &[u8]) -> Self {
        let mut bytes = [0; KEY_BYTES_MAX];
        for (to, from) in bytes.iter_mut().zip(key) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The number in the middle; none if there is no other between the two.
    fn half_way(&self, other: &Self) -> Option<Self> {
        let mut sum = [0_u8; KEY_BYTES_MAX];
        let mut carry = 0;
        for at in (0..KEY_BYTES_MAX).rev() {
            let added = u16::from(self.0[at]) + u16::from(other.0[at]) + carry;
            [_, sum[at]] = added.to_be_bytes();
            carry = added >> 8;
        }
        let mut half = [0_u8; KEY_BYTES_MAX];
        for (to, from) in half.iter_mut().zip(sum) {
            let value = (carry << 8) + u16::from(from);
            [_, *to] = (value >> 1).to_be_bytes();
            carry = value & 1;
        }
        let half = Self(half);
        (half != *self && half != *other).then_some(half)
    }
}

/// The number with 2 to the power of `bit` added; none beyond the largest.
fn plus_power(number: &Wide, bit: usize) -> Option<Wide> {
    let mut sum = number.clone();
    let mut add = 1_u16 << (bit % 8);
    for at in (0..KEY_BYTES_MAX - bit / 8).rev() {
        let added = u16::from(sum.0[at]) + add;
        [_, sum.0[at]] = added.to_be_bytes();
        add = added >> 8;
        if add == 0 {
            return Some(sum);
        }
    }
    None
}
