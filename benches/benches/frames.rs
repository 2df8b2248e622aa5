//! Frames: what encoding, compressing and checking a frame of 64 records costs, and what compression saves.
//!
//! With `PANDO_BENCH_VECTORS=file.f32` (384 little-endian floats a vector) real embeddings take the place of the random
//! unit vectors.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(
    clippy::allow_attributes,
    reason = "an inner expect would fail where the macro documents them"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark stops where it cannot go on"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pando_model::Row;
use pando_sync::{Compression, Response, RowBlock, decode, encode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const RECORDS: usize = 64;
const DIMENSION: usize = 384;

/// The content of a record: a short head and its vector, as the replica stores it.
fn contents() -> (&'static str, Vec<Vec<u8>>) {
    let bytes = 4 * DIMENSION;
    if let Ok(path) = std::env::var("PANDO_BENCH_VECTORS") {
        let file = std::fs::read(path).unwrap();
        let vectors = file.chunks_exact(bytes).take(RECORDS).map(<[u8]>::to_vec);
        return ("given vectors", vectors.collect());
    }
    let mut rng = StdRng::seed_from_u64(1);
    let mut unit = |_| {
        let values: Vec<f32> = (0..DIMENSION)
            .map(|_| rng.random_range(-1.0_f32..1.0))
            .collect();
        let norm = values.iter().map(|v| v * v).sum::<f32>().sqrt();
        values
            .iter()
            .flat_map(|v| (v / norm).to_le_bytes())
            .collect()
    };
    ("random unit vectors", (0..RECORDS).map(&mut unit).collect())
}

fn benches(c: &mut Criterion) {
    let (what, contents) = contents();
    let row = |(id, content): (u64, Vec<u8>)| Row {
        id: id.to_be_bytes().to_vec(),
        version: [1; 16],
        content,
    };
    let rows: Vec<Row> = (0..).zip(contents).map(row).collect();
    let mut group = c.benchmark_group(format!("frame of {} records, {what}", rows.len()));
    group.throughput(Throughput::Elements(rows.len() as u64));
    for (name, compression, planes) in [
        ("plain", Compression::None, false),
        ("zstd 1", Compression::Zstd(1), false),
        ("planes, zstd 1", Compression::Zstd(1), true),
        ("planes, zstd 3", Compression::Zstd(3), true),
    ] {
        let rows = rows.clone();
        let message = Response::Since {
            id: 1,
            puts: RowBlock { rows, planes },
            kept: Vec::new(),
            done: true,
        };
        let bytes = encode(&message, compression).unwrap();
        let plain = encode(&message, Compression::None).unwrap();
        let ratio = plain.len() as f64 / bytes.len() as f64;
        let name = format!("{name}, ratio {ratio:.3}");
        group.bench_function(format!("encode, {name}"), |b| {
            b.iter(|| black_box(encode(&message, compression).unwrap()));
        });
        group.bench_function(format!("decode, {name}"), |b| {
            b.iter(|| black_box(decode::<Response>(&bytes).unwrap()));
        });
    }
    group.finish();
}

criterion_group!(frames, benches);
criterion_main!(frames);
