//! The leader's side: answers requests from a frozen view.
//!
//! Owns the judgement of requests and the making of answers. Invariants: it keeps nothing between requests, so any
//! request may be repeated, on any connection, and several may be answered at once; an answer holds at most one frame and one batch of rows in memory;
//! a row is sent only if it matches its leaf. Must not know how rows are stored or how messages travel.

mod answer;
mod check;
mod listed;
mod nodes;
mod read;
mod rows;
mod since;

use pando_merkle::{Key, Tree};
use pando_model::{Row, TreeId};

use crate::error::RequestError;
use crate::limits::PROTOCOL_VERSION;
use crate::message::{Request, Response, SnapshotHeader};

use answer::Kind;
use nodes::Nodes;
use read::Reader;
use rows::Rows;
use since::Since;

pub use answer::Answer;

/// A frozen view of a replica: what a leader serves. It never changes.
pub trait Source {
    /// Why rows cannot be read.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The description of the view.
    fn header(&self) -> &SnapshotHeader;

    /// A tree of the view; there is one for each of the header's.
    fn tree(&self, id: TreeId) -> Option<&Tree>;

    /// The rows of these keys of a tree, in the order of `keys`.
    ///
    /// # Errors
    /// If a row cannot be read.
    fn rows(&self, id: TreeId, keys: &[Key]) -> Result<Vec<Row>, Self::Error>;
}

/// How a leader packs its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderOptions {
    /// A frame is closed when it holds this many bytes; a single larger row still gets a frame of its own.
    pub frame_bytes: usize,
    /// Most rows read from the source at once.
    pub rows_per_read: usize,
}

impl Default for LeaderOptions {
    fn default() -> Self {
        Self {
            frame_bytes: 256 << 10,
            rows_per_read: 256,
        }
    }
}

/// The leader's side of a session, or of many: it has no state but the view.
pub struct Leader<S> {
    source: S,
    options: LeaderOptions,
}

impl<S: Source> Leader<S> {
    /// Serves this view.
    pub fn new(source: S, options: LeaderOptions) -> Self {
        // At least one thing at a time, or no answer would come to its end.
        let options = LeaderOptions {
            frame_bytes: options.frame_bytes.max(1),
            rows_per_read: options.rows_per_read.max(1),
        };
        Self { source, options }
    }

    /// The view served.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Answers one request. The answer is made as it is read.
    ///
    /// # Errors
    /// If the request breaks a rule or a limit; the session is over then.
    pub fn answer(&self, request: Request) -> Result<Answer<'_, S>, RequestError> {
        match request {
            Request::Hello { protocol, .. } if protocol != PROTOCOL_VERSION => {
                Err(RequestError::Protocol {
                    ours: PROTOCOL_VERSION,
                    theirs: protocol,
                })
            }
            Request::Hello { root, .. } => {
                let header = self.source.header();
                let equal = root == header.root;
                Ok(Answer::new(Kind::One(Box::new(if equal {
                    Response::Equal {
                        index: header.index,
                    }
                } else {
                    Response::Snapshot(header.clone())
                }))))
            }
            Request::Nodes {
                id,
                tree,
                full,
                prefixes,
            } => {
                check::prefixes(tree, &prefixes)?;
                Ok(Answer::new(Kind::Nodes(Nodes {
                    id,
                    tree: self.tree(tree)?,
                    full,
                    prefixes: prefixes.into_iter(),
                    options: self.options,
                })))
            }
            Request::Rows { id, tree, wants } => {
                check::wants(tree, &wants)?;
                Ok(Answer::new(Kind::Rows(Box::new(Rows {
                    id,
                    read: self.reader(tree)?,
                    tree: self.tree(tree)?,
                    wants: wants.into_iter(),
                    current: None,
                }))))
            }
            Request::Since {
                id,
                tree,
                prefix,
                index,
            } => Ok(Answer::new(Kind::Since(Box::new(Since::new(
                id,
                self.reader(tree)?,
                self.tree(tree)?,
                &prefix,
                index,
            ))))),
        }
    }

    fn tree(&self, id: TreeId) -> Result<&Tree, RequestError> {
        self.source
            .tree(id)
            .ok_or(RequestError::UnknownTree { tree: id })
    }

    fn reader(&self, tree: TreeId) -> Result<Reader<'_, S>, RequestError> {
        let heads = &self.source.header().trees;
        let head = heads.iter().find(|head| head.id == tree);
        let head = head.ok_or(RequestError::UnknownTree { tree })?;
        Ok(Reader {
            source: &self.source,
            tree,
            salt: head.salt,
            options: self.options,
        })
    }
}
