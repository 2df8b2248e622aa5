//! Whether to try to compress the next frame: trying costs as much as succeeding, so it is left where it does not pay.

use serde::Serialize;

use crate::frame::{Compression, FrameError, encode, is_compressed};
use crate::message::Response;

/// After so many frames in a row that compression made no smaller, ..
const MISSES_MAX: u32 = 4;
/// .. only one in so many is tried.
const TRY_EVERY: u32 = 32;

/// Makes the frames of a session's answers.
#[derive(Clone, Debug)]
pub struct Framer {
    compression: Compression,
    /// Frames in a row that did not pay.
    misses: u32,
    /// Frames since the last one tried.
    left_alone: u32,
}

impl Framer {
    /// Compresses so, where it pays.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            misses: 0,
            left_alone: 0,
        }
    }

    /// Lays out a response for the compression to be used for it, and returns that. Only rows are worth the attempt:
    /// all else is hashes.
    pub fn prepare(&mut self, response: &mut Response) -> Compression {
        let Some(block) = response.block_mut().filter(|block| !block.rows.is_empty()) else {
            return Compression::None;
        };
        self.left_alone += 1;
        let tried = self.misses < MISSES_MAX || self.left_alone >= TRY_EVERY;
        let compression = if tried {
            self.left_alone = 0;
            self.compression
        } else {
            Compression::None
        };
        block.planes = compression != Compression::None;
        compression
    }

    /// Learns what came of a frame that was encoded with this compression.
    pub fn learn(&mut self, compression: Compression, frame: &[u8]) {
        if compression == Compression::None {
            return;
        }
        self.misses = if is_compressed(frame) {
            0
        } else {
            self.misses.saturating_add(1)
        };
    }

    /// Makes a frame of a response, as it is carried by `envelope`.
    ///
    /// # Errors
    /// As [`encode`].
    pub fn frame<T: Serialize>(
        &mut self,
        mut response: Response,
        envelope: impl FnOnce(Response) -> T,
    ) -> Result<bytes::Bytes, FrameError> {
        let compression = self.prepare(&mut response);
        let frame = encode(&envelope(response), compression)?;
        self.learn(compression, &frame);
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use pando_model::Row;

    use super::*;

    fn rows(content: impl Fn(u32) -> u8) -> Response {
        let row = Row {
            id: vec![1],
            version: [0; 16],
            content: (0..4_096).map(content).collect(),
        };
        Response::Since {
            id: 1,
            puts: vec![row].into(),
            kept: Vec::new(),
            done: true,
        }
    }

    fn noise(n: u32) -> u8 {
        (n.wrapping_mul(0x9e37_79b9).wrapping_mul(n ^ 0x85eb_ca6b) >> 24) as u8
    }

    #[test]
    fn after_frames_that_do_not_pay_few_are_tried_until_one_pays() {
        let mut framer = Framer::new(Compression::Zstd(1));
        let mut send = |response: Response| {
            let mut tried = false;
            let frame = framer.frame(response, |response| {
                tried = response.block().is_some_and(|block| block.planes);
                response
            });
            (tried, is_compressed(&frame.unwrap()))
        };
        let noisy: Vec<bool> = (0..100).map(|_| send(rows(noise)).0).collect();
        assert_eq!(noisy.iter().filter(|tried| **tried).count(), 4 + 3);
        assert!(noisy[..4].iter().all(|tried| *tried));
        // Something that pays is found within one round, and from then on all are tried.
        let first = (0..32).position(|_| send(rows(|_| 7)).1).unwrap();
        assert!(first < 32);
        assert_eq!(send(rows(|_| 7)), (true, true));
    }

    #[test]
    fn without_compression_nothing_is_laid_out_for_it() {
        let mut framer = Framer::new(Compression::None);
        let mut response = rows(|_| 7);
        assert_eq!(framer.prepare(&mut response), Compression::None);
        assert!(!response.block().unwrap().planes);
    }
}
