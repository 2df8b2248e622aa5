//! What a replica has applied, and what it is asked to apply.

use pando_merkle::{Digest, value_digest};
use pando_model::{LogPosition, Proposal, Writer};
use pando_storage::Versioned;
use pando_storage::codec;
use serde::{Deserialize, Serialize};

use crate::error::ReplicaError;

/// How far a replica is, and what it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The last entry applied; `None` before the first.
    pub position: Option<LogPosition>,
    /// The last membership applied, in the consensus layer's own bytes.
    pub membership: Vec<u8>,
    /// Replica root.
    pub root: Digest,
}

impl Applied {
    /// The log index applied; 0 before the first entry.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.position.map_or(0, |p| p.index)
    }

    /// The bytes that describe a snapshot of this state to another node.
    #[must_use]
    pub fn encode_meta(&self) -> Vec<u8> {
        codec::encode(&StoredApplied::from(self))
    }
}

/// Reads what [`Applied::encode_meta`] wrote.
///
/// # Errors
/// When the bytes are of another version, malformed, or not those that were written.
pub fn decode_meta(bytes: &[u8]) -> Result<Applied, ReplicaError> {
    codec::decode::<StoredApplied>(bytes)?.try_into()
}

/// One log entry.
#[derive(Clone, Debug)]
pub struct ApplyEntry {
    /// Where it stands in the log.
    pub position: LogPosition,
    /// What it says.
    pub payload: ApplyPayload,
}

/// What a log entry says.
#[derive(Clone, Debug)]
pub enum ApplyPayload {
    /// Nothing: a new leader's first entry.
    Blank,
    /// The cluster's membership, opaque here.
    Membership(Vec<u8>),
    /// A write.
    Command(Proposal),
}

/// [`Applied`] as it is stored.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredApplied {
    position: Option<LogPosition>,
    membership: Vec<u8>,
    root: [u8; 32],
    /// Of the rest: no root covers position and membership.
    checksum: u64,
}

impl StoredApplied {
    fn expected_checksum(&self) -> u64 {
        let mut w = Writer::new();
        if let Some(LogPosition {
            term,
            leader,
            index,
        }) = self.position
        {
            w.u64(term).u64(leader).u64(index);
        }
        w.bytes(&self.membership).raw(&self.root);
        value_digest(&w.finish()).truncated()
    }
}

impl Versioned for StoredApplied {
    const TAG: u8 = 1;
    type Previous = Self;

    fn upgrade(previous: Self) -> Self {
        previous
    }
}

impl From<&Applied> for StoredApplied {
    fn from(a: &Applied) -> Self {
        let mut stored = Self {
            position: a.position,
            membership: a.membership.clone(),
            root: a.root.0,
            checksum: 0,
        };
        stored.checksum = stored.expected_checksum();
        stored
    }
}

impl TryFrom<StoredApplied> for Applied {
    type Error = ReplicaError;

    fn try_from(s: StoredApplied) -> Result<Self, ReplicaError> {
        if s.checksum != s.expected_checksum() {
            return Err(ReplicaError::BadApplied);
        }
        Ok(Self {
            position: s.position,
            membership: s.membership,
            root: Digest(s.root),
        })
    }
}
