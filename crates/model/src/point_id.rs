//! The id of a point: an unsigned integer or a UUID, in one order and one canonical form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::canonical::DecodeError;
use crate::error::InvalidInput;

/// A point's id. Integers order before UUIDs, each by value; canonical byte order is the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PointId {
    /// An unsigned integer.
    Num(u64),
    /// A UUID of any version.
    Uuid(Uuid),
}

const NUM: u8 = 1;
const UUID: u8 = 2;

impl PointId {
    /// The canonical bytes that are hashed and stored: a kind byte, then the value, big endian.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Num(n) => [&[NUM], n.to_be_bytes().as_slice()].concat(),
            Self::Uuid(u) => [&[UUID], u.as_bytes().as_slice()].concat(),
        }
    }

    /// Reads the canonical bytes back.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let bad = DecodeError::Malformed { what: "point id" };
        match bytes.split_first() {
            Some((&NUM, rest)) => rest
                .try_into()
                .map(|n| Self::Num(u64::from_be_bytes(n)))
                .map_err(|_| bad),
            Some((&UUID, rest)) => rest
                .try_into()
                .map(|u| Self::Uuid(Uuid::from_bytes(u)))
                .map_err(|_| bad),
            _ => Err(bad),
        }
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Num(n) => n.fmt(f),
            Self::Uuid(u) => u.fmt(f),
        }
    }
}

impl FromStr for PointId {
    type Err = InvalidInput;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if let Ok(n) = s.parse() {
            return Ok(Self::Num(n));
        }
        let bad = || InvalidInput::BadId {
            id: s.chars().take(64).collect(),
        };
        Uuid::parse_str(s).map(Self::Uuid).map_err(|_| bad())
    }
}

impl From<u64> for PointId {
    fn from(n: u64) -> Self {
        Self::Num(n)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn canonical_order_is_value_order(
            a: (Option<u64>, u128),
            b: (Option<u64>, u128),
        ) {
            let make = |(num, uuid): (Option<u64>, u128)| match num {
                Some(n) => PointId::Num(n),
                None => PointId::Uuid(Uuid::from_u128(uuid)),
            };
            let (a, b) = (make(a), make(b));
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(PointId::from_bytes(&a.to_bytes()).expect("own bytes"), a);
            prop_assert_eq!(a.to_string().parse::<PointId>().expect("own text"), a);
        }
    }

    #[test]
    fn bad_ids_are_refused() {
        for bad in ["", "-1", "abc", "18446744073709551616"] {
            assert!(
                matches!(bad.parse::<PointId>(), Err(InvalidInput::BadId { .. })),
                "{bad}"
            );
        }
        for bad in [
            &[][..],
            &[1],
            &[1, 0, 0],
            &[2, 1],
            &[3, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(PointId::from_bytes(bad).is_err(), "{bad:?}");
        }
    }
}
