//! Answers to `Rows`: for each want the rows the follower did not list, and where in its list there is no more of them.
//!
//! One frame answers as many wants as fit, and one read fetches the rows of all of them: in key order, since the wants
//! are.

use std::iter::Peekable;

use pando_merkle::Tree;

use super::Source;
use super::listed::Unlisted;
use super::read::{Reader, Wanted};
use crate::error::AnswerError;
use crate::limits::WANTS_PER_REQUEST_MAX;
use crate::message::{Part, Response, Want};

pub(super) struct Rows<'a, S> {
    pub(super) id: u64,
    pub(super) read: Reader<'a, S>,
    pub(super) tree: &'a Tree,
    pub(super) wants: std::vec::IntoIter<Want>,
    /// What is left of the want being answered.
    pub(super) current: Option<Peekable<Unlisted<'a>>>,
}

impl<S: Source> Rows<'_, S> {
    pub(super) fn next_frame(&mut self) -> Result<Option<Response>, AnswerError<S::Error>> {
        let options = self.read.options;
        let (mut parts, mut wanted, mut more) = (Vec::new(), Wanted::default(), false);
        let mut listed_bytes = 0;
        while parts.len() < WANTS_PER_REQUEST_MAX && listed_bytes < options.frame_bytes {
            let (mut leaves, gone) = match self.current.take() {
                Some(leaves) => (leaves, Vec::new()),
                None => match self.wants.next() {
                    Some(want) => {
                        let (leaves, gone) = Unlisted::new(self.tree, &want.prefix, want.have);
                        (leaves.peekable(), gone)
                    }
                    None => break,
                },
            };
            let before = wanted.len();
            while let Some((key, leaf)) = leaves.next_if(|(_, leaf)| wanted.takes(leaf, &options)) {
                wanted.push(key, leaf);
            }
            listed_bytes += 4 + 3 * gone.len();
            let puts = u32::try_from(wanted.len() - before).unwrap_or(u32::MAX);
            more = leaves.peek().is_some();
            // A part that says nothing says at least that its want is answered, unless it goes on.
            if puts > 0 || !gone.is_empty() || !more {
                parts.push(Part { puts, gone });
            } else {
                more = false;
                self.current = Some(leaves);
                break;
            }
            if more {
                self.current = Some(leaves);
                break;
            }
        }
        if parts.is_empty() {
            return Ok(None);
        }
        let id = self.id;
        let puts = self.read.rows(&wanted)?.into();
        Ok(Some(Response::Rows {
            id,
            parts,
            more,
            puts,
        }))
    }
}
