//! Answers to `Nodes`: one node for each prefix, in the order in which they were asked.

use pando_merkle::{NodeView, Prefix, Tree};

use super::LeaderOptions;
use crate::limits::PREFIXES_PER_REQUEST_MAX;
use crate::message::{Children, Response, WireHash, WireNode};

pub(super) struct Nodes<'a> {
    pub(super) id: u64,
    pub(super) tree: &'a Tree,
    pub(super) full: bool,
    pub(super) prefixes: std::vec::IntoIter<Prefix>,
    pub(super) options: LeaderOptions,
}

impl Nodes<'_> {
    pub(super) fn next_frame(&mut self) -> Option<Response> {
        let node_bytes = if self.full { 8 + 16 * 32 } else { 8 + 16 * 4 };
        let (mut nodes, mut bytes) = (Vec::new(), 0);
        while bytes < self.options.frame_bytes && nodes.len() < PREFIXES_PER_REQUEST_MAX {
            let Some(prefix) = self.prefixes.next() else {
                break;
            };
            nodes.push(self.node(&prefix));
            bytes += node_bytes;
        }
        let id = self.id;
        (!nodes.is_empty()).then_some(Response::Nodes { id, nodes })
    }

    fn node(&self, prefix: &Prefix) -> WireNode {
        match self.tree.node(prefix) {
            NodeView::Empty => WireNode::Empty,
            NodeView::Bucket { digest, count, .. } => WireNode::Bucket {
                hash: WireHash::of(&digest, self.full),
                count,
            },
            NodeView::Inner { children, .. } => WireNode::Inner {
                children: Children::of(&children, self.full),
            },
        }
    }
}
