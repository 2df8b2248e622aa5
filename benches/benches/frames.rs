//! Frames: what encoding, compressing and checking a frame of 64 records costs.
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
use pando_merkle::Prefix;
use pando_model::{Row, TreeId};
use pando_sync::{Compression, Deletes, Response, decode, encode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const RECORDS: u64 = 64;
const DIMENSION: usize = 384;

fn benches(c: &mut Criterion) {
    let mut rng = StdRng::seed_from_u64(1);
    let mut row = |id: u64| {
        let values = (0..DIMENSION).map(|_| rng.random_range(-0.1_f32..0.1));
        let content = values.flat_map(f32::to_le_bytes).collect();
        Row {
            id: id.to_be_bytes().to_vec(),
            version: [1; 16],
            content,
        }
    };
    let puts: Vec<Row> = (0..RECORDS).map(&mut row).collect();
    let deletes = Deletes::Short(Vec::new());
    let message = Response::Rows {
        tree: TreeId(1),
        prefix: Prefix::ROOT,
        puts,
        deletes,
        done: true,
    };
    let mut group = c.benchmark_group("frame of 64 records");
    group.throughput(Throughput::Elements(RECORDS));
    for (name, compression) in [
        ("plain", Compression::None),
        ("zstd 1", Compression::Zstd(1)),
    ] {
        let bytes = encode(&message, compression).unwrap();
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
