use proptest::prelude::*;

use super::*;

fn any_prefix() -> impl Strategy<Value = Prefix> {
    (any::<[u8; 16]>(), 0..=32_u8).prop_map(|(key, len)| Prefix::of(&Key::from_bytes(key), len))
}

fn from_nibbles(nibbles: &[u8]) -> Prefix {
    nibbles.iter().fold(Prefix::ROOT, |prefix, nibble| {
        prefix.child(*nibble).expect("in bounds")
    })
}

proptest! {
    #[test]
    fn compact_form_reads_back(prefix in any_prefix()) {
        let bytes = prefix.to_bytes();
        prop_assert_eq!(bytes.len(), 1 + prefix.len().div_ceil(2));
        prop_assert_eq!(Prefix::from_bytes(&bytes), Ok(prefix));
    }

    #[test]
    fn any_bytes_are_refused_or_are_the_compact_form(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(prefix) = Prefix::from_bytes(&bytes) {
            prop_assert_eq!(prefix.to_bytes(), bytes);
        }
    }

    #[test]
    fn serde_form_reads_back(prefix in any_prefix()) {
        let config = bincode::config::standard();
        let bytes = bincode::serde::encode_to_vec(prefix, config).expect("encodes");
        let (back, read) = bincode::serde::decode_from_slice::<Prefix, _>(&bytes, config)
            .expect("decodes");
        prop_assert_eq!((back, read), (prefix, bytes.len()));
    }

    #[test]
    fn nibbles_build_the_prefix_of_a_key(key in any::<[u8; 16]>(), len in 0..=32_u8) {
        let key = Key::from_bytes(key);
        let nibbles: Vec<u8> = (0..len).map(|depth| key.nibble(depth)).collect();
        let prefix = Prefix::of(&key, len);
        prop_assert_eq!(from_nibbles(&nibbles), prefix);
        prop_assert_eq!(prefix.nibbles().collect::<Vec<_>>(), nibbles);
        prop_assert!(prefix.contains(&key));
    }

    #[test]
    fn contains_is_agreement_on_every_nibble(prefix in any_prefix(), key in any::<[u8; 16]>(), shared in 0..=32_usize) {
        // A key that starts like the prefix for a while, or the chance of a hit is nil.
        let bytes = Prefix::of(&Key::from_bytes(prefix.packed), 32).packed;
        let mut key = key;
        key[..shared / 2].copy_from_slice(&bytes[..shared / 2]);
        let key = Key::from_bytes(key);
        let agrees = prefix.nibbles().zip(0..).all(|(nibble, depth)| key.nibble(depth) == nibble);
        prop_assert_eq!(prefix.contains(&key), agrees);
    }

    #[test]
    fn order_is_the_order_of_nibbles(a in any_prefix(), b in any_prefix()) {
        let (left, right): (Vec<u8>, Vec<u8>) = (a.nibbles().collect(), b.nibbles().collect());
        prop_assert_eq!(a.cmp(&b), left.cmp(&right));
    }
}

#[test]
fn children_are_sixteen_until_the_key_is_whole() {
    let children: Vec<Prefix> = from_nibbles(&[0xa]).children().collect();
    assert_eq!(children.len(), 16);
    assert_eq!(children[3], from_nibbles(&[0xa, 3]));
    assert!(children.is_sorted());
    let whole = Prefix::of(&Key::from_bytes([0xff; 16]), 32);
    assert_eq!(whole.child(0), None);
    assert_eq!(whole.children().count(), 0);
    assert_eq!(Prefix::ROOT.child(16), None, "not a nibble");
    assert_eq!(Prefix::of(&Key::from_bytes([0xff; 16]), 200), whole);
}

#[test]
fn bad_bytes_are_refused_by_cause() {
    assert_eq!(Prefix::from_bytes(&[]), Err(PrefixError::NoBytes));
    assert_eq!(
        Prefix::from_bytes(&[33; 18]),
        Err(PrefixError::TooLong { nibbles: 33 })
    );
    assert_eq!(
        Prefix::from_bytes(&[3, 0x12]),
        Err(PrefixError::WrongSize {
            nibbles: 3,
            expected: 2,
            got: 1
        })
    );
    assert_eq!(
        Prefix::from_bytes(&[0, 0]),
        Err(PrefixError::WrongSize {
            nibbles: 0,
            expected: 0,
            got: 1
        })
    );
    assert_eq!(
        Prefix::from_bytes(&[3, 0x12, 0x34]),
        Err(PrefixError::Padding { nibbles: 3 })
    );
    assert_eq!(
        Prefix::from_bytes(&[3, 0x12, 0x30]),
        Ok(from_nibbles(&[1, 2, 3]))
    );
}

#[test]
fn serde_refuses_a_longer_sequence_than_any_prefix() {
    let config = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(vec![0_u8; 18], config).expect("encodes");
    let error =
        bincode::serde::decode_from_slice::<Prefix, _>(&bytes, config).expect_err("18 bytes");
    assert!(error.to_string().contains("1 to 17 bytes"), "{error}");
}

#[test]
fn prints_as_a_path() {
    assert_eq!(Prefix::ROOT.to_string(), "/");
    assert_eq!(from_nibbles(&[0xa, 0, 3]).to_string(), "/a03");
}
