//! A node's trees at one log index, for comparing what two nodes hold without moving it.
//!
//! For clients with one endpoint and without [`follow_members`](crate::PandoBuilder::follow_members): the answer is the
//! asked node's own.

use pando_model::{NodeId, PointId, Stamp};
use pando_proto::v1::{self, diff_client::DiffClient};
use pando_proto::{DecodeError, GRPC_MESSAGE_BYTES_MAX};
use tonic::transport::Channel;

use crate::builder::Pando;
use crate::call::Safety;
use crate::error::ClientError;

/// A node's trees at one log index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenState {
    /// The cluster's identity, a UUID.
    pub cluster: String,
    /// The node.
    pub node: NodeId,
    /// The log index.
    pub log_index: u64,
    /// Replica root.
    pub root: [u8; 32],
    /// The collections' trees, by name.
    pub collections: Vec<FrozenTree>,
}

/// A collection's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenTree {
    /// The collection.
    pub name: String,
    /// Names the tree in a look.
    pub tree: u32,
    /// Salts its keys.
    pub salt: [u8; 16],
    /// Root of the tree.
    pub root: [u8; 32],
    /// Its points.
    pub points: u64,
}

/// What a tree has under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrozenNode {
    /// Digests of the children in order; `None` for one without points.
    Inner(Box<[Option<[u8; 32]>; 16]>),
    /// Few enough points to be listed, by key.
    Leaves(Vec<FrozenLeaf>),
}

/// A point of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrozenLeaf {
    /// Its key.
    pub key: [u8; 16],
    /// Digest over id, version and content.
    pub digest: [u8; 32],
    /// Its id, unless the point is gone by now.
    pub id: Option<PointId>,
    /// Its version, unless it was written again since.
    pub version: Option<Stamp>,
}

fn client(channel: Channel) -> DiffClient<Channel> {
    DiffClient::new(channel).max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
}

impl Pando {
    /// Has every member keep its trees at one log index for about a minute after they were last looked at, and returns
    /// the asked node's.
    ///
    /// # Errors
    /// `NoLeader`, `Timeout`, `NotServing`; see [`ClientError::kind`].
    pub async fn freeze(&self) -> Result<FrozenState, ClientError> {
        // It writes a log entry that changes no data: doing it twice does no harm.
        let send = |channel, request| async move { client(channel).freeze(request).await };
        let reply = self.call(Safety::Read, v1::FreezeRequest {}, send).await?;
        Ok(state(reply)?)
    }

    /// The asked node's trees at a log index that [`Pando::freeze`] returned.
    ///
    /// # Errors
    /// `Timeout`, `NotServing`; see [`ClientError::kind`].
    pub async fn frozen(&self, log_index: u64) -> Result<FrozenState, ClientError> {
        let request = v1::FrozenRequest { log_index };
        let send = |channel, request| async move { client(channel).frozen(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        Ok(state(reply)?)
    }

    /// What a kept tree has under each of at most 128 prefixes: each is the number of nibbles, then the nibbles, two to
    /// a byte.
    ///
    /// # Errors
    /// `InvalidInput`, `NotServing`; see [`ClientError::kind`].
    pub async fn look(
        &self,
        log_index: u64,
        tree: u32,
        prefixes: Vec<Vec<u8>>,
    ) -> Result<Vec<FrozenNode>, ClientError> {
        let asked = prefixes.len();
        let request = v1::LookRequest {
            log_index,
            tree_id: tree,
            prefixes,
        };
        let send = |channel, request| async move { client(channel).look(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        let nodes: Vec<FrozenNode> = reply
            .nodes
            .into_iter()
            .map(node)
            .collect::<Result<_, _>>()?;
        if nodes.len() != asked {
            let reason = format!("it has {} nodes for {asked} prefixes", nodes.len());
            return Err(DecodeError::malformed("nodes", reason).into());
        }
        Ok(nodes)
    }
}

fn fixed<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| {
        let reason = format!("it has {} bytes instead of {N}", bytes.len());
        DecodeError::malformed(field, reason)
    })
}

fn state(wire: v1::FrozenState) -> Result<FrozenState, DecodeError> {
    let tree = |tree: v1::FrozenTree| {
        Ok(FrozenTree {
            tree: tree.tree_id,
            salt: fixed("salt", &tree.salt)?,
            root: fixed("root", &tree.root)?,
            points: tree.points,
            name: tree.name,
        })
    };
    Ok(FrozenState {
        cluster: wire.cluster_id,
        node: wire.node_id,
        log_index: wire.log_index,
        root: fixed("root", &wire.root)?,
        collections: wire
            .collections
            .into_iter()
            .map(tree)
            .collect::<Result<_, DecodeError>>()?,
    })
}

fn node(wire: v1::FrozenNode) -> Result<FrozenNode, DecodeError> {
    if wire.children.is_empty() {
        let leaves = wire.leaves.into_iter().map(leaf);
        return Ok(FrozenNode::Leaves(leaves.collect::<Result<_, _>>()?));
    }
    let digest = |bytes: &Vec<u8>| match bytes.as_slice() {
        [] => Ok(None),
        bytes => fixed("children", bytes).map(Some),
    };
    let children: Vec<_> = wire.children.iter().map(digest).collect::<Result<_, _>>()?;
    let count = children.len();
    let children = children.try_into().map_err(|_| {
        DecodeError::malformed("children", format!("there are {count} instead of 16"))
    })?;
    Ok(FrozenNode::Inner(Box::new(children)))
}

fn leaf(wire: v1::FrozenLeaf) -> Result<FrozenLeaf, DecodeError> {
    let id = match wire.id.as_slice() {
        [] => None,
        bytes => Some(
            PointId::from_bytes(bytes)
                .map_err(|error| DecodeError::malformed("id", error.to_string()))?,
        ),
    };
    let version = match wire.version.as_slice() {
        [] => None,
        bytes => Some(Stamp::from_bytes(fixed("version", bytes)?)),
    };
    Ok(FrozenLeaf {
        key: fixed("key", &wire.key)?,
        digest: fixed("digest", &wire.digest)?,
        id,
        version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_tree_is_refused() {
        let children = vec![vec![0; 32]; 15];
        let short = v1::FrozenNode {
            children,
            leaves: Vec::new(),
        };
        assert!(node(short).expect_err("15").to_string().contains("15"));
        let leaf = v1::FrozenLeaf {
            key: vec![0; 16],
            digest: vec![0; 31],
            ..Default::default()
        };
        let bad = v1::FrozenNode {
            children: Vec::new(),
            leaves: vec![leaf],
        };
        assert_eq!(node(bad).expect_err("31 bytes").field(), "digest");
        let mut children = vec![Vec::new(); 16];
        children[3] = vec![7; 32];
        let whole = v1::FrozenNode {
            children,
            leaves: Vec::new(),
        };
        let FrozenNode::Inner(children) = node(whole).expect("a node") else {
            panic!("children")
        };
        assert_eq!(children.iter().flatten().count(), 1);
    }
}
