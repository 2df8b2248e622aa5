//! Drift: what happens to the data while a node is away. Every portion changes other points, by the same amount.

use std::collections::BTreeSet;

use anyhow::Context as _;
use pando_client::Pando;
use pando_model::{
    CollectionName, CollectionSchema, Metric, Point, PointId, Record, Selector, VectorName,
};

use super::data::Data;

/// Points of one write: drift comes in small writes.
const POINTS_PER_WRITE: usize = 10;
/// A portion re-embeds one of so many base points.
const UPDATED_ONE_IN: usize = 100;
/// Points a portion adds, and as many it deletes.
const ADDED: usize = 20;

/// A portion of drift.
pub(super) struct Drift {
    puts: Vec<Point>,
    deletes: BTreeSet<PointId>,
}

/// What applying it came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drifted {
    /// Points changed, added or deleted.
    pub(super) records: u64,
    /// Of these, deleted.
    pub(super) deleted: u64,
    /// Their bytes: id, version and content of what was written, the id of what was deleted.
    pub(super) bytes: u64,
    /// Writes it took.
    pub(super) writes: u64,
}

impl Drift {
    /// The portion of this number, counted from 0.
    pub(super) fn portion(data: &Data, number: usize) -> anyhow::Result<Self> {
        let updated = data.base.len() / UPDATED_ONE_IN;
        let updates = data.updates.chunks(updated.max(1)).nth(number);
        let inserts = data.inserts.chunks(ADDED).nth(number);
        let (updates, inserts) = updates
            .zip(inserts)
            .with_context(|| format!("the data has no drift number {number}"))?;
        let drifting: BTreeSet<u64> = data.updates.iter().map(|(row, _)| *row).collect();
        let deletes = (0..data.base.len() as u64)
            .filter(|row| !drifting.contains(row))
            .skip(number * ADDED)
            .take(ADDED);
        let updated = updates
            .iter()
            .map(|(row, vector)| Point::new(*row, vector.clone(), data.payload(*row)));
        Ok(Self {
            puts: updated.chain(inserts.iter().cloned()).collect(),
            deletes: deletes.map(PointId::Num).collect(),
        })
    }

    /// Writes it.
    pub(super) async fn apply(
        &self,
        client: &Pando,
        collection: &CollectionName,
    ) -> anyhow::Result<Drifted> {
        let mut writes = 0;
        for points in self.puts.chunks(POINTS_PER_WRITE) {
            client.upsert(collection, points.to_vec()).await?;
            writes += 1;
        }
        let ids: Vec<PointId> = self.deletes.iter().copied().collect();
        let mut deleted = 0;
        for ids in ids.chunks(POINTS_PER_WRITE) {
            let selector = Selector::Ids(ids.iter().copied().collect());
            deleted += client.delete(collection, selector).await?.affected;
            writes += 1;
        }
        anyhow::ensure!(
            deleted == ids.len() as u64,
            "{deleted} of {} points were deleted",
            ids.len()
        );
        let records = self.puts.len() as u64 + deleted;
        Ok(Drifted {
            records,
            deleted,
            bytes: self.bytes()?,
            writes,
        })
    }

    fn bytes(&self) -> anyhow::Result<u64> {
        const VERSION_BYTES: usize = 16;
        let mut bytes = 0;
        for point in &self.puts {
            let mut point = point.clone();
            let dimension = point
                .vectors
                .get(&VectorName::default())
                .map_or(0, Vec::len);
            let schema = CollectionSchema::single(u32::try_from(dimension)?, Metric::Cosine);
            schema.normalise_point(&mut point)?;
            let id_bytes = point.id.to_bytes().len();
            bytes += id_bytes + VERSION_BYTES + Record::from(point).encode().len();
        }
        bytes += self
            .deletes
            .iter()
            .map(|id| id.to_bytes().len())
            .sum::<usize>();
        Ok(bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use pando_model::Payload;

    use super::*;

    fn data() -> Data {
        let point = |id: u64| Point::new(id, vec![0.6, 0.8], Payload::default());
        Data {
            base: (0..400).map(point).collect(),
            queries: vec![],
            texts: vec![],
            truth: vec![],
            updates: (0..12).map(|row| (row * 3, vec![1.0, 0.0])).collect(),
            inserts: (400..460).map(point).collect(),
        }
    }

    #[test]
    fn portions_touch_different_points() {
        let data = data();
        let mut seen = BTreeSet::new();
        for number in 0..3 {
            let drift = Drift::portion(&data, number).expect("there");
            let ids: BTreeSet<_> = drift
                .puts
                .iter()
                .map(|p| p.id)
                .chain(drift.deletes.clone())
                .collect();
            assert_eq!(ids.len(), 4 + 20 + 20);
            assert!(ids.is_disjoint(&seen), "portion {number}");
            seen.extend(ids);
        }
        assert!(
            Drift::portion(&data, 3).is_err(),
            "there are no more updates and inserts"
        );
    }

    #[test]
    fn bytes_are_those_of_ids_versions_and_contents() {
        let drift = Drift {
            puts: vec![Point::new(1, vec![1.0, 0.0], Payload::default())],
            deletes: [PointId::Num(2)].into(),
        };
        let record = 1 + 4 + 4 + 4 + 8 + 4; // format, vectors, its name, its length, two values, payload
        assert_eq!(drift.bytes().expect("fine"), 9 + 16 + record + 9);
    }
}
