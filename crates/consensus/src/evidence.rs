//! What differed, in a file for the operator: one JSON line that says what was compared, then one per key.
//!
//! A file is there whole or not at all, and is never written over.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use pando_merkle::{Digest, Key};
use pando_model::{PointId, Stamp, TreeId};
use serde::Serialize;

/// Most keys listed; the rest is counted.
pub(crate) const KEYS_MAX: usize = 100_000;

/// The first line.
#[derive(Debug, Serialize)]
pub(crate) struct Header {
    pub(crate) index: u64,
    pub(crate) root_here: String,
    pub(crate) root_majority: String,
    pub(crate) found_ms: u64,
    pub(crate) node: u64,
    /// The member of the majority it was compared with.
    pub(crate) peer: u64,
    /// Keys that differ, and how many of them are listed.
    pub(crate) keys: u64,
    pub(crate) listed: u64,
    /// Why no key is known, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unknown: Option<String>,
    /// Why there may be more keys that differ, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) incomplete: Option<String>,
}

/// A key that differs.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    /// Empty for the catalogue.
    pub(crate) collection: String,
    pub(crate) tree: u32,
    pub(crate) key: String,
    /// As users write it; hexadecimal in the catalogue; null if no row is there any more.
    pub(crate) id: Option<String>,
    /// Leaf digests; null where there is no row.
    pub(crate) here: Option<String>,
    pub(crate) majority: Option<String>,
    /// Versions, where they are known.
    pub(crate) version_here: Option<String>,
    pub(crate) version_majority: Option<String>,
    /// The row here cannot be read from storage: its digest is the one the tree names.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unreadable_here: bool,
}

/// One side of a difference.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    pub(crate) digest: Option<Digest>,
    pub(crate) id: Option<Vec<u8>>,
    pub(crate) version: Option<[u8; 16]>,
    pub(crate) unreadable: bool,
}

impl Line {
    pub(crate) fn new(collection: &str, tree: TreeId, key: Key, here: &Side, there: &Side) -> Self {
        let digest = |side: &Side| side.digest.map(|digest| digest.to_string());
        let version = |side: &Side| {
            let version = side.version.map(Stamp::from_bytes);
            version.map(|stamp| stamp.to_string())
        };
        let id = here.id.as_ref().or(there.id.as_ref());
        Self {
            collection: collection.to_owned(),
            tree: tree.0,
            key: key.to_string(),
            id: id.map(|id| id_text(tree, id)),
            here: digest(here),
            majority: digest(there),
            version_here: version(here),
            version_majority: version(there),
            unreadable_here: here.unreadable,
        }
    }
}

fn id_text(tree: TreeId, id: &[u8]) -> String {
    let point = (tree != TreeId::SYSTEM)
        .then(|| PointId::from_bytes(id).ok())
        .flatten();
    point.map_or_else(
        || id.iter().map(|byte| format!("{byte:02x}")).collect(),
        |id| id.to_string(),
    )
}

/// Where the evidence of a check is.
pub(crate) fn path(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("divergence-{index}.jsonl"))
}

/// Writes the file, durably. Blocks.
pub(crate) fn write(dir: &Path, header: &Header, lines: &[Line]) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let whole = path(dir, header.index);
    let part = whole.with_extension("part");
    let mut file = BufWriter::new(File::create(&part)?);
    serde_json::to_writer(&mut file, header)?;
    file.write_all(b"\n")?;
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&part, &whole)?;
    // The name is as durable as the content.
    File::open(dir)?.sync_all()?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_header_and_a_line_per_key() {
        let dir = tempfile::tempdir().unwrap();
        let here = Side {
            digest: Some(Digest([1; 32])),
            id: Some(PointId::Num(7).to_bytes()),
            version: Some(Stamp::at(5).to_bytes()),
            unreadable: false,
        };
        let key = Key::from_bytes([3; 16]);
        let line = Line::new("words", TreeId(2), key, &here, &Side::default());
        let header = Header {
            index: 9,
            root_here: "aa".to_owned(),
            root_majority: "bb".to_owned(),
            found_ms: 1,
            node: 2,
            peer: 1,
            keys: 1,
            listed: 1,
            unknown: None,
            incomplete: None,
        };
        let path = write(&dir.path().join("evidence"), &header, &[line]).unwrap();
        assert!(path.ends_with("evidence/divergence-9.jsonl"));
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["root_majority"], "bb");
        assert_eq!(lines[1]["id"], "7");
        assert_eq!(lines[1]["here"], "01".repeat(32));
        assert!(lines[1]["majority"].is_null());
        for absent in [&lines[0]["incomplete"], &lines[1]["unreadable_here"]] {
            assert!(absent.is_null(), "said only where it is so");
        }
        assert_eq!(lines[1]["version_here"], "5.0@0");
    }
}
