//! Iteration over leaves in key order. Holds one position per level, so memory is bounded by the
//! depth of the tree.

use std::slice;
use std::sync::Arc;

use crate::key::Key;
use crate::node::{Body, Entry, Leaf, Node};

/// Leaves of a tree in key order; see [`Tree::leaves`](crate::Tree::leaves).
#[derive(Clone)]
pub struct Leaves<'a> {
    bucket: slice::Iter<'a, Entry>,
    pending: Vec<slice::Iter<'a, Option<Arc<Node>>>>,
}

impl<'a> Leaves<'a> {
    pub(crate) fn of_entries(entries: &'a [Entry]) -> Self {
        Self {
            bucket: entries.iter(),
            pending: Vec::new(),
        }
    }

    pub(crate) fn of_node(node: &'a Node) -> Self {
        let mut leaves = Self::of_entries(&[]);
        leaves.enter(node);
        leaves
    }

    fn enter(&mut self, node: &'a Node) {
        match node.body() {
            Body::Bucket(entries) => self.bucket = entries.iter(),
            Body::Inner { children, .. } => self.pending.push(children.iter()),
        }
    }
}

impl<'a> Iterator for Leaves<'a> {
    type Item = (Key, &'a Leaf);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, leaf)) = self.bucket.next() {
                return Some((*key, leaf));
            }
            match self.pending.last_mut()?.next() {
                Some(Some(child)) => self.enter(child),
                Some(None) => {}
                None => {
                    self.pending.pop();
                }
            }
        }
    }
}
