//! The data shipped with the project, read whole: it is small.

use std::path::Path;

use pando_model::{Payload, Point};
use serde::Deserialize;

use crate::exit::BadInput;
use crate::readers::{self, Defaults};

/// What a query says.
#[derive(Debug, Deserialize)]
pub(super) struct QueryText {
    pub(super) lemma: String,
    pub(super) gloss: String,
}

pub(super) struct Data {
    /// The base set; the id is the row.
    pub(super) base: Vec<Point>,
    pub(super) queries: Vec<Vec<f32>>,
    pub(super) texts: Vec<QueryText>,
    /// For each query its nearest base rows, nearest first.
    pub(super) truth: Vec<Vec<u64>>,
    /// Base rows that drift, and the new vector of each.
    pub(super) updates: Vec<(u64, Vec<f32>)>,
    /// Points that are not in the base; their ids go on where it ends.
    pub(super) inserts: Vec<Point>,
}

type Result<T> = std::result::Result<T, BadInput>;

impl Data {
    pub(super) fn load(directory: &Path) -> Result<Self> {
        let file = |name: &str| directory.join(name);
        let points = |vectors: &str, payloads: &str, first_id| {
            let defaults = Defaults {
                first_id,
                ..Defaults::default()
            };
            readers::points(&file(vectors), Some(&file(payloads)), defaults)?
                .collect::<Result<Vec<_>>>()
        };
        let base = points("vectors.f16.npy", "payloads.jsonl.gz", 0)?;
        let inserts = points("inserts.f16.npy", "inserts.jsonl.gz", base.len() as u64)?;
        let vectors = |name: &str| readers::vectors(&file(name))?.collect::<Result<Vec<_>>>();
        let (truth, width) = readers::integers(&file("ground_truth.i32.npy"))?;
        let truth: Vec<Vec<u64>> = truth
            .chunks(width.max(1))
            .map(|rows| rows_of(rows, base.len()))
            .collect::<Result<_>>()?;
        let (rows, _) = readers::integers(&file("updates.rows.i32.npy"))?;
        let rows = rows_of(&rows, base.len())?;
        let data = Self {
            queries: vectors("queries.f16.npy")?,
            texts: readers::values(&file("queries.jsonl.gz"))?.collect::<Result<_>>()?,
            updates: rows.into_iter().zip(vectors("updates.f16.npy")?).collect(),
            truth,
            base,
            inserts,
        };
        let asked = data.queries.len();
        if data.texts.len() != asked || data.truth.len() != asked {
            return Err(BadInput(format!(
                "{}: queries, texts and truth differ in number",
                directory.display()
            )));
        }
        Ok(data)
    }

    /// The payload of a base row.
    pub(super) fn payload(&self, row: u64) -> Payload {
        let point = usize::try_from(row).ok().and_then(|row| self.base.get(row));
        point.map(|p| p.payload.clone()).unwrap_or_default()
    }
}

fn rows_of(values: &[i32], base: usize) -> Result<Vec<u64>> {
    let row = |value: &i32| {
        let row = u64::try_from(*value).ok().filter(|row| *row < base as u64);
        row.ok_or_else(|| BadInput(format!("{value} is not one of the {base} rows")))
    };
    values.iter().map(row).collect()
}
