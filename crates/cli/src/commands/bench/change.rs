//! What changes while a follower is away: which ids, how often, and how many bytes that is.
//!
//! Ids in use are always one range, so that a change of any size is said by a few numbers.

use std::ops::Range;

use pando_model::{Point, PointId, Record};

use super::vectors::Source;

/// Of so many changed records one is new, and one is deleted; the others are updates.
const ONE_IN: u64 = 10;
/// Bytes of a version.
const VERSION_BYTES: usize = 16;

/// How the changes are made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mix {
    /// 80 % updates, 10 % new, 10 % deleted; each key once.
    Mixed,
    /// Updates only, each key so many times.
    Overwrites(u32),
}

/// The ids in use.
#[derive(Debug)]
pub(super) struct Ids {
    used: Range<u64>,
    cursor: u64,
    generation: u64,
}

/// One change of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    updates: Vec<Range<u64>>,
    inserts: Range<u64>,
    deletes: Range<u64>,
    /// Of the first time a key is written.
    generation: u64,
    /// How often each is written.
    pub(super) times: u32,
}

impl Ids {
    pub(super) fn new(points: u64) -> Self {
        Self {
            used: 0..points,
            cursor: 0,
            generation: 0,
        }
    }

    /// Points there are.
    pub(super) fn count(&self) -> u64 {
        self.used.end - self.used.start
    }

    /// The next change, of as many records as there are at most.
    pub(super) fn change(&mut self, records: u64, mix: Mix) -> Change {
        let records = records.min(self.count());
        let (moved, times) = match mix {
            Mix::Mixed => (records / ONE_IN, 1),
            Mix::Overwrites(times) => (0, times.max(1)),
        };
        let deletes = self.used.start..self.used.start + moved;
        let inserts = self.used.end..self.used.end + moved;
        let kept = deletes.end..self.used.end;
        let updates = records - 2 * moved;
        // A ring over what is kept, so that one change after the other meets other records.
        let from = if kept.contains(&self.cursor) {
            self.cursor
        } else {
            kept.start
        };
        let first = from..(from + updates).min(kept.end);
        let rest = kept.start..kept.start + updates - (first.end - first.start);
        self.cursor = if rest.is_empty() { first.end } else { rest.end };
        let generation = self.generation + 1;
        self.generation += u64::from(times);
        self.used = deletes.end..inserts.end;
        let updates = [first, rest]
            .into_iter()
            .filter(|r| !r.is_empty())
            .collect();
        Change {
            updates,
            inserts,
            deletes,
            generation,
            times,
        }
    }

    /// The first id in use, how many there are, and a generation that none has had: for writes that go on meanwhile.
    pub(super) fn steady(&mut self) -> (u64, u64, u64) {
        self.generation += 1;
        (self.used.start, self.count().max(1), self.generation)
    }
}

impl Change {
    /// Records that are not what they were.
    pub(super) fn records(&self) -> u64 {
        self.put_count() + self.deleted_count()
    }

    fn put_count(&self) -> u64 {
        let updates: u64 = self.updates.iter().map(|r| r.end - r.start).sum();
        updates + self.inserts.end - self.inserts.start
    }

    fn deleted_count(&self) -> u64 {
        self.deletes.end - self.deletes.start
    }

    /// Points that are written, counted as often as they are.
    pub(super) fn writes(&self) -> u64 {
        self.put_count() * u64::from(self.times)
    }

    /// What is written in one pass over the keys.
    pub(super) fn pass(&self, time: u32) -> impl Iterator<Item = (u64, u64)> + Send + use<> {
        let generation = self.generation + u64::from(time);
        let ids = self.updates.clone().into_iter().flatten();
        ids.chain(self.inserts.clone())
            .map(move |id| (id, generation))
    }

    pub(super) fn deleted(&self) -> impl Iterator<Item = PointId> + use<> {
        self.deletes.clone().map(PointId::Num)
    }

    /// Bytes of the changed records: id, version and content of what is there now, the id of what is gone.
    pub(super) fn bytes(&self, source: &Source) -> anyhow::Result<u64> {
        let put = record_bytes(source, source.point(0, 0))?;
        let id = PointId::Num(0).to_bytes().len() as u64;
        Ok(self.put_count() * put + self.deleted_count() * id)
    }
}

/// Bytes of a record: its id, its version, its content. All points of a source have as many.
pub(super) fn record_bytes(source: &Source, mut point: Point) -> anyhow::Result<u64> {
    source.schema()?.normalise_point(&mut point)?;
    let id_bytes = point.id.to_bytes().len();
    let bytes = id_bytes + VERSION_BYTES + Record::from(point).encode().len();
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_mixed_change_updates_adds_and_deletes() {
        let mut ids = Ids::new(100);
        let change = ids.change(50, Mix::Mixed);
        assert_eq!(
            (change.records(), change.writes(), ids.count()),
            (50, 45, 100)
        );
        let put: BTreeSet<u64> = change.pass(0).map(|(id, _)| id).collect();
        assert_eq!(put.len(), 45);
        assert_eq!(put.iter().filter(|id| **id >= 100).count(), 5, "new ones");
        let deleted: Vec<_> = change.deleted().collect();
        assert_eq!(deleted, (0..5).map(PointId::Num).collect::<Vec<_>>());

        // Everything may change, and the ring goes round.
        let all = ids.change(100, Mix::Mixed);
        assert_eq!((all.records(), ids.count()), (100, 100));
        let put: BTreeSet<u64> = all.pass(0).map(|(id, _)| id).collect();
        assert!(
            put.len() == 90 && put.iter().all(|id| (15..115).contains(id)),
            "{put:?}"
        );
        assert_eq!(ids.change(1, Mix::Mixed).records(), 1);
        assert_eq!(ids.change(0, Mix::Mixed).records(), 0);
    }

    #[test]
    fn overwrites_write_the_same_keys_again_with_other_content() {
        let mut ids = Ids::new(100);
        let change = ids.change(10, Mix::Overwrites(4));
        assert_eq!((change.records(), change.writes()), (10, 40));
        let passes: Vec<Vec<(u64, u64)>> = (0..4).map(|time| change.pass(time).collect()).collect();
        for (a, b) in passes[0].iter().zip(&passes[3]) {
            assert!(a.0 == b.0 && a.1 < b.1);
        }
        let next = ids.change(1, Mix::Mixed);
        assert!(
            next.pass(0)
                .all(|(_, generation)| generation > passes[3][0].1)
        );
    }

    #[test]
    fn bytes_are_those_of_ids_versions_and_contents() {
        let source = Source::random(2, 1);
        let record = 9 + 16 + 1 + 4 + 4 + 4 + 8 + 4; // id, version; format, vectors, name, length, values, payload
        let bytes = |records| Ids::new(100).change(records, Mix::Mixed).bytes(&source);
        assert_eq!(bytes(1).expect("fine"), record);
        assert_eq!(bytes(10).expect("fine"), 9 * record + 9);
    }
}
