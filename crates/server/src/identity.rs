//! Who this node is: its id and its cluster, written once and kept for good, and the lock that keeps a second
//! process off the data directory.
//!
//! Owns `node.json` and `LOCK` in the data directory. Invariants: a node id never changes; a cluster id is set
//! once; both are durable before anybody else hears of them. Knows nothing of what the ids are used for.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pando_model::{ClusterId, NodeId};
use parking_lot::Mutex;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::NODE_ID_MAX;

const FILE: &str = "node.json";
const LOCK: &str = "LOCK";
const FORMAT: u32 = 1;

/// Why a node cannot take up its identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process holds the directory.
    #[error(
        "the data directory {} is in use by another node; stop it, or give this node another data_dir",
        path.display()
    )]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The configured id is not the one the directory belongs to.
    #[error(
        "node_id is {configured}, but the data directory {} belongs to node {stored}; \
         remove the setting, or use another data_dir",
        path.display()
    )]
    OtherNode {
        /// The id in the configuration.
        configured: NodeId,
        /// The id in the directory.
        stored: NodeId,
        /// The data directory.
        path: PathBuf,
    },
    /// The node belongs to a cluster already.
    #[error("this node belongs to cluster {current}; it cannot become part of cluster {other}")]
    OtherCluster {
        /// The cluster it belongs to.
        current: ClusterId,
        /// The one it was asked to join.
        other: ClusterId,
    },
    /// The node belongs to a cluster, so it cannot form one.
    #[error("this node belongs to cluster {cluster} already")]
    Member {
        /// Which.
        cluster: ClusterId,
    },
    /// The node is about to form a cluster.
    #[error("this node is just forming a cluster of its own")]
    Forming,
    /// The file cannot be understood.
    #[error(
        "{} is damaged: {reason}; move the data directory aside and start this node anew, it will get a new id \
         and can be added to the cluster again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    move |source| IdentityError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    node_id: NodeId,
    instance: Uuid,
    cluster_id: Option<ClusterId>,
}

/// Where a node stands towards clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cluster {
    /// It belongs to none.
    None,
    /// It is about to form one; until that is done or given up it joins no other.
    Forming,
    /// It belongs to this one.
    Member(ClusterId),
}

/// A node's identity, and the lock on its data directory for as long as this lives.
#[derive(Debug)]
pub struct Identity {
    path: PathBuf,
    node_id: NodeId,
    instance: Uuid,
    cluster: Mutex<Cluster>,
    _lock: File,
}

impl Identity {
    /// Locks the data directory (made when absent) and reads who it belongs to; a new one gets the configured
    /// id, or one drawn at random.
    ///
    /// # Errors
    /// When another process holds the directory, when it belongs to another node, or when it cannot be read
    /// or written.
    pub fn open(data_dir: &Path, configured: Option<NodeId>) -> Result<Self, IdentityError> {
        fs::create_dir_all(data_dir).map_err(io_error("create", data_dir))?;
        let lock = take_lock(data_dir)?;
        let stored = match read(data_dir)? {
            Some(stored) => stored,
            None => {
                let node_id =
                    configured.unwrap_or_else(|| rand::rng().random_range(1..=NODE_ID_MAX));
                let instance = Uuid::new_v4();
                let stored = Stored {
                    format: FORMAT,
                    node_id,
                    instance,
                    cluster_id: None,
                };
                write(data_dir, stored)?;
                stored
            }
        };
        if let Some(configured) = configured.filter(|id| *id != stored.node_id) {
            return Err(IdentityError::OtherNode {
                configured,
                stored: stored.node_id,
                path: data_dir.to_owned(),
            });
        }
        Ok(Self {
            path: data_dir.to_owned(),
            node_id: stored.node_id,
            instance: stored.instance,
            cluster: Mutex::new(stored.cluster_id.map_or(Cluster::None, Cluster::Member)),
            _lock: lock,
        })
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Drawn when the data directory was made: tells a wiped node from the one it was.
    #[must_use]
    pub fn instance(&self) -> Uuid {
        self.instance
    }

    /// The cluster this node belongs to, once it belongs to one.
    #[must_use]
    pub fn cluster_id(&self) -> Option<ClusterId> {
        match *self.cluster.lock() {
            Cluster::Member(id) => Some(id),
            Cluster::None | Cluster::Forming => None,
        }
    }

    /// Makes this node part of a cluster, durably. Doing it again with the same id changes nothing. Blocks on
    /// the disk.
    ///
    /// # Errors
    /// When the node belongs to another cluster or is forming one, or the file cannot be written.
    pub fn join(&self, cluster: ClusterId) -> Result<(), IdentityError> {
        let mut current = self.cluster.lock();
        match *current {
            Cluster::Member(same) if same == cluster => Ok(()),
            Cluster::Member(current) => Err(IdentityError::OtherCluster {
                current,
                other: cluster,
            }),
            Cluster::Forming => Err(IdentityError::Forming),
            Cluster::None => self.set(&mut current, cluster),
        }
    }

    /// Whether this node could become part of a cluster. Changes nothing.
    ///
    /// # Errors
    /// When the node belongs to another cluster or is forming one.
    pub fn may_join(&self, cluster: ClusterId) -> Result<(), IdentityError> {
        match *self.cluster.lock() {
            Cluster::None => Ok(()),
            Cluster::Member(same) if same == cluster => Ok(()),
            Cluster::Member(current) => Err(IdentityError::OtherCluster {
                current,
                other: cluster,
            }),
            Cluster::Forming => Err(IdentityError::Forming),
        }
    }

    /// Keeps this node from joining a cluster while it forms its own.
    ///
    /// # Errors
    /// When the node belongs to a cluster or is forming one.
    pub fn form(self: &Arc<Self>) -> Result<Forming, IdentityError> {
        let mut current = self.cluster.lock();
        match *current {
            Cluster::Member(cluster) => Err(IdentityError::Member { cluster }),
            Cluster::Forming => Err(IdentityError::Forming),
            Cluster::None => {
                *current = Cluster::Forming;
                Ok(Forming {
                    identity: Arc::clone(self),
                })
            }
        }
    }

    fn set(&self, current: &mut Cluster, cluster: ClusterId) -> Result<(), IdentityError> {
        let stored = Stored {
            format: FORMAT,
            node_id: self.node_id,
            instance: self.instance,
            cluster_id: Some(cluster),
        };
        write(&self.path, stored)?;
        *current = Cluster::Member(cluster);
        Ok(())
    }
}

/// The right to give this node the id of a cluster of its own. Dropped unused, the node is as it was.
#[derive(Debug)]
pub struct Forming {
    identity: Arc<Identity>,
}

impl Forming {
    /// Makes this node part of the cluster it has formed, durably. Blocks on the disk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn done(self, cluster: ClusterId) -> Result<(), IdentityError> {
        self.identity
            .set(&mut self.identity.cluster.lock(), cluster)
    }
}

impl Drop for Forming {
    fn drop(&mut self) {
        let mut current = self.identity.cluster.lock();
        if *current == Cluster::Forming {
            *current = Cluster::None;
        }
    }
}

fn take_lock(data_dir: &Path) -> Result<File, IdentityError> {
    let path = data_dir.join(LOCK);
    let mut options = File::options();
    let lock = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(IdentityError::InUse {
            path: data_dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &path)(source)),
    }
}

fn read(data_dir: &Path) -> Result<Option<Stored>, IdentityError> {
    let path = data_dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("read", &path)(e)),
    };
    let damaged = |reason: String| IdentityError::Damaged {
        path: path.clone(),
        reason,
    };
    let stored: Stored = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
    if stored.format != FORMAT {
        return Err(damaged(format!(
            "its format is {}, this version of Pando reads {FORMAT}",
            stored.format
        )));
    }
    if stored.node_id == 0 {
        return Err(damaged("its node id is 0".to_owned()));
    }
    Ok(Some(stored))
}

/// Replaces the file so that a crash leaves the old or the new one, and the new one is on disk on return.
fn write(data_dir: &Path, stored: Stored) -> Result<(), IdentityError> {
    let path = data_dir.join(FILE);
    let draft = data_dir.join("node.json.new");
    let text = serde_json::to_string_pretty(&stored).expect("plain fields are always JSON");
    let write = || -> io::Result<()> {
        let mut file = File::create(&draft)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(data_dir)?.sync_all()
    };
    write().map_err(io_error("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    #[test]
    fn the_id_and_the_cluster_outlive_the_process() {
        let dir = dir();
        let cluster = ClusterId(Uuid::from_u128(1));
        let (id, instance) = {
            let first = Identity::open(dir.path(), None).expect("a new directory");
            assert!((1..=NODE_ID_MAX).contains(&first.node_id()));
            assert_eq!(first.cluster_id(), None);
            first.join(cluster).expect("no cluster yet");
            (first.node_id(), first.instance())
        };
        let again = Identity::open(dir.path(), Some(id)).expect("the same node");
        assert_eq!((again.node_id(), again.cluster_id()), (id, Some(cluster)));
        assert_eq!(again.instance(), instance);
    }

    #[test]
    fn a_node_joins_one_cluster_only() {
        let dir = dir();
        let node = Identity::open(dir.path(), Some(5)).expect("a new directory");
        let [one, two] = [1, 2].map(|n| ClusterId(Uuid::from_u128(n)));
        node.may_join(one).expect("no cluster yet");
        assert_eq!(node.cluster_id(), None, "asking changes nothing");
        node.join(one).expect("no cluster yet");
        node.join(one).expect("joining again changes nothing");
        node.may_join(one).expect("it has");
        assert!(node.may_join(two).is_err());
        assert!(matches!(
            node.join(two),
            Err(IdentityError::OtherCluster { current, other }) if (current, other) == (one, two)
        ));
        assert_eq!(node.cluster_id(), Some(one));
    }

    #[test]
    fn a_node_that_forms_a_cluster_joins_no_other() {
        let dir = dir();
        let node = Arc::new(Identity::open(dir.path(), None).expect("a new directory"));
        let [one, two] = [1, 2].map(|n| ClusterId(Uuid::from_u128(n)));
        let forming = node.form().expect("no cluster yet");
        assert!(matches!(node.join(two), Err(IdentityError::Forming)));
        assert!(matches!(node.form(), Err(IdentityError::Forming)));
        drop(forming);
        node.form()
            .expect("given up before")
            .done(one)
            .expect("written");
        assert_eq!(node.cluster_id(), Some(one));
        assert!(matches!(node.form(), Err(IdentityError::Member { cluster }) if cluster == one));
    }

    #[test]
    fn a_second_node_on_the_same_directory_is_refused() {
        let dir = dir();
        let first = Identity::open(dir.path(), None).expect("a new directory");
        assert!(matches!(
            Identity::open(dir.path(), None),
            Err(IdentityError::InUse { .. })
        ));
        drop(first);
        Identity::open(dir.path(), None).expect("free again");
    }

    #[test]
    fn another_id_than_the_stored_one_is_refused() {
        let dir = dir();
        drop(Identity::open(dir.path(), Some(5)).expect("a new directory"));
        assert!(matches!(
            Identity::open(dir.path(), Some(6)),
            Err(IdentityError::OtherNode {
                configured: 6,
                stored: 5,
                ..
            })
        ));
    }

    const FUTURE: &str = r#"{"format":2,"node_id":5,
        "instance":"00000000-0000-0000-0000-000000000001","cluster_id":null}"#;

    #[test]
    fn a_damaged_file_is_not_overwritten() {
        for text in ["", "{}", FUTURE] {
            let dir = dir();
            let path = dir.path().join(FILE);
            fs::write(&path, text).expect("written");
            let error = Identity::open(dir.path(), Some(5)).expect_err("damaged");
            assert!(
                matches!(error, IdentityError::Damaged { .. }),
                "{text:?}: {error}"
            );
            assert_eq!(fs::read_to_string(&path).expect("there"), text);
        }
    }
}
