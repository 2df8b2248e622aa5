//! What is known in memory about the log: which entries are kept, their sizes, and the most recent of them whole.
//!
//! Invariant: `sizes` describes the entries from `first` on without a gap, and `tail` holds the last of them.

use std::collections::VecDeque;
use std::ops::Range;

use crate::log_store::error::LogError;
use crate::types::{Entry, LogId};

/// Most bytes of entries kept decoded, so that replicating and applying a fresh entry reads no disk.
const TAIL_BYTES_MAX: u64 = 8 << 20;

#[derive(Debug, Default)]
pub(super) struct Kept {
    purged: Option<LogId>,
    last: Option<LogId>,
    first: u64,
    sizes: VecDeque<u32>,
    bytes: u64,
    tail: VecDeque<Entry>,
    tail_bytes: u64,
}

impl Kept {
    /// A log of which everything up to `purged` is gone.
    pub(super) fn after(purged: Option<LogId>) -> Self {
        let first = purged.map_or(0, |id| id.index + 1);
        Self {
            purged,
            last: purged,
            first,
            ..Self::default()
        }
    }

    /// Adds the entry that follows the last one.
    pub(super) fn push(&mut self, entry: Entry, size: u32) -> Result<(), LogError> {
        let found = entry.log_id.index;
        match self.last {
            // A log nothing was ever in may begin anywhere.
            None => self.first = found,
            Some(last) if last.index + 1 == found => {}
            Some(last) => {
                return Err(LogError::Gap {
                    expected: last.index + 1,
                    found,
                });
            }
        }
        self.last = Some(entry.log_id);
        self.sizes.push_back(size);
        self.bytes += u64::from(size);
        self.tail.push_back(entry);
        self.tail_bytes += u64::from(size);
        while self.tail_bytes > TAIL_BYTES_MAX && self.tail.len() > 1 {
            self.drop_tail_front();
        }
        Ok(())
    }

    /// Forgets the entries from `since` on; `last` is what is last then.
    pub(super) fn truncate(&mut self, since: u64, last: Option<LogId>) {
        while self.end() > since.max(self.first) {
            let size = u64::from(self.sizes.pop_back().unwrap_or_default());
            self.bytes -= size;
            if self.tail.pop_back().is_some() {
                self.tail_bytes -= size;
            }
        }
        self.last = last;
    }

    /// The entries behind `upto` that conflict with it: a log whose last entry is older than `upto` does not hold
    /// it, so that whatever it has at greater indexes was never committed.
    pub(super) fn conflicting(&self, upto: LogId) -> Range<u64> {
        let end = self.end();
        let start = if self.last < Some(upto) {
            self.first.max(upto.index + 1).min(end)
        } else {
            end
        };
        start..end
    }

    /// Forgets the entries up to and with `upto`, which may be beyond the last, and those that conflict with it.
    /// Returns the indexes forgotten up to `upto`.
    pub(super) fn purge(&mut self, upto: LogId) -> Range<u64> {
        let conflicting = self.conflicting(upto);
        if !conflicting.is_empty() {
            self.truncate(conflicting.start, Some(upto));
        }
        let first = self.first;
        while self.first <= upto.index && !self.sizes.is_empty() {
            if self.tail.len() == self.sizes.len() {
                self.drop_tail_front();
            }
            self.bytes -= u64::from(self.sizes.pop_front().unwrap_or_default());
            self.first += 1;
        }
        let forgotten = first..self.first;
        self.purged = self.purged.max(Some(upto));
        if self.sizes.is_empty() {
            self.last = self.last.max(Some(upto));
            self.first = self.first.max(upto.index + 1);
        }
        forgotten
    }

    fn drop_tail_front(&mut self) {
        // The tail holds the last entries, so its first size is that many from the end.
        let at = self.sizes.len() - self.tail.len();
        if self.tail.pop_front().is_some() {
            self.tail_bytes -= u64::from(self.sizes.get(at).copied().unwrap_or_default());
        }
    }

    /// Leaves no entry in memory, as if many others had followed.
    #[cfg(test)]
    pub(super) fn forget_tail(&mut self) {
        self.tail.clear();
        self.tail_bytes = 0;
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// Last index before the last `entries` entries, and the bytes of those; none if fewer are kept.
    pub(super) fn last_entries(&self, entries: u64) -> Option<(u64, u64)> {
        let before = (self.end() - self.len().min(entries)).saturating_sub(1);
        let skip = usize::try_from(self.len().checked_sub(entries)?).ok()?;
        let bytes = self.sizes.iter().skip(skip).map(|size| u64::from(*size));
        Some((before, bytes.sum()))
    }

    /// Some of the kept indexes up to `upto`, at most `marks` and the last one among them, each with the bytes of the
    /// kept entries up to and with it.
    pub(super) fn marks(&self, upto: u64, marks: usize) -> Vec<(u64, u64)> {
        let upto = self
            .sizes
            .iter()
            .zip(self.first..)
            .take_while(|(_, at)| *at <= upto);
        let mut bytes = 0;
        let all: Vec<(u64, u64)> = upto
            .map(|(size, at)| {
                bytes += u64::from(*size);
                (at, bytes)
            })
            .collect();
        let step = all.len().div_ceil(marks.max(1)).max(1);
        let mut some: Vec<(u64, u64)> = all.into_iter().rev().step_by(step).collect();
        some.reverse();
        some
    }

    /// Kept entries.
    pub(super) fn len(&self) -> u64 {
        self.sizes.len() as u64
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The index behind the last entry.
    pub(super) fn end(&self) -> u64 {
        self.first + self.len()
    }

    /// The part of a range that is kept.
    pub(super) fn clamp(&self, range: Range<u64>) -> Range<u64> {
        let start = range.start.max(self.first);
        start..range.end.min(self.end()).max(start)
    }

    /// The entries of a kept range, if all of them are in the tail.
    pub(super) fn recent(&self, range: Range<u64>) -> Option<Vec<Entry>> {
        let start = self.end() - self.tail.len() as u64;
        let skip = usize::try_from(range.start.checked_sub(start)?).ok()?;
        let take = usize::try_from(range.end - range.start).ok()?;
        let entries: Vec<Entry> = self.tail.iter().skip(skip).take(take).cloned().collect();
        (entries.len() == take).then_some(entries)
    }

    /// Where to end so that the entries from `range.start` on hold at most `bytes_max`, but never before the first.
    pub(super) fn limit(&self, range: Range<u64>, bytes_max: u64) -> u64 {
        let Ok(skip) = usize::try_from(range.start.saturating_sub(self.first)) else {
            return range.end;
        };
        let mut bytes = 0;
        let mut end = range.start;
        for size in self.sizes.iter().skip(skip) {
            bytes += u64::from(*size);
            if end >= range.end || (bytes > bytes_max && end > range.start) {
                break;
            }
            end += 1;
        }
        end
    }

    /// The last entry to purge so that at most `entries_max` entries and `bytes_max` bytes remain; none if that much
    /// is not kept.
    pub(super) fn purge_for(&self, entries_max: u64, bytes_max: u64) -> Option<u64> {
        let (mut entries, mut bytes) = (self.len(), self.bytes);
        let mut upto = None;
        for (size, index) in self.sizes.iter().zip(self.first..) {
            if entries <= entries_max && bytes <= bytes_max {
                break;
            }
            entries -= 1;
            bytes -= u64::from(*size);
            upto = Some(index);
        }
        upto
    }
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, EntryPayload};

    use super::*;

    fn id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(1, 1), index)
    }

    fn filled(indexes: Range<u64>, size: u32) -> Kept {
        let mut kept = Kept::default();
        for index in indexes {
            let entry = Entry {
                log_id: id(index),
                payload: EntryPayload::Blank,
            };
            kept.push(entry, size).unwrap();
        }
        kept
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.log_id.index).collect()
    }

    #[test]
    fn counts_follow_every_change() {
        let mut kept = filled(0..10, 100);
        assert_eq!(
            (kept.len(), kept.bytes(), kept.last()),
            (10, 1000, Some(id(9)))
        );
        kept.truncate(8, Some(id(7)));
        assert_eq!(
            (kept.len(), kept.bytes(), kept.last()),
            (8, 800, Some(id(7)))
        );
        assert_eq!(kept.purge(id(2)), 0..3);
        assert_eq!(
            (kept.len(), kept.bytes(), kept.purged()),
            (5, 500, Some(id(2)))
        );
        assert_eq!(indexes(&kept.recent(3..6).unwrap()), [3, 4, 5]);
        assert_eq!(kept.clamp(0..100), 3..8);
        assert_eq!(kept.purge(id(20)), 3..8, "a snapshot goes beyond the log");
        assert_eq!(
            (kept.len(), kept.bytes(), kept.last()),
            (0, 0, Some(id(20)))
        );
        assert_eq!(kept.clamp(0..100), 21..21);
        let next = Entry {
            log_id: id(21),
            payload: EntryPayload::Blank,
        };
        kept.push(next, 1).unwrap();
        assert_eq!(indexes(&kept.recent(21..22).unwrap()), [21]);
    }

    #[test]
    fn a_gap_is_refused() {
        let mut kept = filled(0..3, 1);
        let entry = Entry {
            log_id: id(4),
            payload: EntryPayload::Blank,
        };
        let gap = kept.push(entry, 1).unwrap_err();
        assert!(
            matches!(
                gap,
                LogError::Gap {
                    expected: 3,
                    found: 4
                }
            ),
            "{gap}"
        );
    }

    #[test]
    fn the_tail_is_bounded_and_older_entries_are_not_in_it() {
        let megabyte = 1 << 20;
        let kept = filled(0..100, megabyte);
        assert_eq!(kept.len(), 100);
        assert!(kept.tail_bytes <= TAIL_BYTES_MAX);
        assert_eq!(
            indexes(&kept.recent(95..100).unwrap()),
            [95, 96, 97, 98, 99]
        );
        assert!(kept.recent(80..100).is_none(), "it is on disk only");
    }

    #[test]
    fn limits_are_in_bytes_and_never_stop_before_the_first() {
        let kept = filled(5..15, 100);
        assert_eq!(kept.limit(5..15, 350), 8);
        assert_eq!(kept.limit(7..9, 10_000), 9);
        assert_eq!(kept.limit(6..15, 1), 7);
        assert_eq!(kept.purge_for(10, 10_000), None);
        assert_eq!(kept.purge_for(4, 10_000), Some(10), "4 entries remain");
        assert_eq!(kept.purge_for(10, 250), Some(12), "250 bytes remain");
        assert_eq!(kept.last_entries(10), Some((4, 1_000)));
        assert_eq!(kept.last_entries(3), Some((11, 300)));
        assert_eq!(kept.last_entries(11), None);
        assert_eq!(kept.marks(4, 9), []);
        assert_eq!(kept.marks(7, 9), [(5, 100), (6, 200), (7, 300)]);
        assert_eq!(kept.marks(99, 3), [(6, 200), (10, 600), (14, 1_000)]);
    }
}
