//! A leader that lies about what was written since: refused, or found out by the roots.

use pando_merkle::Prefix;
use pando_sync::{
    Compression, FRAME_HEADER_BYTES, Finished, FollowerOptions, Kept, Mode, Response, SyncError,
    Tag, decode, encode,
};
use proptest::prelude::*;

use crate::convergence::states;
use crate::frames::forge;
use crate::modes::{Hints, clean, lagging, leader, ways};
use crate::world::{Drive, assert_verified, base, by_key, difference, drive_tampered, lay};

fn lied(mut lie: impl FnMut(&mut Response) -> Vec<Response>) -> Drive {
    let (new, old) = lagging();
    let mut tamper = |mut response: Response| {
        let mut more = lie(&mut response);
        more.insert(0, response);
        more
    };
    let leader = leader(&old, &new, Hints::Kept);
    let options = FollowerOptions::default();
    drive_tampered(&leader, clean(&old), options, 11, &mut tamper)
}

/// Tampers with every part of a `Since` answer, and returns the rule it breaks.
fn rule(mut lie: impl FnMut(&mut Vec<Kept>, &mut bool)) -> &'static str {
    let ended = lied(|response| {
        if let Response::Since { kept, done, .. } = response {
            lie(kept, done);
        }
        Vec::new()
    });
    match ended.end {
        Err(SyncError::Part { rule, .. }) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn buckets_that_no_tree_has_are_refused() {
    let crowded = rule(|kept, _| {
        let tags = vec![Tag([1; 3]); 33];
        let prefix = Prefix::ROOT;
        kept.push(Kept { prefix, tags });
    });
    let order = "a bucket is repeated, or out of order";
    assert!(
        ["a bucket holds more than 32 leaves", order].contains(&crowded),
        "{crowded}"
    );
    let twice = rule(|kept, _| kept.extend(kept.first().cloned()));
    assert_eq!(twice, order);
}

#[test]
fn answers_twice_and_without_an_end_are_refused() {
    let twice = lied(|response| match response {
        Response::Since { done: false, .. } => vec![response.clone()],
        _ => Vec::new(),
    });
    assert!(
        matches!(
            twice.end,
            Err(SyncError::Row { .. } | SyncError::Part { .. })
        ),
        "{:?}",
        twice.end
    );
    let endless = lied(|response| {
        if let Response::Since { id, .. } = response {
            let nothing = Response::Since {
                id: *id,
                puts: Vec::new().into(),
                kept: Vec::new(),
                done: false,
            };
            return vec![nothing; 3];
        }
        Vec::new()
    });
    assert!(
        matches!(
            endless.end,
            Err(SyncError::Part { .. } | SyncError::NotRequested { .. })
        ),
        "{:?}",
        endless.end
    );
}

#[test]
fn rows_kept_back_and_false_deletes_are_made_good_by_a_walk() {
    let (new, old) = lagging();
    // Every row of the stream is swallowed.
    let silent = lied(|response| {
        if let Response::Since { puts, done, .. } = response {
            puts.rows.clear();
            *done = true;
        }
        Vec::new()
    });
    // Only the first part ends the request: what follows is refused. With one part, the walk finds all.
    if silent.end.is_ok() {
        assert_verified(&silent, &new);
    }
    // A bucket at the root that keeps nothing: all is dropped, in bounded steps, and then taken again.
    let mut told = false;
    let emptied = lied(|response| {
        if let Response::Since { kept, .. } = response
            && !std::mem::replace(&mut told, true)
        {
            let (prefix, tags) = (Prefix::ROOT, Vec::new());
            kept.insert(0, Kept { prefix, tags });
        }
        Vec::new()
    });
    match &emptied.end {
        Ok(Some(Finished::Verified { .. })) => assert_verified(&emptied, &new),
        Err(SyncError::Part { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(emptied.stats.mode, Some(Mode::Lineage));
    // Honest, it moves just the difference.
    let honest = lied(|_| Vec::new());
    assert_eq!(by_key(&honest.staged), difference(&old, &new));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any bit of any message flipped, messages lost and repeated, in every mode: no state is called verified that
    /// is not the one its header names.
    #[test]
    fn no_flipped_bit_is_ever_installed_in_any_mode(
        (new, old) in states(),
        (hints, options) in ways(),
        seed: u64,
        victim in 0..12_usize,
        bit: prop::sample::Index,
        how in 0..4_u8,
    ) {
        let mut count = 0;
        let mut tamper = |response: Response| {
            count += 1;
            match how {
                _ if count != victim => vec![response],
                0 => Vec::new(),
                1 => vec![response.clone(), response],
                _ => {
                    let frame = encode(&response, Compression::None).unwrap();
                    let mut body = frame[FRAME_HEADER_BYTES..].to_vec();
                    let bit = bit.index(body.len() * 8);
                    body[bit / 8] ^= 1 << (bit % 8);
                    let frame = forge(0, u32::try_from(body.len()).unwrap(), &body);
                    decode(&frame).map_or_else(|_| vec![response], |lie| vec![lie])
                }
            }
        };
        let leader = leader(&old, &new, hints);
        let ended = drive_tampered(&leader, clean(&old), options, seed, &mut tamper);
        if let Ok(Some(Finished::Verified { header, .. })) = &ended.end {
            prop_assert_eq!(header.root, base(&new).root);
            if header.trees.iter().any(|head| !new.contains_key(&head.id)) {
                return Ok(());
            }
            assert_verified(&ended, &new);
            let mut laid = lay(&old, &ended.staged);
            laid.retain(|id, _| new.contains_key(id));
            for (id, plot) in &new {
                prop_assert_eq!(laid.get(id).cloned().unwrap_or_default().rows, plot.rows.clone());
            }
        }
    }
}
