//! What a leader requires of a request before it reads anything for it.

use pando_merkle::Prefix;
use pando_model::TreeId;

use crate::error::RequestError;
use crate::limits::{LISTED_PER_REQUEST_MAX, PREFIXES_PER_REQUEST_MAX, WANTS_PER_REQUEST_MAX};
use crate::message::{Have, Want};

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
    let listed = wants.iter().map(|want| want.have.len()).sum();
    if listed > LISTED_PER_REQUEST_MAX {
        let (what, max) = ("leaves", LISTED_PER_REQUEST_MAX);
        return Err(RequestError::TooMany {
            what,
            found: listed,
            max,
        });
    }
    // A want under another would have its rows read and sent twice, so a small request could ask for a flood.
    for pair in wants.windows(2) {
        if let [a, b] = pair
            && (a.prefix >= b.prefix || a.prefix.covers(&b.prefix))
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
    match &want.have {
        Have::Tags(tags) => {
            let mut sorted = tags.clone();
            sorted.sort_unstable();
            if !sorted.is_sorted_by(|a, b| a < b) {
                return Err(RequestError::TagRepeated { tree, prefix });
            }
        }
        Have::Full(pairs) => {
            if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
                return Err(RequestError::HaveOrder { tree, prefix });
            }
            if !pairs.iter().all(|pair| prefix.contains(&pair.0)) {
                return Err(RequestError::HaveOutside { tree, prefix });
            }
        }
    }
    Ok(())
}

fn within(what: &'static str, found: usize, max: usize) -> Result<(), RequestError> {
    match found {
        0 => Err(RequestError::Empty),
        _ if found > max => Err(RequestError::TooMany { what, found, max }),
        _ => Ok(()),
    }
}
