//! The catalogue in memory: the system tree's rows, in the form in which they are asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pando_model::{CollectionName, Definition, NodeId, RequestId, Stamp, TreeId};
use uuid::Uuid;

use crate::reply::Reply;
use crate::system_row::{SystemId, SystemRow};

/// What the rows of the system tree say. A pure function of them: rows are put and deleted, nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    pub(crate) clock: Stamp,
    pub(crate) next_tree: u32,
    pub(crate) collections: BTreeMap<CollectionName, Arc<Definition>>,
    pub(crate) aliases: BTreeMap<CollectionName, CollectionName>,
    pub(crate) nodes: BTreeMap<NodeId, Uuid>,
    replies: HashMap<RequestId, Reply>,
    requests_by_index: BTreeMap<u64, RequestId>,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            clock: Stamp::default(),
            next_tree: TreeId::SYSTEM.0 + 1,
            collections: BTreeMap::new(),
            aliases: BTreeMap::new(),
            nodes: BTreeMap::new(),
            replies: HashMap::new(),
            requests_by_index: BTreeMap::new(),
        }
    }
}

impl Catalogue {
    pub(crate) fn put(&mut self, row: SystemRow) {
        match row {
            SystemRow::Counters { clock, next_tree } => {
                (self.clock, self.next_tree) = (clock, next_tree);
            }
            SystemRow::Collection(definition) => {
                self.collections
                    .insert(definition.name.clone(), Arc::new(definition));
            }
            SystemRow::Alias { alias, collection } => {
                self.aliases.insert(alias, collection);
            }
            SystemRow::Request { id, reply } => {
                self.requests_by_index.insert(reply.index, id);
                self.replies.insert(id, reply);
            }
            SystemRow::Node { id, instance } => {
                self.nodes.insert(id, instance);
            }
        }
    }

    pub(crate) fn delete(&mut self, id: &SystemId) {
        match id {
            SystemId::Counters => (self.clock, self.next_tree) = Default::default(),
            SystemId::Collection(name) => {
                self.collections.remove(name);
            }
            SystemId::Alias(alias) => {
                self.aliases.remove(alias);
            }
            SystemId::Request(id) => {
                if let Some(reply) = self.replies.remove(id) {
                    self.requests_by_index.remove(&reply.index);
                }
            }
            SystemId::Node(id) => {
                self.nodes.remove(id);
            }
        }
    }

    /// The collection of a name or an alias.
    pub(crate) fn resolve(&self, name: &CollectionName) -> Option<&Arc<Definition>> {
        self.collections.get(self.aliases.get(name).unwrap_or(name))
    }

    /// The reply remembered for a request.
    pub(crate) fn reply(&self, id: &RequestId) -> Option<&Reply> {
        self.replies.get(id)
    }

    /// The oldest requests beyond the `keep` newest.
    pub(crate) fn forgettable(&self, keep: u64) -> Vec<RequestId> {
        let surplus = (self.requests_by_index.len() as u64).saturating_sub(keep);
        let surplus = usize::try_from(surplus).unwrap_or(usize::MAX);
        self.requests_by_index
            .values()
            .take(surplus)
            .copied()
            .collect()
    }
}
