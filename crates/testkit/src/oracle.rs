//! What a cluster was told, what it acknowledged, and whether what it holds and answers fits.
//!
//! Every write of a point has a number of its own, which the point carries, so that a value seen names the write it
//! comes from. Acknowledged writes are ordered by their log index. A write whose outcome is unknown may have happened
//! at any time, now included; a write that was refused must never be seen. Knows nothing of nodes or networks.

use std::collections::{BTreeMap, BTreeSet};

use pando_model::PointId;
use parking_lot::Mutex;
use thiserror::Error;

/// Names one write of one point, for good.
pub type WriteNumber = u64;

/// What a write leaves behind: a point that carries the write's number, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intention {
    Put,
    Delete,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Not known: under way, timed out, connection lost.
    Unknown,
    /// Acknowledged at this log index.
    Acknowledged(u64),
    /// Certainly not done.
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    id: PointId,
    intention: Intention,
    outcome: Outcome,
}

/// A read of one point.
#[derive(Clone, Copy, Debug)]
struct Read {
    id: PointId,
    /// It must have seen at least this log index.
    floor: u64,
    /// The write it saw; `None`: no point.
    seen: Option<WriteNumber>,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Violation {
    /// An acknowledged put is gone: the point is absent, and no delete explains it.
    #[error(
        "point {id} is lost: write {write} was acknowledged at {index}, no later delete was asked for"
    )]
    Lost {
        /// Which point.
        id: PointId,
        /// The write that should be there.
        write: WriteNumber,
        /// Where it was acknowledged.
        index: u64,
    },
    /// An older value than the last one acknowledged is there.
    #[error(
        "point {id} holds write {seen}, but write {expected} was acknowledged later, at {index}"
    )]
    Stale {
        /// Which point.
        id: PointId,
        /// The write that is there.
        seen: WriteNumber,
        /// The one that should be.
        expected: WriteNumber,
        /// Where that was acknowledged.
        index: u64,
    },
    /// A point is there after its delete was acknowledged.
    #[error(
        "point {id} is back with write {seen}, although its delete {delete} was acknowledged at {index}"
    )]
    Resurrected {
        /// Which point.
        id: PointId,
        /// The write that is there.
        seen: WriteNumber,
        /// The delete.
        delete: WriteNumber,
        /// Where it was acknowledged.
        index: u64,
    },
    /// A value nobody wrote there, or one that was refused.
    #[error("point {id} holds write {seen}, which was never made or was refused")]
    Phantom {
        /// Which point.
        id: PointId,
        /// What is there.
        seen: WriteNumber,
    },
    /// A read did not see a write it must have seen.
    #[error("a read of point {id} that must see log index {floor} saw {seen:?}, which is older")]
    StaleRead {
        /// Which point.
        id: PointId,
        /// What the read must have seen.
        floor: u64,
        /// What it saw.
        seen: Option<WriteNumber>,
    },
    /// Two writes were acknowledged at one log index.
    #[error("log index {index} was given to more than one request: writes {first} and {second}")]
    SharedIndex {
        /// The index.
        index: u64,
        /// A write of the one request.
        first: WriteNumber,
        /// A write of the other.
        second: WriteNumber,
    },
}

/// What a check looked at: a check that looked at nothing proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Points with an acknowledged write.
    pub points: usize,
    /// Acknowledged writes of points.
    pub acknowledged: usize,
    /// Of those, deletes.
    pub deletes: usize,
    /// Writes whose outcome is unknown.
    pub unknown: usize,
    /// Reads.
    pub reads: usize,
}

#[derive(Debug, Default)]
struct History {
    writes: Vec<Write>,
    reads: Vec<Read>,
    /// Writes of one request, by its first.
    requests: Vec<(WriteNumber, usize)>,
}

/// Records what happens, from any number of tasks.
#[derive(Debug, Default)]
pub struct Oracle {
    history: Mutex<History>,
}

/// The writes of one request.
#[derive(Debug)]
#[must_use = "say what became of it; a write nothing is said about may have happened"]
pub struct Ticket {
    numbers: Vec<WriteNumber>,
}

impl Ticket {
    /// The writes' numbers, in the order of the points.
    #[must_use]
    pub fn numbers(&self) -> &[WriteNumber] {
        &self.numbers
    }
}

impl Oracle {
    /// These points are about to be put; each is to carry its number.
    pub fn begin_put(&self, ids: &[PointId]) -> Ticket {
        self.begin(ids, Intention::Put)
    }

    /// These points are about to be deleted.
    pub fn begin_delete(&self, ids: &[PointId]) -> Ticket {
        self.begin(ids, Intention::Delete)
    }

    fn begin(&self, ids: &[PointId], intention: Intention) -> Ticket {
        let mut history = self.history.lock();
        let first = history.writes.len();
        history.requests.push((first as WriteNumber, ids.len()));
        let outcome = Outcome::Unknown;
        history.writes.extend(ids.iter().map(|id| Write {
            id: *id,
            intention,
            outcome,
        }));
        let numbers = (first..history.writes.len())
            .map(|n| n as WriteNumber)
            .collect();
        Ticket { numbers }
    }

    /// The request was acknowledged.
    pub fn acknowledged(&self, ticket: Ticket, log_index: u64) {
        self.settle(ticket, Outcome::Acknowledged(log_index));
    }

    /// The request failed, and certainly nothing happened.
    pub fn refused(&self, ticket: Ticket) {
        self.settle(ticket, Outcome::Refused);
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        let mut history = self.history.lock();
        for number in ticket.numbers {
            if let Some(write) = usize::try_from(number)
                .ok()
                .and_then(|n| history.writes.get_mut(n))
            {
                write.outcome = outcome;
            }
        }
    }

    /// The highest log index acknowledged so far: what a linearizable read that starts now must have seen.
    #[must_use]
    pub fn floor(&self) -> u64 {
        let history = self.history.lock();
        history
            .writes
            .iter()
            .filter_map(|w| acknowledged_at(w.outcome))
            .max()
            .unwrap_or(0)
    }

    /// A read that must have seen the log index `floor` saw this write's point, or none.
    pub fn read(&self, id: PointId, floor: u64, seen: Option<WriteNumber>) {
        self.history.lock().reads.push(Read { id, floor, seen });
    }

    /// Whether what is there now fits everything that was acknowledged, and every read did.
    ///
    /// # Errors
    /// All that does not fit.
    pub fn check(&self, now: &BTreeMap<PointId, WriteNumber>) -> Result<Evidence, Vec<Violation>> {
        let history = self.history.lock();
        let points = history.by_point();
        let mut violations = BTreeSet::new();
        let unwritten = now.keys().filter(|id| !points.contains_key(id));
        for id in points.keys().chain(unwritten) {
            let writes = points.get(id).map_or(&[][..], Vec::as_slice);
            violations.extend(judge(*id, writes, u64::MAX, now.get(id).copied()));
        }
        for read in &history.reads {
            let writes = points.get(&read.id).map_or(&[][..], Vec::as_slice);
            violations.extend(
                judge(read.id, writes, read.floor, read.seen).map(|violation| match violation {
                    Violation::Phantom { .. } => violation,
                    _ => Violation::StaleRead {
                        id: read.id,
                        floor: read.floor,
                        seen: read.seen,
                    },
                }),
            );
        }
        violations.extend(history.shared_indexes());
        if violations.is_empty() {
            Ok(history.evidence())
        } else {
            Err(violations.into_iter().collect())
        }
    }
}

fn acknowledged_at(outcome: Outcome) -> Option<u64> {
    match outcome {
        Outcome::Acknowledged(index) => Some(index),
        Outcome::Unknown | Outcome::Refused => None,
    }
}

/// Whether a point may look like this to somebody who must have seen everything acknowledged up to `floor`.
fn judge(
    id: PointId,
    writes: &[(WriteNumber, Write)],
    floor: u64,
    seen: Option<WriteNumber>,
) -> Option<Violation> {
    let acknowledged = writes
        .iter()
        .filter_map(|(n, w)| Some((acknowledged_at(w.outcome)?, *n, *w)));
    let last = acknowledged
        .filter(|(index, ..)| *index <= floor)
        .max_by_key(|(index, ..)| *index);
    // Not ruled out: it may have happened after `last`.
    let may_follow = |write: &Write| match write.outcome {
        Outcome::Unknown => true,
        Outcome::Acknowledged(index) => last.is_none_or(|(last, ..)| index >= last),
        Outcome::Refused => false,
    };
    let Some(seen) = seen else {
        let gone = writes
            .iter()
            .any(|(_, w)| w.intention == Intention::Delete && may_follow(w));
        return match last {
            Some((index, write, w)) if w.intention == Intention::Put && !gone => {
                Some(Violation::Lost { id, write, index })
            }
            _ => None,
        };
    };
    let origin = writes
        .iter()
        .find(|(n, w)| *n == seen && w.intention == Intention::Put);
    match (origin, last) {
        (Some((_, origin)), _) if may_follow(origin) => None,
        (Some((_, origin)), Some((index, expected, last)))
            if origin.outcome != Outcome::Refused =>
        {
            Some(match last.intention {
                Intention::Put => Violation::Stale {
                    id,
                    seen,
                    expected,
                    index,
                },
                Intention::Delete => Violation::Resurrected {
                    id,
                    seen,
                    delete: expected,
                    index,
                },
            })
        }
        _ => Some(Violation::Phantom { id, seen }),
    }
}

impl History {
    fn by_point(&self) -> BTreeMap<PointId, Vec<(WriteNumber, Write)>> {
        let mut points: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (number, write) in self.writes.iter().enumerate() {
            points
                .entry(write.id)
                .or_default()
                .push((number as WriteNumber, *write));
        }
        points
    }

    fn shared_indexes(&self) -> Vec<Violation> {
        let mut given = BTreeMap::new();
        let mut shared = Vec::new();
        for (second, _) in &self.requests {
            let write = usize::try_from(*second)
                .ok()
                .and_then(|n| self.writes.get(n));
            let Some(index) = write.and_then(|w| acknowledged_at(w.outcome)) else {
                continue;
            };
            if let Some(first) = given.insert(index, *second) {
                shared.push(Violation::SharedIndex {
                    index,
                    first,
                    second: *second,
                });
            }
        }
        shared
    }

    fn evidence(&self) -> Evidence {
        let acknowledged = || {
            self.writes
                .iter()
                .filter(|w| acknowledged_at(w.outcome).is_some())
        };
        Evidence {
            points: acknowledged().map(|w| w.id).collect::<BTreeSet<_>>().len(),
            acknowledged: acknowledged().count(),
            deletes: acknowledged()
                .filter(|w| w.intention == Intention::Delete)
                .count(),
            unknown: self
                .writes
                .iter()
                .filter(|w| w.outcome == Outcome::Unknown)
                .count(),
            reads: self.reads.len(),
        }
    }
}

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
