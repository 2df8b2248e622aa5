//! Frames: what was sent, or an error.

use pando_merkle::{Digest, Key, Prefix};
use pando_model::TreeId;
use pando_sync::{
    Children, Compression, FRAME_BODY_BYTES_MAX, FRAME_HEADER_BYTES, FrameError, Have, Kept, Part,
    Request, Response, RowBlock, Tag, Want, WireHash, WireNode, decode, encode,
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
    let part = |puts| Part {
        puts,
        gone: vec![0, 7, 300],
    };
    vec![
        Response::Equal { index: u64::MAX },
        Response::Snapshot(View::of(&state(rows.clone()), 5).header),
        Response::Rows {
            id: 3,
            parts: vec![part(1), part(39)],
            more: true,
            puts: rows.clone().into(),
        },
        Response::Rows {
            id: 3,
            parts: vec![part(40)],
            more: false,
            puts: RowBlock {
                rows: rows.clone(),
                planes: true,
            },
        },
        Response::Since {
            id: 4,
            puts: rows.into(),
            kept: vec![Kept {
                prefix,
                tags: vec![Tag([1, 2, 3]), Tag([3, 2, 1])],
            }],
            done: true,
        },
        Response::Nodes {
            id: 9,
            nodes: vec![WireNode::Empty, bucket(), inner(false), inner(true)],
        },
    ]
}

fn bucket() -> WireNode {
    WireNode::Bucket {
        hash: WireHash::Short([1, 2, 3, 4]),
        count: 32,
    }
}

fn inner(full: bool) -> WireNode {
    let mut children = [None; 16];
    for (slot, n) in children.iter_mut().zip(0_u8..) {
        *slot = (!n.is_multiple_of(3)).then_some(Digest([n; 32]));
    }
    WireNode::Inner {
        children: Children::of(&children, full),
    }
}

fn requests() -> Vec<Request> {
    let prefix = Prefix::from_bytes(&[1, 0xf0]).unwrap();
    let tags = Want {
        prefix: Prefix::from_bytes(&[2, 0x12]).unwrap(),
        have: Have::Tags(vec![Tag([1, 2, 3]), Tag([255; 3])]),
    };
    let full = Have::Full(vec![(Key::from_bytes([4; 16]), Digest([5; 32]))]);
    vec![
        Request::Hello {
            protocol: 1,
            root: Digest([1; 32]),
            index: 9,
        },
        Request::Nodes {
            id: 1,
            tree: TreeId(3),
            full: true,
            prefixes: vec![Prefix::ROOT, prefix],
        },
        Request::Rows {
            id: 2,
            tree: TreeId(0),
            wants: vec![tags, Want { prefix, have: full }],
        },
        Request::Since {
            id: u64::MAX,
            tree: TreeId(1),
            prefix,
            index: 77,
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
    let messages = messages();
    let (equal, rows) = (&messages[0], &messages[2]);
    let frame = encode(rows, Compression::Zstd(1)).unwrap();
    assert!(frame.len() < encode(rows, Compression::None).unwrap().len() / 2);
    assert_eq!(frame[8], 1);
    assert_eq!(encode(equal, Compression::Zstd(1)).unwrap()[8], 0);
    let mut dice = crate::world::Dice(1);
    let noise: Vec<_> = (0..400)
        .map(|_| {
            Tag(std::array::from_fn(|_| {
                u8::try_from(dice.roll(256)).unwrap()
            }))
        })
        .collect();
    let wants = vec![Want {
        prefix: Prefix::ROOT,
        have: Have::Tags(noise),
    }];
    let noisy = Request::Rows {
        id: 1,
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
    let large = Response::Since {
        id: 1,
        puts: puts.into(),
        kept: Vec::new(),
        done: true,
    };
    assert!(matches!(
        encode(&large, Compression::default()),
        Err(FrameError::TooLarge { .. })
    ));
}

#[test]
fn lists_that_claim_more_than_they_hold_or_may_hold_are_refused() {
    // Nodes of request 1 and tree 1, short, with a packed list of 2^32 - 1 bytes; then one prefix over the limit.
    let refused = |body: &[u8]| {
        let decoded = decode::<Request>(&forge_raw(body));
        assert!(matches!(decoded, Err(FrameError::Decode(_))), "{decoded:?}");
    };
    refused(&[1, 1, 1, 0, 252, 255, 255, 255, 255]);
    let prefixes = vec![Prefix::ROOT; pando_sync::PREFIXES_PER_REQUEST_MAX + 1];
    let many = encode(
        &Request::Nodes {
            id: 1,
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
    // Rows of request 1 and tree 1: the prefix of the root (one byte, 0), then lists. A list of tags that claims
    // 16 MiB; one that is no whole number of tags; two lists for one prefix; none.
    refused(&[2, 1, 1, 1, 0, 1, 0, 252, 0, 0, 0, 1]);
    refused(&[2, 1, 1, 1, 0, 1, 0, 4, 9, 9, 9, 9]);
    refused(&[2, 1, 1, 1, 0, 2, 0, 0, 0, 0]);
    refused(&[2, 1, 1, 1, 0, 0]);
    assert!(decode::<Request>(&forge_raw(&[2, 1, 1, 1, 0, 1, 0, 3, 9, 9, 9])).is_ok());
    // A prefix that shares more than there is, one of more than 32 nibbles, and one that ends in its middle.
    refused(&[1, 1, 1, 0, 1, 0x10]);
    refused(&[1, 1, 1, 0, 4, 0xff, 0, 33, 0]);
    refused(&[1, 1, 1, 0, 1, 0x03]);
    // A response with one row of no id whose head claims a content of 5 bytes, and of 4, where there are 4.
    let rows = |claim| {
        let mut body = vec![4, 1, 1, 0];
        body.extend([7; 16]);
        body.extend([claim, 0, 4, 1, 2, 3, 4, 0, 1]);
        decode::<Response>(&forge_raw(&body))
    };
    assert!(matches!(rows(5), Err(FrameError::Decode(_))));
    assert!(matches!(rows(3), Err(FrameError::Decode(_))));
    assert!(rows(4).is_ok());
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
        which in 0..6_usize,
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
