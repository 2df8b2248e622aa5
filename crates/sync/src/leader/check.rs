//! What a leader requires of a request before it reads anything for it.

use pando_merkle::{Key, Prefix};
use pando_model::TreeId;

use crate::error::RequestError;
use crate::limits::{PAIRS_PER_REQUEST_MAX, PREFIXES_PER_REQUEST_MAX, WANTS_PER_REQUEST_MAX};
use crate::message::{Have, Want};

/// Nibbles of a key that its first 8 bytes hold.
const SHORT_NIBBLES: u8 = 16;

pub(super) fn prefixes(tree: TreeId, prefixes: &[Prefix]) -> Result<(), RequestError> {
    within("prefixes", prefixes.len(), PREFIXES_PER_REQUEST_MAX)?;
    for pair in prefixes.windows(2) {
        if let [a, b] = pair
            && a >= b
        {
            return Err(RequestError::PrefixOrder { tree, prefix: *b });
        }
    }
    Ok(())
}

pub(super) fn wants(tree: TreeId, wants: &[Want]) -> Result<(), RequestError> {
    within("wants", wants.len(), WANTS_PER_REQUEST_MAX)?;
    let pairs = wants.iter().map(|want| want.have.len()).sum();
    if pairs > PAIRS_PER_REQUEST_MAX {
        let (what, max) = ("leaves", PAIRS_PER_REQUEST_MAX);
        return Err(RequestError::TooMany {
            what,
            found: pairs,
            max,
        });
    }
    // A want under another would have its rows read and sent twice, so a small request could ask for a flood.
    for pair in wants.windows(2) {
        if let [a, b] = pair
            && (a.prefix >= b.prefix || is_under(&b.prefix, &a.prefix))
        {
            return Err(RequestError::PrefixOrder {
                tree,
                prefix: b.prefix,
            });
        }
    }
    wants.iter().try_for_each(|want| have(tree, want))
}

fn have(tree: TreeId, want: &Want) -> Result<(), RequestError> {
    let prefix = want.prefix;
    let (ordered, inside) = match &want.have {
        Have::Short(pairs) => (
            pairs.is_sorted_by(|a, b| a.0 < b.0),
            pairs.iter().all(|pair| holds(&prefix, pair.0)),
        ),
        Have::Full(pairs) => (
            pairs.is_sorted_by(|a, b| a.0 < b.0),
            pairs.iter().all(|pair| prefix.contains(&pair.0)),
        ),
    };
    if !ordered {
        return Err(RequestError::HaveOrder { tree, prefix });
    }
    if !inside {
        return Err(RequestError::HaveOutside { tree, prefix });
    }
    Ok(())
}

/// Whether a key that begins with `short` may lie under the prefix.
fn holds(prefix: &Prefix, short: u64) -> bool {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&short.to_be_bytes());
    let key = Key::from_bytes(bytes);
    prefix
        .nibbles()
        .zip(0..SHORT_NIBBLES)
        .all(|(nibble, depth)| key.nibble(depth) == nibble)
}

/// Whether `inner` is `outer` or lies under it.
fn is_under(inner: &Prefix, outer: &Prefix) -> bool {
    outer.len() <= inner.len() && inner.nibbles().zip(outer.nibbles()).all(|(a, b)| a == b)
}

fn within(what: &'static str, found: usize, max: usize) -> Result<(), RequestError> {
    match found {
        0 => Err(RequestError::Empty),
        _ if found > max => Err(RequestError::TooMany { what, found, max }),
        _ => Ok(()),
    }
}
