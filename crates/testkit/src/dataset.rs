//! The WordNet set in `data/wordnet-10k` (see its README): real embeddings, real payloads, real drift.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use npyz::half::f16;
use pando_model::{CollectionSchema, Metric, Payload, Point};

/// Values per vector.
pub const DIMENSION: usize = 384;

/// The set, read whole.
#[derive(Debug)]
pub struct WordNet {
    vectors: Vec<Vec<f32>>,
    payloads: Vec<Payload>,
    drift: Vec<(usize, Vec<f32>)>,
    inserts: Vec<(Vec<f32>, Payload)>,
}

impl WordNet {
    /// Reads it.
    ///
    /// # Errors
    /// When a file is missing or not what the README says.
    pub fn load() -> Result<Self> {
        let vectors = vectors("vectors.f16.npy")?;
        let payloads = payloads("payloads.jsonl.gz")?;
        ensure!(
            vectors.len() == payloads.len(),
            "a payload for every vector"
        );
        let rows: Vec<i32> = npy("updates.rows.i32.npy")?;
        let rows = rows
            .into_iter()
            .map(usize::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        let drift = rows
            .into_iter()
            .zip(self::vectors("updates.f16.npy")?)
            .collect();
        let inserts = self::vectors("inserts.f16.npy")?;
        let inserts = inserts
            .into_iter()
            .zip(self::payloads("inserts.jsonl.gz")?)
            .collect();
        Ok(Self {
            vectors,
            payloads,
            drift,
            inserts,
        })
    }

    /// The schema of a collection that holds it.
    #[must_use]
    pub fn schema() -> CollectionSchema {
        let dimension = u32::try_from(DIMENSION).expect("384 is small");
        CollectionSchema::single(dimension, Metric::Cosine)
    }

    /// The first `count` base points; a point's id is its row.
    #[must_use]
    pub fn base(&self, count: usize) -> Vec<Point> {
        let rows = self
            .vectors
            .iter()
            .zip(&self.payloads)
            .enumerate()
            .take(count);
        rows.map(|(row, (vector, payload))| Point::new(row as u64, vector.clone(), payload.clone()))
            .collect()
    }

    /// `count` points among the first `base` whose text was embedded anew: the same ids, other vectors.
    #[must_use]
    pub fn drifted(&self, base: usize, count: usize) -> Vec<Point> {
        let rows = self.drift.iter().filter(|(row, _)| *row < base).take(count);
        rows.map(|(row, vector)| {
            Point::new(*row as u64, vector.clone(), self.payloads[*row].clone())
        })
        .collect()
    }

    /// `count` further points; their ids follow the base.
    #[must_use]
    pub fn inserts(&self, count: usize) -> Vec<Point> {
        let rows = self
            .inserts
            .iter()
            .zip(self.vectors.len() as u64..)
            .take(count);
        rows.map(|((vector, payload), id)| Point::new(id, vector.clone(), payload.clone()))
            .collect()
    }
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../data/wordnet-10k")
        .join(file)
}

fn npy<T: npyz::Deserialize>(file: &str) -> Result<Vec<T>> {
    let bytes = std::fs::read(path(file)).with_context(|| format!("cannot read {file}"))?;
    Ok(npyz::NpyFile::new(&bytes[..])?.into_vec()?)
}

fn vectors(file: &str) -> Result<Vec<Vec<f32>>> {
    let values: Vec<f16> = npy(file)?;
    let rows = values.chunks_exact(DIMENSION);
    ensure!(
        rows.remainder().is_empty(),
        "{file}: rows of {DIMENSION} values"
    );
    Ok(rows
        .map(|row| row.iter().map(|v| v.to_f32()).collect())
        .collect())
}

fn payloads(file: &str) -> Result<Vec<Payload>> {
    let file = File::open(path(file)).with_context(|| format!("cannot read {file}"))?;
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines
        .map(|line| Ok(Payload::from_json(serde_json::from_str(&line?)?)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_what_its_readme_says() {
        let set = WordNet::load().unwrap();
        let base = set.base(usize::MAX);
        assert_eq!(base.len(), 10_000);
        assert_eq!(set.drifted(10_000, usize::MAX).len(), 1_200);
        let few = set.drifted(1_000, 50);
        assert_eq!(few.len(), 50);
        for point in &few {
            let row = usize::try_from(point.id.to_string().parse::<u64>().unwrap()).unwrap();
            assert!(row < 1_000 && point.vectors != base[row].vectors);
            assert_eq!(point.payload, base[row].payload);
        }
        let inserts = set.inserts(usize::MAX);
        assert_eq!((inserts.len(), inserts[0].id), (500, 10_000.into()));
        let schema = WordNet::schema();
        base.iter()
            .chain(&inserts)
            .for_each(|point| schema.check_point(point).unwrap());
    }
}
