//! How a method reaches the node: consistency first, then the replica, off the async workers; writes through
//! consensus.

use std::sync::Arc;

use pando_consensus::{Node, Receipt};
use pando_model::{
    CollectionName, Command, Consistency, InvalidInput, ReadError, RequestId, TreeId,
};
use pando_proto::{DecodeError, GRPC_MESSAGE_BYTES_MAX};
use pando_replica::{Patience, Replica};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{Deadline, SearchGate};
use crate::error::ServiceError;
use crate::identity::Identity;

/// What the services share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) node: Arc<Node>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) gate: SearchGate,
}

impl Api {
    /// The message and its deadline, on a node that belongs to a cluster.
    pub(crate) fn begin<T>(&self, request: Request<T>) -> Result<(T, Deadline), ServiceError> {
        if self.identity.cluster_id().is_none() {
            return Err(ServiceError::NotInitialized);
        }
        accept(request)
    }

    /// Runs a read once this node has seen what it must see. Returns the log index it had applied by then.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        consistency: Consistency,
        deadline: Deadline,
        work: impl FnOnce(&Replica) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<(T, u64), ServiceError> {
        let applied = self.node.barrier(consistency, deadline.left()).await?;
        let replica = Arc::clone(self.node.replica());
        let found = tokio::task::spawn_blocking(move || work(&replica)).await;
        let found = found.map_err(|_| ServiceError::Internal {
            detail: "the read panicked or the node is shutting down".to_owned(),
        })?;
        Ok((found?, applied))
    }

    /// Runs a read that looks at many points, once this node has seen what it must see and it is the read's turn. It is
    /// given up where it can be when its deadline has passed or the client has gone.
    pub(crate) async fn search<T: Send + 'static>(
        &self,
        consistency: Consistency,
        deadline: Deadline,
        work: impl FnOnce(&Replica, Patience<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<(T, u64), ServiceError> {
        self.search_by(consistency, deadline, false, work).await
    }

    /// The same, where a `quick` one is done right here: handing it over would be much of the work.
    pub(crate) async fn search_by<T: Send + 'static>(
        &self,
        consistency: Consistency,
        deadline: Deadline,
        quick: bool,
        work: impl FnOnce(&Replica, Patience<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<(T, u64), ServiceError> {
        let applied = self.node.barrier(consistency, deadline.left()).await?;
        let pass = self.gate.enter(deadline).await?;
        let gone = CancellationToken::new();
        let _here = gone.clone().drop_guard();
        let replica = Arc::clone(self.node.replica());
        let search = move || {
            let _pass = pass;
            work(&replica, &|| {
                !gone.is_cancelled() && !deadline.left().is_zero()
            })
        };
        if quick {
            return Ok((search()?, applied));
        }
        let found = tokio::task::spawn_blocking(search);
        let found = found.await.map_err(|_| ServiceError::Internal {
            detail: "the search panicked or the node is shutting down".to_owned(),
        })?;
        Ok((found?, applied))
    }

    /// The tree of a collection given by name or alias. This node may not have heard of it yet, so before it is
    /// said not to exist the node catches up.
    pub(crate) async fn tree(
        &self,
        name: &CollectionName,
        deadline: Deadline,
    ) -> Result<TreeId, ServiceError> {
        let resolve = |level| {
            let name = name.clone();
            self.read(level, deadline, move |r| Ok(r.resolve(&name)?.tree))
        };
        match resolve(Consistency::Local).await {
            Err(ServiceError::Read(ReadError::CollectionNotFound { .. })) => {
                Ok(resolve(Consistency::Linearizable).await?.0)
            }
            found => Ok(found?.0),
        }
    }

    /// Writes through consensus.
    pub(crate) async fn write(
        &self,
        command: Command,
        request: Option<RequestId>,
        deadline: Deadline,
    ) -> Result<Receipt, ServiceError> {
        Ok(self.node.write(command, request, deadline.left()).await?)
    }
}

/// The message and its deadline.
pub(crate) fn accept<T>(request: Request<T>) -> Result<(T, Deadline), ServiceError> {
    let deadline = request.extensions().get::<Deadline>().copied();
    let deadline = deadline.ok_or_else(|| ServiceError::Internal {
        detail: "a request came past admission".to_owned(),
    })?;
    Ok((request.into_inner(), deadline))
}

/// Decodes within a closure, so that `?` turns what is wrong into a failed call.
pub(crate) fn decode<T>(work: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, ServiceError> {
    Ok(work()?)
}

/// A reply, if it fits a message.
pub(crate) fn reply<T: Message>(message: T) -> Result<Response<T>, Status> {
    let bytes = message.encoded_len();
    if bytes > GRPC_MESSAGE_BYTES_MAX {
        let max = GRPC_MESSAGE_BYTES_MAX;
        return Err(ServiceError::ResponseTooLarge { bytes, max }.into());
    }
    Ok(Response::new(message))
}

/// Refuses none, and more than the limit.
pub(crate) fn check_count(what: &str, count: usize, max: usize) -> Result<(), InvalidInput> {
    let what = what.to_owned();
    match count {
        0 => Err(InvalidInput::Empty { what }),
        count if count > max => Err(InvalidInput::TooMany { what, count, max }),
        _ => Ok(()),
    }
}

/// What an applied write reports that reports something else than it should.
pub(crate) fn unexpected(receipt: &Receipt) -> ServiceError {
    ServiceError::Internal {
        detail: format!("the write had the effect {:?}", receipt.effect),
    }
}
