//! Log entries: pieces, ranges, byte limits, damage.

use super::*;
use crate::memory::MemoryStore;

fn log() -> EntryLog {
    EntryLog::new(GroupId(3))
}

fn entry(index: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64)
        .map(|i| u8::try_from((i * 7 + index) % 251).unwrap())
        .collect()
}

fn append(store: &MemoryStore, index: u64, bytes: usize) {
    let mut batch = Batch::new();
    log()
        .put(store, &mut batch, index, &entry(index, bytes))
        .unwrap();
    store.apply(batch).unwrap();
}

#[test]
fn entries_of_any_size_read_back() {
    let store = MemoryStore::new();
    let sizes = [
        0,
        1,
        4090,
        4091,
        4092,
        4095,
        4096,
        4097,
        8182,
        8183,
        1 << 20,
        3,
        ENTRY_BYTES_MAX,
    ];
    for (index, bytes) in (10..).zip(sizes) {
        append(&store, index, bytes);
    }
    let read = log().read(&store, 0..u64::MAX, usize::MAX).unwrap();
    let expected: Vec<_> = (10..)
        .zip(sizes)
        .map(|(i, bytes)| (i, entry(i, bytes)))
        .collect();
    assert!(
        read == expected,
        "indexes {:?}",
        read.iter().map(|(i, e)| (i, e.len())).collect::<Vec<_>>()
    );
    let longest = store
        .scan(b"", None, usize::MAX)
        .unwrap()
        .iter()
        .map(|(_, v)| v.len())
        .max();
    assert_eq!(longest, Some(VALUE_BYTES_MAX));
    assert_eq!(log().first_index(&store).unwrap(), Some(10));
    assert_eq!(log().last_index(&store).unwrap(), Some(22));
    let error = log()
        .put(&store, &mut Batch::new(), 23, &vec![0; ENTRY_BYTES_MAX + 1])
        .unwrap_err();
    assert!(
        matches!(error, StorageError::EntryTooLong { .. }),
        "{error}"
    );
}

#[test]
fn a_range_is_half_open_and_bounded_by_bytes() {
    let store = MemoryStore::new();
    for index in 1..=20 {
        append(&store, index, 10_000);
    }
    let indexes = |range, bytes_max| -> Vec<u64> {
        let read = log().read(&store, range, bytes_max).unwrap();
        read.into_iter().map(|(index, _)| index).collect()
    };
    assert_eq!(indexes(5..8, usize::MAX), [5, 6, 7]);
    assert_eq!(indexes(19..40, usize::MAX), [19, 20]);
    assert_eq!(indexes(21..40, usize::MAX), [0; 0]);
    assert_eq!(indexes(8..8, usize::MAX), [0; 0]);
    assert_eq!(indexes(0..3, usize::MAX), [1, 2]);
    assert_eq!(indexes(5..20, 0), [5], "never less than one");
    assert_eq!(indexes(5..20, 30_000), [5, 6, 7]);
    assert_eq!(indexes(5..20, 30_001), [5, 6, 7, 8]);
}

#[test]
fn purged_and_truncated_entries_leave_nothing_behind() {
    let store = MemoryStore::new();
    for index in 1..=10 {
        append(&store, index, 13_000);
    }
    let other = EntryLog::new(GroupId(4));
    let mut batch = Batch::new();
    other
        .put(&store, &mut batch, 1, b"of another group")
        .unwrap();
    for index in [1, 2, 3, 9, 10] {
        assert!(log().delete(&store, &mut batch, index).unwrap());
    }
    assert!(!log().delete(&store, &mut batch, 11).unwrap());
    store.apply(batch).unwrap();
    assert_eq!(log().first_index(&store).unwrap(), Some(4));
    assert_eq!(log().last_index(&store).unwrap(), Some(8));
    assert_eq!(store.scan(&log().prefix(), None, 100).unwrap().len(), 5 * 3);

    // Rewritten shorter: the pieces of the longer entry go.
    append(&store, 8, 10);
    assert_eq!(
        store.scan(&log().prefix(), None, 100).unwrap().len(),
        4 * 3 + 1
    );
    assert_eq!(
        log().read(&store, 8..9, usize::MAX).unwrap(),
        [(8, entry(8, 10))]
    );
    assert_eq!(
        other.read(&store, 0..9, usize::MAX).unwrap(),
        [(1, b"of another group".to_vec())]
    );
}

#[test]
fn an_entry_with_a_missing_piece_is_rotten() {
    for (piece, rot) in [
        (
            1,
            Rot::MissingChunk {
                chunk: 1,
                chunks: 3,
            },
        ),
        (
            2,
            Rot::Length {
                expected: 13_000,
                found: 12_278,
            },
        ),
    ] {
        let store = MemoryStore::new();
        append(&store, 1, 13_000);
        append(&store, 2, 10);
        let mut batch = Batch::new();
        batch.delete(log().key(1, piece));
        store.apply(batch).unwrap();
        let error = log().read(&store, 0..9, usize::MAX).unwrap_err();
        assert!(
            matches!(error, StorageError::EntryRotten { index: 1, rot: r } if r == rot),
            "{error}"
        );
    }
}

#[test]
fn reading_beside_a_purge_is_never_rotten() {
    let store = MemoryStore::new();
    for index in 1..=300 {
        append(&store, index, 20_000);
    }
    std::thread::scope(|scope| {
        let purge = scope.spawn(|| {
            for index in 1..=300 {
                let mut batch = Batch::new();
                log().delete(&store, &mut batch, index).unwrap();
                store.apply(batch).unwrap();
            }
        });
        while !purge.is_finished() {
            for (index, read) in log().read(&store, 0..301, usize::MAX).unwrap() {
                assert!(read == entry(index, 20_000));
            }
        }
    });
    assert_eq!(log().last_index(&store).unwrap(), None);
}
