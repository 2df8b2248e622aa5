//! The canonical byte form that is hashed: one value, one encoding, independent of any codec library.
//!
//! Integers are big endian and fixed width; byte strings are preceded by a `u32` length. Readers trust nothing:
//! every length is checked against what is left before anything is allocated.

use thiserror::Error;

/// Canonical bytes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ended early.
    #[error("truncated: {what} needs {needed} bytes, {left} are left")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes it needs.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// The input is not a canonical encoding.
    #[error("malformed {what}")]
    Malformed {
        /// What was being read.
        what: &'static str,
    },
    /// Bytes remain after the value.
    #[error("{left} bytes too many after {what}")]
    Trailing {
        /// What was read.
        what: &'static str,
        /// Bytes left over.
        left: usize,
    },
}

/// Appends canonical values to a buffer.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One byte.
    pub fn u8(&mut self, v: u8) -> &mut Self {
        self.0.push(v);
        self
    }

    /// A `u32`, big endian.
    pub fn u32(&mut self, v: u32) -> &mut Self {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }

    /// A `u64`, big endian.
    pub fn u64(&mut self, v: u64) -> &mut Self {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }

    /// A length. All lengths are bounded by the limits, far below 4 GiB.
    pub fn count(&mut self, v: usize) -> &mut Self {
        self.u32(u32::try_from(v).expect("limits keep lengths far below 4 GiB"))
    }

    /// A byte string with its length.
    pub fn bytes(&mut self, v: &[u8]) -> &mut Self {
        self.count(v.len()).raw(v)
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, v: &[u8]) -> &mut Self {
        self.0.extend_from_slice(v);
        self
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads canonical values off a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; `what` names them in errors.
    #[must_use]
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, rest)) = self.rest.split_at_checked(n) else {
            return Err(DecodeError::Truncated {
                what: self.what,
                needed: n,
                left: self.rest.len(),
            });
        };
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    /// A `u32`, big endian.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A `u64`, big endian.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length or a count. Counts of items that take at least one byte each cannot exceed what is left.
    pub fn count(&mut self) -> Result<usize, DecodeError> {
        let n = self.u32()? as usize;
        if n > self.rest.len() {
            return Err(DecodeError::Truncated {
                what: self.what,
                needed: n,
                left: self.rest.len(),
            });
        }
        Ok(n)
    }

    /// A byte string with its length.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let n = self.count()?;
        self.take(n)
    }

    /// A UTF-8 string with its length.
    pub fn str(&mut self) -> Result<&'a str, DecodeError> {
        let what = self.what;
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::Malformed { what })
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Refuses bytes left over.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing {
                what: self.what,
                left: self.rest.len(),
            })
        }
    }

    /// An error about what is being read.
    #[must_use]
    pub fn malformed(&self) -> DecodeError {
        DecodeError::Malformed { what: self.what }
    }
}
