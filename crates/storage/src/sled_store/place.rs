//! Where in its directory a store keeps the engine's files.
//!
//! At first they lie in the directory itself. A rebuilt store lies in a directory of its own below it, and the file
//! [`CURRENT_FILE`] names that one; renaming this file into place is the moment in which the rebuilt store takes over.
//! What a crash leaves of the other one is removed when the store is opened.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Names the directory of the store that counts. Without it, the files lie beside it.
const CURRENT_FILE: &str = "pando.current";
const CURRENT_DRAFT: &str = "pando.current.new";
/// What the names of the directories of rebuilt stores start with; a number follows.
const REBUILT_PREFIX: &str = "store-";
/// The engine's own files and directories, by what their names start with.
const ENGINE_FILES: [&str; 4] = ["conf", "db", "snap.", "blobs"];

/// One place for the engine's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// 0 is the directory itself.
    number: u64,
}

impl Place {
    /// The place that counts.
    pub(super) fn current(directory: &Path) -> io::Result<Self> {
        let name = match fs::read_to_string(directory.join(CURRENT_FILE)) {
            Ok(name) => name,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { number: 0 });
            }
            Err(error) => return Err(error),
        };
        number(name.trim())
            .map(|number| Self { number })
            .ok_or_else(|| {
                let reason = format!("{CURRENT_FILE} names {name:?}, which is no store");
                io::Error::new(io::ErrorKind::InvalidData, reason)
            })
    }

    /// The place of the store that takes over from this one.
    pub(super) fn next(&self) -> Self {
        Self {
            number: self.number + 1,
        }
    }

    /// The directory that holds the engine's files.
    pub(super) fn path(&self, directory: &Path) -> PathBuf {
        match self.number {
            0 => directory.to_path_buf(),
            number => directory.join(format!("{REBUILT_PREFIX}{number}")),
        }
    }

    /// Makes this the place that counts, durably. Whatever it holds must be durable before.
    pub(super) fn take_over(&self, directory: &Path) -> io::Result<()> {
        let draft = directory.join(CURRENT_DRAFT);
        fs::write(&draft, format!("{REBUILT_PREFIX}{}\n", self.number))?;
        File::open(&draft)?.sync_all()?;
        fs::rename(&draft, directory.join(CURRENT_FILE))?;
        File::open(directory)?.sync_all()
    }

    /// Removes the engine's files of every other place: of one given up, or of one never finished.
    pub(super) fn clear_others(&self, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let other = match number(&name) {
                Some(number) => number != self.number,
                None => {
                    self.number != 0 && ENGINE_FILES.iter().any(|start| name.starts_with(start))
                }
            };
            if other && entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else if other {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn number(name: &str) -> Option<u64> {
    let number = name.strip_prefix(REBUILT_PREFIX)?.parse().ok()?;
    (number > 0).then_some(number)
}
