//! The layouts are persisted and compared between nodes: the expected digests here were computed
//! by another program from the description at the head of the module.

use super::*;
use crate::key::Key;
use crate::node::Leaf;

const VERSION: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn value() -> Digest {
    value_digest(b"canonical content")
}

fn leaf() -> Digest {
    leaf_digest(b"point", &VERSION, &value())
}

fn key(start: [u8; 2]) -> Key {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&start);
    Key::from_bytes(bytes)
}

fn prefix(nibbles: &[u8]) -> Prefix {
    nibbles.iter().fold(Prefix::ROOT, |prefix, nibble| {
        prefix.child(*nibble).expect("short")
    })
}

#[test]
fn rows_hash_as_described() {
    assert_eq!(
        value().to_string(),
        "0b3fce3630ec90a751b64669d0d97475b1d6f4533ddacca543b1911f7b650821"
    );
    assert_eq!(
        leaf().to_string(),
        "c5454e492da56ba72e0b48871680715df49974f5a97a3747528175fbca3a420c"
    );
    assert_eq!(
        Key::derive(&VERSION, b"point").to_string(),
        "4f0e38a8e0cdc28367b3a902a21d53a0"
    );
}

#[test]
fn nodes_hash_as_described() {
    assert_eq!(
        bucket_digest(&Prefix::ROOT, &[]).to_string(),
        "337a32712f14c5df0b57a64bd6c321a043081688ecd4f33fd8319470da2256b1"
    );
    let entry = |start, digest| {
        (
            key(start),
            Leaf {
                digest,
                bytes: 9,
                index: 9,
            },
        )
    };
    let entries = [entry([0x12, 0x30], leaf()), entry([0x12, 0x3f], value())];
    assert_eq!(
        bucket_digest(&prefix(&[1, 2, 3]), &entries).to_string(),
        "fecaa05214a632bde0470b65a4f916420d34c421d6203d1885e9ba4dcc46bb00"
    );
    let mut children = [None; 16];
    children[0] = Some(leaf());
    children[15] = Some(value());
    assert_eq!(
        node_digest(&prefix(&[1]), children).to_string(),
        "2811bcbf1456439a120bc2018d1df7da5fe4a481f04ddef8edf3ca7783584298"
    );
}

#[test]
fn roots_hash_as_described() {
    let collection = collection_root("words", b"def", 7, &leaf());
    assert_eq!(
        collection.to_string(),
        "e86a9966ca488c8d1a34beea404d04a869c5608a2e60975b0978dfd11198e463"
    );
    assert_eq!(
        replica_root(&leaf(), [collection, value()]).to_string(),
        "67fc603601f32753055a42efadeda934cb80affe7ce6ab97ec355ced3e9d0d77"
    );
}

#[test]
fn parts_cannot_be_shifted_against_each_other() {
    let root = leaf();
    assert_ne!(
        collection_root("ab", b"c", 1, &root),
        collection_root("a", b"bc", 1, &root),
        "name and definition"
    );
    assert_ne!(
        collection_root("a", b"c", 1, &root),
        collection_root("a", b"c", 2, &root)
    );
    assert_ne!(
        replica_root(&root, [root, value()]),
        replica_root(&root, [value(), root]),
        "order of collections"
    );
    assert_ne!(replica_root(&root, []), replica_root(&root, [root]));
}

#[test]
fn short_forms_are_the_leading_bytes() {
    let digest = value();
    assert_eq!(digest.truncated(), 0x0b3f_ce36_30ec_90a7);
    assert_eq!(digest.short(), "0b3fce36");
    assert_eq!(Digest([0; 32]).short(), "00000000");
    assert_eq!(format!("{digest:?}"), digest.to_string());
}
