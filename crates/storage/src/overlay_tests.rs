//! Overlays: what is laid reads back, in pages; clearing takes one overlay and leaves the rest.

use std::collections::BTreeMap;

use pando_merkle::Key;
use pando_model::TreeId;
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
    let id = u32::from_be_bytes(*row.id.first_chunk().unwrap());
    let mut batch = Batch::new();
    overlay
        .put(&mut batch, at(tree, id), row, &leaf_of(row, 4))
        .unwrap();
    store.apply(batch).unwrap();
}

fn delete(store: &MemoryStore, overlay: Overlay, tree: u32, id: u32) {
    let mut batch = Batch::new();
    overlay.delete(&mut batch, at(tree, id));
    store.apply(batch).unwrap();
}

fn all(store: &MemoryStore, overlay: Overlay, limit: usize) -> Vec<(RowAddress, Laid<StoredRow>)> {
    let mut found: Vec<(RowAddress, Laid<StoredRow>)> = Vec::new();
    loop {
        let page = overlay
            .page(store, found.last().map(|(at, _)| *at), limit)
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
    let elsewhere = Overlay::new(GroupId(1), OverlayId(1));
    for overlay in [stage(), view(1), view(u32::MAX), elsewhere] {
        put(&store, overlay, u32::MAX, &row(1, 9000));
        delete(&store, overlay, 2, 5);
    }
    let clear = |clear: &dyn Fn(&mut Batch) -> usize| {
        loop {
            let mut batch = Batch::new();
            let keys = clear(&mut batch);
            store.apply(batch).unwrap();
            if keys == 0 {
                break;
            }
            assert!(keys <= 3);
        }
    };
    clear(&|batch| view(1).clear_page(&store, batch, 3).unwrap());
    assert_eq!(all(&store, view(1), 9), []);
    assert_eq!(all(&store, view(u32::MAX), 9).len(), 2);

    clear(&|batch| Overlay::clear_views_page(GROUP, &store, batch, 3).unwrap());
    assert_eq!(all(&store, view(u32::MAX), 9), []);
    assert_eq!(all(&store, stage(), 9).len(), 2);

    clear(&|batch| stage().clear_page(&store, batch, 3).unwrap());
    assert_eq!(all(&store, elsewhere, 9).len(), 2);
    // One put of three chunks and one delete: nothing else is left.
    assert_eq!(store.scan(b"", None, 100).unwrap().len(), 5);
}

#[test]
fn a_rotten_row_is_refused() {
    let store = MemoryStore::new();
    put(&store, stage(), 1, &row(1, 5000));
    let mut batch = Batch::new();
    batch.delete(StoredKey::OverlayContent(OverlayId::STAGE, at(1, 1), 1).encode(GROUP));
    store.apply(batch).unwrap();
    let missing = Rot::MissingChunk {
        chunk: 1,
        chunks: 2,
    };
    for error in [
        stage().get(&store, at(1, 1)).unwrap_err(),
        stage().page(&store, None, 5).unwrap_err(),
    ] {
        assert!(
            matches!(error, StorageError::Rotten { rot, .. } if rot == missing),
            "{error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Also rows laid over longer rows and over deletes, whose leftover chunks must not disturb.
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
        let found: BTreeMap<_, _> = all(&store, stage(), limit)
            .into_iter()
            .map(|(at, change)| match change {
                Laid::Put(read) => {
                    assert_eq!(read.leaf, leaf_of(&read.row, 4));
                    (at, Laid::Put(read.row))
                }
                Laid::Delete => (at, Laid::Delete),
            })
            .collect();
        prop_assert_eq!(&found, &expected);

        let heads = stage().head_page(&store, None, 100).unwrap();
        let addresses: Vec<_> = heads.iter().map(|(at, _)| *at).collect();
        prop_assert_eq!(addresses, expected.keys().copied().collect::<Vec<_>>());
        for (at, head) in heads {
            prop_assert_eq!(stage().head(&store, at).unwrap(), Some(head));
            let single = stage().get(&store, at).unwrap().unwrap();
            prop_assert_eq!(matches!(single, Laid::Delete), expected[&at] == Laid::Delete);
        }
    }
}
