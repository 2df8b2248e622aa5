//! Walking two trees side by side: the same prefixes on both, from the root down, only where they differ.

use std::collections::BTreeMap;

use anyhow::Context as _;
use indicatif::ProgressBar;
use pando_client::{FrozenNode, Pando};
use pando_merkle::{Digest, Key, Look, Prefix, Tree, compare};
use pando_model::{PointId, Stamp};

/// Prefixes looked at in one request; the server takes no more.
const PREFIXES_MAX: usize = 128;

/// What is known of a point besides its digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) id: Option<PointId>,
    pub(super) version: Option<Stamp>,
}

/// A tree built here, and what its keys stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Local {
    pub(super) tree: Tree,
    pub(super) names: BTreeMap<Key, Name>,
}

/// One of the two trees.
pub(super) enum Side {
    Node {
        client: Pando,
        index: u64,
        tree: u32,
    },
    Local(Local),
}

/// A point that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Differing {
    pub(super) key: Key,
    pub(super) id: Option<PointId>,
    /// Digest and, where it is known, version on each side; `None`: no such point there.
    pub(super) a: Option<(Digest, Option<Stamp>)>,
    pub(super) b: Option<(Digest, Option<Stamp>)>,
}

/// What a side has under one prefix.
struct Seen {
    look: Look,
    names: BTreeMap<Key, Name>,
}

impl Side {
    pub(super) fn node(client: &Pando, index: u64, tree: u32) -> Self {
        Self::Node {
            client: client.clone(),
            index,
            tree,
        }
    }

    async fn look(&self, prefixes: &[Prefix]) -> anyhow::Result<Vec<Seen>> {
        match self {
            Self::Local(local) => {
                let seen = prefixes.iter().map(|prefix| {
                    let look = local.tree.look(prefix);
                    let names = match &look {
                        Look::Inner(_) => BTreeMap::new(),
                        Look::Leaves(leaves) => leaves
                            .iter()
                            .filter_map(|(key, _)| Some((*key, *local.names.get(key)?)))
                            .collect(),
                    };
                    Seen { look, names }
                });
                Ok(seen.collect())
            }
            Self::Node {
                client,
                index,
                tree,
            } => {
                let asked = prefixes.iter().map(Prefix::to_bytes).collect();
                let nodes = client.look(*index, *tree, asked).await?;
                let seen = prefixes.iter().zip(nodes).map(|(prefix, node)| {
                    let seen = seen(node);
                    let sound = seen.look.check(prefix);
                    sound.context("the node says what no tree has")?;
                    Ok(seen)
                });
                seen.collect()
            }
        }
    }
}

fn seen(node: FrozenNode) -> Seen {
    match node {
        FrozenNode::Inner(children) => Seen {
            look: Look::Inner(Box::new(children.map(|child| child.map(Digest)))),
            names: BTreeMap::new(),
        },
        FrozenNode::Leaves(leaves) => {
            let key = |bytes| Key::from_bytes(bytes);
            let listed = leaves
                .iter()
                .map(|leaf| (key(leaf.key), Digest(leaf.digest)));
            let name = |leaf: &pando_client::FrozenLeaf| Name {
                id: leaf.id,
                version: leaf.version,
            };
            let names = leaves.iter().map(|leaf| (key(leaf.key), name(leaf)));
            Seen {
                look: Look::Leaves(listed.collect()),
                names: names.collect(),
            }
        }
    }
}

/// All points that differ, by key.
pub(super) async fn walk(a: &Side, b: &Side, bar: &ProgressBar) -> anyhow::Result<Vec<Differing>> {
    let mut found = Vec::new();
    let mut open = vec![Prefix::ROOT];
    while !open.is_empty() {
        // The last ones first: they are the deepest, so that few are open at any time.
        let mut prefixes = open.split_off(open.len().saturating_sub(PREFIXES_MAX));
        prefixes.reverse();
        let (seen_a, seen_b) = futures::try_join!(a.look(&prefixes), b.look(&prefixes))?;
        let mut next = Vec::new();
        for ((prefix, a), b) in prefixes.iter().zip(&seen_a).zip(&seen_b) {
            let compared = compare(prefix, &a.look, &b.look);
            next.extend(compared.next);
            found.extend(compared.differences.into_iter().map(|difference| {
                let key = difference.key;
                let name = |seen: &Seen| seen.names.get(&key).copied().unwrap_or_default();
                let (name_a, name_b) = (name(a), name(b));
                Differing {
                    key,
                    id: name_a.id.or(name_b.id),
                    a: difference.a.map(|digest| (digest, name_a.version)),
                    b: difference.b.map(|digest| (digest, name_b.version)),
                }
            }));
        }
        open.extend(next.into_iter().rev());
        bar.set_position(found.len() as u64);
    }
    found.sort_unstable_by_key(|differing| (differing.id, differing.key));
    Ok(found)
}
