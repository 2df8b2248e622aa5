//! A leader that lies: refused, and nothing is ever verified that is not the header's state.

use pando_merkle::Digest;
use pando_model::TreeId;
use pando_sync::{
    Base, Children, Compression, Finished, FollowerOptions, Part, Response, SyncError, WireHash,
    WireNode, decode, encode, row_key,
};
use proptest::prelude::*;

use crate::convergence::states;
use crate::frames::forge;
use crate::world::{
    Drive, State, assert_verified, base, drive_tampered, header, lay, leader, row, salt,
    small_options, state, trees,
};

const TREE: TreeId = TreeId(1);

/// 1,000 rows; every tenth is new, every fifteenth is gone.
fn pair() -> (State, State) {
    let old = state((0..1_000).map(|id| row(id, "old")));
    let kept = (0..1_100).filter(|id| id % 15 != 0);
    let new = state(kept.map(|id| row(id, if id % 10 == 0 { "new" } else { "old" })));
    (new, old)
}

/// Tampers with every response for which `lie` finds something to do.
fn lied(base: Base, new: &State, mut lie: impl FnMut(&mut Response) -> Vec<Response>) -> Drive {
    let options = FollowerOptions {
        wide_start_min: u64::MAX,
        ..small_options()
    };
    let mut tamper = |mut response: Response| {
        let mut more = lie(&mut response);
        more.insert(0, response);
        more
    };
    drive_tampered(&leader(new, 3), base, options, 11, &mut tamper)
}

fn lied_to_pair(lie: impl FnMut(&mut Response) -> Vec<Response>) -> SyncError {
    let (new, old) = pair();
    let ended = lied(base(&old), &new, lie);
    ended.end.map(|_| ()).expect_err("the lie was believed")
}

#[test]
fn answers_to_nothing_are_refused() {
    let unasked = |response: &Response| {
        matches!(response, Response::Snapshot(_)).then(|| Response::Rows {
            id: 77,
            parts: vec![Part {
                puts: 1,
                gone: Vec::new(),
            }],
            more: false,
            puts: vec![row(5, "unasked")].into(),
        })
    };
    let error = lied_to_pair(|response| unasked(response).into_iter().collect());
    assert!(
        matches!(error, SyncError::NotRequested { id: 77, .. }),
        "{error}"
    );

    // Every answer twice: the second is to a request that has its answer.
    let error = lied_to_pair(|response| match response {
        Response::Nodes { .. } => vec![response.clone()],
        _ => Vec::new(),
    });
    assert!(
        matches!(error, SyncError::NotRequested { what: "nodes", .. }),
        "{error}"
    );
    let error = lied_to_pair(|response| match response {
        Response::Rows { more: false, .. } => vec![response.clone()],
        _ => Vec::new(),
    });
    assert!(
        matches!(error, SyncError::NotRequested { what: "rows", .. }),
        "{error}"
    );
    let error = lied_to_pair(|response| match response {
        Response::Snapshot(_) => vec![response.clone()],
        _ => Vec::new(),
    });
    assert!(matches!(error, SyncError::Unexpected { .. }), "{error}");
}

#[test]
fn answers_of_another_kind_are_refused() {
    let error = lied_to_pair(|response| {
        if let Response::Nodes { id, .. } = response {
            let (id, more) = (*id, false);
            let (parts, puts) = (vec![Part::default()], Vec::new().into());
            *response = Response::Rows {
                id,
                parts,
                more,
                puts,
            };
        }
        Vec::new()
    });
    assert!(
        matches!(error, SyncError::NotRequested { what: "rows", .. }),
        "{error}"
    );
    let error = lied_to_pair(|response| {
        if let Response::Rows { id, .. } = response {
            let (id, done) = (*id, true);
            let (puts, kept) = (Vec::new().into(), Vec::new());
            *response = Response::Since {
                id,
                puts,
                kept,
                done,
            };
        }
        Vec::new()
    });
    assert!(
        matches!(error, SyncError::NotRequested { what: "rows", .. }),
        "{error}"
    );
}

/// Tampers with the parts of every rows response, and returns the rule it breaks.
fn with_parts(mut lie: impl FnMut(&mut Vec<Part>, &mut bool)) -> &'static str {
    let error = lied_to_pair(|response| {
        if let Response::Rows { parts, more, .. } = response {
            lie(parts, more);
        }
        Vec::new()
    });
    match error {
        SyncError::Part { rule, .. } => rule,
        other => panic!("{other}"),
    }
}

#[test]
fn parts_that_do_not_add_up_are_refused() {
    let none = with_parts(|parts, _| parts.clear());
    assert_eq!(none, "it answers no want");
    let few = "its parts count more or fewer rows than it has";
    assert_eq!(with_parts(|parts, _| parts[0].puts += 1), few);
    assert_eq!(with_parts(|parts, _| parts[0].puts = u32::MAX), few);
    let many = with_parts(|parts, _| parts.resize(4_000, Part::default()));
    assert_eq!(many, "it answers more wants than there are");
    let idle = with_parts(|parts, more| {
        parts.push(Part::default());
        *more = true;
    });
    assert!(
        [
            "it goes on with a part that says nothing",
            "it answers more wants than there are"
        ]
        .contains(&idle)
    );
}

#[test]
fn positions_that_no_list_has_are_refused() {
    let gone = |lie: fn(&mut Vec<u32>)| with_parts(|parts, _| lie(&mut parts[0].gone));
    let outside = "a position is not one of the list";
    assert_eq!(gone(|gone| gone.push(u32::MAX)), outside);
    assert_eq!(gone(|gone| gone.push(5_000)), outside);
    let order = "a position is repeated, or out of order";
    assert_eq!(gone(|gone| *gone = vec![0, 0]), order);
    assert_eq!(gone(|gone| *gone = vec![1, 0]), order);
}

/// Tampers with the puts of the first part of every rows response that has some.
fn with_puts(mut lie: impl FnMut(&mut Vec<pando_model::Row>)) -> SyncError {
    lied_to_pair(|response| {
        if let Response::Rows { parts, puts, .. } = response
            && parts[0].puts > 0
        {
            let rest = puts.rows.split_off(parts[0].puts as usize);
            lie(&mut puts.rows);
            parts[0].puts = u32::try_from(puts.rows.len()).unwrap();
            puts.rows.extend(rest);
        }
        Vec::new()
    })
}

#[test]
fn rows_that_must_not_come_are_refused() {
    let rule = |error: SyncError| match error {
        SyncError::Row { rule, .. } => rule,
        other => panic!("{other}"),
    };
    // Keys are hashes: of many rows some lie elsewhere.
    let outside = with_puts(|puts| {
        let mut stray: Vec<_> = (5_000..5_100).map(|id| row(id, "stray")).collect();
        stray.sort_by_key(|row| row_key(&salt(TREE), row));
        *puts = stray;
    });
    assert_eq!(rule(outside), "its key does not lie there");
    let twice = with_puts(|puts| puts.push(puts[puts.len() - 1].clone()));
    assert_eq!(rule(twice), "it is repeated, or out of key order");
    let (_, old) = pair();
    let held = with_puts(|puts| {
        // The neighbour of the row sent, for the one level that all wants of this state share.
        let key = row_key(&salt(TREE), &puts[0]);
        let near = |row: &&pando_model::Row| {
            let other = row_key(&salt(TREE), row);
            other.short() >> 56 == key.short() >> 56 && other < key
        };
        let mut held = old[&TREE].rows.values().filter(near);
        if let Some(held) = held.next() {
            puts.insert(0, held.clone());
        }
    });
    assert_eq!(rule(held), "the follower listed it as one that it has");
}

#[test]
fn an_answer_that_ends_too_early_is_refused() {
    let new = state((0..1_000).map(|id| row(id, "new")));
    let end = |response: &mut Response| {
        if let Response::Rows { more, .. } = response {
            *more = false;
        }
        Vec::new()
    };
    let streamed = lied(base(&state([])), &new, end);
    assert!(matches!(
        streamed.end,
        Err(SyncError::NotRequested { what: "rows", .. })
    ));

    // With a list, the leader might be the victim of equal tags: a list in full decides.
    let swallow = |response: &mut Response| {
        if let Response::Rows { parts, puts, .. } = response {
            puts.rows.clear();
            parts.iter_mut().for_each(|part| part.puts = 0);
        }
        Vec::new()
    };
    let old = state((0..1_000).map(|id| row(id, "old")));
    let new = state((0..1_000).map(|id| row(id, if id % 50 == 0 { "new" } else { "old" })));
    let listed = lied(base(&old), &new, swallow);
    assert!(
        matches!(listed.end, Err(SyncError::Incomplete { .. })),
        "{:?}",
        listed.end
    );
    assert!(listed.stats.relists > 0);
}

#[test]
fn a_stream_without_an_end_is_refused() {
    let idle = lied_to_pair(|response| {
        if let Response::Rows {
            parts, more, puts, ..
        } = response
        {
            *parts = vec![Part::default()];
            puts.rows.clear();
            *more = true;
        }
        Vec::new()
    });
    assert!(matches!(idle, SyncError::Part { .. }), "{idle}");

    // A header that counts fewer rows than come.
    let new = state((0..1_000).map(|id| row(id, "new")));
    let ended = lied(base(&state([])), &new, |response| {
        if let Response::Snapshot(header) = response {
            header.trees[1].count = 500;
            header.root = pando_sync::header_root(&header.trees);
        }
        Vec::new()
    });
    assert!(matches!(
        ended.end,
        Err(SyncError::TooManyRows {
            tree: TREE,
            count: 500
        })
    ));
    assert!(ended.staged.len() <= 500);
}

#[test]
fn nodes_that_no_tree_has_are_refused() {
    let with_node = |lie: fn(&mut WireNode)| {
        let error = lied_to_pair(|response| {
            if let Response::Nodes { nodes, .. } = response {
                nodes.iter_mut().for_each(lie);
            }
            Vec::new()
        });
        match error {
            SyncError::Node { rule, .. } => rule,
            other => panic!("{other}"),
        }
    };
    let empty = with_node(|node| *node = WireNode::Empty);
    assert_eq!(empty, "it is empty, but its parent said that it is not");
    let childless = with_node(|node| {
        *node = WireNode::Inner {
            children: Children::of(&[None; 16], false),
        };
    });
    assert_eq!(
        childless,
        "it has not one hash for each child that is not empty, or no child"
    );
    let long = with_node(|node| {
        *node = WireNode::Inner {
            children: Children::of(&[Some(Digest([1; 32])); 16], true),
        };
    });
    assert_eq!(long, "its hashes have not the length asked for");
    let crowded = with_node(|node| {
        *node = WireNode::Bucket {
            hash: WireHash::Short([9; 4]),
            count: 33,
        };
    });
    assert_eq!(crowded, "a bucket holds 1 to 32 leaves");
    let other = with_node(|node| {
        *node = WireNode::Bucket {
            hash: WireHash::Short([9; 4]),
            count: 3,
        };
    });
    assert_eq!(other, "its hash is not the one its parent gave");
    let wide = with_node(|node| {
        *node = WireNode::Bucket {
            hash: WireHash::Full(Digest([9; 32])),
            count: 3,
        };
    });
    assert_eq!(wide, "its hash has not the length asked for");
}

fn three_state(two: &State) -> State {
    let mut three = two.clone();
    three.insert(TreeId(2), two[&TREE].clone());
    three
}

#[test]
fn headers_that_break_a_rule_are_refused() {
    let (_, old) = pair();
    let three = || {
        let three = three_state(&old);
        header(&three, &trees(&three), 3)
    };
    let lies: [fn(&mut Vec<pando_sync::TreeHeader>); 7] = [
        Vec::clear,
        |trees| drop(trees.remove(0)),
        |trees| trees[0].name = "system".to_owned(),
        |trees| trees[0].salt = [1; 16],
        |trees| trees.swap(1, 2),
        |trees| trees[2].id = trees[1].id,
        |trees| trees[1].name.clear(),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut follower = pando_sync::Follower::new(base(&state([])), FollowerOptions::default());
        assert_eq!(follower.start().len(), 1);
        let mut header = three();
        lie(&mut header.trees);
        header.root = pando_sync::header_root(&header.trees);
        let refused = follower.on_response(Response::Snapshot(header));
        assert!(
            matches!(refused, Err(SyncError::Header { .. })),
            "lie {number}: {refused:?}"
        );
    }
    // Counts that overflow when they are added up.
    let endless = lied(base(&state([])), &three_state(&old), |response| {
        if let Response::Snapshot(header) = response {
            header
                .trees
                .iter_mut()
                .for_each(|tree| tree.count = u64::MAX);
            header.root = pando_sync::header_root(&header.trees);
        }
        Vec::new()
    });
    assert!(endless.end.is_err(), "{:?}", endless.end);

    let mut follower = pando_sync::Follower::new(base(&state([])), FollowerOptions::default());
    let early = follower.on_response(Response::Snapshot(three()));
    assert!(
        matches!(early, Err(SyncError::Unexpected { .. })),
        "{early:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any bit of any message flipped, with a right checksum: whatever the follower believes, it never calls a state
    /// verified that is not the one its header names.
    #[test]
    fn no_flipped_bit_is_ever_installed(
        (new, old) in states(),
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
                    let mut body = frame[pando_sync::FRAME_HEADER_BYTES..].to_vec();
                    let bit = bit.index(body.len() * 8);
                    body[bit / 8] ^= 1 << (bit % 8);
                    let frame = forge(0, u32::try_from(body.len()).unwrap(), &body);
                    decode(&frame).map_or_else(|_| vec![response], |lie| vec![lie])
                }
            }
        };
        let leader = leader(&new, 9);
        let ended = drive_tampered(&leader, base(&old), small_options(), seed, &mut tamper);
        if let Ok(Some(Finished::Verified { header, trees })) = &ended.end {
            // What no root covers may be a lie that passes: the index, the meta, a size; also the id and the salt of
            // a tree without rows, which the replica holds against the catalogue in the verified system tree.
            prop_assert_eq!(header.root, base(&new).root);
            let renamed = |head: &&pando_sync::TreeHeader| !new.contains_key(&head.id);
            if let Some(head) = header.trees.iter().find(renamed) {
                prop_assert_eq!(head.count, 0);
                return Ok(());
            }
            prop_assert_eq!(trees.len(), new.len());
            assert_verified(&ended, &new);
            let mut laid = lay(&old, &ended.staged);
            laid.retain(|id, _| new.contains_key(id));
            for (id, plot) in &new {
                prop_assert_eq!(laid.get(id).cloned().unwrap_or_default().rows, plot.rows.clone());
            }
        }
    }
}
