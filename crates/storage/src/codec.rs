//! The one codec of stored values: a version byte, then the value in bincode 2 (standard configuration).
//!
//! A layout, once released, is never changed: a new one gets the next tag, names its predecessor and says how
//! to make itself from it, so that a value stored by any release can be read by all later ones. The bytes of
//! each layout are kept under `tests/fixtures`.

use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// No decoded value takes more bytes than this, whatever length its bytes claim: checked before allocation.
const DECODED_BYTES_MAX: usize = 16 << 20;

const CONFIG: Configuration<LittleEndian, Varint, Limit<DECODED_BYTES_MAX>> =
    standard().with_limit::<DECODED_BYTES_MAX>();

/// A stored value that does not decode.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// There is not even a version byte.
    #[error("a stored value is empty: its version byte is missing")]
    Empty,
    /// The version byte is not one this release knows.
    #[error(
        "a stored value has version {found}, this release reads up to {supported}; start a release that knows it"
    )]
    UnknownVersion {
        /// The version byte.
        found: u8,
        /// The newest version this release reads.
        supported: u8,
    },
    /// The value goes on behind its end.
    #[error("a stored value has {bytes} bytes too many")]
    TrailingBytes {
        /// How many bytes follow the value.
        bytes: usize,
    },
    /// The bytes are not such a value.
    #[error("a stored value does not decode: {0}")]
    Malformed(#[from] bincode::error::DecodeError),
}

/// A layout of a stored value. The first layout of a kind names itself as its predecessor:
///
/// ```
/// use pando_storage::Versioned;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct CounterV1 { count: u32 }
/// impl Versioned for CounterV1 {
///     const TAG: u8 = 1;
///     type Previous = Self;
///     fn upgrade(previous: Self) -> Self { previous }
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Counter { count: u64, name: String }
/// impl Versioned for Counter {
///     const TAG: u8 = 2;
///     type Previous = CounterV1;
///     fn upgrade(previous: CounterV1) -> Self {
///         Self { count: previous.count.into(), name: String::new() }
///     }
/// }
///
/// let stored = pando_storage::codec::encode(&CounterV1 { count: 7 });
/// let read: Counter = pando_storage::codec::decode(&stored).unwrap();
/// assert_eq!(read.count, 7);
/// ```
pub trait Versioned: Serialize + DeserializeOwned {
    /// The version byte, never reused for another layout of the same kind.
    const TAG: u8;
    /// The layout before this one; `Self` for the first.
    type Previous: Versioned;
    /// Makes this layout from the one before.
    fn upgrade(previous: Self::Previous) -> Self;
}

/// Encodes a value with its version byte.
#[must_use]
pub fn encode<T: Versioned>(value: &T) -> Vec<u8> {
    encode_versioned(T::TAG, value)
}

/// Decodes a value of this layout or of an older one.
///
/// # Errors
/// Every [`CodecError`].
pub fn decode<T: Versioned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_upgrading(bytes, T::TAG)
}

fn decode_upgrading<T: Versioned>(bytes: &[u8], supported: u8) -> Result<T, CodecError> {
    const { assert!(T::Previous::TAG <= T::TAG, "versions go up") }
    let found = *bytes.first().ok_or(CodecError::Empty)?;
    if found == T::TAG {
        decode_versioned(T::TAG, bytes)
    } else if T::Previous::TAG == T::TAG {
        Err(CodecError::UnknownVersion { found, supported })
    } else {
        decode_upgrading::<T::Previous>(bytes, supported).map(T::upgrade)
    }
}

/// Encodes a value of a type that cannot be [`Versioned`] (one from another crate) with a version byte.
#[must_use]
pub fn encode_versioned<T: Serialize>(tag: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![tag];
    bincode::serde::encode_into_std_write(value, &mut bytes, CONFIG).expect(
        "writing to memory does not fail, and stored types hold nothing serde cannot express",
    );
    bytes
}

/// Decodes a value that must have exactly this version.
///
/// # Errors
/// Every [`CodecError`].
pub fn decode_versioned<T: DeserializeOwned>(tag: u8, bytes: &[u8]) -> Result<T, CodecError> {
    let payload = payload(tag, bytes)?;
    let (value, read) = bincode::serde::decode_from_slice(payload, CONFIG)?;
    all_read(payload, read)?;
    Ok(value)
}

/// Version byte of raw bytes.
const RAW_TAG: u8 = 1;

/// Bytes that [`encode_raw`] adds at most to what it encodes, while the result is a stored value at most.
pub(crate) const RAW_OVERHEAD_BYTES: usize = 4;

/// Encodes bytes that are a value of their own; the same layout as a byte string in bincode, made by a copy.
pub(crate) fn encode_raw(raw: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(raw.len() + RAW_OVERHEAD_BYTES);
    bytes.push(RAW_TAG);
    bincode::encode_into_std_write(raw, &mut bytes, CONFIG)
        .expect("writing to memory does not fail");
    bytes
}

/// Decodes what [`encode_raw`] made.
pub(crate) fn decode_raw(bytes: &[u8]) -> Result<&[u8], CodecError> {
    let payload = payload(RAW_TAG, bytes)?;
    let (raw, read) = bincode::borrow_decode_from_slice(payload, CONFIG)?;
    all_read(payload, read)?;
    Ok(raw)
}

fn payload(tag: u8, bytes: &[u8]) -> Result<&[u8], CodecError> {
    match bytes.split_first() {
        None => Err(CodecError::Empty),
        Some((found, payload)) if *found == tag => Ok(payload),
        Some((found, _)) => Err(CodecError::UnknownVersion {
            found: *found,
            supported: tag,
        }),
    }
}

fn all_read(payload: &[u8], read: usize) -> Result<(), CodecError> {
    match payload.len().saturating_sub(read) {
        0 => Ok(()),
        bytes => Err(CodecError::TrailingBytes { bytes }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct One(u32);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Two(u64);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Three(u64, String);

    impl Versioned for One {
        const TAG: u8 = 1;
        type Previous = Self;
        fn upgrade(previous: Self) -> Self {
            previous
        }
    }
    impl Versioned for Two {
        const TAG: u8 = 2;
        type Previous = One;
        fn upgrade(previous: One) -> Self {
            Self(previous.0.into())
        }
    }
    impl Versioned for Three {
        const TAG: u8 = 3;
        type Previous = Two;
        fn upgrade(previous: Two) -> Self {
            Self(previous.0, "upgraded".to_owned())
        }
    }

    #[test]
    fn every_older_layout_is_read_and_upgraded() {
        let upgraded = Three(300, "upgraded".to_owned());
        assert_eq!(decode::<Three>(&encode(&One(300))).unwrap(), upgraded);
        assert_eq!(decode::<Three>(&encode(&Two(300))).unwrap(), upgraded);
        let current = Three(5, "x".to_owned());
        assert_eq!(decode::<Three>(&encode(&current)).unwrap(), current);
    }

    #[test]
    fn an_unknown_version_names_itself_and_the_newest_supported() {
        for found in [0, 4, 255] {
            let error = decode::<Three>(&[found, 1, 2]).unwrap_err();
            assert!(
                matches!(error, CodecError::UnknownVersion { found: f, supported: 3 } if f == found),
                "{error}"
            );
        }
        let error = decode_versioned::<u32>(2, &encode_versioned(1, &7_u32)).unwrap_err();
        assert!(
            matches!(
                error,
                CodecError::UnknownVersion {
                    found: 1,
                    supported: 2
                }
            ),
            "{error}"
        );
        assert!(matches!(decode::<One>(&[]), Err(CodecError::Empty)));
        assert!(matches!(
            decode_raw(&[9, 0]),
            Err(CodecError::UnknownVersion { found: 9, .. })
        ));
    }

    #[test]
    fn trailing_and_missing_bytes_are_refused() {
        let mut long = encode(&One(7));
        long.extend([0, 0]);
        assert!(matches!(
            decode::<One>(&long),
            Err(CodecError::TrailingBytes { bytes: 2 })
        ));
        let mut raw = encode_raw(b"abc");
        raw.push(0);
        assert!(matches!(
            decode_raw(&raw),
            Err(CodecError::TrailingBytes { bytes: 1 })
        ));
        let short = encode(&Three(1, "abc".to_owned()));
        for end in 1..short.len() {
            assert!(matches!(
                decode::<Three>(&short[..end]),
                Err(CodecError::Malformed(_))
            ));
        }
    }

    proptest! {
        #[test]
        fn values_round_trip(number: u64, text: String) {
            let value = Three(number, text);
            prop_assert_eq!(decode::<Three>(&encode(&value)).unwrap(), value);
        }

        #[test]
        fn raw_bytes_round_trip_within_their_overhead(raw: Vec<u8>) {
            let encoded = encode_raw(&raw);
            prop_assert!(encoded.len() <= raw.len() + RAW_OVERHEAD_BYTES);
            prop_assert_eq!(decode_raw(&encoded).unwrap(), raw);
        }

        #[test]
        fn noise_never_panics(bytes: Vec<u8>) {
            if let Ok(value) = decode::<Three>(&bytes) {
                // What decodes is a value: it survives another round.
                prop_assert_eq!(decode::<Three>(&encode(&value)).unwrap(), value);
            }
        }
    }
}
