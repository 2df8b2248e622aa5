//! The members a node knew last, in a small file: whom it asks when its own state is lost.
//!
//! Written anew whenever the membership changes; a file that is missing or old costs nothing but a repair.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use pando_consensus::NodeAddress;
use pando_model::NodeId;
use serde::{Deserialize, Serialize};

const FILE: &str = "peers.json";
const DRAFT: &str = "peers.json.new";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Peer {
    id: NodeId,
    node: String,
    api: String,
}

/// The members written down; none if there are none, or they cannot be read.
pub(crate) fn read(data_dir: &Path) -> Vec<(NodeId, NodeAddress)> {
    let text = fs::read(data_dir.join(FILE)).unwrap_or_default();
    let peers: Vec<Peer> = serde_json::from_slice(&text).unwrap_or_default();
    let address = |peer: Peer| {
        let Peer { id, node, api } = peer;
        (id, NodeAddress { node, api })
    };
    peers.into_iter().map(address).collect()
}

/// Writes the members down. Blocks on the disk.
pub(crate) fn write(data_dir: &Path, members: &[(NodeId, NodeAddress)]) -> io::Result<()> {
    let peers: Vec<Peer> = members
        .iter()
        .map(|(id, address)| Peer {
            id: *id,
            node: address.node.clone(),
            api: address.api.clone(),
        })
        .collect();
    let draft = data_dir.join(DRAFT);
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec_pretty(&peers)?)?;
    file.sync_all()?;
    fs::rename(&draft, data_dir.join(FILE))?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_back_and_damage_means_none() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(read(dir.path()), []);
        let address = NodeAddress {
            node: "b:7701".into(),
            api: "b:7700".into(),
        };
        write(dir.path(), &[(2, address.clone())]).expect("written");
        assert_eq!(read(dir.path()), [(2, address)]);
        fs::write(dir.path().join(FILE), "[{").expect("damaged");
        assert_eq!(read(dir.path()), []);
    }
}
