//! Log entries, split like content: an entry of up to 1 MiB in one value would be a blob file in sled.
//!
//! ```text
//! Entry(index, 0)      version byte | u32 length of the whole entry, big endian | first bytes
//! Entry(index, n > 0)  version byte | further bytes
//! ```
//! An entry is opaque here: consensus encodes it, with a version byte of its own. That the indexes follow each
//! other without a gap is the business of consensus too.

use std::ops::Range;

use crate::batch::{Batch, VALUE_BYTES_MAX};
use crate::error::{Rot, StorageError};
use crate::keys::{GroupId, StoredKey, kind, kind_prefix};
use crate::kv::{KvStore, Pair};

/// Longest log entry, in bytes; one entry and its neighbours must fit in a batch.
pub const ENTRY_BYTES_MAX: usize = 4 << 20;

/// Bytes of an entry in one stored value: what is left beside version and length.
const PIECE_BYTES_MAX: usize = VALUE_BYTES_MAX - 1 - size_of::<u32>();

/// Stored values read at a time, about 1 MiB.
const PAGE_LEN: usize = 256;

/// Version byte of a piece.
const TAG: u8 = 1;

/// Access to the log entries of one group. Holds no state: make one wherever it is needed.
#[derive(Clone, Copy, Debug)]
pub struct EntryLog {
    group: GroupId,
}

impl EntryLog {
    /// The log of a group.
    #[must_use]
    pub const fn new(group: GroupId) -> Self {
        Self { group }
    }

    /// Adds the writes that store an entry, in the place of one that is stored at this index.
    ///
    /// # Errors
    /// When the entry is too long or the store cannot read.
    pub fn put(
        &self,
        store: &dyn KvStore,
        batch: &mut Batch,
        index: u64,
        entry: &[u8],
    ) -> Result<(), StorageError> {
        let too_long = StorageError::EntryTooLong {
            bytes: entry.len(),
            bytes_max: ENTRY_BYTES_MAX,
        };
        let length = match u32::try_from(entry.len()) {
            Ok(length) if entry.len() <= ENTRY_BYTES_MAX => length,
            Ok(_) | Err(_) => return Err(too_long),
        };
        self.delete(store, batch, index)?;
        for (piece, number) in pieces(entry).zip(0_u16..) {
            let mut value = Vec::with_capacity(VALUE_BYTES_MAX);
            value.push(TAG);
            if number == 0 {
                value.extend(length.to_be_bytes());
            }
            value.extend_from_slice(piece);
            batch.put(self.key(index, number), value);
        }
        Ok(())
    }

    /// Adds the deletes of an entry. Returns whether there is one.
    ///
    /// # Errors
    /// When the store cannot read.
    pub fn delete(
        &self,
        store: &dyn KvStore,
        batch: &mut Batch,
        index: u64,
    ) -> Result<bool, StorageError> {
        let Some(first) = store.get(&self.key(index, 0))? else {
            return Ok(false);
        };
        let (length, _) = open_first(index, &first)?;
        for number in 0..piece_count(length) {
            batch.delete(self.key(index, number));
        }
        Ok(true)
    }

    /// The entries stored in the range, in order, with their indexes. Ends early when the entries hold
    /// `bytes_max` bytes together, but never before the first. Entries deleted meanwhile are left out.
    ///
    /// # Errors
    /// [`StorageError::EntryRotten`] when an entry is not whole.
    pub fn read(
        &self,
        store: &dyn KvStore,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StorageError> {
        let mut entries: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut bytes = 0;
        let mut open: Option<Partial> = None;
        // Sorts right before the first piece of the first entry.
        let mut after = self.key(range.start, 0);
        after.truncate(after.len() - size_of::<u16>());
        loop {
            let page = store.scan(&self.prefix(), Some(&after), PAGE_LEN)?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            for pair in page {
                let (index, number) = position(&pair)?;
                if let Some(whole) = open.take_if(|open| open.index != index) {
                    bytes += whole.bytes.len();
                    entries.extend(self.close(store, whole)?);
                }
                let full = bytes >= bytes_max && open.is_none() && !entries.is_empty();
                if index >= range.end || full {
                    return Ok(entries);
                }
                open.get_or_insert_with(|| Partial::new(index))
                    .push(number, &pair.1)?;
            }
        }
        if let Some(whole) = open {
            entries.extend(self.close(store, whole)?);
        }
        Ok(entries)
    }

    /// Ends an entry, all pieces of which were read: none when it was deleted between two of them.
    fn close(
        &self,
        store: &dyn KvStore,
        entry: Partial,
    ) -> Result<Option<(u64, Vec<u8>)>, StorageError> {
        let first = self.key(entry.index, 0);
        match entry.close() {
            Err(_) if store.get(&first)?.is_none() => Ok(None),
            closed => closed.map(Some),
        }
    }

    /// The index of the first entry.
    ///
    /// # Errors
    /// When the store cannot read.
    pub fn first_index(&self, store: &dyn KvStore) -> Result<Option<u64>, StorageError> {
        let first = store.scan(&self.prefix(), None, 1)?;
        first.first().map(|pair| Ok(position(pair)?.0)).transpose()
    }

    /// The index of the last entry.
    ///
    /// # Errors
    /// When the store cannot read.
    pub fn last_index(&self, store: &dyn KvStore) -> Result<Option<u64>, StorageError> {
        let last = store.last(&self.prefix())?;
        last.map(|pair| Ok(position(&pair)?.0)).transpose()
    }

    fn key(&self, index: u64, piece: u16) -> Vec<u8> {
        StoredKey::Entry(index, piece).encode(self.group)
    }

    fn prefix(&self) -> Vec<u8> {
        kind_prefix(self.group, kind::ENTRY)
    }
}

/// The pieces of an entry; an empty entry has one, which holds its length.
fn pieces(entry: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (first, rest) = entry.split_at(entry.len().min(PIECE_BYTES_MAX));
    std::iter::once(first).chain(rest.chunks(PIECE_BYTES_MAX))
}

fn piece_count(length: u32) -> u16 {
    let pieces = (length as usize).div_ceil(PIECE_BYTES_MAX).max(1);
    // A longer length cannot have been written; what it would count is then not there to be deleted.
    u16::try_from(pieces).unwrap_or(u16::MAX)
}

fn position((key, _): &Pair) -> Result<(u64, u16), StorageError> {
    match StoredKey::decode(key)?.1 {
        StoredKey::Entry(index, piece) => Ok((index, piece)),
        other => unreachable!("scanned under the prefix of entries, found {other:?}"),
    }
}

fn open_first(index: u64, value: &[u8]) -> Result<(u32, &[u8]), StorageError> {
    let payload = payload(value)?;
    let (length, rest) = payload
        .split_first_chunk()
        .ok_or(StorageError::EntryRotten {
            index,
            rot: Rot::Length {
                expected: size_of::<u32>() as u64,
                found: payload.len() as u64,
            },
        })?;
    Ok((u32::from_be_bytes(*length), rest))
}

fn payload(value: &[u8]) -> Result<&[u8], StorageError> {
    use crate::codec::CodecError::{Empty, UnknownVersion};
    match value.split_first() {
        Some((&TAG, payload)) => Ok(payload),
        Some((&found, _)) => Err(UnknownVersion {
            found,
            supported: TAG,
        }
        .into()),
        None => Err(Empty.into()),
    }
}

/// An entry whose pieces are being put together.
struct Partial {
    index: u64,
    length: u32,
    pieces: u16,
    bytes: Vec<u8>,
    gap: bool,
}

impl Partial {
    fn new(index: u64) -> Self {
        Self {
            index,
            length: 0,
            pieces: 0,
            bytes: Vec::new(),
            gap: false,
        }
    }

    fn push(&mut self, number: u16, value: &[u8]) -> Result<(), StorageError> {
        self.gap |= number != self.pieces;
        if self.gap {
            return Ok(());
        }
        let piece = if number == 0 {
            let (length, piece) = open_first(self.index, value)?;
            self.length = length;
            piece
        } else {
            payload(value)?
        };
        self.bytes.extend_from_slice(piece);
        self.pieces += 1;
        Ok(())
    }

    fn close(self) -> Result<(u64, Vec<u8>), StorageError> {
        let (expected, found) = (u64::from(self.length), self.bytes.len() as u64);
        let rot = if self.gap {
            Rot::MissingChunk {
                chunk: self.pieces,
                chunks: piece_count(self.length),
            }
        } else if expected != found {
            Rot::Length { expected, found }
        } else {
            return Ok((self.index, self.bytes));
        };
        Err(StorageError::EntryRotten {
            index: self.index,
            rot,
        })
    }
}

#[cfg(test)]
#[path = "entry_log_tests.rs"]
mod tests;
