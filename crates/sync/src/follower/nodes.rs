//! Nodes of the leader, as they come.

use pando_merkle::{BUCKET_MAX, NodeView, Prefix};
use pando_model::TreeId;

use super::cover;
use super::pending::{Asked, Pending};
use super::session::Session;
use crate::error::SyncError;
use crate::message::{Children, WireHash, WireNode};

impl Session {
    pub(super) fn on_nodes(&mut self, id: u64, nodes: Vec<WireNode>) -> Result<(), SyncError> {
        let what = "nodes";
        let Some(Pending::Nodes {
            tree,
            full,
            mut asked,
        }) = self.outstanding.remove(&id)
        else {
            return Err(SyncError::NotRequested { what, id });
        };
        let invalid = |rule| Err(SyncError::Part { id, rule });
        if nodes.is_empty() {
            return invalid("it has no nodes");
        }
        if nodes.len() > asked.len() {
            return invalid("it has more nodes than were asked for");
        }
        let answered: Vec<Asked> = asked.drain(..nodes.len()).collect();
        // What is noted last is asked first: so the requests go on in key order.
        for (asked, node) in answered.into_iter().zip(nodes).rev() {
            self.on_node(tree, full, asked, &node)?;
        }
        if !asked.is_empty() {
            let pending = Pending::Nodes { tree, full, asked };
            self.outstanding.insert(id, pending);
        }
        Ok(())
    }

    fn on_node(
        &mut self,
        tree: TreeId,
        full: bool,
        asked: Asked,
        node: &WireNode,
    ) -> Result<(), SyncError> {
        let prefix = asked.prefix;
        let invalid = |rule| SyncError::Node { tree, prefix, rule };
        let round = asked.round + 1;
        match node {
            WireNode::Empty if asked.hash.is_some() => {
                Err(invalid("it is empty, but its parent said that it is not"))
            }
            WireNode::Empty => {
                self.drop_under(tree, prefix);
                Ok(())
            }
            WireNode::Bucket { hash, count } => {
                if hash.is_full() != full {
                    return Err(invalid("its hash has not the length asked for"));
                }
                if *count == 0 || *count > BUCKET_MAX as u64 {
                    return Err(invalid("a bucket holds 1 to 32 leaves"));
                }
                if asked.hash.is_some_and(|said| !said.agrees(hash)) {
                    return Err(invalid("its hash is not the one its parent gave"));
                }
                self.on_bucket(tree, prefix, *hash, round);
                Ok(())
            }
            WireNode::Inner { children } => self.on_inner(tree, full, prefix, children, round),
        }
    }

    fn on_bucket(&mut self, tree: TreeId, prefix: Prefix, hash: WireHash, round: u64) {
        match self.node(tree, &prefix) {
            // Listing so many leaves would cost more than finding the few that the leader has too.
            NodeView::Inner { count, .. } if count > self.options.list_max => {
                self.ask_children(tree, &prefix, round);
            }
            node if node.digest().is_some_and(|digest| hash.matches(&digest)) => {
                self.cover(tree, cover::span(&prefix));
            }
            node => self.want(tree, prefix, hash, node.count(), round),
        }
    }

    fn on_inner(
        &mut self,
        tree: TreeId,
        full: bool,
        prefix: Prefix,
        children: &Children,
        round: u64,
    ) -> Result<(), SyncError> {
        let invalid = |rule| SyncError::Node { tree, prefix, rule };
        let children = children.unpack().ok_or_else(|| {
            invalid("it has not one hash for each child that is not empty, or no child")
        })?;
        if children.iter().flatten().any(|hash| hash.is_full() != full) {
            return Err(invalid("its hashes have not the length asked for"));
        }
        if prefix.children().next().is_none() {
            return Err(invalid("it has children below a whole key"));
        }
        let below: Vec<Prefix> = prefix.children().collect();
        for (prefix, hash) in below.into_iter().zip(children).rev() {
            match hash {
                Some(hash) => self.compare(tree, prefix, hash, round),
                None => self.drop_under(tree, prefix),
            }
        }
        Ok(())
    }
}
