//! The durable store: sled 0.34.7. The only module that names sled.
//!
//! What sled leaves undone is done here: its flush ends at `sync_file_range`, which neither empties the
//! device's cache nor records that the file has grown, so a flush here ends with fdatasync of the data file;
//! the files sled creates when it opens are synced with their directory before anything is written; a lock
//! file of our own makes a second opener a typed error; files half written when an open was killed are removed;
//! damage found while opening is an error, also where sled panics (in a build that unwinds).
//! Values are kept under 4 KiB ([`crate::VALUE_BYTES_MAX`]), so that sled never makes blob files, which
//! would be new files to sync.

use std::any::Any;
use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::batch::{Batch, Op};
use crate::error::StorageError;
use crate::kv::{KvStore, Pair};

/// Held as long as the store is open. Ours, since sled reports a held lock only as text.
const LOCK_FILE: &str = "pando.lock";

/// sled's settings, written when it first opens, before the data file is made.
const SETTINGS_FILE: &str = "conf";

/// sled's data file.
const DATA_FILE: &str = "db";

/// Under such a name sled writes the snapshot of its page table, at each open.
const HALF_SNAPSHOT_SUFFIX: &str = ".generating";

/// How often and how long apart a lock left by a closing handle of this process is tried again: 5 s in all.
const RELEASE_ATTEMPTS_MAX: u32 = 500;
const RELEASE_PAUSE: Duration = Duration::from_millis(10);

/// Settings of a [`SledStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SledOptions {
    /// Page cache in bytes. Resident memory grows well beyond it, so keep it low.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
        }
    }
}

/// A [`KvStore`] on disk. One directory, one process.
#[derive(Debug)]
pub struct SledStore {
    // Order matters: sled closes before our lock is released.
    db: sled::Db,
    data: File,
    path: PathBuf,
    _lock: File,
}

impl SledStore {
    /// Opens the store in the directory, which is created when absent.
    ///
    /// # Errors
    /// [`StorageError::Locked`] when it is open elsewhere, [`StorageError::Corrupt`] when sled cannot read it
    /// (or panics while it tries), [`StorageError::Io`] and [`StorageError::DiskFull`] from the system.
    pub fn open(path: impl AsRef<Path>, options: SledOptions) -> Result<Self, StorageError> {
        let path = path.as_ref().to_path_buf();
        fs::create_dir_all(&path).map_err(|e| io_error(&path, "create", e))?;
        let lock = take_lock(&path)?;
        clear_half_written(&path).map_err(|e| io_error(&path, "open", e))?;
        let db = open_sled(&path, options)?;
        let data = sync_new_files(&path).map_err(|e| io_error(&path, "sync", e))?;
        Ok(Self {
            db,
            data,
            path,
            _lock: lock,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, operation: &'static str, error: sled::Error) -> StorageError {
        sled_error(&self.path, operation, error)
    }
}

impl KvStore for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let value = self.db.get(key).map_err(|e| self.error("read", e))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StorageError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let mut found = Vec::new();
        for pair in self
            .db
            .range::<&[u8], _>((from, Bound::Unbounded))
            .take(limit)
        {
            let (key, value) = pair.map_err(|e| self.error("read", e))?;
            if !key.starts_with(prefix) {
                break;
            }
            found.push((key.to_vec(), value.to_vec()));
        }
        Ok(found)
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, StorageError> {
        let last = self.db.scan_prefix(prefix).next_back().transpose();
        let last = last.map_err(|e| self.error("read", e))?;
        Ok(last.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    fn apply(&self, batch: Batch) -> Result<(), StorageError> {
        batch.check()?;
        if batch.is_empty() {
            return Ok(());
        }
        let mut writes = sled::Batch::default();
        for op in batch.into_ops() {
            match op {
                Op::Put(key, value) => writes.insert(key, value),
                Op::Delete(key) => writes.remove(key),
            }
        }
        self.db
            .apply_batch(writes)
            .map_err(|e| self.error("write", e))
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.db.flush().map_err(|e| self.error("flush", e))?;
        // Through our own descriptor: fdatasync works on the file, whoever wrote to it.
        self.data
            .sync_data()
            .map_err(|e| io_error(&self.path, "flush", e))
    }

    fn size_on_disk(&self) -> Result<u64, StorageError> {
        self.db.size_on_disk().map_err(|e| self.error("measure", e))
    }
}

fn take_lock(path: &Path) -> Result<File, StorageError> {
    let mut options = File::options();
    let lock = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK_FILE))
        .map_err(|e| io_error(path, "lock", e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StorageError::Locked {
            path: path.to_path_buf(),
        }),
        Err(TryLockError::Error(e)) => Err(io_error(path, "lock", e)),
    }
}

/// Removes what a kill in the middle of an earlier open has left, which sled takes for damage.
fn clear_half_written(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // A snapshot of the page table: replaced by rename once it is whole, and made again from the data.
        if entry
            .file_name()
            .to_string_lossy()
            .ends_with(HALF_SNAPSHOT_SUFFIX)
        {
            fs::remove_file(entry.path())?;
        }
    }
    let settings = path.join(SETTINGS_FILE);
    if settings.exists() && !path.join(DATA_FILE).exists() {
        fs::remove_file(settings)?;
    }
    Ok(())
}

fn open_sled(path: &Path, options: SledOptions) -> Result<sled::Db, StorageError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(options.cache_bytes)
        .flush_every_ms(None);
    for _ in 0..RELEASE_ATTEMPTS_MAX {
        let error = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(error)) => error,
            Err(panic) => {
                return Err(StorageError::Corrupt {
                    path: path.to_path_buf(),
                    detail: panic_text(panic.as_ref()),
                });
            }
        };
        if !is_lock_refusal(&error) {
            return Err(sled_error(path, "open", error));
        }
        // We hold our own lock, so this is a handle of the past whose sled threads are still closing.
        std::thread::sleep(RELEASE_PAUSE);
    }
    Err(StorageError::Locked {
        path: path.to_path_buf(),
    })
}

fn is_lock_refusal(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(e) if e.to_string().starts_with("could not acquire lock"))
}

/// Syncs what opening may have created (sled creates files at no other time) and opens the data file.
fn sync_new_files(path: &Path) -> io::Result<File> {
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        File::open(file)?.sync_all()?;
    }
    File::open(path)?.sync_all()?;
    if let Some(parent) = fs::canonicalize(path)?.parent() {
        File::open(parent)?.sync_all()?;
    }
    File::options()
        .read(true)
        .write(true)
        .open(path.join(DATA_FILE))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!(
        "the engine panicked: {}",
        text.unwrap_or("without a message")
    )
}

fn io_error(path: &Path, operation: &'static str, source: io::Error) -> StorageError {
    let path = path.to_path_buf();
    if matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        StorageError::DiskFull { path, operation }
    } else {
        StorageError::Io {
            path,
            operation,
            source,
        }
    }
}

fn sled_error(path: &Path, operation: &'static str, error: sled::Error) -> StorageError {
    match error {
        sled::Error::Io(source) => io_error(path, operation, source),
        sled::Error::Corruption { at, .. } => {
            let detail = at.map_or_else(
                || "a checksum does not match".to_owned(),
                |at| format!("a checksum does not match at {at:?}"),
            );
            StorageError::Corrupt {
                path: path.to_path_buf(),
                detail,
            }
        }
        // What opening an intact directory never says: the configuration file, a page or the
        // snapshot is not what this version of sled writes.
        error if operation == "open" => StorageError::Corrupt {
            path: path.to_path_buf(),
            detail: error.to_string(),
        },
        error => StorageError::Engine {
            path: path.to_path_buf(),
            operation,
            detail: error.to_string(),
        },
    }
}

#[cfg(test)]
#[path = "sled_store_tests.rs"]
mod tests;
