//! An answer as it is made: one frame's worth of response at a time.

use super::Source;
use super::nodes::Nodes;
use super::rows::Rows;
use super::since::Since;
use crate::error::AnswerError;
use crate::message::Response;

/// The responses to one request, made as they are read. After an error there is nothing more.
pub struct Answer<'a, S>(Option<Kind<'a, S>>);

pub(super) enum Kind<'a, S> {
    One(Box<Response>),
    Nodes(Nodes<'a>),
    Rows(Box<Rows<'a, S>>),
    Since(Box<Since<'a, S>>),
}

impl<'a, S: Source> Answer<'a, S> {
    pub(super) fn new(kind: Kind<'a, S>) -> Self {
        Self(Some(kind))
    }
}

impl<S: Source> Iterator for Answer<'_, S> {
    type Item = Result<Response, AnswerError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        // Taken out, so that nothing is left after an error or the end.
        let mut kind = self.0.take()?;
        let response = match &mut kind {
            Kind::Nodes(nodes) => nodes.next_frame().map(Ok),
            Kind::Rows(rows) => rows.next_frame().transpose(),
            Kind::Since(since) => since.next_frame().transpose(),
            Kind::One(_) => {
                return match kind {
                    Kind::One(response) => Some(Ok(*response)),
                    Kind::Nodes(_) | Kind::Rows(_) | Kind::Since(_) => None,
                };
            }
        };
        if matches!(response, Some(Ok(_))) {
            self.0 = Some(kind);
        }
        response
    }
}
