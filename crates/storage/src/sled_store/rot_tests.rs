//! Rot under the engine: a byte of its file changes, and the store rebuilds itself around what cannot be read.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;

use super::*;

const KEYS: u32 = 1_500;
const OPTIONS: SledOptions = SledOptions {
    cache_bytes: 1 << 16,
};

fn key(number: u32) -> Vec<u8> {
    // As keys of rows are: one prefix, then hashes.
    let mut key = vec![0, 0, 0, 0, 9];
    key.extend(number.wrapping_mul(0x9E37_79B1).to_be_bytes());
    key
}

fn value(number: u32) -> Vec<u8> {
    let bytes = (0..75).flat_map(|at| number.wrapping_mul(31).wrapping_add(at).to_be_bytes());
    bytes.collect()
}

fn fill(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let store = SledStore::open(path, OPTIONS).unwrap();
    let mut pairs = BTreeMap::new();
    for number in 0..KEYS {
        let mut batch = Batch::new();
        batch.put(key(number), value(number));
        store.apply(batch).unwrap();
        pairs.insert(key(number), value(number));
    }
    store.flush().unwrap();
    drop(store);
    // Opening writes down where every page is; what lies in the file after that is found page by page.
    drop(SledStore::open(path, OPTIONS).unwrap());
    pairs
}

fn flip(path: &Path, at: u64) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path.join(DATA_FILE))
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// Everything in a store, none of which may differ from what was written. Returns how many are gone.
fn lost(store: &SledStore, written: &BTreeMap<Vec<u8>, Vec<u8>>) -> usize {
    let found: BTreeMap<_, _> = store
        .scan(b"", None, usize::MAX)
        .unwrap()
        .into_iter()
        .collect();
    for (key, value) in &found {
        assert_eq!(written.get(key), Some(value), "{key:02x?}");
    }
    written.len() - found.len()
}

fn copy_of(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.path().join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(target).unwrap();
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
    to
}

#[test]
fn wherever_a_byte_flips_nothing_wrong_is_read_and_little_is_lost() {
    let original = tempfile::tempdir().unwrap();
    let written = fill(original.path());
    let bytes = fs::metadata(original.path().join(DATA_FILE)).unwrap().len();
    let (mut hit, mut refused) = (0, 0);
    let positions = 48;
    for nth in 0..positions {
        // A step that is no multiple of the engine's segments, so that all parts of one come up.
        let at = (nth * bytes / positions + nth * 977) % bytes;
        let damaged = copy_of(original.path());
        flip(damaged.path(), at);
        let store = match SledStore::open(damaged.path(), OPTIONS) {
            Ok(store) => store.rebuilding(),
            Err(StorageError::Corrupt { .. }) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("byte {at}: {error}"),
        };
        let gone = lost(&store, &written);
        assert!(
            gone < KEYS as usize / 10,
            "byte {at}: {gone} of {KEYS} are gone"
        );
        assert_eq!(gone > 0, store.health().rebuilds > 0, "byte {at}");
        hit += u64::from(gone > 0);

        // What is written back stays, and the rebuilt store is one like any other.
        for (key, value) in &written {
            let mut batch = Batch::new();
            batch.put(key.clone(), value.clone());
            store.apply(batch).unwrap();
        }
        store.flush().unwrap();
        drop(store);
        let store = SledStore::open(damaged.path(), OPTIONS).unwrap();
        assert_eq!(lost(&store, &written), 0, "byte {at}");
    }
    assert!(
        hit >= 5,
        "only {hit} of {positions} flips were in live data"
    );
    assert!(
        refused < positions / 4,
        "{refused} of {positions} stores did not open"
    );
}

#[test]
fn many_holes_are_skipped_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let written = fill(directory.path());
    let bytes = fs::metadata(directory.path().join(DATA_FILE))
        .unwrap()
        .len();
    let store = SledStore::open(directory.path(), OPTIONS)
        .unwrap()
        .rebuilding();
    for nth in 1..20 {
        flip(directory.path(), nth * bytes / 20);
    }
    let gone = lost(&store, &written);
    assert!(
        (1..KEYS as usize / 2).contains(&gone),
        "{gone} of {KEYS} are gone"
    );
    assert_eq!(store.health().rebuilds, 1, "all holes are found at once");
}

#[test]
fn a_write_into_a_page_that_cannot_be_read_is_done_after_the_rebuild() {
    let directory = tempfile::tempdir().unwrap();
    let written = fill(directory.path());
    let bytes = fs::metadata(directory.path().join(DATA_FILE))
        .unwrap()
        .len();
    let store = SledStore::open(directory.path(), OPTIONS)
        .unwrap()
        .rebuilding();
    for nth in 1..20 {
        flip(directory.path(), nth * bytes / 20);
    }
    for key in written.keys() {
        let mut batch = Batch::new();
        batch.put(key.clone(), b"new".to_vec());
        store.apply(batch).unwrap();
    }
    assert!(
        store.health().rebuilds > 0,
        "a page is read before it is written"
    );
    for key in written.keys() {
        assert_eq!(store.get(key).unwrap().as_deref(), Some(&b"new"[..]));
    }
}

#[test]
fn a_store_that_may_not_lose_anything_says_that_it_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path());
    let bytes = fs::metadata(directory.path().join(DATA_FILE))
        .unwrap()
        .len();
    let store = SledStore::open(directory.path(), OPTIONS).unwrap();
    for nth in 1..20 {
        flip(directory.path(), nth * bytes / 20);
    }
    let error = store.scan(b"", None, usize::MAX).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    assert_eq!(store.health(), StoreHealth::default());
}

#[test]
fn a_crash_during_a_rebuild_leaves_the_old_store_or_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let written = fill(directory.path());
    // Before the new one takes over: half of it is there.
    let first = Place::current(directory.path()).unwrap();
    let half = first.next().path(directory.path());
    fs::create_dir(&half).unwrap();
    fs::write(half.join(DATA_FILE), b"half of a store").unwrap();
    let store = SledStore::open(directory.path(), OPTIONS).unwrap();
    assert_eq!(lost(&store, &written), 0);
    assert!(!half.exists());
    drop(store);

    // After: the old one's files are still there.
    let other = copy_of(directory.path());
    fs::create_dir(&half).unwrap();
    for entry in fs::read_dir(other.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() && entry.file_name() != LOCK_FILE {
            fs::copy(entry.path(), half.join(entry.file_name())).unwrap();
        }
    }
    first.next().take_over(directory.path()).unwrap();
    let store = SledStore::open(directory.path(), OPTIONS).unwrap();
    assert_eq!(lost(&store, &written), 0);
    assert!(!directory.path().join(DATA_FILE).exists());
}
