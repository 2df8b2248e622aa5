//! One segment of the graph library: rows at half precision, nothing around it, nothing scored anew.

use std::sync::Arc;
use std::time::Instant;

use half::f16;
use pando_index::graph::diskann::DiskAnn;
use pando_index::graph::{Coding, GraphParams, Library as _};
use pando_model::Metric;

use crate::EFS;
use crate::data::Data;
use crate::measure::{Engine, rounds};

fn half(vector: &[f32]) -> Vec<f16> {
    vector.iter().map(|value| f16::from_f32(*value)).collect()
}

/// Where searches begin: the direction of the mean.
fn start(data: &Data) -> Arc<[f16]> {
    let mut mean = vec![0.0_f32; data.dimension];
    for vector in &data.base {
        for (sum, value) in mean.iter_mut().zip(vector) {
            *sum += value;
        }
    }
    let length = mean
        .iter()
        .map(|v| v * v)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    mean.iter_mut().for_each(|value| *value /= length);
    half(&mean).into()
}

pub(crate) fn run(data: &Data, threads: usize) -> anyhow::Result<Engine> {
    let graph = DiskAnn.open(&GraphParams {
        dimension: data.dimension,
        metric: Metric::Cosine,
        coding: Coding::Half,
        capacity: data.base.len(),
        start: start(data),
    })?;
    let base: Vec<Vec<f16>> = data.base.iter().map(|vector| half(vector)).collect();
    let begun = Instant::now();
    for (row, vector) in (0..).zip(&base) {
        graph.insert(row, vector)?;
    }
    let build_seconds = begun.elapsed().as_secs_f64();
    let queries: Vec<Vec<f16>> = data.queries.iter().map(|vector| half(vector)).collect();
    let mut rows = Vec::new();
    for threads in [1, threads] {
        for ef in EFS {
            let search = |query: usize| {
                let mut found = graph.search(&queries[query], ef as usize, None)?;
                found.truncate(data.limit);
                Ok(found.into_iter().map(|found| found.row).collect())
            };
            rows.push(rounds(ef, threads, &data.truth, search)?);
        }
    }
    Ok(Engine {
        name: "diskann, one segment",
        build_seconds,
        memory_bytes: graph.memory_bytes() as u64,
        rows,
    })
}
