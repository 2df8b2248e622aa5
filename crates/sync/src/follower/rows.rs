//! Rows of the leader, as they come: checked one by one, then applied to the working tree and staged.

use pando_model::{Row, TreeId};

use super::cover;
use super::pending::{Drop, Listing, Pending, Todo, Wanted};
use super::session::Session;
use super::{Op, Staged};
use crate::error::SyncError;
use crate::message::Part;
use crate::row::{row_key, row_leaf};
use crate::stats::Stats;

impl Session {
    pub(super) fn on_rows(
        &mut self,
        id: u64,
        (parts, more, puts): (Vec<Part>, bool, Vec<Row>),
        stage: &mut Vec<Staged>,
        stats: &mut Stats,
    ) -> Result<(), SyncError> {
        let what = "rows";
        let Some(Pending::Rows {
            tree,
            mut wants,
            stream,
        }) = self.outstanding.remove(&id)
        else {
            return Err(SyncError::NotRequested { what, id });
        };
        let invalid = |rule| Err(SyncError::Part { id, rule });
        if parts.is_empty() {
            return invalid("it answers no want");
        }
        let claimed: u64 = parts.iter().map(|part| u64::from(part.puts)).sum();
        if claimed != puts.len() as u64 {
            return invalid("its parts count more or fewer rows than it has");
        }
        let (mut puts, last) = (puts.into_iter(), parts.len() - 1);
        for (at, part) in parts.into_iter().enumerate() {
            let Some(mut wanted) = wants.pop_front() else {
                return invalid("it answers more wants than there are");
            };
            let done = !(more && at == last);
            if part.puts == 0 && part.gone.is_empty() && !done {
                return invalid("it goes on with a part that says nothing");
            }
            for row in puts.by_ref().take(part.puts as usize) {
                self.put(tree, &mut wanted, row, stage, stats)?;
            }
            for at in part.gone {
                if wanted.gone.last().is_some_and(|last| *last >= at) {
                    return invalid("a position is repeated, or out of order");
                }
                if at as usize >= wanted.keys.len() || wanted.listing == Listing::Nothing {
                    return invalid("a position is not one of the list");
                }
                wanted.gone.push(at);
            }
            self.reach(tree, &mut wanted, done);
            if done {
                self.complete(tree, wanted, stage, stats)?;
            } else {
                wants.push_front(wanted);
            }
        }
        if !wants.is_empty() {
            let pending = Pending::Rows {
                tree,
                wants,
                stream,
            };
            self.outstanding.insert(id, pending);
        }
        Ok(())
    }

    /// Takes one row of the answer to a want.
    pub(super) fn put(
        &mut self,
        tree: TreeId,
        wanted: &mut Wanted,
        row: Row,
        stage: &mut Vec<Staged>,
        stats: &mut Stats,
    ) -> Result<(), SyncError> {
        let prefix = wanted.prefix;
        let index = self.header.index;
        let Some(head) = self.heads.get_mut(&tree) else {
            return Ok(());
        };
        let local = self.trees.entry(tree).or_default();
        let key = row_key(&head.salt, &row);
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
        head.received += 1;
        if head.received > head.count {
            return Err(SyncError::TooManyRows {
                tree,
                count: head.count,
            });
        }
        wanted.last_put = Some(key);
        wanted.mark_sent(&key);
        let leaf = row_leaf(&row, index);
        let held = local.get(&key);
        if held.is_some_and(|held| held.digest == leaf.digest) {
            return match wanted.listing {
                Listing::Tags | Listing::Full => {
                    refused("the follower listed it as one that it has")
                }
                Listing::Nothing | Listing::Since => {
                    stats.rows_held += 1;
                    Ok(())
                }
            };
        }
        local.insert(key, leaf);
        stats.rows_put += 1;
        let op = Op::Put(row);
        stage.push(Staged { tree, key, op });
        Ok(())
    }

    /// Counts what is done up to the last row taken, or all of it.
    pub(super) fn reach(&mut self, tree: TreeId, wanted: &mut Wanted, done: bool) {
        let reached = match wanted.last_put {
            _ if done => cover::span(&wanted.prefix),
            Some(key) => cover::before(&wanted.prefix, &key),
            None => 0,
        };
        self.cover(tree, reached.saturating_sub(wanted.covered));
        wanted.covered = wanted.covered.max(reached);
    }

    /// All rows of a want are here: what is not among them goes. What is there then must be what the leader said.
    fn complete(
        &mut self,
        tree: TreeId,
        mut wanted: Wanted,
        stage: &mut Vec<Staged>,
        stats: &mut Stats,
    ) -> Result<(), SyncError> {
        let (prefix, listing) = (wanted.prefix, wanted.listing);
        let deletes = wanted.take_deletes();
        if listing == Listing::Nothing && !deletes.is_empty() {
            // There may be many of them.
            self.drops.push((tree, Drop::Keys(deletes)));
            return Ok(());
        }
        let local = self.trees.entry(tree).or_default();
        let remove = |key| Some((key, local.remove(&key, self.header.index)?));
        let removed: Vec<_> = deletes.into_iter().filter_map(remove).collect();
        let is_right = wanted.hash.is_none_or(|hash| {
            let node = local.node(&prefix);
            node.digest().is_some_and(|digest| hash.matches(&digest))
        });
        if is_right {
            stats.rows_deleted += removed.len() as u64;
            stage.extend(removed.into_iter().map(|(key, _)| {
                let op = Op::Delete;
                Staged { tree, key, op }
            }));
            return Ok(());
        }
        let (Listing::Tags, Some(hash)) = (listing, wanted.hash) else {
            return Err(SyncError::Incomplete { tree, prefix });
        };
        // What seems to be gone may be there with another digest, which has the tag of a leaf that is here.
        local.extend(removed);
        let leaves = local.node(&prefix).count();
        // Two leaves with one tag are no fault of the leader: it is asked once more, with whole digests.
        stats.relists += 1;
        self.want_leaves += leaves;
        self.wants.push(Todo {
            tree,
            prefix,
            hash: Some(hash),
            leaves,
            relist: true,
            round: wanted.round + 1,
        });
        Ok(())
    }
}
