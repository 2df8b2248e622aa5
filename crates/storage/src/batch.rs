//! A batch of writes: the unit of atomicity. Owns the size limits of everything stored.

use crate::error::StorageError;

/// Longest key, in bytes. The longest in the catalogue has 35.
pub const KEY_BYTES_MAX: usize = 64;

/// Longest stored value, in bytes. sled moves leaves whose records average more than about 7.7 KB into blob
/// files, which 0.34 can leak; this keeps a safe distance, and a vector of 1,024 `f32` with a small payload is one
/// value: in two, writing it took a fifth longer.
pub const VALUE_BYTES_MAX: usize = 6144;

/// Largest batch, keys and values together, in bytes. sled holds a global lock while it applies one. A Raft
/// entry has at most 1 MiB; its rows, digests and pre-images must fit in one batch with it.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Store the value under the key.
    Put(Vec<u8>, Vec<u8>),
    /// Remove the key; nothing happens when it is absent.
    Delete(Vec<u8>),
}

/// Writes that take effect together or not at all. Of several writes to one key the last one counts.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    ops: Vec<Op>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a put. Limits are checked when the batch is applied.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.ops.push(Op::Put(key, value));
    }

    /// Adds a delete.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        let key = key.into();
        self.bytes += key.len();
        self.ops.push(Op::Delete(key));
    }

    /// Adds the writes of another batch after those of this one.
    pub fn append(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.ops.extend(other.ops);
    }

    /// Number of writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Bytes of keys and values together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The writes in order.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The writes in order, by value.
    #[must_use]
    pub fn into_ops(self) -> Vec<Op> {
        self.ops
    }

    /// Refuses a batch that breaks a limit. Every store calls it first, so that the in-memory twin refuses
    /// exactly what the durable store refuses.
    ///
    /// # Errors
    /// [`StorageError::BatchTooLarge`], [`StorageError::KeyLength`] or [`StorageError::ValueTooLarge`].
    pub fn check(&self) -> Result<(), StorageError> {
        if self.bytes > BATCH_BYTES_MAX {
            return Err(StorageError::BatchTooLarge {
                bytes: self.bytes,
                bytes_max: BATCH_BYTES_MAX,
            });
        }
        for op in &self.ops {
            let (key, value_bytes) = match op {
                Op::Put(key, value) => (key, value.len()),
                Op::Delete(key) => (key, 0),
            };
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return Err(StorageError::KeyLength {
                    bytes: key.len(),
                    bytes_max: KEY_BYTES_MAX,
                });
            }
            if value_bytes > VALUE_BYTES_MAX {
                return Err(StorageError::ValueTooLarge {
                    bytes: value_bytes,
                    bytes_max: VALUE_BYTES_MAX,
                });
            }
        }
        Ok(())
    }
}
