//! The header on every message: which cluster, which protocol, from whom, to whom.

use std::sync::Arc;

use bytes::Bytes;
use pando_model::{ClusterId, GroupId, NodeId};
use pando_proto::cluster_v1::{Header, PeerRefusal, RefusalCode};

use crate::identity::Identity;

/// The node-to-node protocol this release speaks. It understands no other.
pub const PROTOCOL_VERSION: u32 = 2;

/// Why a message is refused, as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn new(code: RefusalCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

impl From<Refusal> for PeerRefusal {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code.into(),
            reason: refusal.reason,
        }
    }
}

impl From<PeerRefusal> for Refusal {
    fn from(refusal: PeerRefusal) -> Self {
        Self {
            code: refusal.code(),
            reason: refusal.reason,
        }
    }
}

/// Writes and judges headers for one node.
#[derive(Clone, Debug)]
pub struct Envelope {
    identity: Arc<Identity>,
}

impl Envelope {
    /// The envelope of the node with this identity.
    #[must_use]
    pub fn new(identity: Arc<Identity>) -> Self {
        Self { identity }
    }

    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// The header of a message to a node; 0 where its id is not known yet.
    #[must_use]
    pub fn header(&self, to: NodeId) -> Header {
        let cluster = self.identity.cluster_id();
        Header {
            cluster_id: cluster.map_or_else(Bytes::new, |c| Bytes::copy_from_slice(c.0.as_bytes())),
            protocol_version: PROTOCOL_VERSION,
            group: GroupId::CATALOGUE.0,
            from: self.identity.node_id(),
            to,
        }
    }

    /// Who sent the message, if it is for this node, of its cluster and in its protocol.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn check(&self, header: Option<&Header>) -> Result<NodeId, Refusal> {
        let (header, theirs) = read(header)?;
        let Some(ours) = self.identity.cluster_id() else {
            let reason = "this node belongs to no cluster yet";
            return Err(Refusal::new(RefusalCode::NotInitialized, reason));
        };
        if theirs != Some(ours) {
            let theirs = theirs.map_or_else(|| "no cluster".to_owned(), |c| format!("cluster {c}"));
            let reason = format!("the message is of {theirs}, this node is of cluster {ours}");
            return Err(Refusal::new(RefusalCode::ForeignCluster, reason));
        }
        let group = GroupId::CATALOGUE.0;
        if header.group != group {
            let reason = format!(
                "the message is for group {}, there is {group} only",
                header.group
            );
            return Err(Refusal::new(RefusalCode::WrongNode, reason));
        }
        self.check_addressee(header)?;
        Ok(header.from)
    }

    /// The cluster an offer of membership is for, and who made it. The cluster may be any: the identity decides.
    pub(crate) fn check_join(&self, header: Option<&Header>) -> Result<ClusterId, Refusal> {
        let (header, cluster) = read(header)?;
        if header.to != 0 {
            self.check_addressee(header)?;
        }
        cluster.ok_or_else(|| {
            Refusal::new(
                RefusalCode::Malformed,
                "an offer of membership names no cluster",
            )
        })
    }

    fn check_addressee(&self, header: &Header) -> Result<(), Refusal> {
        let ours = self.identity.node_id();
        if header.to == ours {
            return Ok(());
        }
        let reason = format!("the message is for node {}, this is node {ours}", header.to);
        Err(Refusal::new(RefusalCode::WrongNode, reason))
    }
}

/// What holds for every message: it has a header, in a protocol this node speaks, from a node.
fn read(header: Option<&Header>) -> Result<(&Header, Option<ClusterId>), Refusal> {
    let malformed = |reason: &str| Refusal::new(RefusalCode::Malformed, reason);
    let header = header.ok_or_else(|| malformed("the message has no header"))?;
    // First of all: in another protocol the other fields may mean something else.
    if header.protocol_version != PROTOCOL_VERSION {
        let reason = format!(
            "the message speaks protocol version {}, this node speaks {PROTOCOL_VERSION}: run one release on all nodes",
            header.protocol_version
        );
        return Err(Refusal::new(RefusalCode::ProtocolVersion, reason));
    }
    if header.from == 0 {
        return Err(malformed("the message does not say who sent it"));
    }
    let cluster = match header.cluster_id.as_ref() {
        [] => None,
        bytes => {
            let id = uuid::Uuid::from_slice(bytes)
                .map_err(|_| malformed("a cluster id has 16 bytes"))?;
            Some(ClusterId(id))
        }
    };
    Ok((header, cluster))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(id: NodeId, cluster: Option<u128>) -> (tempfile::TempDir, Envelope) {
        let dir = tempfile::tempdir().expect("a directory");
        let identity = Identity::open(dir.path(), Some(id)).expect("an identity");
        if let Some(cluster) = cluster {
            identity
                .join(ClusterId(Uuid::from_u128(cluster)))
                .expect("no cluster yet");
        }
        (dir, Envelope::new(Arc::new(identity)))
    }

    #[test]
    fn a_message_within_the_cluster_is_accepted() {
        let ((_a, one), (_b, two)) = (node(1, Some(9)), node(2, Some(9)));
        assert_eq!(two.check(Some(&one.header(2))), Ok(1));
    }

    #[test]
    fn what_is_wrong_with_a_message_is_said() {
        let ((_a, one), (_b, two)) = (node(1, Some(9)), node(2, Some(9)));
        let good = one.header(2);
        let newer = Header {
            protocol_version: PROTOCOL_VERSION + 1,
            ..good.clone()
        };
        let older = Header {
            protocol_version: PROTOCOL_VERSION - 1,
            ..good.clone()
        };
        let foreign = Header {
            cluster_id: Bytes::from_static(&[7; 16]),
            ..good.clone()
        };
        let homeless = Header {
            cluster_id: Bytes::new(),
            ..good.clone()
        };
        let garbled = Header {
            cluster_id: Bytes::from_static(&[7; 3]),
            ..good.clone()
        };
        let astray = Header {
            to: 3,
            ..good.clone()
        };
        let to_nobody = Header {
            to: 0,
            ..good.clone()
        };
        let other_group = Header {
            group: 1,
            ..good.clone()
        };
        let anonymous = Header { from: 0, ..good };
        for (header, code) in [
            (None, RefusalCode::Malformed),
            (Some(newer), RefusalCode::ProtocolVersion),
            (Some(older), RefusalCode::ProtocolVersion),
            (Some(foreign), RefusalCode::ForeignCluster),
            (Some(homeless), RefusalCode::ForeignCluster),
            (Some(garbled), RefusalCode::Malformed),
            (Some(astray), RefusalCode::WrongNode),
            (Some(to_nobody), RefusalCode::WrongNode),
            (Some(other_group), RefusalCode::WrongNode),
            (Some(anonymous), RefusalCode::Malformed),
        ] {
            let refusal = two.check(header.as_ref()).expect_err("refused");
            assert_eq!(refusal.code, code, "{header:?}: {refusal}");
        }
    }

    #[test]
    fn a_waiting_node_takes_nothing_but_an_offer() {
        let ((_a, member), (_b, waiting)) = (node(1, Some(9)), node(2, None));
        let refusal = waiting.check(Some(&member.header(2))).expect_err("refused");
        assert_eq!(refusal.code, RefusalCode::NotInitialized);
        let offered = waiting.check_join(Some(&member.header(0)));
        assert_eq!(offered, Ok(ClusterId(Uuid::from_u128(9))));
        let astray = waiting
            .check_join(Some(&member.header(3)))
            .expect_err("for another");
        assert_eq!(astray.code, RefusalCode::WrongNode);
        let empty = member
            .check_join(Some(&waiting.header(1)))
            .expect_err("offers nothing");
        assert_eq!(empty.code, RefusalCode::Malformed);
    }
}
