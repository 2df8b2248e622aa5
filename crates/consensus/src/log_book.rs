//! The log's book: what was purged and why, and what replaying from an earlier index would take.
//!
//! A leader hands a page of it to a follower it offers a view, so that the follower can say why it got a delta and what
//! the log would have cost instead. Counts bytes as stored, which is about what is sent.

use std::collections::VecDeque;

use openraft::LogIdOptionExt as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::log_policy::PurgeCause;
use crate::log_store::LogStore;

/// Marks remembered; of older ones every other is forgotten.
const REMEMBERED_MAX: usize = 128;
/// Marks made of one purge, and handed to a follower.
pub(crate) const MARKS_MAX: usize = 32;

/// Why a follower is offered a view: what the leader's log is, and was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Why {
    /// Whether the follower's state is to be replaced, whatever the log holds.
    pub(crate) repair: bool,
    /// First index the leader's log holds.
    pub(crate) kept_from: u64,
    /// Why what was before is gone.
    pub(crate) cause: PurgeCause,
    /// Indexes in order, and the bytes of all entries behind each.
    pub(crate) marks: Vec<(u64, u64)>,
}

impl Why {
    /// The same for a follower whose state is wrong.
    pub(crate) fn for_repair(self) -> Self {
        Self {
            repair: true,
            ..self
        }
    }

    /// About what replaying everything behind `index` would take; none if nobody knows.
    pub(crate) fn replay_bytes(&self, index: u64) -> Option<u64> {
        let at = self.marks.partition_point(|(mark, _)| *mark <= index);
        let (before, more) = *self.marks.get(at.checked_sub(1)?)?;
        let Some((after, less)) = self.marks.get(at) else {
            return Some(more);
        };
        // As if the entries between were all of one size.
        let part = u128::from(more.saturating_sub(*less)) * u128::from(index - before);
        let behind = part / u128::from((after - before).max(1));
        Some(more - u64::try_from(behind).unwrap_or(more).min(more))
    }
}

/// Figures of the bounded log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// Purges by cause, in the order of [`PurgeCause::ALL`].
    pub purges: [u64; 4],
    /// What a delta from the beginning of the kept log would take, when it was last looked at.
    pub delta_bytes: u64,
    /// Whether the last purge stopped short, so that a follower in a sync finds the log behind its view.
    pub holding: bool,
}

/// The book of one log.
pub(crate) struct LogBook {
    log: LogStore,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    /// Indexes that are gone, the last one at the end, and the bytes purged up to each.
    marks: VecDeque<(u64, u64)>,
    purged_bytes: u64,
    cause: Option<PurgeCause>,
    figures: LogFigures,
}

impl LogBook {
    pub(crate) fn new(log: LogStore) -> Self {
        let purged = log.purged_index().unwrap_or_default();
        let pages = Pages {
            marks: VecDeque::from([(purged, 0)]),
            ..Pages::default()
        };
        Self {
            log,
            pages: Mutex::new(pages),
        }
    }

    /// Notes a purge up to `upto`. `going` holds some of the indexes it was to take and the bytes of the kept entries
    /// up to each.
    pub(crate) fn purged(&self, upto: Option<u64>, going: &[(u64, u64)], cause: PurgeCause) {
        let mut pages = self.pages.lock();
        let before = pages.purged_bytes;
        // Entries that are being replicated may have stayed.
        for (index, bytes) in going.iter().filter(|(index, _)| Some(*index) <= upto) {
            pages.purged_bytes = before + bytes;
            pages.marks.push_back((*index, before + bytes));
        }
        if pages.marks.len() > REMEMBERED_MAX {
            let mut nth = 0;
            pages.marks.retain(|_| {
                nth += 1;
                nth % 2 == 0 || nth > REMEMBERED_MAX / 2
            });
        }
        pages.cause = Some(cause);
        let counts = PurgeCause::ALL.iter().zip(&mut pages.figures.purges);
        for (_, count) in counts.filter(|(of, _)| **of == cause) {
            *count += 1;
        }
    }

    /// Notes what a delta from the beginning of the kept log would take.
    pub(crate) fn looked(&self, delta_bytes: u64) {
        self.pages.lock().figures.delta_bytes = delta_bytes;
    }

    /// Notes whether a purge stops short for a follower.
    pub(crate) fn holding(&self, holding: bool) {
        self.pages.lock().figures.holding = holding;
    }

    pub(crate) fn figures(&self) -> LogFigures {
        self.pages.lock().figures
    }

    /// What a follower is told.
    pub(crate) fn why(&self) -> Why {
        let kept = self.log.size().bytes;
        let purged = self.log.purged_index();
        let pages = self.pages.lock();
        let last = pages.marks.back().map(|(upto, _)| *upto);
        let mut why = Why {
            repair: false,
            kept_from: purged.map_or(0, |index| index + 1),
            cause: PurgeCause::Unknown,
            marks: Vec::new(),
        };
        // Whatever else has purged it is not in the book, and what was before is not known then.
        if last == Some(purged.unwrap_or_default()) {
            why.cause = pages.cause.unwrap_or(PurgeCause::Unknown);
            let step = pages.marks.len().div_ceil(MARKS_MAX);
            let newest_first = pages.marks.iter().rev().step_by(step);
            let mark = |(upto, total): &(u64, u64)| (*upto, pages.purged_bytes - total + kept);
            why.marks = newest_first.map(mark).collect();
            why.marks.reverse();
        }
        why
    }
}

impl LogStore {
    /// Last index purged.
    pub(crate) fn purged_index(&self) -> Option<u64> {
        self.purged().index()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_behind_an_index_are_told_or_estimated_between_two_that_are() {
        let why = Why {
            repair: false,
            kept_from: 301,
            cause: PurgeCause::Bytes,
            marks: vec![(100, 5_000), (200, 3_000), (300, 1_000)],
        };
        for (index, bytes) in [
            (99, None),
            (100, Some(5_000)),
            (150, Some(4_000)),
            (200, Some(3_000)),
            (299, Some(1_020)),
            (300, Some(1_000)),
            (900, Some(1_000)),
        ] {
            assert_eq!(why.replay_bytes(index), bytes, "{index}");
        }
        let unknown = Why {
            marks: Vec::new(),
            ..why
        };
        assert_eq!(unknown.replay_bytes(150), None);
    }
}
