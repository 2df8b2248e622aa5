//! Rows: chunk boundaries, surplus chunks, pages, rot, and readers beside a writer.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::batch::{Op, VALUE_BYTES_MAX};
use crate::content::{CHUNK_BYTES_MAX, CONTENT_BYTES_MAX, chunk_count};
use crate::digest_row::{ID_BYTES_MAX, leaf_of};
use crate::error::Rot;
use crate::memory::MemoryStore;

const TREE: TreeId = TreeId(7);
const SALT: [u8; 16] = [3; 16];

fn rows() -> Rows {
    Rows::new(GroupId(0))
}

fn row(id: u32, content: Vec<u8>) -> Row {
    Row {
        id: id.to_be_bytes().to_vec(),
        version: [1; 16],
        content,
    }
}

fn at(tree: TreeId, row: &Row) -> RowAddress {
    RowAddress::new(tree, Key::derive(&SALT, &row.id))
}

/// Stores a row as a careful caller does: deleting the content it replaces.
fn store_row(store: &MemoryStore, tree: TreeId, row: &Row, index: u64) {
    let at = at(tree, row);
    let previous = rows().digest(store, at).unwrap();
    let mut batch = Batch::new();
    let digest = rows()
        .put(&mut batch, at, row, &leaf_of(row, index))
        .unwrap();
    if let Some(previous) = previous.filter(|previous| previous.digest() != digest.digest()) {
        rows().delete_content(&mut batch, at, &previous);
    }
    store.apply(batch).unwrap();
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|i| u8::try_from(i * 31 % 251).unwrap())
        .collect()
}

#[test]
fn no_stored_value_exceeds_the_limit_at_any_boundary() {
    let boundaries = [
        (0, 0),
        (1, 1),
        (250, 1),
        (251, 1),
        (6139, 1),
        (6140, 1),
        (6141, 2),
        (6143, 2),
        (6144, 2),
        (6145, 2),
        (12_280, 2),
        (12_281, 3),
        (12_288, 3),
        (1 << 20, 171),
    ];
    assert_eq!(CHUNK_BYTES_MAX, 6140);
    for (bytes, chunks) in boundaries {
        let store = MemoryStore::new();
        let row = row(1, noise(bytes));
        let at = at(TREE, &row);
        let mut batch = Batch::new();
        let digest = rows().put(&mut batch, at, &row, &leaf_of(&row, 5)).unwrap();
        assert_eq!(digest.chunks(), chunks, "{bytes} bytes");
        let described = DigestRow::of_leaf(row.id.clone(), row.version, &digest.leaf()).unwrap();
        assert_eq!(described, digest, "the leaf tells how long the content is");
        assert_eq!(batch.len(), usize::from(chunks) + 1);
        for op in batch.ops() {
            let Op::Put(_, value) = op else {
                panic!("nothing to delete, found {op:?}")
            };
            assert!(
                value.len() <= VALUE_BYTES_MAX,
                "{} bytes for {bytes}",
                value.len()
            );
        }
        store.apply(batch).unwrap();
        let read = rows().get(&store, at).unwrap().unwrap();
        assert_eq!((read.row, read.leaf), (row.clone(), leaf_of(&row, 5)));
    }
}

#[test]
fn too_long_ids_and_contents_are_refused() {
    let mut long = row(1, Vec::new());
    long.id = vec![1; ID_BYTES_MAX];
    let put = |row: &Row| {
        rows()
            .put(&mut Batch::new(), at(TREE, row), row, &leaf_of(row, 1))
            .map(|_| ())
    };
    put(&long).unwrap();
    long.id.push(1);
    let error = put(&long).unwrap_err();
    assert!(matches!(error, StorageError::IdTooLong { bytes, .. } if bytes == ID_BYTES_MAX + 1));
    assert_eq!(chunk_count(CONTENT_BYTES_MAX).unwrap(), u16::MAX);
    let error = chunk_count(CONTENT_BYTES_MAX + 1).unwrap_err();
    assert!(
        matches!(error, StorageError::ContentTooLong { .. }),
        "{error}"
    );
}

#[test]
fn a_rewritten_row_leaves_no_chunk_behind() {
    let store = MemoryStore::new();
    for (bytes, keys) in [(20_000, 5), (5_000, 2), (0, 1), (13_000, 4), (100, 2)] {
        store_row(&store, TREE, &row(1, noise(bytes)), 1);
        assert_eq!(
            store.scan(b"", None, 100).unwrap().len(),
            keys,
            "{bytes} bytes"
        );
    }
    let mut batch = Batch::new();
    let at = at(TREE, &row(1, Vec::new()));
    let digest = rows().digest(&store, at).unwrap().unwrap();
    rows().delete(&mut batch, at, &digest);
    store.apply(batch).unwrap();
    assert_eq!(store.scan(b"", None, 100).unwrap(), []);
}

#[test]
fn old_content_reads_on_beside_the_new_one_until_it_is_deleted() {
    let store = MemoryStore::new();
    let (old, new) = (row(1, noise(7_000)), row(1, noise(9_000)));
    let at = at(TREE, &old);
    store_row(&store, TREE, &old, 1);
    let described = rows().digest(&store, at).unwrap().unwrap();

    // Content alone is no row.
    let mut batch = Batch::new();
    let staged = rows()
        .put_content(&mut batch, at, &new, &leaf_of(&new, 2))
        .unwrap();
    store.apply(batch).unwrap();
    assert_eq!(rows().get(&store, at).unwrap().unwrap().row, old);
    assert_eq!(rows().page(&store, TREE, None, 9).unwrap()[0].1.row, old);
    assert_eq!(rows().read(&store, at, staged.clone()).unwrap().row, new);

    let mut batch = Batch::new();
    rows().link(&mut batch, at, &staged);
    store.apply(batch).unwrap();
    assert_eq!(rows().get(&store, at).unwrap().unwrap().row, new);
    assert_eq!(rows().page(&store, TREE, None, 9).unwrap()[0].1.row, new);
    assert_eq!(rows().read(&store, at, described.clone()).unwrap().row, old);

    let mut batch = Batch::new();
    rows().delete_content(&mut batch, at, &described);
    store.apply(batch).unwrap();
    assert_eq!(store.scan(b"", None, 100).unwrap().len(), 3);
    let gone = rows().read(&store, at, described).unwrap_err();
    assert!(matches!(gone, StorageError::Rotten { .. }), "{gone}");
    assert_eq!(rows().get(&store, at).unwrap().unwrap().row, new);
}

#[test]
fn a_row_that_is_not_what_its_digest_says_is_rotten() {
    let store = MemoryStore::new();
    let row = row(1, noise(13_000));
    let address = at(TREE, &row);
    store_row(&store, TREE, &row, 1);
    let rot = || match rows().get(&store, address).unwrap_err() {
        StorageError::Rotten { tree, key, rot } => {
            assert_eq!((tree, key), (TREE, address.key));
            rot
        }
        other => panic!("{other}"),
    };
    let tag = leaf_of(&row, 1).digest.truncated();
    let chunk = StoredKey::Content(address, tag, 1).encode(GroupId(0));
    let intact = store.get(&chunk).unwrap().unwrap();

    let mut flipped = intact.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut batch = Batch::new();
    batch.put(chunk.clone(), flipped);
    store.apply(batch).unwrap();
    assert_eq!(rot(), Rot::Digest);
    let error = rows().page(&store, TREE, None, 10).unwrap_err();
    assert!(
        matches!(
            error,
            StorageError::Rotten {
                rot: Rot::Digest,
                ..
            }
        ),
        "{error}"
    );

    let mut batch = Batch::new();
    batch.delete(chunk.clone());
    store.apply(batch).unwrap();
    assert_eq!(
        rot(),
        Rot::MissingChunk {
            chunk: 1,
            chunks: 3
        }
    );

    let mut batch = Batch::new();
    batch.put(chunk, intact);
    store.apply(batch).unwrap();
    assert_eq!(rows().get(&store, address).unwrap().unwrap().row, row);
}

#[test]
fn deleting_page_by_page_removes_one_tree_and_nothing_else() {
    let store = MemoryStore::new();
    for tree in [TreeId(6), TREE, TreeId(8)] {
        for id in 0..25 {
            store_row(&store, tree, &row(id, noise(id as usize * 400)), 1);
        }
    }
    let mut pages = Vec::new();
    loop {
        let mut batch = Batch::new();
        let deleted = rows().delete_page(&store, &mut batch, TREE, 10).unwrap();
        store.apply(batch).unwrap();
        pages.push(deleted);
        if deleted == 0 {
            break;
        }
    }
    assert_eq!(pages, [10, 10, 5, 0]);
    let left = store.scan(b"", None, usize::MAX).unwrap();
    let trees = left
        .iter()
        .map(|(key, _)| StoredKey::decode(key).unwrap().1.address().unwrap().tree);
    assert!(trees.clone().all(|tree| tree != TREE));
    for tree in [TreeId(6), TreeId(8)] {
        assert_eq!(rows().page(&store, tree, None, 100).unwrap().len(), 25);
    }
}

#[test]
fn a_page_of_large_rows_ends_early_and_loses_none() {
    let store = MemoryStore::new();
    for id in 0..10 {
        store_row(&store, TREE, &row(id, noise(1_500_000)), 1);
    }
    let (mut after, mut found, mut pages) = (None, 0, 0);
    loop {
        let page = rows().page(&store, TREE, after, 100).unwrap();
        let Some((last, _)) = page.last() else { break };
        assert!(page.len() <= 3, "{} rows of 1.5 MB", page.len());
        after = Some(*last);
        found += page.len();
        pages += 1;
    }
    assert_eq!((found, pages), (10, 4));
}

/// A row is rewritten with contents of changing length while others read it: never rotten, never mixed.
#[test]
fn readers_beside_a_writer_see_whole_rows() {
    let store = MemoryStore::new();
    let content = |round: u64| {
        vec![u8::try_from(round % 256).unwrap(); usize::try_from(round % 5).unwrap() * 3000]
    };
    for id in 0..4 {
        store_row(&store, TREE, &row(id, content(0)), 0);
    }
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..400_u64 {
                for id in 0..4 {
                    store_row(&store, TREE, &row(id, content(round)), round);
                }
            }
        });
        while !writer.is_finished() {
            let page = rows().page(&store, TREE, None, 10).unwrap();
            assert_eq!(page.len(), 4);
            for (_, read) in page {
                assert_eq!(read.row.content, content(read.leaf.index));
            }
            let read = rows()
                .get(&store, at(TREE, &row(2, Vec::new())))
                .unwrap()
                .unwrap();
            assert_eq!(read.row.content, content(read.leaf.index));
        }
    });
}

/// One step of the model test: put a content of this length, or delete.
fn steps() -> impl Strategy<Value = Vec<(u32, Option<usize>)>> {
    let length = prop_oneof![Just(0), 1_usize..200, 6130_usize..6150, 8000_usize..19_000];
    prop::collection::vec((0_u32..20, prop::option::weighted(0.8, length)), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_writes_read_back_in_pages_of_any_size(steps in steps(), limit in 1_usize..9) {
        let store = MemoryStore::new();
        let mut expected: BTreeMap<Key, (Row, u64)> = BTreeMap::new();
        for (index, (id, length)) in (1_u64..).zip(steps) {
            let row = row(id, noise(length.unwrap_or(0)));
            let address = at(TREE, &row);
            if length.is_some() {
                store_row(&store, TREE, &row, index);
                expected.insert(address.key, (row, index));
            } else {
                let mut batch = Batch::new();
                if let Some(digest) = rows().digest(&store, address).unwrap() {
                    rows().delete(&mut batch, address, &digest);
                }
                store.apply(batch).unwrap();
                expected.remove(&address.key);
            }
        }
        // Neighbours that must not show up.
        store_row(&store, TreeId(6), &row(99, noise(5000)), 1);
        store_row(&store, TreeId(8), &row(99, noise(5000)), 1);

        let (mut after, mut full) = (None, Vec::new());
        loop {
            let page = rows().page(&store, TREE, after, limit).unwrap();
            let Some((last, _)) = page.last() else { break };
            prop_assert!(page.len() <= limit);
            after = Some(*last);
            full.extend(page.into_iter().map(|(key, read)| (key, (read.row, read.leaf.index))));
        }
        let all: Vec<_> = expected.clone().into_iter().collect();
        prop_assert_eq!(full, all);

        let (mut after, mut digests) = (None, Vec::new());
        loop {
            let page = rows().digest_page(&store, TREE, after, limit).unwrap();
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            digests.extend(page.into_iter().map(|(key, digest)| (key, digest.leaf())));
        }
        let leaves: Vec<_> =
            expected.iter().map(|(key, (row, index))| (*key, leaf_of(row, *index))).collect();
        prop_assert_eq!(digests, leaves);
    }
}
