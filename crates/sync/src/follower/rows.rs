//! Rows and deletes of the leader, as they come: checked one by one, then applied to the working tree and staged.

use pando_merkle::{Key, Prefix, Tree};
use pando_model::{Row, TreeId};

use super::cover;
use super::session::{Session, Wanted};
use super::{Op, Staged, Stats, Step};
use crate::error::SyncError;
use crate::message::Deletes;
use crate::row::{row_key, row_leaf};

/// A part of the answer to one want.
pub(super) struct Part {
    pub(super) tree: TreeId,
    pub(super) prefix: Prefix,
    pub(super) puts: Vec<Row>,
    pub(super) deletes: Deletes,
    pub(super) done: bool,
}

impl Session {
    pub(super) fn on_rows(
        &mut self,
        part: Part,
        step: &mut Step,
        stats: &mut Stats,
    ) -> Result<(), SyncError> {
        let Part {
            tree,
            prefix,
            puts,
            deletes,
            done,
        } = part;
        let not_requested = SyncError::NotRequested {
            what: "rows",
            tree,
            prefix,
        };
        let Some(mut wanted) = self.wanted.remove(&(tree, prefix)) else {
            return Err(not_requested);
        };
        if puts.is_empty() && deletes.is_empty() && !done {
            let (message, when) = ("an empty part of rows", "which is not the last part");
            return Err(SyncError::Unexpected { message, when });
        }
        stats.rows_put += puts.len() as u64;
        stats.rows_deleted += deletes.len() as u64;
        for row in puts {
            let key = self.put(tree, prefix, &mut wanted, &row)?;
            step.stage.push(Staged {
                tree,
                key,
                op: Op::Put(row),
            });
        }
        let index = self.header.index;
        let Some(local) = self.trees.get_mut(&tree) else {
            return Err(not_requested);
        };
        for key in listed(&wanted, &deletes, tree, prefix)? {
            delete(local, index, &mut wanted, key).map_err(|rule| SyncError::Delete {
                tree,
                prefix,
                rule,
            })?;
            step.stage.push(Staged {
                tree,
                key,
                op: Op::Delete,
            });
        }
        let reached = if done {
            cover::span(&prefix)
        } else {
            wanted
                .last_put
                .map_or(0, |key| cover::before(&prefix, &key))
        };
        self.cover(tree, reached.saturating_sub(wanted.covered));
        if !done {
            wanted.covered = wanted.covered.max(reached);
            self.wanted.insert((tree, prefix), wanted);
            return Ok(());
        }
        self.answered(wanted.request);
        self.complete(tree, prefix, &wanted)
    }

    fn put(
        &mut self,
        tree: TreeId,
        prefix: Prefix,
        wanted: &mut Wanted,
        row: &Row,
    ) -> Result<Key, SyncError> {
        let what = "rows";
        let (Some(head), Some(local)) = (self.heads.get_mut(&tree), self.trees.get_mut(&tree))
        else {
            return Err(SyncError::NotRequested { what, tree, prefix });
        };
        let key = row_key(&head.salt, row);
        let refused = |rule| {
            Err(SyncError::Row {
                tree,
                prefix,
                key,
                rule,
            })
        };
        if !prefix.contains(&key) {
            return refused("its key does not lie there");
        }
        if wanted.last_put.is_some_and(|last| last >= key) {
            return refused("it is repeated, or out of key order");
        }
        let leaf = row_leaf(row, self.header.index);
        if local
            .get(&key)
            .is_some_and(|held| held.digest == leaf.digest)
        {
            return refused("the follower listed it as one that it has");
        }
        head.received += 1;
        if head.received > head.count {
            return Err(SyncError::TooManyRows {
                tree,
                count: head.count,
            });
        }
        wanted.last_put = Some(key);
        local.insert(key, leaf);
        Ok(key)
    }

    /// What is there now must be what the leader said is there.
    fn complete(&self, tree: TreeId, prefix: Prefix, wanted: &Wanted) -> Result<(), SyncError> {
        let digest = self.node(tree, &prefix).digest();
        let equal = match (digest, wanted.hash) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(digest), Some(hash)) => hash.matches(&digest),
        };
        // Two leaves that look alike in short are no fault of the leader: the second pass tells them apart.
        if equal || wanted.short {
            Ok(())
        } else {
            Err(SyncError::Incomplete { tree, prefix })
        }
    }
}

/// The keys that a list of deletes means: each one listed in the want.
fn listed(
    wanted: &Wanted,
    deletes: &Deletes,
    tree: TreeId,
    prefix: Prefix,
) -> Result<Vec<Key>, SyncError> {
    let find = |at: Result<usize, usize>| {
        let rule = "its key is not one that the follower listed";
        let key = at.ok().and_then(|at| wanted.keys.get(at)).copied();
        key.ok_or(SyncError::Delete { tree, prefix, rule })
    };
    match deletes {
        Deletes::Short(keys) if wanted.short || keys.is_empty() => keys
            .iter()
            .map(|short| find(wanted.keys.binary_search_by_key(short, Key::short)))
            .collect(),
        Deletes::Full(keys) if !wanted.short || keys.is_empty() => keys
            .iter()
            .map(|key| find(wanted.keys.binary_search(key)))
            .collect(),
        Deletes::Short(_) | Deletes::Full(_) => {
            let rule = "its key has not the length in which the follower listed it";
            Err(SyncError::Delete { tree, prefix, rule })
        }
    }
}

fn delete(local: &mut Tree, index: u64, wanted: &mut Wanted, key: Key) -> Result<(), &'static str> {
    if wanted.last_delete.is_some_and(|last| last >= key) {
        return Err("it is repeated, or out of key order");
    }
    wanted.last_delete = Some(key);
    local
        .remove(&key, index)
        .map(|_| ())
        .ok_or("its key is not there")
}
