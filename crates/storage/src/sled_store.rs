//! The durable store: sled 0.34.7. The only module that names sled.
//!
//! What sled leaves undone is done here: its flush ends at `sync_file_range`, which neither empties the
//! device's cache nor records that the file has grown, so a flush here ends with fdatasync of the data file;
//! the files sled creates when it opens are synced with their directory before anything is written; a lock
//! file of our own makes a second opener a typed error; files half written when an open was killed are removed;
//! damage found while opening is an error, also where sled panics (in a build that unwinds).
//! Values are kept under 6 KiB ([`crate::VALUE_BYTES_MAX`]), so that sled never makes blob files, which
//! would be new files to sync.

mod place;
mod salvage;

use std::any::Any;
use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::batch::{Batch, Op};
use crate::error::StorageError;
use crate::kv::{KvStore, Pair, StoreHealth};
use place::Place;
use salvage::is_damage;

/// Held as long as the store is open. Ours, since sled reports a held lock only as text.
const LOCK_FILE: &str = "pando.lock";

/// What a write is called in errors.
const WRITE: &str = "write";

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
    open: RwLock<Arc<Open>>,
    path: PathBuf,
    options: SledOptions,
    /// Whether a page that cannot be read makes the store rebuild itself around it.
    rebuilds_itself: bool,
    /// Held together by writes, alone by a rebuild.
    writing: RwLock<()>,
    /// Held by the one that rebuilds.
    rebuilding: Mutex<()>,
    is_rebuilding: AtomicBool,
    rebuilds: AtomicU64,
    _lock: File,
}

/// The engine's files, open.
#[derive(Debug)]
struct Open {
    db: sled::Db,
    data: File,
    place: Place,
}

impl Open {
    fn new(directory: &Path, place: Place, options: SledOptions) -> Result<Self, StorageError> {
        let path = place.path(directory);
        fs::create_dir_all(&path).map_err(|e| io_error(&path, "create", e))?;
        clear_half_written(&path).map_err(|e| io_error(&path, "open", e))?;
        let db = open_sled(&path, options)?;
        let data = sync_new_files(&path).map_err(|e| io_error(&path, "sync", e))?;
        Ok(Self { db, data, place })
    }

    fn flush(&self, directory: &Path) -> Result<(), StorageError> {
        self.db
            .flush()
            .map_err(|e| sled_error(directory, "flush", e))?;
        // Through our own descriptor: fdatasync works on the file, whoever wrote to it.
        self.data
            .sync_data()
            .map_err(|e| io_error(directory, "flush", e))
    }
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
        let place = Place::current(&path).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => StorageError::Corrupt {
                path: path.clone(),
                detail: e.to_string(),
            },
            _ => io_error(&path, "open", e),
        })?;
        (place.clear_others(&path)).map_err(|e| io_error(&path, "open", e))?;
        let open = Open::new(&path, place, options)?;
        Ok(Self {
            open: RwLock::new(Arc::new(open)),
            path,
            options,
            rebuilds_itself: false,
            writing: RwLock::new(()),
            rebuilding: Mutex::new(()),
            is_rebuilding: AtomicBool::new(false),
            rebuilds: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Whether there is a store in a directory, whatever it holds.
    #[must_use]
    pub fn exists(path: &Path) -> bool {
        Place::current(path).map_or(true, |place| place.path(path).join(SETTINGS_FILE).exists())
    }

    /// From now on, a page that cannot be read makes the store rebuild itself without the records of that page.
    /// Only for a store whose owner notices that records are gone ([`KvStore::health`]) and can get them elsewhere.
    #[must_use]
    pub fn rebuilding(self) -> Self {
        Self {
            rebuilds_itself: true,
            ..self
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn current(&self) -> Arc<Open> {
        Arc::clone(&self.open.read())
    }

    fn error(&self, operation: &'static str, error: sled::Error) -> StorageError {
        sled_error(&self.path, operation, error)
    }

    /// Works on the engine. If it meets a page that cannot be read, the store is rebuilt around it (where that is
    /// wanted) and the work is done once more.
    fn work<T>(
        &self,
        operation: &'static str,
        work: impl Fn(&sled::Db) -> Result<T, sled::Error>,
    ) -> Result<T, StorageError> {
        let (open, error) = {
            // Taken first: a write to a store that another has taken over from would be lost.
            let _writing = (operation == WRITE).then(|| self.writing.read());
            let open = self.current();
            match work(&open.db) {
                Ok(done) => return Ok(done),
                Err(error) => (open, error),
            }
        };
        if !(self.rebuilds_itself && is_damage(&error)) {
            return Err(self.error(operation, error));
        }
        self.rebuild(&open, &error)?;
        let _writing = (operation == WRITE).then(|| self.writing.read());
        work(&self.current().db).map_err(|e| self.error(operation, e))
    }

    /// Copies what can be read into a fresh store, which takes over. Writes wait meanwhile; reads go on. What was
    /// rebuilt already since `damaged` was in use is not rebuilt again.
    fn rebuild(&self, damaged: &Arc<Open>, error: &sled::Error) -> Result<(), StorageError> {
        let _one = self.rebuilding.lock();
        if !Arc::ptr_eq(damaged, &self.current()) {
            return Ok(());
        }
        let _writes = self.writing.write();
        self.is_rebuilding.store(true, Ordering::Release);
        let path = self.path.display();
        tracing::error!(%path, %error, "the store is damaged: it is rebuilt from what can be read");
        let rebuilt = self.rebuild_now(damaged);
        self.is_rebuilding.store(false, Ordering::Release);
        match rebuilt {
            Ok(copied) => {
                self.rebuilds.fetch_add(1, Ordering::Release);
                let (pairs, holes) = (copied.pairs, copied.holes);
                tracing::warn!(%path, pairs, holes, "the store is rebuilt; what is missing is looked for");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%path, %error, "the damaged store could not be rebuilt");
                Err(error)
            }
        }
    }

    fn rebuild_now(&self, damaged: &Open) -> Result<salvage::Copied, StorageError> {
        let io = |e| io_error(&self.path, "rebuild", e);
        let place = damaged.place.next();
        // Of an attempt that failed.
        damaged.place.clear_others(&self.path).map_err(io)?;
        let fresh = Open::new(&self.path, place, self.options)?;
        let copied = salvage::copy(&damaged.db, &fresh.db).map_err(|e| self.error("rebuild", e))?;
        fresh.flush(&self.path)?;
        fresh.place.take_over(&self.path).map_err(io)?;
        let place = fresh.place.clone();
        *self.open.write() = Arc::new(fresh);
        // Whoever still reads from it has its files open.
        if let Err(error) = place.clear_others(&self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "files of the damaged store stay until the next start");
        }
        Ok(copied)
    }
}

impl KvStore for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let value = self.work("read", |db| db.get(key))?;
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
        self.work("read", |db| {
            let mut found = Vec::new();
            for pair in db.range::<&[u8], _>((from, Bound::Unbounded)).take(limit) {
                let (key, value) = pair?;
                if !key.starts_with(prefix) {
                    break;
                }
                found.push((key.to_vec(), value.to_vec()));
            }
            Ok(found)
        })
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, StorageError> {
        let last = self.work("read", |db| db.scan_prefix(prefix).next_back().transpose())?;
        Ok(last.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    fn apply(&self, batch: Batch) -> Result<(), StorageError> {
        batch.check()?;
        if batch.is_empty() {
            return Ok(());
        }
        // Done again, it comes to the same.
        self.work(WRITE, |db| {
            let mut writes = sled::Batch::default();
            for op in batch.ops() {
                match op {
                    Op::Put(key, value) => writes.insert(key.as_slice(), value.as_slice()),
                    Op::Delete(key) => writes.remove(key.as_slice()),
                }
            }
            db.apply_batch(writes)
        })
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.current().flush(&self.path)
    }

    fn size_on_disk(&self) -> Result<u64, StorageError> {
        let open = self.current();
        open.db.size_on_disk().map_err(|e| self.error("measure", e))
    }

    fn health(&self) -> StoreHealth {
        StoreHealth {
            rebuilds: self.rebuilds.load(Ordering::Acquire),
            rebuilding: self.is_rebuilding.load(Ordering::Acquire),
        }
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

#[cfg(test)]
#[path = "sled_store/rot_tests.rs"]
mod rot_tests;
