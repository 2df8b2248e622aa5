//! An export as a tree: its points' digests are computed again, with the collection's salt.

use std::collections::BTreeMap;
use std::path::Path;

use indicatif::ProgressBar;
use pando_merkle::{Key, Leaf, leaf_digest, value_digest};
use pando_model::{Point, PointId, Record, Stamp};

use super::walk::{Local, Name, Side, walk};
use crate::readers;

/// What an export holds.
pub(super) struct Exported {
    pub(super) local: Local,
    /// Points without a version: an older release wrote the file.
    pub(super) without_version: u64,
}

/// Reads an export. A point without a version is taken to have the node's, so that only its content is compared.
pub(super) async fn read(
    file: &Path,
    salt: [u8; 16],
    node: &Side,
    bar: &ProgressBar,
) -> anyhow::Result<Exported> {
    let mut local = Local::default();
    let mut unversioned = Vec::new();
    for line in readers::exported(file)? {
        let (point, version) = line?;
        let (id, value) = (point.id, value_of(point));
        match version {
            Some(version) => add(&mut local, &salt, id, version, &value),
            None => unversioned.push((id, value)),
        }
    }
    let without_version = unversioned.len() as u64;
    if without_version > 0 {
        // Against nothing, everything the node has differs, and is named.
        let all = walk(node, &Side::Local(Local::default()), bar).await?;
        let versions = all
            .iter()
            .filter_map(|found| Some((found.id?, found.a?.1?)));
        let versions: BTreeMap<PointId, Stamp> = versions.collect();
        for (id, value) in unversioned {
            let version = versions.get(&id).copied().unwrap_or_default();
            add(&mut local, &salt, id, version, &value);
        }
    }
    Ok(Exported {
        local,
        without_version,
    })
}

fn value_of(point: Point) -> pando_merkle::Digest {
    let record = Record::from(point);
    value_digest(&record.encode())
}

fn add(
    local: &mut Local,
    salt: &[u8; 16],
    id: PointId,
    version: Stamp,
    value: &pando_merkle::Digest,
) {
    let bytes = id.to_bytes();
    let key = Key::derive(salt, &bytes);
    let leaf = Leaf {
        digest: leaf_digest(&bytes, &version.to_bytes(), value),
        bytes: 0,
        index: 0,
    };
    local.tree.insert(key, leaf);
    let name = Name {
        id: Some(id),
        version: Some(version),
    };
    local.names.insert(key, name);
}
