//! Keys: layouts, order, round trips.

use proptest::prelude::*;

use super::*;

fn at(tree: u32, key: [u8; 16]) -> RowAddress {
    RowAddress::new(TreeId(tree), Key::from_bytes(key))
}

fn any_key() -> impl Strategy<Value = StoredKey> {
    let address = (any::<u32>(), any::<[u8; 16]>()).prop_map(|(tree, key)| at(tree, key));
    let overlay = any::<u32>().prop_map(OverlayId);
    prop_oneof![
        Just(StoredKey::Meta),
        Just(StoredKey::Intent),
        Just(StoredKey::Owner),
        Just(StoredKey::Vote),
        Just(StoredKey::Committed),
        Just(StoredKey::Purged),
        Just(StoredKey::Quarantine),
        address.clone().prop_map(StoredKey::Digest),
        (address.clone(), any::<u64>(), any::<u16>())
            .prop_map(|(at, tag, chunk)| StoredKey::Content(at, tag, chunk)),
        (overlay, address).prop_map(|(o, at)| StoredKey::OverlayHead(o, at)),
        (any::<u64>(), any::<u16>()).prop_map(|(index, chunk)| StoredKey::Entry(index, chunk)),
    ]
}

/// The layouts as bytes: a change here is a change of the format on disk.
#[test]
fn layouts_are_fixed() {
    let row = at(0x0102_0304, [0xaa; 16]);
    let overlay = OverlayId(0x0a0b_0c0d);
    let group = GroupId(0x1122_3344);
    let address = [vec![1, 2, 3, 4], vec![0xaa; 16]].concat();
    let cases: [(StoredKey, u8, Vec<u8>); 11] = [
        (StoredKey::Meta, 1, vec![]),
        (StoredKey::Digest(row), 2, address.clone()),
        (
            StoredKey::Content(row, 0x0708_090a_0b0c_0d0e, 0x0506),
            9,
            [&*address, &[7, 8, 9, 10, 11, 12, 13, 14, 5, 6]].concat(),
        ),
        (
            StoredKey::OverlayHead(overlay, row),
            4,
            [&[10, 11, 12, 13], &*address].concat(),
        ),
        (StoredKey::Intent, 7, vec![]),
        (StoredKey::Owner, 8, vec![]),
        (StoredKey::Vote, 16, vec![]),
        (StoredKey::Committed, 17, vec![]),
        (StoredKey::Purged, 18, vec![]),
        (
            StoredKey::Entry(0x0102_0304_0506_0708, 9),
            19,
            vec![1, 2, 3, 4, 5, 6, 7, 8, 0, 9],
        ),
        (StoredKey::Quarantine, 20, vec![]),
    ];
    let lengths = [5, 25, 35, 29, 5, 5, 5, 5, 5, 15, 5];
    for ((key, kind, fields), length) in cases.into_iter().zip(lengths) {
        let expected = [&[0x11, 0x22, 0x33, 0x44, kind], &*fields].concat();
        let encoded = key.encode(group);
        assert_eq!(encoded, expected, "{key:?}");
        assert_eq!(encoded.len(), length, "{key:?}");
        assert!(length <= crate::KEY_BYTES_MAX);
    }
}

#[test]
fn unknown_kinds_and_wrong_lengths_are_refused() {
    for kind in [0, 3, 5, 10, 15, 21, 255] {
        let error = StoredKey::decode(&[0, 0, 0, 0, kind]).unwrap_err();
        assert_eq!(error, KeyError::UnknownKind { kind: Some(kind) });
    }
    assert_eq!(
        StoredKey::decode(&[0, 0, 0]),
        Err(KeyError::UnknownKind { kind: None })
    );
    let mut long = StoredKey::Vote.encode(GroupId(0));
    long.push(0);
    let expected = KeyError::Length {
        kind: kind::VOTE,
        found: 6,
        expected: 5,
    };
    assert_eq!(StoredKey::decode(&long), Err(expected));
}

proptest! {
    #[test]
    fn keys_round_trip(group: u32, key in any_key()) {
        let group = GroupId(group);
        let encoded = key.encode(group);
        prop_assert_eq!(StoredKey::decode(&encoded).unwrap(), (group, key));
        prop_assert!(encoded.starts_with(&kind_prefix(group, key.kind())));
        prop_assert!(StoredKey::decode(&encoded[..encoded.len() - 1]).is_err());
    }

    #[test]
    fn the_order_of_bytes_is_the_order_of_fields(
        a: (u32, u32, [u8; 16], u64, u16),
        b: (u32, u32, [u8; 16], u64, u16),
        near: bool,
    ) {
        let b = if near { (a.0, a.1, a.2, b.3, b.4) } else { b };
        let key = |(group, tree, key, tag, chunk)| {
            StoredKey::Content(at(tree, key), tag, chunk).encode(GroupId(group))
        };
        prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
    }

    #[test]
    fn entries_are_in_the_order_of_their_indexes(a: (u64, u16), b: (u64, u16)) {
        let key = |(index, chunk)| StoredKey::Entry(index, chunk).encode(GroupId(0));
        prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
    }
}
