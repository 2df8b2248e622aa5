//! Lists of prefixes, each written as its difference from the one before: neighbours in a walk share most of it.
//!
//! ```text
//! shared nibbles (4 bits) | further nibbles (4 bits) | the further nibbles, two to a byte, zero padded
//! 0xff | shared nibbles u8 | further nibbles u8 | ..                       where either count is 15 or more
//! ```

use pando_merkle::Prefix;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Bounded, Slice};
use crate::limits::{PREFIXES_PER_REQUEST_MAX, WANTS_PER_REQUEST_MAX};
use crate::message::{Have, Want};

/// Announces counts of a byte each.
const LONG: u8 = 0xff;
/// Counts from here on take a byte each.
const LONG_FROM: u8 = 15;
/// Nibbles of the longest prefix.
const NIBBLES_MAX: usize = 32;

/// `#[serde(with = "Prefixes")]`: the prefixes of a request.
pub(crate) struct Prefixes;

impl Prefixes {
    pub(crate) fn serialize<S: Serializer>(list: &[Prefix], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&pack(list))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Prefix>, D::Error> {
        let bytes = <&'de [u8]>::deserialize(from)?;
        unpack(bytes, PREFIXES_PER_REQUEST_MAX).map_err(D::Error::custom)
    }
}

/// `#[serde(with = "Wants")]`: the wants of a request, all prefixes first.
pub(crate) struct Wants;

impl Wants {
    pub(crate) fn serialize<S: Serializer>(wants: &[Want], to: S) -> Result<S::Ok, S::Error> {
        let prefixes: Vec<Prefix> = wants.iter().map(|want| want.prefix).collect();
        let haves: Vec<&Have> = wants.iter().map(|want| &want.have).collect();
        (Slice(&pack(&prefixes)), haves).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Want>, D::Error> {
        let (prefixes, haves) = <(&'de [u8], Haves)>::deserialize(from)?;
        let prefixes = unpack(prefixes, WANTS_PER_REQUEST_MAX).map_err(D::Error::custom)?;
        if prefixes.len() != haves.0.len() {
            return Err(D::Error::custom(format_args!(
                "{} prefixes are wanted with {} lists",
                prefixes.len(),
                haves.0.len()
            )));
        }
        let wants = prefixes.into_iter().zip(haves.0);
        Ok(wants.map(|(prefix, have)| Want { prefix, have }).collect())
    }
}

struct Haves(Vec<Have>);

impl<'de> Deserialize<'de> for Haves {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Bounded::<WANTS_PER_REQUEST_MAX>::deserialize(from).map(Self)
    }
}

fn pack(list: &[Prefix]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * list.len());
    let mut before = Prefix::ROOT;
    for prefix in list {
        let alike = prefix
            .nibbles()
            .zip(before.nibbles())
            .take_while(|(a, b)| a == b);
        let shared = alike.fold(0_u8, |count, _| count + 1);
        let further: Vec<u8> = prefix.nibbles().skip(usize::from(shared)).collect();
        let count = further.iter().fold(0_u8, |count, _| count + 1);
        if shared < LONG_FROM && count < LONG_FROM {
            out.push(shared << 4 | count);
        } else {
            out.extend([LONG, shared, count]);
        }
        out.extend(further.chunks(2).map(|pair| match pair {
            [high, low] => high << 4 | low,
            [high] => high << 4,
            _ => 0,
        }));
        before = *prefix;
    }
    out
}

fn unpack(bytes: &[u8], max: usize) -> Result<Vec<Prefix>, String> {
    let mut bytes = bytes.iter().copied();
    let mut list = Vec::new();
    let mut before = Prefix::ROOT;
    let cut = || "a list of prefixes ends in the middle of one".to_owned();
    while let Some(counts) = bytes.next() {
        if list.len() == max {
            return Err(format!("more than {max} prefixes are listed"));
        }
        let (shared, count) = if counts == LONG {
            (bytes.next().ok_or_else(cut)?, bytes.next().ok_or_else(cut)?)
        } else {
            (counts >> 4, counts & 0x0f)
        };
        let (shared, count) = (usize::from(shared), usize::from(count));
        if shared > before.len() || shared + count > NIBBLES_MAX {
            return Err(format!(
                "a prefix shares {shared} nibbles with one of {} and has {count} more",
                before.len()
            ));
        }
        let mut prefix = before
            .nibbles()
            .take(shared)
            .try_fold(Prefix::ROOT, |p, n| p.child(n));
        for at in (0..count).step_by(2) {
            let byte = bytes.next().ok_or_else(cut)?;
            prefix = prefix.and_then(|prefix| prefix.child(byte >> 4));
            if at + 1 < count {
                prefix = prefix.and_then(|prefix| prefix.child(byte & 0x0f));
            } else if byte & 0x0f != 0 {
                return Err("the unused half of a prefix's last byte is not zero".to_owned());
            }
        }
        before = prefix.ok_or_else(cut)?;
        list.push(before);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use pando_merkle::Key;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_list_comes_back(list in proptest::collection::vec((any::<[u8; 16]>(), 0..=32_u8), 0..60)) {
            let mut list: Vec<Prefix> = list
                .into_iter()
                .map(|(key, length)| Prefix::of(&Key::from_bytes(key), length))
                .collect();
            prop_assert_eq!(&unpack(&pack(&list), list.len()).unwrap(), &list);
            list.sort_unstable();
            prop_assert_eq!(&unpack(&pack(&list), list.len()).unwrap(), &list);
            prop_assert!(list.is_empty() || unpack(&pack(&list), list.len() - 1).is_err());
        }

        #[test]
        fn any_bytes_are_a_list_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(list) = unpack(&bytes, 1_000) {
                prop_assert_eq!(unpack(&pack(&list), 1_000).unwrap(), list);
            }
        }
    }

    #[test]
    fn neighbours_cost_two_bytes() {
        let level: Vec<Prefix> = Prefix::ROOT
            .children()
            .flat_map(|prefix| prefix.children())
            .flat_map(|prefix| prefix.children())
            .collect();
        // Sixteen of them share nothing with the one before.
        assert_eq!(pack(&level).len(), 2 * level.len() + 16);
    }
}
