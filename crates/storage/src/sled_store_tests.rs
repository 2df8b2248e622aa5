//! What is particular to the durable store: locking, reopening, damage.

use super::*;
use crate::suite;

fn open(path: &Path) -> SledStore {
    SledStore::open(
        path,
        SledOptions {
            cache_bytes: 1 << 20,
        },
    )
    .unwrap()
}

fn put(store: &SledStore, key: u32, value: Vec<u8>) {
    let mut batch = Batch::new();
    batch.put(key.to_be_bytes(), value);
    store.apply(batch).unwrap();
}

/// A store that removes its directory when dropped.
struct Temporary {
    store: SledStore,
    _directory: tempfile::TempDir,
}

impl KvStore for Temporary {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.store.get(key)
    }
    fn scan(&self, p: &[u8], a: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, StorageError> {
        self.store.scan(p, a, limit)
    }
    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, StorageError> {
        self.store.last(prefix)
    }
    fn apply(&self, batch: Batch) -> Result<(), StorageError> {
        self.store.apply(batch)
    }
    fn flush(&self) -> Result<(), StorageError> {
        self.store.flush()
    }
    fn size_on_disk(&self) -> Result<u64, StorageError> {
        self.store.size_on_disk()
    }
}

#[test]
fn passes_the_suite() {
    suite::run(&|| {
        let directory = tempfile::tempdir().unwrap();
        Box::new(Temporary {
            store: open(directory.path()),
            _directory: directory,
        })
    });
}

#[test]
fn a_second_opener_is_told_that_the_directory_is_locked() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let error = SledStore::open(directory.path(), SledOptions::default()).unwrap_err();
    assert!(
        matches!(&error, StorageError::Locked { path } if path == directory.path()),
        "{error}"
    );
    assert!(error.to_string().contains("in use by another process"));
    drop(store);
    open(directory.path());
}

#[test]
fn reopening_finds_what_was_written() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..5_u32 {
        let store = open(directory.path());
        for earlier in 0..round {
            assert_eq!(
                store.get(&earlier.to_be_bytes()).unwrap().unwrap(),
                vec![u8::try_from(earlier).unwrap(); 4000]
            );
        }
        put(&store, round, vec![u8::try_from(round).unwrap(); 4000]);
        store.flush().unwrap();
    }
}

/// A kill while sled opens leaves a half-written snapshot of its page table, which sled would read and reject.
#[test]
fn a_snapshot_left_half_written_by_a_kill_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    put(&store, 1, vec![1; 100]);
    store.flush().unwrap();
    drop(store);
    let half = directory.path().join("snap.FFFFFFFFFFFFFF00.generating");
    fs::write(&half, b"half of a snapsh").unwrap();
    let store = open(directory.path());
    assert_eq!(store.get(&1_u32.to_be_bytes()).unwrap().unwrap(), [1; 100]);
    assert!(!half.exists());
}

/// A kill during the very first open leaves half of sled's settings and no data file yet.
#[test]
fn settings_left_half_written_by_a_kill_are_written_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join(SETTINGS_FILE),
        b"segment_size: 524288\nuse_",
    )
    .unwrap();
    let store = open(directory.path());
    put(&store, 1, vec![1; 100]);
}

#[test]
fn no_blob_file_is_made_by_values_at_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for key in 0..500 {
        put(&store, key, vec![1; crate::VALUE_BYTES_MAX]);
    }
    store.flush().unwrap();
    let blobs = fs::read_dir(directory.path().join("blobs"))
        .unwrap()
        .count();
    assert_eq!(
        blobs, 0,
        "a blob file is a new file that a flush would have to sync"
    );
}

#[test]
fn damage_is_an_error_that_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for key in 0..2000 {
        put(&store, key, vec![u8::try_from(key % 251).unwrap(); 2000]);
    }
    store.flush().unwrap();
    drop(store);
    drop(open(directory.path()));
    // Every page header and body in the middle of the file becomes noise; lengths stay.
    let file = directory.path().join(DATA_FILE);
    let mut bytes = fs::read(&file).unwrap();
    let (from, to) = (bytes.len() / 4, bytes.len() * 3 / 4);
    for (i, byte) in bytes.get_mut(from..to).unwrap().iter_mut().enumerate() {
        *byte ^= u8::try_from(i % 255).unwrap() + 1;
    }
    fs::write(&file, bytes).unwrap();

    let damaged = match SledStore::open(directory.path(), SledOptions::default()) {
        Err(error) => error,
        // sled reads pages lazily: damage it does not see at open it must see when read.
        Ok(store) => store
            .scan(b"", None, usize::MAX)
            .expect_err("half of the file is noise"),
    };
    assert!(
        matches!(&damaged, StorageError::Corrupt { path, .. } if path == directory.path()),
        "{damaged:?}"
    );
    assert!(
        damaged.to_string().contains("move the directory aside"),
        "{damaged}"
    );
}

#[test]
fn a_full_disk_has_its_own_error() {
    let full = sled::Error::Io(io::Error::from(io::ErrorKind::StorageFull));
    let error = sled_error(Path::new("data"), "write", full);
    assert!(
        matches!(
            error,
            StorageError::DiskFull {
                operation: "write",
                ..
            }
        ),
        "{error}"
    );
    let other = sled::Error::Io(io::Error::from(io::ErrorKind::PermissionDenied));
    let error = sled_error(Path::new("data"), "write", other);
    assert!(matches!(error, StorageError::Io { .. }), "{error}");
}
