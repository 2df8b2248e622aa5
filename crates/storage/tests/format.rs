//! The format on disk. `fixtures/v1.txt` holds keys and values as the first release wrote them: they must read
//! back for ever. It also is what this release writes; once a layout changes, that test moves on to a new file.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::fmt::Write as _;

use pando_merkle::Key;
use pando_model::{Row, TreeId};
use pando_storage::{
    Batch, DigestRow, EntryLog, GroupId, KvStore, Laid, MemoryStore, Overlay, OverlayId,
    RowAddress, Rows, leaf_of,
};

const V1: &str = include_str!("fixtures/v1.txt");

const GROUP: GroupId = GroupId(1);
const TREE: TreeId = TreeId(2);
const INDEX: u64 = 300;

fn short_row() -> Row {
    Row {
        id: b"short".to_vec(),
        version: [0x11; 16],
        content: b"content of a row".to_vec(),
    }
}

fn empty_row() -> Row {
    Row {
        id: b"empty".to_vec(),
        version: [0x22; 16],
        content: Vec::new(),
    }
}

fn at(row: &Row) -> RowAddress {
    RowAddress::new(TREE, Key::derive(&[0; 16], &row.id))
}

fn written_today() -> MemoryStore {
    let store = MemoryStore::new();
    let mut batch = Batch::new();
    let stage = Overlay::new(GROUP, OverlayId::STAGE);
    let (short, empty) = (short_row(), empty_row());
    for row in [&short, &empty] {
        Rows::new(GROUP)
            .put(&mut batch, at(row), row, &leaf_of(row, INDEX))
            .unwrap();
    }
    let staged = DigestRow::new(&short, &leaf_of(&short, INDEX)).unwrap();
    stage.put(&mut batch, at(&short), &staged);
    stage.delete(&mut batch, at(&empty));
    EntryLog::new(GROUP)
        .put(&store, &mut batch, 7, b"an entry")
        .unwrap();
    store.apply(batch).unwrap();
    store
}

fn as_text(store: &MemoryStore) -> String {
    let mut text = String::new();
    for (key, value) in store.scan(b"", None, usize::MAX).unwrap() {
        writeln!(text, "{} {}", hex(&key), hex(&value)).unwrap();
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn load(text: &str) -> MemoryStore {
    let store = MemoryStore::new();
    let mut batch = Batch::new();
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap();
        batch.put(bytes(key), bytes(value));
    }
    store.apply(batch).unwrap();
    store
}

#[test]
fn this_release_writes_version_1() {
    let today = as_text(&written_today());
    assert!(
        today == V1,
        "the format has changed; it now writes\n{today}"
    );
}

#[test]
fn version_1_reads_back() {
    let store = load(V1);
    assert_eq!(
        store.scan(b"", None, 100).unwrap().len(),
        6,
        "nothing was lost on the way"
    );
    let (short, empty) = (short_row(), empty_row());

    let rows = Rows::new(GROUP);
    for row in [&short, &empty] {
        let read = rows.get(&store, at(row)).unwrap().unwrap();
        assert_eq!((&read.row, read.leaf), (row, leaf_of(row, INDEX)));
    }
    assert_eq!(rows.digest_page(&store, TREE, None, 10).unwrap().len(), 2);

    let stage = Overlay::new(GROUP, OverlayId::STAGE);
    let Some(Laid::Put(read)) = stage.get(&store, at(&short)).unwrap() else {
        panic!("a put was staged")
    };
    assert_eq!(
        (read.row, read.leaf),
        (short.clone(), leaf_of(&short, INDEX))
    );
    assert_eq!(stage.get(&store, at(&empty)).unwrap(), Some(Laid::Delete));

    let entries = EntryLog::new(GROUP)
        .read(&store, 0..100, usize::MAX)
        .unwrap();
    assert_eq!(entries, [(7, b"an entry".to_vec())]);
}
