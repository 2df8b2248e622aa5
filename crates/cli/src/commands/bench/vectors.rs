//! The vectors that are measured with: a function of seed, id and generation, so that none has to be kept.
//!
//! Real ones come from a file; where more are needed than it has, its rows are repeated with noise. Without a file
//! they are random directions. What was used is said in the report.

use std::path::Path;

use pando_model::{CollectionSchema, Metric, Payload, Point};
use rand::SeedableRng as _;
use rand::distr::Distribution as _;
use rand::rngs::StdRng;
use rand_distr::StandardNormal;

use crate::exit::BadInput;
use crate::readers;

/// Length of the noise that is added to a repeated row, as a part of the row's length.
const NOISE: f32 = 0.05;
/// Odd numbers that spread ids and generations over the seeds.
const SPREAD_ID: u64 = 0x9e37_79b9_7f4a_7c15;
const SPREAD_GENERATION: u64 = 0xd1b5_4a32_d192_ed03;

/// Where vectors come from.
#[derive(Debug)]
pub(super) struct Source {
    dimension: usize,
    seed: u64,
    file: Option<Rows>,
}

#[derive(Debug)]
struct Rows {
    name: String,
    values: Vec<f32>,
    count: u64,
}

impl Source {
    /// Random directions.
    pub(super) fn random(dimension: usize, seed: u64) -> Self {
        Self {
            dimension,
            seed,
            file: None,
        }
    }

    /// The first `rows_max` rows of a file.
    pub(super) fn file(path: &Path, rows_max: u64, seed: u64) -> Result<Self, BadInput> {
        let mut values = Vec::new();
        let (mut count, mut dimension) = (0, 0);
        for row in readers::vectors(path)? {
            if count == rows_max {
                break;
            }
            let row = row?;
            dimension = row.len();
            values.extend(row);
            count += 1;
        }
        if count == 0 {
            return Err(BadInput(format!("{}: it has no rows", path.display())));
        }
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        Ok(Self {
            dimension,
            seed,
            file: Some(Rows {
                name,
                values,
                count,
            }),
        })
    }

    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    pub(super) fn schema(&self) -> anyhow::Result<CollectionSchema> {
        let dimension = u32::try_from(self.dimension)?;
        Ok(CollectionSchema::single(dimension, Metric::Cosine))
    }

    /// The point of this id as it is after being changed `generation` times.
    pub(super) fn point(&self, id: u64, generation: u64) -> Point {
        Point::new(id, self.vector(id, generation), Payload::default())
    }

    fn vector(&self, id: u64, generation: u64) -> Vec<f32> {
        let seed =
            self.seed ^ id.wrapping_mul(SPREAD_ID) ^ generation.wrapping_mul(SPREAD_GENERATION);
        let normal = |rng: &mut StdRng| -> f32 { StandardNormal.sample(rng) };
        let mut rng = StdRng::seed_from_u64(seed);
        let Some(rows) = &self.file else {
            let vector: Vec<f32> = (0..self.dimension).map(|_| normal(&mut rng)).collect();
            let length = length(&vector).max(f32::MIN_POSITIVE);
            return vector.into_iter().map(|value| value / length).collect();
        };
        let row = usize::try_from(id % rows.count).unwrap_or_default() * self.dimension;
        let row = &rows.values[row..row + self.dimension];
        if id < rows.count && generation == 0 {
            return row.to_vec();
        }
        let noise = NOISE * length(row) / (self.dimension as f32).sqrt();
        row.iter()
            .map(|value| value + noise * normal(&mut rng))
            .collect()
    }

    /// For the report.
    pub(super) fn describe(&self, points: u64) -> String {
        let (dimension, seed) = (self.dimension, self.seed);
        let Some(Rows { name, count, .. }) = &self.file else {
            return format!("random unit vectors, {dimension} x f32, seed {seed}; no payload");
        };
        let repeated = if *count < points {
            format!(
                "repeated with {:.0} % Gaussian noise to make up the points, and ",
                NOISE * 100.0
            )
        } else {
            String::new()
        };
        format!(
            "real embeddings: {name}, {count} rows, {dimension} x f32; {repeated}changed by {:.0} % Gaussian noise \
             (seed {seed}); no payload",
            NOISE * 100.0
        )
    }
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value * value).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn random_vectors_are_of_length_one_and_differ_by_id_and_generation() {
        let source = Source::random(32, 7);
        let vectors =
            [(1, 0), (2, 0), (1, 1)].map(|(id, generation)| source.vector(id, generation));
        for vector in &vectors {
            assert!((length(vector) - 1.0).abs() < 1e-5, "{vector:?}");
        }
        assert_ne!(vectors[0], vectors[1]);
        assert_ne!(vectors[0], vectors[2]);
        assert_eq!(
            vectors[0],
            Source::random(32, 7).vector(1, 0),
            "the seed decides"
        );
        assert_ne!(vectors[0], Source::random(32, 8).vector(1, 0));
    }

    #[test]
    fn rows_of_a_file_are_repeated_with_noise() {
        let mut file = tempfile::Builder::new()
            .suffix(".fvecs")
            .tempfile()
            .expect("a file");
        for row in [[1.0f32, 0.0], [0.0, 2.0]] {
            file.write_all(&2u32.to_le_bytes()).expect("written");
            for value in row {
                file.write_all(&value.to_le_bytes()).expect("written");
            }
        }
        let source = Source::file(file.path(), 10, 1).expect("read");
        assert_eq!(source.vector(1, 0), [0.0, 2.0]);
        let again = source.vector(3, 0);
        assert!(
            again != [0.0, 2.0] && (again[1] - 2.0).abs() < 0.8,
            "{again:?}"
        );
        assert!(source.describe(3).contains("repeated"));
        assert!(!source.describe(2).contains("repeated"));
        assert_eq!(
            Source::file(file.path(), 1, 1)
                .expect("read")
                .vector(1, 1)
                .len(),
            2
        );
    }
}
