//! Answers to `Since`: the rows written after a log index, and what is left where rows were removed.

use std::iter::Peekable;

use pando_merkle::{Key, Leaf, Prefix, Tree};

use super::Source;
use super::read::{Reader, Wanted};
use crate::error::AnswerError;
use crate::limits::KEPT_PER_FRAME_MAX;
use crate::message::{Kept, Response, Tag};

pub(super) struct Since<'a, S> {
    id: u64,
    read: Reader<'a, S>,
    touched: Peekable<Box<dyn Iterator<Item = Item> + Send + 'a>>,
    done: bool,
}

/// What is sent of a bucket: its rows first, then what it keeps.
enum Item {
    Put(Key, Leaf),
    Kept(Kept),
}

impl<'a, S: Source> Since<'a, S> {
    pub(super) fn new(
        id: u64,
        read: Reader<'a, S>,
        tree: &'a Tree,
        prefix: &Prefix,
        index: u64,
    ) -> Self {
        let items = tree.since(prefix, index).flat_map(|bucket| {
            let puts = bucket.written().map(|(key, leaf)| Item::Put(key, leaf));
            let kept = bucket.thinned.then(|| {
                Item::Kept(Kept {
                    prefix: bucket.prefix,
                    tags: bucket.digests().map(|digest| Tag::of(&digest)).collect(),
                })
            });
            puts.chain(kept)
        });
        let items: Box<dyn Iterator<Item = Item> + Send> = Box::new(items);
        Self {
            id,
            read,
            touched: items.peekable(),
            done: false,
        }
    }

    pub(super) fn next_frame(&mut self) -> Result<Option<Response>, AnswerError<S::Error>> {
        if self.done {
            return Ok(None);
        }
        let options = self.read.options;
        let (mut wanted, mut kept, mut kept_bytes) = (Wanted::default(), Vec::new(), 0);
        while kept.len() < KEPT_PER_FRAME_MAX && kept_bytes < options.frame_bytes {
            let next = self.touched.next_if(|item| match item {
                Item::Put(_, leaf) => wanted.takes(leaf, &options),
                Item::Kept(_) => true,
            });
            match next {
                Some(Item::Put(key, leaf)) => wanted.push(key, leaf),
                Some(Item::Kept(item)) => {
                    kept_bytes += 24 + 3 * item.tags.len();
                    kept.push(item);
                }
                None => break,
            }
        }
        self.done = self.touched.peek().is_none();
        Ok(Some(Response::Since {
            id: self.id,
            puts: self.read.rows(&wanted)?.into(),
            kept,
            done: self.done,
        }))
    }
}
