//! Frames: what was sent, or an error.

use pando_merkle::{Digest, Key, Prefix};
use pando_model::TreeId;
use pando_sync::{
    Compression, Deletes, FRAME_BODY_BYTES_MAX, FRAME_HEADER_BYTES, FrameError, Have, Request,
    Response, Want, decode, encode,
};
use proptest::prelude::*;

use crate::world::{View, row, state};

/// A frame with any body and a right checksum.
pub(crate) fn forge(flags: u8, raw_length: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let mut checked = length.to_vec();
    checked.push(flags);
    checked.extend(raw_length.to_be_bytes());
    checked.extend(body);
    let crc = crc32fast::hash(&checked).to_be_bytes();
    [&length[..], &crc[..], &checked[4..]].concat()
}

fn forge_raw(body: &[u8]) -> Vec<u8> {
    forge(0, u32::try_from(body.len()).unwrap(), body)
}

fn messages() -> Vec<Response> {
    let rows: Vec<_> = (0..40)
        .map(|id| row(id, "some content that repeats itself"))
        .collect();
    let prefix = Prefix::from_bytes(&[3, 0xab, 0xc0]).unwrap();
    vec![
        Response::Equal { index: u64::MAX },
        Response::Snapshot(View::of(&state(rows.clone()), 5).header),
        Response::Rows {
            tree: TreeId(7),
            prefix,
            puts: rows,
            deletes: Deletes::Full(vec![Key::from_bytes([4; 16])]),
            done: true,
        },
    ]
}

fn requests() -> Vec<Request> {
    let prefix = Prefix::from_bytes(&[1, 0xf0]).unwrap();
    let short = Want {
        prefix: Prefix::ROOT,
        have: Have::Short(vec![(1, 2), (u64::MAX, 0)]),
    };
    let full = Have::Full(vec![(Key::from_bytes([4; 16]), Digest([5; 32]))]);
    vec![
        Request::Hello {
            protocol: 1,
            root: Digest([1; 32]),
            index: 9,
        },
        Request::Nodes {
            tree: TreeId(3),
            full: true,
            prefixes: vec![Prefix::ROOT, prefix],
        },
        Request::Rows {
            tree: TreeId(0),
            wants: vec![short, Want { prefix, have: full }],
        },
    ]
}

#[test]
fn every_message_comes_back_as_it_was() {
    for compression in [
        Compression::None,
        Compression::Zstd(1),
        Compression::Zstd(19),
    ] {
        for message in messages() {
            assert_eq!(
                decode::<Response>(&encode(&message, compression).unwrap()).unwrap(),
                message
            );
        }
        for message in requests() {
            assert_eq!(
                decode::<Request>(&encode(&message, compression).unwrap()).unwrap(),
                message
            );
        }
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_found() {
    for message in messages() {
        for compression in [Compression::None, Compression::Zstd(1)] {
            let frame = encode(&message, compression).unwrap();
            for length in 0..frame.len() {
                let cut = decode::<Response>(&frame[..length]);
                assert!(matches!(cut, Err(FrameError::Truncated { .. })), "{cut:?}");
            }
            for bit in 0..frame.len() * 8 {
                let mut flipped = frame.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode::<Response>(&flipped).is_err(), "bit {bit}");
            }
            let doubled = [&frame[..], &frame[..]].concat();
            assert!(matches!(
                decode::<Response>(&doubled),
                Err(FrameError::Trailing { .. })
            ));
        }
    }
}

#[test]
fn bodies_are_compressed_only_where_it_pays() {
    let [equal, _, rows] = messages().try_into().unwrap();
    let frame = encode(&rows, Compression::Zstd(1)).unwrap();
    assert!(frame.len() < encode(&rows, Compression::None).unwrap().len() / 2);
    assert_eq!(frame[8], 1);
    assert_eq!(encode(&equal, Compression::Zstd(1)).unwrap()[8], 0);
    let mut dice = crate::world::Dice(1);
    let noise: Vec<_> = (0..400)
        .map(|_| (dice.roll(usize::MAX) as u64, dice.roll(usize::MAX) as u64))
        .collect();
    let wants = vec![Want {
        prefix: Prefix::ROOT,
        have: Have::Short(noise),
    }];
    let noisy = Request::Rows {
        tree: TreeId(1),
        wants,
    };
    assert_eq!(encode(&noisy, Compression::Zstd(1)).unwrap()[8], 0);
}

#[test]
fn sizes_are_refused_before_they_are_believed() {
    let huge = u32::try_from(FRAME_BODY_BYTES_MAX + 1).unwrap();
    let claims = decode::<Response>(&forge(0, huge, b"tiny"));
    assert!(
        matches!(claims, Err(FrameError::ClaimTooLarge { .. })),
        "{claims:?}"
    );
    let mut long = forge_raw(b"tiny");
    long[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    let claims = decode::<Response>(&long);
    assert!(
        matches!(claims, Err(FrameError::ClaimTooLarge { .. })),
        "{claims:?}"
    );

    // A body that decompresses to more, and to less, than it claims.
    let bomb = zstd::bulk::compress(&vec![0; FRAME_BODY_BYTES_MAX * 4], 3).unwrap();
    let bombed = decode::<Response>(&forge(1, 1_000, &bomb));
    assert!(
        matches!(bombed, Err(FrameError::Decompress { .. })),
        "{bombed:?}"
    );
    let small = zstd::bulk::compress(&[0; 100], 3).unwrap();
    let short = decode::<Response>(&forge(1, 1_000, &small));
    assert!(
        matches!(short, Err(FrameError::WrongLength { bytes: 100, .. })),
        "{short:?}"
    );
    let flags = decode::<Response>(&forge(2, 4, b"tiny"));
    assert!(
        matches!(flags, Err(FrameError::UnknownFlags { flags: 2 })),
        "{flags:?}"
    );

    let content = "x".repeat(FRAME_BODY_BYTES_MAX);
    let puts = vec![row(1, &content)];
    let deletes = Deletes::Short(Vec::new());
    let large = Response::Rows {
        tree: TreeId(1),
        prefix: Prefix::ROOT,
        puts,
        deletes,
        done: true,
    };
    assert!(matches!(
        encode(&large, Compression::default()),
        Err(FrameError::TooLarge { .. })
    ));
}

#[test]
fn lists_that_claim_more_than_they_hold_or_may_hold_are_refused() {
    // Nodes of tree 1, short, with a list of 2^32 - 1 prefixes; then with one over the limit, all there.
    let claimed = forge_raw(&[1, 1, 0, 252, 255, 255, 255, 255]);
    assert!(matches!(
        decode::<Request>(&claimed),
        Err(FrameError::Decode(_))
    ));
    let prefixes = vec![Prefix::ROOT; pando_sync::PREFIXES_PER_REQUEST_MAX + 1];
    let many = encode(
        &Request::Nodes {
            tree: TreeId(1),
            full: false,
            prefixes,
        },
        Compression::None,
    );
    assert!(matches!(
        decode::<Request>(&many.unwrap()),
        Err(FrameError::Decode(_))
    ));
    // A byte string (the list of a want) that claims 16 MiB, and one that is no whole number of pairs.
    let blob = forge_raw(&[2, 1, 1, 1, 0, 0, 252, 0, 0, 0, 1]);
    assert!(matches!(
        decode::<Request>(&blob),
        Err(FrameError::Decode(_))
    ));
    let odd = forge_raw(&[2, 1, 1, 1, 0, 0, 3, 9, 9, 9]);
    assert!(matches!(
        decode::<Request>(&odd),
        Err(FrameError::Decode(_))
    ));
    let trailing = forge_raw(&[0, 5, 99]);
    assert!(matches!(
        decode::<Response>(&trailing),
        Err(FrameError::TrailingBody { bytes: 1 })
    ));
}

proptest! {
    #[test]
    fn any_bytes_decode_to_an_error_or_to_a_message(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        flags in 0..3_u8,
    ) {
        prop_assert!(decode::<Response>(&bytes).is_err());
        let raw_length = u32::try_from(bytes.len()).unwrap();
        if let Ok(message) = decode::<Response>(&forge(flags, raw_length, &bytes)) {
            let frame = encode(&message, Compression::None).unwrap();
            prop_assert_eq!(decode::<Response>(&frame).unwrap(), message);
        }
        if let Ok(message) = decode::<Request>(&forge(flags, raw_length, &bytes)) {
            let frame = encode(&message, Compression::None).unwrap();
            prop_assert_eq!(decode::<Request>(&frame).unwrap(), message);
        }
    }

    #[test]
    fn damage_of_any_kind_is_an_error(
        which in 0..3_usize,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..8),
    ) {
        let frame = encode(&messages()[which], Compression::default()).unwrap();
        let mut damaged = frame.to_vec();
        for (at, bits) in damage {
            let at = at.index(damaged.len());
            damaged[at] ^= bits;
        }
        prop_assume!(damaged != frame);
        prop_assert!(decode::<Response>(&damaged).is_err());
    }
}

#[test]
fn the_header_is_as_long_as_it_says() {
    let body = [0, 5];
    assert_eq!(forge_raw(&body).len(), FRAME_HEADER_BYTES + body.len());
    let equal = Response::Equal { index: 5 };
    assert_eq!(
        encode(&equal, Compression::None).unwrap()[..],
        forge_raw(&body)[..]
    );
}
