//! Versions: hybrid logical clock stamps, so that versions from different clusters can later be ordered.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::InvalidInput;

/// A hybrid logical clock stamp: wall-clock milliseconds, a counter that breaks ties, and where it was made.
///
/// Stamps given by one group's apply always rise, whatever the leaders' clocks do ([`Stamp::after`]).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp {
    /// Milliseconds since the Unix epoch, never behind an earlier stamp's.
    pub wall_ms: u64,
    /// Orders stamps of one millisecond.
    pub counter: u32,
    /// Which cluster made it; 0 until clusters exchange records.
    pub origin: u32,
}

impl Stamp {
    /// A stamp of the given wall-clock time, counter 0.
    #[must_use]
    pub fn at(wall_ms: u64) -> Self {
        Self {
            wall_ms,
            counter: 0,
            origin: 0,
        }
    }

    /// This stamp if it is later than `last`, else the first one that is.
    #[must_use]
    pub fn after(self, last: Self) -> Self {
        if (self.wall_ms, self.counter) > (last.wall_ms, last.counter) {
            return self;
        }
        match last.counter.checked_add(1) {
            Some(counter) => Self {
                wall_ms: last.wall_ms,
                counter,
                origin: self.origin,
            },
            None => Self {
                wall_ms: last.wall_ms + 1,
                counter: 0,
                origin: self.origin,
            },
        }
    }

    /// Big-endian bytes: byte order is stamp order.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let value = (u128::from(self.wall_ms) << 64)
            | (u128::from(self.counter) << 32)
            | u128::from(self.origin);
        value.to_be_bytes()
    }

    /// Reads the bytes back; every 16 bytes are a stamp.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self {
            wall_ms: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            counter: u32::from_be_bytes([i, j, k, l]),
            origin: u32::from_be_bytes([m, n, o, p]),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{}", self.wall_ms, self.counter, self.origin)
    }
}

/// Reads what [`Stamp`] prints, `wall_ms.counter@origin`.
impl FromStr for Stamp {
    type Err = InvalidInput;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('.').and_then(|(wall_ms, rest)| {
            let (counter, origin) = rest.split_once('@')?;
            Some(Self {
                wall_ms: wall_ms.parse().ok()?,
                counter: counter.parse().ok()?,
                origin: origin.parse().ok()?,
            })
        });
        parts.ok_or_else(|| InvalidInput::BadField {
            field: "version".to_owned(),
            reason: format!(
                "{:?} is not a version such as 1700000000000.0@0",
                text.chars().take(64).collect::<String>()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn after_always_rises(a: (u32, u32), b: (u32, u32)) {
            let stamp = |(w, c): (u32, u32)| Stamp { wall_ms: w.into(), counter: c, origin: 0 };
            let (a, last) = (stamp(a), stamp(b));
            prop_assert!(a.after(last) > last);
            prop_assert_eq!(Stamp::from_bytes(a.to_bytes()), a);
            prop_assert_eq!(a.to_string().parse::<Stamp>().expect("own text"), a);
            prop_assert_eq!(a.cmp(&last), a.to_bytes().cmp(&last.to_bytes()));
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for bad in ["", "5", "5.0", "5@0", "x.0@0", "5.0@", "-1.0@0"] {
            assert!(bad.parse::<Stamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_full_counter_moves_to_the_next_millisecond() {
        let last = Stamp {
            wall_ms: 7,
            counter: u32::MAX,
            origin: 0,
        };
        assert_eq!(Stamp::at(7).after(last), Stamp::at(8));
    }
}
