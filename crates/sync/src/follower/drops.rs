//! Deletes that need no answer: whole subtrees, what a bucket does not keep, what a stream did not bring.

use pando_merkle::{Key, Prefix};
use pando_model::TreeId;

use super::cover;
use super::pending::Drop;
use super::session::Session;
use super::{Op, Staged};
use crate::message::Tag;
use crate::stats::Stats;

impl Session {
    /// The leader has nothing under a prefix.
    pub(super) fn drop_under(&mut self, tree: TreeId, prefix: Prefix) {
        self.cover(tree, cover::span(&prefix));
        let local = self.trees.get(&tree);
        if local.is_some_and(|tree| tree.leaves(&prefix).next().is_some()) {
            self.drops.push((tree, Drop::Under(prefix, Vec::new())));
        }
    }

    /// Stages deletes of what the leader does not have, at most a step's worth. Whether there are more.
    pub(super) fn drop_some(&mut self, stage: &mut Vec<Staged>, stats: &mut Stats) -> bool {
        let mut left = self.options.deletes_per_step.max(1);
        while let Some((id, drop)) = self.drops.last_mut() {
            let id = *id;
            let Some(tree) = self.trees.get_mut(&id) else {
                self.drops.pop();
                continue;
            };
            let keys: Vec<Key> = match drop {
                Drop::Under(prefix, kept) => tree
                    .leaves(prefix)
                    .filter(|(_, leaf)| kept.binary_search(&Tag::of(&leaf.digest)).is_err())
                    .take(left)
                    .map(|(key, _)| key)
                    .collect(),
                Drop::Keys(keys) => keys.drain(keys.len().saturating_sub(left)..).collect(),
            };
            left -= keys.len();
            for key in keys {
                if tree.remove(&key, self.header.index).is_some() {
                    stats.rows_deleted += 1;
                    let op = Op::Delete;
                    stage.push(Staged { tree: id, key, op });
                }
            }
            if left == 0 {
                return true;
            }
            self.drops.pop();
            if !self.heads.contains_key(&id) {
                self.trees.remove(&id);
            }
        }
        false
    }
}
