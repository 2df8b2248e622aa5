//! Planning: what a log entry changes, worked out from the state without touching it.
//!
//! Every decision a write needs is taken here, from the entry and the state alone, so that all replicas take the
//! same one.

mod points;

use std::sync::Arc;

use pando_merkle::{Key, Leaf};
use pando_model::limits::{COLLECTIONS_MAX, REQUEST_IDS_REMEMBERED};
use pando_model::{
    CollectionName, Command, Definition, Effect, PointId, Proposal, Record, Row, Stamp, TreeId,
    WriteError, WriteResult,
};
use pando_storage::{KvStore, Rows};

use crate::applied::{ApplyEntry, ApplyPayload};
use crate::check::Checks;
use crate::error::ReplicaError;
use crate::reply::Reply;
use crate::state::State;
use crate::system_row::{SystemId, SystemRow};
use crate::times::Times;

/// What an entry comes to.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) result: WriteResult,
    pub(crate) changes: Changes,
}

/// What an entry changes. One entry changes the points of one collection at most.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The entry's stamp: the version of every row it writes.
    pub(crate) stamp: Stamp,
    pub(crate) system: Vec<SystemChange>,
    pub(crate) points: Option<(TreeId, Vec<PointChange>)>,
    /// The checks afterwards, for the entry that is one.
    pub(crate) check: Option<Checks>,
}

/// A change of one row of the system tree.
#[derive(Debug)]
pub(crate) enum SystemChange {
    Put(SystemRow),
    Delete(SystemId),
}

/// A change of one point.
#[derive(Debug)]
pub(crate) struct PointChange {
    pub(crate) id: PointId,
    pub(crate) key: Key,
    /// The point as it is written; `None` deletes it.
    pub(crate) put: Option<PointPut>,
}

/// A point to be written: its row, its leaf, and its content decoded for the index.
#[derive(Debug)]
pub(crate) struct PointPut {
    pub(crate) row: Row,
    pub(crate) leaf: Leaf,
    pub(crate) record: Record,
}

/// Why there is no plan: the write is refused (all replicas agree), or this replica failed.
enum Refusal {
    Write(WriteError),
    Replica(ReplicaError),
}

impl<E: Into<WriteError>> From<E> for Refusal {
    fn from(e: E) -> Self {
        Self::Write(e.into())
    }
}

type Planned = Result<(Effect, Changes), Refusal>;

/// Plans one entry.
pub(crate) fn plan(
    state: &State,
    store: &dyn KvStore,
    rows: Rows,
    times: &Times,
    entry: &ApplyEntry,
) -> Result<Plan, ReplicaError> {
    let ApplyPayload::Command(proposal) = &entry.payload else {
        return Ok(Plan {
            result: Ok(Effect::Done),
            changes: Changes::default(),
        });
    };
    if let Some(reply) = proposal.request.and_then(|id| state.catalogue.reply(&id)) {
        return Ok(Plan {
            result: reply.to(&proposal.command),
            changes: Changes::default(),
        });
    }
    let index = entry.position.index;
    let stamp = proposal.stamp.after(state.catalogue.clock);
    let planner = Planner {
        state,
        store,
        rows,
        times,
        stamp,
        index,
    };
    let (result, mut changes) = match planner.command(&proposal.command) {
        Ok((effect, changes)) => (Ok(effect), changes),
        Err(Refusal::Write(refused)) => (Err(refused), Changes::default()),
        Err(Refusal::Replica(failed)) => return Err(failed),
    };
    planner.remember(proposal, &result, &mut changes);
    changes.stamp = stamp;
    Ok(Plan { result, changes })
}

struct Planner<'a> {
    state: &'a State,
    store: &'a dyn KvStore,
    rows: Rows,
    times: &'a Times,
    stamp: Stamp,
    index: u64,
}

impl Planner<'_> {
    fn command(&self, command: &Command) -> Planned {
        // Whoever proposed it has checked it; but what is in the log is applied, and nothing may depend on that.
        command.validate()?;
        match command {
            Command::CreateCollection { name, schema, salt } => {
                self.create(name, |tree| Definition {
                    name: name.clone(),
                    tree,
                    salt: *salt,
                    created: self.stamp,
                    schema: schema.clone(),
                })
            }
            Command::DropCollection { name } => self.drop_collection(name),
            Command::SetAlias { alias, collection } => self.set_alias(alias, collection),
            Command::DropAlias { alias } => {
                if !self.state.catalogue.aliases.contains_key(alias) {
                    return Err(WriteError::AliasNotFound {
                        name: alias.clone(),
                    }
                    .into());
                }
                Ok(self.system(Effect::Done, [self.delete_alias(alias)]))
            }
            Command::RegisterNode { id, instance } => match self.state.catalogue.nodes.get(id) {
                Some(known) if known != instance => Err(WriteError::NodeIdUsed { id: *id }.into()),
                Some(_) => Ok((Effect::Done, Changes::default())),
                None => {
                    let row = SystemRow::Node {
                        id: *id,
                        instance: *instance,
                    };
                    Ok(self.system(Effect::Done, [SystemChange::Put(row)]))
                }
            },
            Command::Upsert { tree, points } => self.upsert(*tree, points),
            Command::Delete { tree, selector } => self.delete(*tree, selector),
            Command::SetPayload {
                tree,
                selector,
                payload,
            } => self.change_payload(*tree, selector, |fields| {
                fields.extend(payload.0.iter().map(|(k, v)| (k.clone(), v.clone())));
            }),
            Command::ClearPayload {
                tree,
                selector,
                keys,
            } => self.change_payload(*tree, selector, |fields| {
                fields.retain(|key, _| !keys.is_empty() && !keys.contains(key));
            }),
            Command::ConsistencyCheck => Ok(self.check()),
            Command::Quantize { tree, vectors } => {
                let was = &self.collection(*tree)?.definition;
                let definition = Definition {
                    schema: was.schema.clone().quantized(vectors)?,
                    ..Definition::clone(was)
                };
                let row = SystemRow::Collection(definition);
                Ok(self.system(Effect::Done, [SystemChange::Put(row)]))
            }
        }
    }

    fn create(
        &self,
        name: &CollectionName,
        definition: impl FnOnce(TreeId) -> Definition,
    ) -> Planned {
        let catalogue = &self.state.catalogue;
        if catalogue.collections.contains_key(name) {
            return Err(WriteError::CollectionExists { name: name.clone() }.into());
        }
        if catalogue.aliases.contains_key(name) {
            return Err(WriteError::NameIsAlias { name: name.clone() }.into());
        }
        full("collections", catalogue.collections.len())?;
        let tree = TreeId(catalogue.next_tree);
        let counters = SystemRow::Counters {
            clock: self.stamp,
            next_tree: tree.0 + 1,
        };
        let changes = [SystemRow::Collection(definition(tree)), counters].map(SystemChange::Put);
        let changes = Changes {
            system: changes.into(),
            ..Changes::default()
        };
        Ok((Effect::Created { tree }, changes))
    }

    fn drop_collection(&self, name: &CollectionName) -> Planned {
        let catalogue = &self.state.catalogue;
        if catalogue.aliases.contains_key(name) {
            return Err(WriteError::NameIsAlias { name: name.clone() }.into());
        }
        if !catalogue.collections.contains_key(name) {
            return Err(WriteError::CollectionNotFound {
                name: name.to_string(),
            }
            .into());
        }
        let aliases = catalogue
            .aliases
            .iter()
            .filter(|(_, target)| *target == name);
        let aliases = aliases.map(|(alias, _)| self.delete_alias(alias));
        let dropped = SystemChange::Delete(SystemId::Collection(name.clone()));
        Ok(self.system(Effect::Done, aliases.chain([dropped])))
    }

    fn set_alias(&self, alias: &CollectionName, collection: &CollectionName) -> Planned {
        let catalogue = &self.state.catalogue;
        if catalogue.collections.contains_key(alias) {
            return Err(WriteError::CollectionExists {
                name: alias.clone(),
            }
            .into());
        }
        if !catalogue.collections.contains_key(collection) {
            return Err(WriteError::CollectionNotFound {
                name: collection.to_string(),
            }
            .into());
        }
        if !catalogue.aliases.contains_key(alias) {
            full("aliases", catalogue.aliases.len())?;
        }
        let row = SystemRow::Alias {
            alias: alias.clone(),
            collection: collection.clone(),
        };
        Ok(self.system(Effect::Done, [SystemChange::Put(row)]))
    }

    fn delete_alias(&self, alias: &CollectionName) -> SystemChange {
        SystemChange::Delete(SystemId::Alias(alias.clone()))
    }

    /// Changes of system rows, and the clock.
    fn system(
        &self,
        effect: Effect,
        changes: impl IntoIterator<Item = SystemChange>,
    ) -> (Effect, Changes) {
        let system = changes.into_iter().chain([self.tick()]).collect();
        (
            effect,
            Changes {
                system,
                ..Changes::default()
            },
        )
    }

    /// Moves the clock to this entry's stamp.
    fn tick(&self) -> SystemChange {
        let next_tree = self.state.catalogue.next_tree;
        SystemChange::Put(SystemRow::Counters {
            clock: self.stamp,
            next_tree,
        })
    }

    /// The state is reported, and kept, as it was before this entry, which changes nothing but the applied index.
    fn check(&self) -> (Effect, Changes) {
        let (report, checks) = Checks::with(self.state, self.index);
        let changes = Changes {
            check: Some(checks),
            ..Changes::default()
        };
        (Effect::Checked(report), changes)
    }

    /// Remembers the reply for a retry, and forgets the oldest beyond the limit. A check is not remembered: it
    /// must not change what it reports.
    fn remember(&self, proposal: &Proposal, result: &WriteResult, changes: &mut Changes) {
        let Some(id) = proposal.request else { return };
        if changes.check.is_some() {
            return;
        }
        let row = SystemRow::Request {
            id,
            reply: Reply::new(self.index, &proposal.command, result.clone()),
        };
        changes.system.push(SystemChange::Put(row));
        let forgotten = self.state.catalogue.forgettable(REQUEST_IDS_REMEMBERED - 1);
        let forgotten = forgotten
            .into_iter()
            .map(|id| SystemChange::Delete(SystemId::Request(id)));
        changes.system.extend(forgotten);
    }
}

fn full(what: &str, count: usize) -> Result<(), WriteError> {
    if count < COLLECTIONS_MAX {
        return Ok(());
    }
    Err(WriteError::CatalogueFull {
        what: what.to_owned(),
        max: COLLECTIONS_MAX,
    })
}

impl Changes {
    /// The collection that comes into being or is defined anew, if one is.
    pub(crate) fn defined(&self) -> Option<Arc<Definition>> {
        self.system.iter().find_map(|change| match change {
            SystemChange::Put(SystemRow::Collection(d)) => Some(Arc::new(d.clone())),
            _ => None,
        })
    }

    /// The collection that goes, if one does.
    pub(crate) fn dropped(&self) -> Option<&CollectionName> {
        self.system.iter().find_map(|change| match change {
            SystemChange::Delete(SystemId::Collection(name)) => Some(name),
            _ => None,
        })
    }
}
