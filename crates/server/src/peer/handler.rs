//! The consensus node as the answerer of peers.

use std::sync::Arc;

use async_trait::async_trait;
use pando_consensus::{Node, PeerError, PeerRpc, SyncPipe};
use pando_model::NodeId;
use tracing::{Instrument as _, info_span};

use super::service::PeerHandler;

#[async_trait]
impl PeerHandler for Arc<Node> {
    async fn handle(
        &self,
        from: NodeId,
        rpc: PeerRpc,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, PeerError> {
        let span = info_span!("peer", id = self.id(), term = self.term(), from);
        Node::handle(self, from, rpc, body).instrument(span).await
    }

    async fn serve_sync(&self, from: NodeId, pipe: SyncPipe) {
        let span = info_span!("sync", id = self.id(), term = self.term(), to = from);
        Node::serve_sync(self, from, pipe).instrument(span).await;
    }
}
