//! Index checkpoints: the graphs of the indexes in files beside the store, so that a start need not build them anew.
//!
//! A file is a cache. It says of every vector which leaf the tree named when it was written, and what the tree does
//! not name any more is not taken from it; so it may be old, and one that is torn, damaged, or of something else is
//! logged, deleted, and made good for by indexing in the background. Nothing waits for it, and no root covers it.
//!
//! Files are written where nothing else is held up: by whoever calls [`Replica::save_checkpoints`], from graphs at
//! which nobody is at work, and which others may search and write to meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pando_index::graph::{GraphError, Restored, WhenRestored};
use pando_index::{Checkpoint, CheckpointError, Fingerprint, GraphWork, Saving};
use pando_merkle::{Digest, Tree};
use pando_model::{Definition, PointId, TreeId, VectorName, VectorParams};
use parking_lot::Mutex;

use crate::collection::key_of;
use crate::options::CheckpointOptions;
use crate::replica::Replica;

/// A checkpoint is due before its time when this share of the points has changed since: one in so many.
const CHANGED_SHARE: u64 = 4;
/// But not before this share of its time: writing must not keep the disk busy, however fast points change.
const PAUSE_SHARE: u32 = 10;
/// Pause after a checkpoint that could not be written.
const RETRY: Duration = Duration::from_secs(60);
const ENDING: &str = "graph";
/// The ending while it is being written.
const UNFINISHED: &str = "unfinished";

/// Which graph: a collection's, by a vector name.
type Place = (TreeId, VectorName);

/// Which checkpoints are to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveWhich {
    /// Those that are due: of graphs nobody is at work on, that have changed by a quarter, or for some time.
    Due,
    /// All of graphs that have changed at all, as at the end of a process.
    Changed,
}

/// The files, and what is known of them.
pub(crate) struct Checkpoints {
    options: CheckpointOptions,
    noted: Mutex<BTreeMap<Place, Noted>>,
    /// Taken while files are written: by one at a time.
    saving: Mutex<()>,
}

/// What is known of one file.
#[derive(Clone, Copy, Debug)]
struct Noted {
    /// The index's count of changes that the file is of; none if there is no file.
    changes: Option<u64>,
    since: Instant,
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
enum SaveError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error("the replica has failed meanwhile")]
    Poisoned,
}

/// What a leaf's record is known by in a checkpoint.
pub(crate) fn fingerprint(leaf: &Digest) -> Fingerprint {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&leaf.0[..16]);
    Fingerprint(bytes)
}

/// Of what a file is: equal bytes, equal vectors by equal ids.
fn owner(definition: &Definition, name: &VectorName) -> Vec<u8> {
    let tree = definition.tree.0.to_be_bytes();
    [&tree[..], &definition.salt[..], name.as_str().as_bytes()].concat()
}

fn file_name((tree, name): &Place) -> String {
    // Names are letters, digits, dots and dashes.
    format!("{}-{}.{ENDING}", tree.0, name.as_str())
}

impl Noted {
    /// Whether a file is to be written, so long after it was last tried.
    fn is_due(&self, passed: Duration, changes: u64, points: u64, interval: Duration) -> bool {
        let Some(written) = self.changes else {
            return passed >= RETRY;
        };
        let changed = changes.saturating_sub(written);
        let much = changed >= points / CHANGED_SHARE && passed >= interval / PAUSE_SHARE;
        changed > 0 && (passed >= interval || much)
    }
}

impl Checkpoints {
    pub(crate) fn new(options: CheckpointOptions) -> Self {
        Self {
            options,
            noted: Mutex::default(),
            saving: Mutex::default(),
        }
    }

    fn path(&self, place: &Place) -> PathBuf {
        self.options.dir.join(file_name(place))
    }

    fn note(&self, place: &Place, changes: Option<u64>) {
        let since = Instant::now();
        let noted = Noted { changes, since };
        self.noted.lock().insert(place.clone(), noted);
    }

    fn delete(&self, place: &Place) {
        self.noted.lock().remove(place);
        delete(&self.path(place));
    }

    /// Deletes all files but those of these graphs.
    fn sweep(&self, kept: &BTreeSet<String>) {
        let entries = match fs::read_dir(&self.options.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::warn!(%error, dir = %self.options.dir.display(), "index checkpoints cannot be listed");
                return;
            }
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !name.to_str().is_some_and(|name| kept.contains(name)) {
                delete(&entry.path());
            }
        }
    }

    fn open(
        &self,
        params: VectorParams,
        definition: &Definition,
        name: &VectorName,
    ) -> Result<Option<Checkpoint>, CheckpointError> {
        let file = match File::open(self.path(&(definition.tree, name.clone()))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CheckpointError::Read(error)),
        };
        let from = Box::new(BufReader::with_capacity(1 << 18, file));
        Checkpoint::read(params, &owner(definition, name), from).map(Some)
    }

    /// The checkpoints of a collection that can be used, as far as can be told before their segments are read.
    pub(crate) fn of(
        self: &Arc<Self>,
        definition: &Definition,
    ) -> Vec<(VectorName, Checkpoint, WhenRestored)> {
        let mut usable = Vec::new();
        for (name, params) in &definition.schema.vectors {
            let place = (definition.tree, name.clone());
            match self.open(*params, definition, name) {
                Ok(None) => {}
                Ok(Some(checkpoint)) => {
                    self.note(&place, Some(0));
                    usable.push((name.clone(), checkpoint, self.when_restored(place)));
                }
                Err(error) => {
                    self.delete(&place);
                    unusable(&place, &error, 0);
                }
            }
        }
        usable
    }

    fn when_restored(self: &Arc<Self>, place: Place) -> WhenRestored {
        let (checkpoints, begun) = (Arc::clone(self), Instant::now());
        Box::new(move |restored: Restored| match restored.failed {
            None => tracing::info!(
                tree = place.0.0,
                vector = place.1.as_str(),
                reused = restored.reused,
                ms = begun.elapsed().as_millis(),
                "a graph is taken up from its checkpoint"
            ),
            Some(error) => {
                // Unless one was written meanwhile, at the end of the process.
                let _one = checkpoints.saving.lock();
                let stale = checkpoints.noted.lock().get(&place).copied();
                if stale.is_some_and(|noted| noted.changes == Some(0)) {
                    checkpoints.delete(&place);
                }
                unusable(&place, &error, restored.reused);
            }
        })
    }

    /// Writes a file under another name first, so that there is a whole one or none.
    fn write(
        &self,
        place: &Place,
        poisoned: impl Fn() -> bool,
        content: impl FnOnce(&mut dyn Write) -> Result<(), GraphError>,
    ) -> Result<u64, SaveError> {
        let (dir, path) = (&self.options.dir, self.path(place));
        fs::create_dir_all(dir)?;
        let unfinished = path.with_extension(UNFINISHED);
        let mut to = BufWriter::with_capacity(1 << 18, File::create(&unfinished)?);
        content(&mut to)?;
        let file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        if poisoned() {
            return Err(SaveError::Poisoned);
        }
        fs::rename(&unfinished, &path)?;
        File::open(dir)?.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

fn delete(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => tracing::info!(path = %path.display(), "an index checkpoint is deleted"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "an index checkpoint cannot be deleted");
        }
    }
}

fn unusable(place: &Place, error: &dyn std::error::Error, reused: u64) {
    tracing::warn!(
        tree = place.0.0,
        vector = place.1.as_str(),
        %error,
        reused,
        "an index checkpoint cannot be used: the graph is built in the background"
    );
}

/// A graph that is to be written, as it was at one moment.
struct Snapshot {
    definition: Arc<Definition>,
    tree: Tree,
    saving: Saving,
    changes: u64,
}

impl Replica {
    /// The checkpoints that a collection can begin with.
    pub(crate) fn checkpoints_of(
        &self,
        definition: &Definition,
    ) -> Vec<(VectorName, Checkpoint, WhenRestored)> {
        let checkpoints = self.checkpoints.as_ref();
        checkpoints.map_or_else(Vec::new, |checkpoints| checkpoints.of(definition))
    }

    /// Deletes the files of graphs that are no more. Before anything is loaded.
    pub(crate) fn sweep_checkpoints(&self) {
        let Some(checkpoints) = &self.checkpoints else {
            return;
        };
        let mut kept = BTreeSet::new();
        for (tree, collection) in &self.state.read().collections {
            let names = collection.definition.schema.vectors.keys();
            kept.extend(names.map(|name| file_name(&(*tree, name.clone()))));
        }
        checkpoints.sweep(&kept);
    }

    /// Writes checkpoints of graphs, so that the next start takes them up. Says how many were written; one that could
    /// not be is logged. Takes seconds for a large graph, in which others go on reading and writing.
    pub fn save_checkpoints(&self, which: SaveWhich) -> u64 {
        let Some(checkpoints) = &self.checkpoints else {
            return 0;
        };
        let _one = checkpoints.saving.lock();
        let Some((places, due)) = self.checkpoints_due(checkpoints, which) else {
            return 0;
        };
        let noted = checkpoints.noted.lock().clone();
        for gone in noted.keys().filter(|place| !places.contains(place)) {
            checkpoints.delete(gone);
        }
        let mut written = 0;
        for place in due {
            written += u64::from(self.save_checkpoint(checkpoints, &place));
        }
        written
    }

    /// Every graph there is, and those to be written; nothing while what is in memory is not whole.
    fn checkpoints_due(
        &self,
        checkpoints: &Checkpoints,
        which: SaveWhich,
    ) -> Option<(BTreeSet<Place>, Vec<Place>)> {
        let state = self.readable().ok()?;
        let noted = checkpoints.noted.lock();
        let interval = checkpoints.options.interval;
        let (mut places, mut due) = (BTreeSet::new(), Vec::new());
        for (tree, collection) in &state.collections {
            let (changes, points) = (collection.index.changes(), collection.tree.len());
            for (name, work) in collection.index.graphs() {
                let place = (*tree, name.clone());
                let noted = noted.get(&place);
                let is_due = match (which, work) {
                    // The file is better than what there is in memory.
                    (_, GraphWork::Restoring) | (SaveWhich::Due, GraphWork::Indexing) => false,
                    (SaveWhich::Changed, _) => noted.is_none_or(|it| it.changes != Some(changes)),
                    (SaveWhich::Due, GraphWork::None) => noted
                        .is_none_or(|it| it.is_due(it.since.elapsed(), changes, points, interval)),
                };
                if is_due {
                    due.push(place.clone());
                }
                places.insert(place);
            }
        }
        Some((places, due))
    }

    fn save_checkpoint(&self, checkpoints: &Checkpoints, place: &Place) -> bool {
        let Some(snapshot) = self.snapshot(place) else {
            return false;
        };
        let begun = Instant::now();
        let Snapshot {
            definition,
            tree,
            saving,
            changes,
        } = snapshot;
        let fingerprint_of = |id: PointId| {
            let leaf = tree.get(&key_of(&definition, id))?;
            Some(fingerprint(&leaf.digest))
        };
        let owner = owner(&definition, &place.1);
        let poisoned = || self.poisoned.load(Ordering::Acquire);
        let written = checkpoints.write(place, poisoned, |to| {
            saving.write(&owner, fingerprint_of, to)
        });
        match &written {
            Ok(bytes) => {
                checkpoints.note(place, Some(changes));
                tracing::info!(
                    tree = place.0.0,
                    vector = place.1.as_str(),
                    vectors = saving.len(),
                    bytes,
                    ms = begun.elapsed().as_millis(),
                    "an index checkpoint is written"
                );
            }
            Err(error) => {
                checkpoints.note(place, None);
                tracing::warn!(%error, path = %checkpoints.path(place).display(), "an index checkpoint cannot be written");
            }
        }
        written.is_ok()
    }

    /// Trees and indexes change together, so the tree names what the index holds.
    fn snapshot(&self, (tree, name): &Place) -> Option<Snapshot> {
        let state = self.readable().ok()?;
        let collection = state.collections.get(tree)?;
        Some(Snapshot {
            definition: Arc::clone(&collection.definition),
            tree: collection.tree.clone(),
            saving: collection.index.saving(name)?,
            changes: collection.index.changes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_due_when_much_has_changed_or_after_a_time() {
        let hour = Duration::from_secs(3600);
        let due = |changes: Option<u64>, minutes: u64, now: u64| {
            let since = Instant::now();
            let passed = Duration::from_secs(60 * minutes);
            Noted { changes, since }.is_due(passed, now, 1000, hour)
        };
        assert!(!due(Some(7), 600, 7), "nothing has changed");
        assert!(due(Some(7), 60, 8), "one change, an hour ago");
        assert!(!due(Some(7), 59, 7 + 249), "neither much nor long ago");
        assert!(due(Some(7), 6, 7 + 250), "a quarter");
        assert!(!due(Some(7), 5, 7 + 5000), "but not again at once");
        assert!(due(None, 1, 7) && !due(None, 0, 7), "it is tried again");
    }
}
