//! The consensus node as the answerer of peers.

use std::sync::Arc;

use async_trait::async_trait;
use pando_consensus::{Node, PeerError, PeerRpc, SyncPipe};
use pando_model::NodeId;

use super::service::PeerHandler;

#[async_trait]
impl PeerHandler for Arc<Node> {
    async fn handle(
        &self,
        from: NodeId,
        rpc: PeerRpc,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, PeerError> {
        Node::handle(self, from, rpc, body).await
    }

    async fn serve_sync(&self, from: NodeId, pipe: SyncPipe) {
        Node::serve_sync(self, from, pipe).await;
    }
}
