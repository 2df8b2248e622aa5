//! Overlays: what is laid reads back, in pages; clearing takes one overlay and leaves the rest.

use std::collections::BTreeMap;

use pando_merkle::Key;
use pando_model::{Row, TreeId};
use proptest::prelude::*;

use super::*;
use crate::digest_row::leaf_of;
use crate::error::Rot;
use crate::memory::MemoryStore;

const GROUP: GroupId = GroupId(0);

fn stage() -> Overlay {
    Overlay::new(GROUP, OverlayId::STAGE)
}

fn row(id: u32, bytes: usize) -> Row {
    let content = (0..bytes)
        .map(|i| u8::try_from(i * 13 % 251).unwrap())
        .collect();
    Row {
        id: id.to_be_bytes().to_vec(),
        version: [2; 16],
        content,
    }
}

fn at(tree: u32, id: u32) -> RowAddress {
    RowAddress::new(TreeId(tree), Key::derive(&[9; 16], &id.to_be_bytes()))
}

fn put(store: &MemoryStore, overlay: Overlay, tree: u32, row: &Row) {
    let at = at(tree, u32::from_be_bytes(*row.id.first_chunk().unwrap()));
    let mut batch = Batch::new();
    let digest = Rows::new(overlay.group)
        .put_content(&mut batch, at, row, &leaf_of(row, 4))
        .unwrap();
    overlay.put(&mut batch, at, &digest);
    store.apply(batch).unwrap();
}

fn delete(store: &MemoryStore, overlay: Overlay, tree: u32, id: u32) {
    let mut batch = Batch::new();
    overlay.delete(&mut batch, at(tree, id));
    store.apply(batch).unwrap();
}

fn all(store: &MemoryStore, overlay: Overlay, limit: usize) -> Vec<(RowAddress, Laid<DigestRow>)> {
    let mut found: Vec<(RowAddress, Laid<DigestRow>)> = Vec::new();
    loop {
        let page = overlay
            .head_page(store, found.last().map(|(at, _)| *at), limit)
            .unwrap();
        if page.is_empty() {
            return found;
        }
        assert!(page.len() <= limit);
        found.extend(page);
    }
}

#[test]
fn clearing_the_stage_leaves_views_and_clearing_views_leaves_the_stage() {
    let store = MemoryStore::new();
    let view = |id| Overlay::new(GROUP, OverlayId(id));
    let elsewhere = Overlay::new(GroupId(1), OverlayId(2));
    let replaced = Overlay::new(GROUP, OverlayId::REPLACED);
    for overlay in [stage(), replaced, view(2), view(u32::MAX), elsewhere] {
        put(&store, overlay, u32::MAX, &row(1, 9000));
        delete(&store, overlay, 2, 5);
        delete(&store, overlay, 2, 6);
    }
    let clear = |clear: &dyn Fn(&mut Batch) -> usize| {
        let mut cleared = Vec::new();
        loop {
            let mut batch = Batch::new();
            let heads = clear(&mut batch);
            assert_eq!(batch.len(), heads, "the heads, and no content");
            store.apply(batch).unwrap();
            if heads == 0 {
                return cleared;
            }
            cleared.push(heads);
        }
    };
    let pages = clear(&|batch| view(2).take_page(&store, batch, 2).unwrap().len());
    assert_eq!(pages, [2, 1]);
    assert_eq!(all(&store, view(2), 9), []);
    assert_eq!(all(&store, view(u32::MAX), 9).len(), 3);

    let leftover =
        |batch: &mut Batch| Overlay::take_leftover_page(GROUP, &store, batch, 4).unwrap();
    let pages = clear(&|batch| leftover(batch).len());
    assert_eq!(pages, [4, 2]);
    assert_eq!(all(&store, replaced, 9), []);
    assert_eq!(all(&store, view(u32::MAX), 9), []);
    assert_eq!(all(&store, stage(), 9).len(), 3);

    let mut batch = Batch::new();
    let taken = stage().take_page(&store, &mut batch, 9).unwrap();
    assert_eq!(taken, all(&store, stage(), 9), "what they said");
    store.apply(batch).unwrap();
    assert_eq!(all(&store, stage(), 9), []);
    assert_eq!(all(&store, elsewhere, 9).len(), 3);
}

#[test]
fn a_rotten_row_is_refused() {
    let store = MemoryStore::new();
    put(&store, stage(), 1, &row(1, 7000));
    let tag = leaf_of(&row(1, 7000), 4).digest.truncated();
    let mut batch = Batch::new();
    batch.delete(StoredKey::Content(at(1, 1), tag, 1).encode(GROUP));
    store.apply(batch).unwrap();
    let missing = Rot::MissingChunk {
        chunk: 1,
        chunks: 2,
    };
    let error = stage().get(&store, at(1, 1)).unwrap_err();
    assert!(
        matches!(error, StorageError::Rotten { rot, .. } if rot == missing),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Also rows laid over other rows and over deletes.
    #[test]
    fn what_was_laid_last_reads_back(
        steps in prop::collection::vec((0_u32..3, 0_u32..8, prop::option::of(0_usize..13_000)), 1..40),
        limit in 1_usize..7,
    ) {
        let store = MemoryStore::new();
        let mut expected = BTreeMap::new();
        for (tree, id, bytes) in steps {
            let change = match bytes {
                Some(bytes) => {
                    put(&store, stage(), tree, &row(id, bytes));
                    Laid::Put(row(id, bytes))
                }
                None => {
                    delete(&store, stage(), tree, id);
                    Laid::Delete
                }
            };
            expected.insert(at(tree, id), change);
        }
        let heads = all(&store, stage(), limit);
        let addresses: Vec<_> = heads.iter().map(|(at, _)| *at).collect();
        prop_assert_eq!(addresses, expected.keys().copied().collect::<Vec<_>>());
        for (at, head) in heads {
            prop_assert_eq!(stage().head(&store, at).unwrap(), Some(head));
            let read = match stage().get(&store, at).unwrap().unwrap() {
                Laid::Put(read) => {
                    prop_assert_eq!(read.leaf, leaf_of(&read.row, 4));
                    Laid::Put(read.row)
                }
                Laid::Delete => Laid::Delete,
            };
            prop_assert_eq!(&read, &expected[&at]);
        }
    }
}
