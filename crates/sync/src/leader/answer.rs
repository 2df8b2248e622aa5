//! An answer as it is made: one frame's worth of response at a time.

use std::collections::VecDeque;

use pando_merkle::{Key, Leaf, NodeView, Prefix, Tree};
use pando_model::{Row, TreeId};

use super::merge::{Listed, Merge, Op};
use super::{LeaderOptions, Source};
use crate::error::AnswerError;
use crate::limits::{PREFIXES_PER_REQUEST_MAX, ROWS_PER_FRAME_MAX};
use crate::message::{Children, Deletes, Have, Response, Want, WireHash, WireNode};
use crate::row::{row_bytes, row_key, row_leaf};

/// The responses to one request, made as they are read. After an error there is nothing more.
pub struct Answer<'a, S>(Option<Kind<'a, S>>);

enum Kind<'a, S> {
    One(Box<Response>),
    Nodes(Nodes<'a>),
    Rows(Box<Rows<'a, S>>),
}

impl<'a, S: Source> Answer<'a, S> {
    pub(super) fn one(response: Response) -> Self {
        Self(Some(Kind::One(Box::new(response))))
    }

    pub(super) fn nodes(
        tree: &'a Tree,
        id: TreeId,
        full: bool,
        prefixes: Vec<Prefix>,
        options: LeaderOptions,
    ) -> Self {
        let prefixes = prefixes.into_iter();
        Self(Some(Kind::Nodes(Nodes {
            tree,
            id,
            full,
            prefixes,
            options,
        })))
    }

    pub(super) fn rows(
        source: &'a S,
        tree: &'a Tree,
        id: TreeId,
        salt: [u8; 16],
        wants: Vec<Want>,
        options: LeaderOptions,
    ) -> Self {
        let read = Reader {
            source,
            id,
            salt,
            options,
        };
        Self(Some(Kind::Rows(Box::new(Rows {
            read,
            tree,
            wants: wants.into_iter(),
            current: None,
        }))))
    }
}

impl<S: Source> Iterator for Answer<'_, S> {
    type Item = Result<Response, AnswerError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        let response = match self.0.as_mut()? {
            Kind::Nodes(nodes) => nodes.next_frame().map(Ok),
            Kind::Rows(rows) => rows.next_frame().transpose(),
            Kind::One(_) => match self.0.take()? {
                Kind::One(response) => Some(Ok(*response)),
                Kind::Nodes(_) | Kind::Rows(_) => None,
            },
        };
        if !matches!(response, Some(Ok(_))) {
            self.0 = None;
        }
        response
    }
}

struct Nodes<'a> {
    tree: &'a Tree,
    id: TreeId,
    full: bool,
    prefixes: std::vec::IntoIter<Prefix>,
    options: LeaderOptions,
}

impl Nodes<'_> {
    fn next_frame(&mut self) -> Option<Response> {
        let hash_bytes = if self.full { 32 } else { 8 };
        let (mut nodes, mut bytes) = (Vec::new(), 0);
        while bytes < self.options.frame_bytes && nodes.len() < PREFIXES_PER_REQUEST_MAX {
            let Some(prefix) = self.prefixes.next() else {
                break;
            };
            let node = match self.tree.node(&prefix) {
                NodeView::Empty => WireNode::Empty,
                NodeView::Bucket { digest, count, .. } => WireNode::Bucket {
                    hash: WireHash::of(&digest, self.full),
                    count,
                },
                NodeView::Inner { children, .. } => WireNode::Inner {
                    children: Children::of(&children, self.full),
                },
            };
            bytes += 24 + 16 * hash_bytes;
            nodes.push((prefix, node));
        }
        (!nodes.is_empty()).then_some(Response::Nodes {
            tree: self.id,
            nodes,
        })
    }
}

struct Rows<'a, S> {
    read: Reader<'a, S>,
    tree: &'a Tree,
    wants: std::vec::IntoIter<Want>,
    current: Option<Current<'a>>,
}

/// The want being answered.
struct Current<'a> {
    prefix: Prefix,
    merge: Pending<'a>,
    /// Read from the source, not yet sent.
    ready: VecDeque<Row>,
}

enum Pending<'a> {
    Short(Merge<'a, u64>),
    Full(Merge<'a, Key>),
}

impl Pending<'_> {
    fn is_done(&mut self) -> bool {
        match self {
            Self::Short(merge) => merge.is_done(),
            Self::Full(merge) => merge.is_done(),
        }
    }
}

impl<S: Source> Rows<'_, S> {
    fn next_frame(&mut self) -> Result<Option<Response>, AnswerError<S::Error>> {
        let mut current = match self.current.take() {
            Some(current) => current,
            None => match self.wants.next() {
                Some(want) => Current::new(self.tree, want),
                None => return Ok(None),
            },
        };
        let deletes = current.fill(&self.read)?;
        let puts = current.take_frame(self.read.options.frame_bytes);
        let done = current.ready.is_empty() && current.merge.is_done();
        let prefix = current.prefix;
        if !done {
            self.current = Some(current);
        }
        Ok(Some(Response::Rows {
            tree: self.read.id,
            prefix,
            puts,
            deletes,
            done,
        }))
    }
}

impl<'a> Current<'a> {
    fn new(tree: &'a Tree, want: Want) -> Self {
        let prefix = want.prefix;
        let merge = match want.have {
            Have::Short(pairs) => Pending::Short(Merge::new(tree, &prefix, pairs)),
            Have::Full(pairs) => Pending::Full(Merge::new(tree, &prefix, pairs)),
        };
        Self {
            prefix,
            merge,
            ready: VecDeque::new(),
        }
    }

    /// Reads the next batch of rows, if the last one is sent; the deletes found on the way go with it.
    fn fill<S: Source>(&mut self, read: &Reader<'_, S>) -> Result<Deletes, AnswerError<S::Error>> {
        let idle = self.ready.is_empty();
        let (puts, deletes) = match &mut self.merge {
            Pending::Short(merge) => {
                let (puts, deletes) = batch(merge, read.options, idle);
                (puts, Deletes::Short(deletes))
            }
            Pending::Full(merge) => {
                let (puts, deletes) = batch(merge, read.options, idle);
                (puts, Deletes::Full(deletes))
            }
        };
        if !puts.is_empty() {
            self.ready.extend(read.rows(&puts)?);
        }
        Ok(deletes)
    }

    fn take_frame(&mut self, frame_bytes: usize) -> Vec<Row> {
        let (mut puts, mut bytes) = (Vec::new(), 0);
        while let Some(row) = self.ready.front() {
            bytes += row_bytes(row);
            if !puts.is_empty() && (bytes > frame_bytes as u64 || puts.len() == ROWS_PER_FRAME_MAX)
            {
                break;
            }
            puts.extend(self.ready.pop_front());
        }
        puts
    }
}

/// The next operations of a merge, as many as one read and one frame hold.
fn batch<K: Listed>(
    merge: &mut Merge<'_, K>,
    options: LeaderOptions,
    idle: bool,
) -> (Vec<(Key, Leaf)>, Vec<K>) {
    let (mut puts, mut deletes, mut bytes) = (Vec::new(), Vec::new(), 0);
    // At least one row at a time, whatever the options say; the deletes of a want are bounded by its list.
    while idle
        && (puts.is_empty() || (puts.len() < options.rows_per_read && bytes < options.frame_bytes))
    {
        match merge.next() {
            Some(Op::Put(key, leaf)) => {
                bytes += leaf.bytes as usize;
                puts.push((key, leaf));
            }
            Some(Op::Delete(key)) => deletes.push(key),
            None => break,
        }
    }
    (puts, deletes)
}

/// Reads rows and holds them against the tree.
struct Reader<'a, S> {
    source: &'a S,
    id: TreeId,
    salt: [u8; 16],
    options: LeaderOptions,
}

impl<S: Source> Reader<'_, S> {
    fn rows(&self, wanted: &[(Key, Leaf)]) -> Result<Vec<Row>, AnswerError<S::Error>> {
        let tree = self.id;
        let keys: Vec<Key> = wanted.iter().map(|(key, _)| *key).collect();
        let rows = self.source.rows(tree, &keys).map_err(AnswerError::Source)?;
        if rows.len() != keys.len() {
            let (found, expected) = (rows.len(), keys.len());
            return Err(AnswerError::RowCount {
                tree,
                found,
                expected,
            });
        }
        for (row, (key, leaf)) in rows.iter().zip(wanted) {
            if row_key(&self.salt, row) != *key || row_leaf(row, leaf.index).digest != leaf.digest {
                return Err(AnswerError::RowDamaged { tree, key: *key });
            }
        }
        Ok(rows)
    }
}
