//! The one codec of node-to-node message bodies and of the membership record: a version byte, then bincode 2.
//!
//! A body of an unknown version is refused with an error that names both versions; nothing is allocated beyond
//! [`DECODED_BYTES_MAX`], whatever a body claims.

use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Version byte of every body.
const VERSION: u8 = 1;

/// Most memory one decoded body may claim, in bytes.
const DECODED_BYTES_MAX: usize = 32 << 20;

const CONFIG: Configuration<LittleEndian, Varint, Limit<DECODED_BYTES_MAX>> =
    standard().with_limit::<DECODED_BYTES_MAX>();

/// Why a body was not made or not read.
#[derive(Debug, Error)]
pub enum WireError {
    /// The value has no encoding, or is too large for one.
    #[error("a message body cannot be encoded")]
    Encode(#[source] bincode::error::EncodeError),
    /// There is not even a version byte.
    #[error("a message body is empty")]
    Empty,
    /// The body is of a version this release does not know.
    #[error(
        "a message body has version {found}, this node speaks {VERSION}: run one release on all nodes"
    )]
    Version {
        /// The version byte.
        found: u8,
    },
    /// The body is not the message expected.
    #[error("a message body does not decode")]
    Decode(#[source] bincode::error::DecodeError),
    /// The body goes on behind the message.
    #[error("{bytes} bytes follow the message in its body")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}

/// Encodes a body.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![VERSION];
    bincode::serde::encode_into_std_write(message, &mut bytes, CONFIG)
        .map_err(WireError::Encode)?;
    Ok(bytes)
}

/// Decodes a body.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    let (found, rest) = body.split_first().ok_or(WireError::Empty)?;
    if *found != VERSION {
        return Err(WireError::Version { found: *found });
    }
    let (message, used) =
        bincode::serde::decode_from_slice(rest, CONFIG).map_err(WireError::Decode)?;
    match rest.len() - used {
        0 => Ok(message),
        bytes => Err(WireError::Trailing { bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_round_trip_and_damage_is_refused() {
        let body = encode(&(7_u64, "seven".to_owned())).unwrap();
        assert_eq!(
            decode::<(u64, String)>(&body).unwrap(),
            (7, "seven".to_owned())
        );
        for end in 1..body.len() {
            let cut = decode::<(u64, String)>(&body[..end]);
            assert!(matches!(cut, Err(WireError::Decode(_))), "cut at {end}");
        }
        assert!(matches!(decode::<u64>(&[]), Err(WireError::Empty)));
        assert!(matches!(
            decode::<u64>(&[9, 1]),
            Err(WireError::Version { found: 9 })
        ));
        assert!(matches!(
            decode::<u64>(&[VERSION, 1, 1]),
            Err(WireError::Trailing { bytes: 1 })
        ));
    }

    #[test]
    fn a_claimed_length_is_not_believed() {
        // A byte string that claims 2^60 bytes.
        let mut body = vec![VERSION, 253];
        body.extend((1_u64 << 60).to_le_bytes());
        assert!(matches!(
            decode::<Vec<u8>>(&body),
            Err(WireError::Decode(_))
        ));
    }
}
