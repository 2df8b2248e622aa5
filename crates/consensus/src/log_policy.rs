//! What of the log is worth keeping: decides, and does nothing.
//!
//! Entries are kept while replaying them would cost no more than the delta they make: distinct keys make a long tail,
//! up to the caps; overwrites make a short one, since a delta moves only the last version. A tail too small to matter
//! is left alone.

use serde::{Deserialize, Serialize};

/// A tail that takes fewer bytes than this is kept whatever a delta would cost: a session has costs of its own.
pub(crate) const TAIL_BYTES_MIN: u64 = 4 << 20;

/// Why the log was purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurgeCause {
    /// It held more entries than it may.
    Entries,
    /// It took more bytes than it may.
    Bytes,
    /// Replaying it would have cost more than the delta.
    Cost,
    /// An operator asked for it.
    Operator,
    /// Not known: it was purged by an install, or before this node started.
    Unknown,
}

impl PurgeCause {
    /// All that a purge of this node's own can have.
    pub const ALL: [Self; 4] = [Self::Entries, Self::Bytes, Self::Cost, Self::Operator];

    /// A short name, for labels.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Bytes => "bytes",
            Self::Cost => "cost",
            Self::Operator => "operator",
            Self::Unknown => "unknown",
        }
    }
}

/// How much may be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Caps; beyond either the log is cut, ..
    pub(crate) entries_max: u64,
    pub(crate) bytes_max: u64,
    /// .. down to this many entries and half of the bytes.
    pub(crate) entries_keep: u64,
    /// Never fewer than this many for their cost alone.
    pub(crate) entries_keep_min: u64,
    /// Entries are kept while their bytes are at most this times those of the delta.
    pub(crate) cost_ratio: f64,
}

/// A purge to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The last index to go.
    pub(crate) upto: u64,
    pub(crate) cause: PurgeCause,
}

/// A log as the decisions see it.
pub(crate) trait Tail {
    /// Kept entries and their bytes.
    fn size(&self) -> (u64, u64);
    /// The last index before the last `entries` entries, and the bytes of those. None if fewer are kept.
    fn last(&self, entries: u64) -> Option<(u64, u64)>;
    /// The index to purge up to so that no more than this remains.
    fn purge_for(&self, entries_max: u64, bytes_max: u64) -> Option<u64>;
}

/// The cut that a cap demands.
pub(crate) fn over_caps(limits: &Limits, log: &impl Tail) -> Option<Cut> {
    let (entries, bytes) = log.size();
    let cause = if entries > limits.entries_max {
        PurgeCause::Entries
    } else if bytes > limits.bytes_max {
        PurgeCause::Bytes
    } else {
        return None;
    };
    let upto = log.purge_for(limits.entries_keep, limits.bytes_max / 2)?;
    Some(Cut { upto, cause })
}

/// Whether it is worth looking at what a delta would cost.
pub(crate) fn worth_a_look(limits: &Limits, log: &impl Tail) -> bool {
    let (entries, bytes) = log.size();
    entries > limits.entries_keep_min && bytes > TAIL_BYTES_MIN
}

/// The cut after which what is left is worth keeping. `delta` tells the bytes of a delta from an index; it need not
/// count beyond the bytes it is given.
pub(crate) fn too_dear(
    limits: &Limits,
    log: &impl Tail,
    mut delta: impl FnMut(u64, u64) -> u64,
) -> Option<Cut> {
    if !worth_a_look(limits, log) {
        return None;
    }
    let (whole, _) = log.size();
    let mut keep = whole;
    loop {
        let (since, bytes) = log.last(keep)?;
        let least = keep <= limits.entries_keep_min || bytes <= TAIL_BYTES_MIN;
        if least || is_worth(bytes, limits.cost_ratio, |enough| delta(since, enough)) {
            return (keep < whole).then_some(Cut {
                upto: since,
                cause: PurgeCause::Cost,
            });
        }
        // Halving looks at little more than the whole once over.
        keep = (keep / 2).max(limits.entries_keep_min);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes and ratio are not negative, and what is beyond all integers, as for a ratio of 0, becomes the largest"
)]
fn is_worth(bytes: u64, ratio: f64, delta: impl FnOnce(u64) -> u64) -> bool {
    let enough = (bytes as f64 / ratio) as u64;
    delta(enough) >= enough
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A log of entries of one size, from index 1 on.
    struct Log {
        entries: u64,
        entry_bytes: u64,
    }

    impl Tail for Log {
        fn size(&self) -> (u64, u64) {
            (self.entries, self.entries * self.entry_bytes)
        }

        fn last(&self, entries: u64) -> Option<(u64, u64)> {
            Some((
                self.entries.checked_sub(entries)?,
                entries * self.entry_bytes,
            ))
        }

        fn purge_for(&self, entries_max: u64, bytes_max: u64) -> Option<u64> {
            let fits = entries_max.min(bytes_max / self.entry_bytes);
            self.entries.checked_sub(fits).filter(|upto| *upto > 0)
        }
    }

    fn limits(cost_ratio: f64) -> Limits {
        Limits {
            entries_max: 20_000,
            bytes_max: 64 * MIB,
            entries_keep: 5_000,
            entries_keep_min: 64,
            cost_ratio,
        }
    }

    const LOG: Log = Log {
        entries: 200,
        entry_bytes: 256 << 10,
    };

    /// Entries that each write rows of their own.
    fn distinct(log: &Log) -> impl Fn(u64, u64) -> u64 {
        let (entries, bytes) = (log.entries, log.entry_bytes);
        move |since, _| (entries - since) * bytes
    }

    /// Entries that write the rows of the same `distinct` entries again and again.
    fn overwriting(log: &Log, distinct: u64) -> impl Fn(u64, u64) -> u64 {
        let (entries, bytes) = (log.entries, log.entry_bytes);
        move |since, _| (entries - since).min(distinct) * bytes
    }

    #[test]
    fn distinct_keys_are_kept_up_to_the_caps() {
        assert_eq!(too_dear(&limits(1.0), &LOG, distinct(&LOG)), None);
        assert_eq!(over_caps(&limits(1.0), &LOG), None);
        let more = Log {
            entries: 300,
            ..LOG
        };
        assert_eq!(too_dear(&limits(1.0), &more, distinct(&more)), None);
        let cut = over_caps(&limits(1.0), &more).unwrap();
        assert_eq!(
            (cut.upto, cut.cause),
            (172, PurgeCause::Bytes),
            "half of the bytes stay"
        );
        let small = Log {
            entries: 20_001,
            entry_bytes: 100,
        };
        let cut = over_caps(&limits(1.0), &small).unwrap();
        assert_eq!((cut.upto, cut.cause), (15_001, PurgeCause::Entries));
    }

    #[test]
    fn overwrites_are_cut_where_the_delta_becomes_cheaper() {
        let cut = too_dear(&limits(1.0), &LOG, overwriting(&LOG, 110)).unwrap();
        assert_eq!(
            (cut.upto, cut.cause),
            (100, PurgeCause::Cost),
            "100 of 200 remain"
        );
        let cut = too_dear(&limits(1.0), &LOG, overwriting(&LOG, 50)).unwrap();
        assert_eq!(cut.upto, 136, "the least that is kept is 64");
        assert_eq!(
            too_dear(&limits(2.0), &LOG, overwriting(&LOG, 110)),
            None,
            "a replay may cost twice as much"
        );
        let cut = too_dear(&limits(0.5), &LOG, distinct(&LOG)).unwrap();
        assert_eq!(cut.upto, 136, "a replay must cost half as much");
        let cut = too_dear(&limits(0.0), &LOG, distinct(&LOG)).unwrap();
        assert_eq!(cut.upto, 136, "a replay may cost nothing");
    }

    #[test]
    fn a_small_tail_is_left_alone_without_a_look() {
        let look = |_, _| panic!("nothing to look at");
        let few = Log { entries: 64, ..LOG };
        assert_eq!(too_dear(&limits(1.0), &few, look), None);
        let light = Log {
            entries: 1_000,
            entry_bytes: 4_000,
        };
        assert_eq!(too_dear(&limits(1.0), &light, look), None);
        // And cutting stops there.
        let log = Log {
            entries: 6_000,
            entry_bytes: 4_096,
        };
        let cut = too_dear(&limits(1.0), &log, |_, _| 0).unwrap();
        assert_eq!(cut.upto, 5_250, "750 entries take less than 4 MiB");
    }

    #[test]
    fn a_look_counts_no_further_than_it_must() {
        let mut looks = Vec::new();
        too_dear(&limits(2.0), &LOG, |since, enough| {
            looks.push((since, enough));
            0
        });
        assert_eq!(looks, [(0, 25 * MIB), (100, 25 * MIB / 2)]);
    }
}
