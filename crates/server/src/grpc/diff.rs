//! The Diff service: a node's trees at one log index, to be compared with others. No vectors are read.

use std::sync::Arc;

use pando_merkle::Prefix;
use pando_model::{InvalidInput, ReadError, TreeId};
use pando_proto::v1::{self, diff_server::Diff};
use pando_replica::{Checked, FrozenLeaf, FrozenNode, LookRefused, PREFIXES_PER_LOOK_MAX};
use tonic::{Request, Response, Status};

use super::api::{check_count, reply};
use super::{Api, Deadline};
use crate::error::ServiceError;

pub(crate) struct DiffService(pub(crate) Api);

impl DiffService {
    async fn state(&self, index: u64, deadline: Deadline) -> Result<v1::FrozenState, ServiceError> {
        let checked = self.0.node.frozen(index, deadline.left()).await?;
        let checked = checked.ok_or(LookRefused::NotKept { index })?;
        let cluster = self.0.identity.cluster_id();
        let cluster_id = cluster.map_or_else(String::new, |id| id.to_string());
        // Roots are computed where they were not yet.
        let collections = tokio::task::spawn_blocking({
            let checked = Arc::clone(&checked);
            move || collections(&checked)
        });
        Ok(v1::FrozenState {
            cluster_id,
            node_id: self.0.node.id(),
            log_index: index,
            root: checked.report().root.to_vec(),
            collections: collections.await.map_err(|_| ServiceError::Stopped {
                reason: "a thread was lost".to_owned(),
                outcome_unknown: false,
            })?,
        })
    }
}

fn collections(checked: &Checked) -> Vec<v1::FrozenTree> {
    let trees = checked
        .collections()
        .map(|(definition, tree)| v1::FrozenTree {
            name: definition.name.to_string(),
            tree_id: definition.tree.0,
            salt: definition.salt.to_vec(),
            root: tree.root().as_bytes().to_vec(),
            points: tree.len(),
        });
    let mut trees: Vec<_> = trees.collect();
    trees.sort_by(|a, b| a.name.cmp(&b.name));
    trees
}

fn node(found: FrozenNode) -> v1::FrozenNode {
    match found {
        FrozenNode::Inner(children) => v1::FrozenNode {
            children: children
                .iter()
                .map(|child| child.map_or_else(Vec::new, |digest| digest.as_bytes().to_vec()))
                .collect(),
            leaves: Vec::new(),
        },
        FrozenNode::Leaves(leaves) => v1::FrozenNode {
            children: Vec::new(),
            leaves: leaves.into_iter().map(leaf).collect(),
        },
    }
}

fn leaf(found: FrozenLeaf) -> v1::FrozenLeaf {
    v1::FrozenLeaf {
        key: found.key.as_bytes().to_vec(),
        digest: found.digest.as_bytes().to_vec(),
        id: found.id.unwrap_or_default(),
        version: found
            .version
            .map_or_else(Vec::new, |version| version.to_vec()),
    }
}

impl From<LookRefused> for ServiceError {
    fn from(refused: LookRefused) -> Self {
        match refused {
            LookRefused::NotKept { .. } => Self::Read(ReadError::NotServing {
                reason: refused.to_string(),
            }),
            LookRefused::NoTree { .. } => Self::Invalid(InvalidInput::BadField {
                field: "tree_id".to_owned(),
                reason: refused.to_string(),
            }),
            LookRefused::TooMany { count, max } => Self::Invalid(InvalidInput::TooMany {
                what: "prefixes".to_owned(),
                count,
                max,
            }),
            LookRefused::Storage { reason } => Self::Storage { detail: reason },
        }
    }
}

#[tonic::async_trait]
impl Diff for DiffService {
    async fn freeze(
        &self,
        request: Request<v1::FreezeRequest>,
    ) -> Result<Response<v1::FrozenState>, Status> {
        let (_, deadline) = self.0.begin(request)?;
        let written = self.0.node.freeze_members(deadline.left()).await;
        let index = written.map_err(ServiceError::from)?;
        reply(self.state(index, deadline).await?)
    }

    async fn frozen(
        &self,
        request: Request<v1::FrozenRequest>,
    ) -> Result<Response<v1::FrozenState>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        reply(self.state(request.log_index, deadline).await?)
    }

    async fn look(
        &self,
        request: Request<v1::LookRequest>,
    ) -> Result<Response<v1::LookResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let prefixes = request.prefixes;
        check_count("prefixes", prefixes.len(), PREFIXES_PER_LOOK_MAX)
            .map_err(ServiceError::from)?;
        let prefixes: Result<Vec<Prefix>, _> = prefixes
            .iter()
            .map(|bytes| Prefix::from_bytes(bytes))
            .collect();
        let prefixes = prefixes.map_err(|error| {
            ServiceError::Invalid(InvalidInput::BadField {
                field: "prefixes".to_owned(),
                reason: error.to_string(),
            })
        })?;
        let index = request.log_index;
        // Also refuses on a node whose state must not be used.
        let kept = self.0.node.frozen(index, deadline.left()).await;
        kept.map_err(ServiceError::from)?;
        let looked = self.0.node.look(index, TreeId(request.tree_id), prefixes);
        let nodes = looked.await.map_err(ServiceError::from)?;
        reply(v1::LookResponse {
            nodes: nodes.into_iter().map(node).collect(),
        })
    }
}
