//! Frames: one message as bytes, with a length, a checksum and a compressed body where that pays.
//!
//! ```text
//! body length u32 | CRC32 u32 | flags u8 | raw length u32 | body          (integers big endian)
//! ```
//! The checksum covers everything but itself. The body is the message in bincode's standard encoding, or its zstd
//! compression if the flag says so; the raw length is that of the encoding. Invariants: nothing is allocated for a
//! size that was not first held against [`FRAME_BODY_BYTES_MAX`], and a frame decodes to exactly the value it was made
//! from or to an error. Knows nothing of what the messages mean.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::FRAME_BODY_BYTES_MAX;

/// Bytes before the body.
pub const FRAME_HEADER_BYTES: usize = 13;
const FLAG_ZSTD: u8 = 1;
/// Smaller bodies are not worth the attempt.
const COMPRESS_BYTES_MIN: usize = 128;
/// The zstd levels used.
pub const ZSTD_LEVEL_MIN: i32 = 1;
/// Above this, zstd takes seconds and megabytes for a few percent.
pub const ZSTD_LEVEL_MAX: i32 = 19;
/// bincode claims the size in memory of what it decodes, up to 8 bytes for one on the wire.
const DECODE_CLAIM_MAX: usize = 8 * FRAME_BODY_BYTES_MAX;

/// What to do with the body of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// Leave it.
    None,
    /// Compress it at this zstd level, and keep the result if it is at least 5 % smaller.
    Zstd(i32),
}

impl Compression {
    /// What two sides agree on: the less of what each would do.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        match (self, other) {
            (Self::Zstd(a), Self::Zstd(b)) => Self::Zstd(a.min(b)),
            _ => Self::None,
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::Zstd(1)
    }
}

/// Why a frame was not made or not read.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The message does not fit.
    #[error(
        "the message is {bytes} bytes long; a frame body holds at most {max}: send it in parts"
    )]
    TooLarge {
        /// Its encoded length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The message has no encoding.
    #[error("the message cannot be encoded")]
    Encode(#[source] bincode::error::EncodeError),
    /// zstd refused to compress.
    #[error("the frame body cannot be compressed")]
    Compress(#[source] std::io::Error),
    /// There are fewer bytes than a frame has.
    #[error("the frame ends after {bytes} of {expected} bytes: it was cut")]
    Truncated {
        /// Bytes received.
        bytes: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// There are more bytes than the frame has.
    #[error("{bytes} bytes follow the end of the frame; one frame per message is expected")]
    Trailing {
        /// How many too many.
        bytes: usize,
    },
    /// A length in the header is over the limit.
    #[error("the frame claims a body of {claimed} bytes; at most {max} are accepted")]
    ClaimTooLarge {
        /// The length claimed.
        claimed: u64,
        /// The limit.
        max: usize,
    },
    /// The checksum is wrong.
    #[error("the frame's checksum is {found:08x}, not {expected:08x}: it was damaged on the way")]
    Checksum {
        /// Computed from the bytes received.
        found: u32,
        /// Carried by the frame.
        expected: u32,
    },
    /// A flag this version does not know.
    #[error("the frame has unknown flags {flags:#04x}: the peer is newer than this node")]
    UnknownFlags {
        /// The flag byte.
        flags: u8,
    },
    /// The body does not decompress.
    #[error("the frame body cannot be decompressed within its {raw_bytes} claimed bytes")]
    Decompress {
        /// The length claimed.
        raw_bytes: usize,
        /// What zstd says.
        #[source]
        source: std::io::Error,
    },
    /// The body has another length than the header says.
    #[error("the frame body is {bytes} bytes long, not the {claimed} its header claims")]
    WrongLength {
        /// Its length.
        bytes: usize,
        /// The length claimed.
        claimed: usize,
    },
    /// The body is not a message of the type expected.
    #[error("the frame body is not the message expected")]
    Decode(#[source] bincode::error::DecodeError),
    /// The body holds more than the message.
    #[error("{bytes} bytes follow the message in the frame body")]
    TrailingBody {
        /// How many too many.
        bytes: usize,
    },
}

/// Makes a frame of a message.
///
/// # Errors
/// If the message is longer than [`FRAME_BODY_BYTES_MAX`] when encoded.
pub fn encode<T: Serialize>(message: &T, compression: Compression) -> Result<Bytes, FrameError> {
    // The header's place is kept free, so that a body that stays as it is never moves.
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    bincode::serde::encode_into_std_write(message, &mut frame, bincode::config::standard())
        .map_err(FrameError::Encode)?;
    let (_, raw) = frame.split_at(FRAME_HEADER_BYTES);
    let raw_bytes = raw.len();
    let too_large = || FrameError::TooLarge {
        bytes: raw_bytes,
        max: FRAME_BODY_BYTES_MAX,
    };
    let raw_length = match u32::try_from(raw_bytes) {
        Ok(length) if raw_bytes <= FRAME_BODY_BYTES_MAX => length,
        _ => return Err(too_large()),
    };
    let mut flags = 0;
    if let Some(packed) = compress(raw, compression)? {
        flags = FLAG_ZSTD;
        frame.truncate(FRAME_HEADER_BYTES);
        frame.extend_from_slice(&packed);
    }
    let (header, body) = frame.split_at_mut(FRAME_HEADER_BYTES);
    // Compression is kept only when it makes the body smaller, so this fits whenever the raw body did.
    let length = u32::try_from(body.len()).map_err(|_| too_large())?;
    let crc = checksum(length, flags, raw_length, body);
    let fields = length
        .to_be_bytes()
        .into_iter()
        .chain(crc.to_be_bytes())
        .chain([flags])
        .chain(raw_length.to_be_bytes());
    for (slot, byte) in header.iter_mut().zip(fields) {
        *slot = byte;
    }
    Ok(frame.into())
}

/// Reads the message of one whole frame.
///
/// # Errors
/// If the bytes are not exactly one undamaged frame that holds a `T`.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    let Some((header, body)) = frame.split_at_checked(FRAME_HEADER_BYTES) else {
        return Err(FrameError::Truncated {
            bytes: frame.len(),
            expected: FRAME_HEADER_BYTES,
        });
    };
    let [l0, l1, l2, l3, c0, c1, c2, c3, flags, r0, r1, r2, r3] = *header else {
        return Err(FrameError::Truncated {
            bytes: frame.len(),
            expected: FRAME_HEADER_BYTES,
        });
    };
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    let expected = u32::from_be_bytes([c0, c1, c2, c3]);
    let raw_length = u32::from_be_bytes([r0, r1, r2, r3]);
    let body_bytes = within_limit(length)?;
    let raw_bytes = within_limit(raw_length)?;
    if body.len() < body_bytes {
        let expected = FRAME_HEADER_BYTES + body_bytes;
        return Err(FrameError::Truncated {
            bytes: frame.len(),
            expected,
        });
    }
    if body.len() > body_bytes {
        return Err(FrameError::Trailing {
            bytes: body.len() - body_bytes,
        });
    }
    let found = checksum(length, flags, raw_length, body);
    if found != expected {
        return Err(FrameError::Checksum { found, expected });
    }
    match flags {
        0 => decode_body(body, raw_bytes),
        FLAG_ZSTD => {
            let raw = zstd::bulk::decompress(body, raw_bytes)
                .map_err(|source| FrameError::Decompress { raw_bytes, source })?;
            decode_body(&raw, raw_bytes)
        }
        _ => Err(FrameError::UnknownFlags { flags }),
    }
}

/// The length of a frame's body before compression, as its header says; 0 if it has no whole header.
pub(crate) fn raw_bytes(frame: &[u8]) -> u64 {
    let raw = frame.get(FRAME_HEADER_BYTES - 4..FRAME_HEADER_BYTES);
    raw.and_then(|raw| raw.try_into().ok())
        .map_or(0, |raw| u64::from(u32::from_be_bytes(raw)))
}

/// Whether a frame's body is compressed.
pub(crate) fn is_compressed(frame: &[u8]) -> bool {
    frame.get(8) == Some(&FLAG_ZSTD)
}

fn compress(raw: &[u8], compression: Compression) -> Result<Option<Vec<u8>>, FrameError> {
    let Compression::Zstd(level) = compression else {
        return Ok(None);
    };
    if raw.len() < COMPRESS_BYTES_MIN {
        return Ok(None);
    }
    // A level may come from a peer.
    let level = level.clamp(ZSTD_LEVEL_MIN, ZSTD_LEVEL_MAX);
    let packed = zstd::bulk::compress(raw, level).map_err(FrameError::Compress)?;
    // The reader pays for decompression too: below a ratio of 1.05 it is not worth it.
    Ok((raw.len() * 100 >= packed.len() * 105).then_some(packed))
}

fn within_limit(claimed: u32) -> Result<usize, FrameError> {
    usize::try_from(claimed)
        .ok()
        .filter(|bytes| *bytes <= FRAME_BODY_BYTES_MAX)
        .ok_or(FrameError::ClaimTooLarge {
            claimed: u64::from(claimed),
            max: FRAME_BODY_BYTES_MAX,
        })
}

fn checksum(length: u32, flags: u8, raw_length: u32, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length.to_be_bytes());
    crc.update(&[flags]);
    crc.update(&raw_length.to_be_bytes());
    crc.update(body);
    crc.finalize()
}

fn decode_body<T: DeserializeOwned>(raw: &[u8], claimed: usize) -> Result<T, FrameError> {
    if raw.len() != claimed {
        return Err(FrameError::WrongLength {
            bytes: raw.len(),
            claimed,
        });
    }
    let limits = bincode::config::standard().with_limit::<DECODE_CLAIM_MAX>();
    // Borrowing: byte strings are looked up in the body before they are copied out of it.
    let (message, used) =
        bincode::serde::borrow_decode_from_slice(raw, limits).map_err(FrameError::Decode)?;
    if used != raw.len() {
        return Err(FrameError::TrailingBody {
            bytes: raw.len() - used,
        });
    }
    Ok(message)
}
