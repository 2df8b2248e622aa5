//! How each tree is brought to the leader's root, and what follows where it is not there yet.

use pando_merkle::{Digest, Prefix};
use pando_model::TreeId;

use super::cover::Cover;
use super::pending::Stream;
use super::session::{Head, Session};
use crate::error::SyncError;
use crate::message::WireHash;
use crate::stats::{Mode, Stats};

/// Trees with at least this many rows are asked in sixteen parts for what was written since.
const SINCE_PARTS_FROM: u64 = 65_536;

/// What is done for a tree. A pass that does not end at the leader's root is followed by the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Take what was written since the log index of the installed state.
    Lineage(u64),
    /// Take everything.
    Bulk,
    /// Walk, with short hashes and tags.
    Walk,
    /// Walk, with whole hashes and lists.
    Full,
}

impl Pass {
    fn mode(self) -> Mode {
        match self {
            Self::Lineage(_) => Mode::Lineage,
            Self::Bulk => Mode::Bulk,
            Self::Walk | Self::Full => Mode::Walk,
        }
    }
}

impl Session {
    /// Begins with all trees; the number of the installed log index is given if nothing is staged.
    pub(super) fn begin_all(&mut self, clean: Option<u64>, stats: &mut Stats) {
        let ids: Vec<TreeId> = self.heads.keys().copied().collect();
        let mut largest = None;
        // What is pushed last is asked first.
        for id in ids.into_iter().rev() {
            let local = self.trees.entry(id).or_default();
            let Some(head) = self.heads.get_mut(&id) else {
                continue;
            };
            let lineage = clean.filter(|_| self.options.lineage);
            let few = local.len().saturating_mul(self.options.bulk_ratio) < head.count;
            head.pass = match lineage {
                _ if local.is_empty() => Pass::Bulk,
                Some(index) => Pass::Lineage(index),
                None if few && clean.is_some() => Pass::Bulk,
                None => Pass::Walk,
            };
            if local.root() != head.root {
                largest = largest.max(Some((head.count.max(local.len()), head.pass.mode())));
            }
            self.begin(id, 2);
        }
        stats.mode = Some(largest.map_or(Mode::Walk, |(_, mode)| mode));
    }

    /// Begins the pass of one tree.
    fn begin(&mut self, id: TreeId, round: u64) {
        let local = self.trees.entry(id).or_default();
        let Some(head) = self.heads.get(&id) else {
            return;
        };
        let (pass, wide) = (head.pass, self.options.wide_start_min);
        let hash = WireHash::Full(head.root);
        if head.count == 0 {
            self.drop_under(id, Prefix::ROOT);
        } else if local.root() == head.root {
            self.compare(id, Prefix::ROOT, hash, round);
        } else if let Pass::Lineage(index) = pass {
            let parts = u8::from(head.count >= SINCE_PARTS_FROM);
            self.stream(id, parts, Some(index), round);
        } else if pass == Pass::Bulk {
            let parts = self.parts(head);
            self.stream(id, parts, None, round);
        } else if local.len().min(head.count) >= wide {
            self.ask_children(id, &Prefix::ROOT, round);
        } else {
            self.compare(id, Prefix::ROOT, hash, round);
        }
    }

    /// At which level a tree is cut into parts to be streamed, so that each is about as large as the options say.
    fn parts(&self, head: &Head) -> u8 {
        let part = self.options.stream_bytes.max(1);
        (0..2)
            .find(|level| head.bytes >> (4 * level) <= part)
            .unwrap_or(2)
    }

    fn stream(&mut self, tree: TreeId, level: u8, since: Option<u64>, round: u64) {
        let mut parts = vec![Prefix::ROOT];
        for _ in 0..level {
            parts = parts.iter().flat_map(Prefix::children).collect();
        }
        // In key order, which storage likes best: the last one is asked first.
        self.streams
            .extend(parts.into_iter().rev().map(|prefix| Stream {
                tree,
                prefix,
                since,
                round,
            }));
    }

    /// Whether every tree is the leader's. If not, the next pass of those that are not begins.
    pub(super) fn verify(&mut self, stats: &mut Stats) -> Result<bool, SyncError> {
        let mut unequal: Vec<(TreeId, Pass)> = Vec::new();
        for (id, head) in &self.heads {
            let local = self.trees.get(id).cloned().unwrap_or_default();
            let (expected, found): (Digest, Digest) = (head.root, local.root());
            if expected != found {
                let tree = *id;
                unequal.push((
                    tree,
                    match head.pass {
                        Pass::Lineage(_) | Pass::Bulk => Pass::Walk,
                        Pass::Walk => Pass::Full,
                        Pass::Full => {
                            return Err(SyncError::RootMismatch {
                                tree,
                                expected,
                                found,
                            });
                        }
                    },
                ));
            } else if head.count != local.len() {
                let (expected, found) = (head.count, local.len());
                return Err(SyncError::CountMismatch {
                    tree: *id,
                    expected,
                    found,
                });
            }
        }
        // With every root and count equal so is the replica root: the header's was checked against them.
        if unequal.is_empty() {
            return Ok(true);
        }
        for (id, pass) in unequal {
            if let Some(head) = self.heads.get_mut(&id) {
                head.pass = pass;
                head.received = 0;
                head.cover = Cover::default();
            }
            if pass == Pass::Full {
                stats.reruns += 1;
            } else {
                stats.fallbacks += 1;
            }
            self.begin(id, stats.round_trips + 1);
        }
        Ok(false)
    }
}
