//! Requests: as many as the window holds, each as full as it may be.

use pando_merkle::{Key, Prefix};
use pando_model::TreeId;

use super::pending::{Asked, Listing, Pending, Stream, Todo, Wanted};
use super::session::Session;
use crate::limits::{LISTED_PER_REQUEST_MAX, PREFIXES_PER_REQUEST_MAX, WANTS_PER_REQUEST_MAX};
use crate::message::{Have, Request, Tag, Want};
use crate::stats::Stats;

impl Session {
    /// Fills the window.
    pub(super) fn ask(&mut self, send: &mut Vec<Request>, stats: &mut Stats) {
        while self.outstanding.len() < self.options.window.max(1) {
            // Rows move as soon as they fill a request; until then the walk goes on.
            let full = self.want_leaves >= self.options.listed_per_request as u64
                || self.wants.len() >= self.options.prefixes_per_request;
            let streaming = self.outstanding.values().filter(|p| p.is_stream()).count();
            let room = streaming < self.options.streams.max(1);
            let (request, round) = if room && let Some(stream) = self.streams.pop() {
                self.stream_request(stream)
            } else if !self.wants.is_empty() && (full || self.asks.is_empty()) {
                self.rows_request()
            } else if let Some(last) = self.asks.last() {
                self.nodes_request(last.tree)
            } else {
                break;
            };
            stats.on_request(&request);
            stats.round_trips = stats.round_trips.max(round);
            send.push(request);
        }
    }

    fn number(&mut self, pending: Pending) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        self.outstanding.insert(id, pending);
        id
    }

    fn stream_request(&mut self, stream: Stream) -> (Request, u64) {
        let Stream {
            tree,
            prefix,
            since,
            round,
        } = stream;
        if let Some(index) = since {
            let wanted = Wanted::new(prefix, Listing::Since, Vec::new());
            let last_kept = None;
            let id = self.number(Pending::Since {
                tree,
                wanted,
                last_kept,
            });
            let since = Request::Since {
                id,
                tree,
                prefix,
                index,
            };
            return (since, round);
        }
        let keys = self.leaves(tree, &prefix).map(|(key, _)| key).collect();
        let wanted = Wanted::new(prefix, Listing::Nothing, keys);
        let id = self.number(Pending::Rows {
            tree,
            wants: [wanted].into(),
            stream: true,
        });
        let have = Have::NOTHING;
        let wants = vec![Want { prefix, have }];
        (Request::Rows { id, tree, wants }, round)
    }

    fn nodes_request(&mut self, tree: TreeId) -> (Request, u64) {
        let (mut asked, mut last_round) = (Vec::new(), 0);
        let max = self
            .options
            .prefixes_per_request
            .clamp(1, PREFIXES_PER_REQUEST_MAX);
        while asked.len() < max
            && let Some(todo) = self.asks.pop_if(|todo| todo.tree == tree)
        {
            let Todo {
                prefix,
                hash,
                round,
                ..
            } = todo;
            last_round = last_round.max(round);
            asked.push(Asked {
                prefix,
                hash,
                round,
            });
        }
        asked.sort_unstable_by_key(|asked| asked.prefix);
        let prefixes = asked.iter().map(|asked| asked.prefix).collect();
        let full = self.is_full(tree);
        let asked = asked.into();
        let id = self.number(Pending::Nodes { tree, full, asked });
        let nodes = Request::Nodes {
            id,
            tree,
            full,
            prefixes,
        };
        (nodes, last_round)
    }

    fn rows_request(&mut self) -> (Request, u64) {
        let tree = self.wants.last().map_or(TreeId::SYSTEM, |todo| todo.tree);
        let (mut wanted, mut leaves, mut last_round) = (Vec::new(), 0, 0);
        let leaves_max = self.options.listed_per_request.min(LISTED_PER_REQUEST_MAX) as u64;
        let wants_max = self
            .options
            .prefixes_per_request
            .clamp(1, WANTS_PER_REQUEST_MAX);
        while wanted.len() < wants_max
            && let Some(todo) = self.wants.pop_if(|todo| {
                todo.tree == tree && (wanted.is_empty() || leaves + todo.leaves <= leaves_max)
            })
        {
            last_round = last_round.max(todo.round);
            leaves += todo.leaves;
            self.want_leaves -= todo.leaves;
            let (have, listing, keys) = self.have(tree, &todo);
            let prefix = todo.prefix;
            let waiting = Wanted {
                hash: todo.hash,
                round: todo.round,
                ..Wanted::new(prefix, listing, keys)
            };
            wanted.push((waiting, Want { prefix, have }));
        }
        wanted.sort_unstable_by_key(|(_, want)| want.prefix);
        let (waiting, wants): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
        let id = self.number(Pending::Rows {
            tree,
            wants: waiting.into(),
            stream: false,
        });
        (Request::Rows { id, tree, wants }, last_round)
    }

    fn leaves(
        &self,
        tree: TreeId,
        prefix: &Prefix,
    ) -> impl Iterator<Item = (Key, &pando_merkle::Leaf)> {
        let tree = self.trees.get(&tree);
        tree.into_iter().flat_map(|tree| tree.leaves(prefix))
    }

    /// The leaves under a prefix as they are listed to the leader, and their keys.
    fn have(&self, tree: TreeId, todo: &Todo) -> (Have, Listing, Vec<Key>) {
        let leaves: Vec<_> = self
            .leaves(tree, &todo.prefix)
            .map(|(key, leaf)| (key, leaf.digest))
            .collect();
        let keys: Vec<Key> = leaves.iter().map(|(key, _)| *key).collect();
        if keys.is_empty() {
            return (Have::NOTHING, Listing::Nothing, keys);
        }
        let tags: Vec<Tag> = leaves.iter().map(|(_, digest)| Tag::of(digest)).collect();
        let mut sorted = tags.clone();
        sorted.sort_unstable();
        // Two leaves with one tag could not be told apart in the answer.
        let distinct = sorted.is_sorted_by(|a, b| a < b);
        if todo.relist || self.is_full(tree) || !distinct {
            (Have::Full(leaves), Listing::Full, keys)
        } else {
            (Have::Tags(tags), Listing::Tags, keys)
        }
    }
}
