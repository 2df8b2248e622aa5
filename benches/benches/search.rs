//! The exact scan: one query, a batch, and a filtered query over 10,000 x 384.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(
    clippy::allow_attributes,
    reason = "an inner expect would fail where the macro documents them"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark stops where it cannot go on"
)]

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pando_index::{CollectionIndex, NoOriginals};
use pando_model::{
    CollectionSchema, Filter, Metric, Payload, PointId, SearchQuery, Stamp, Value, VectorName,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const POINTS: u64 = 10_000;
const DIMENSION: u32 = 384;
const BATCH: usize = 64;

fn vector(rng: &mut StdRng, schema: &CollectionSchema) -> Vec<f32> {
    let mut v: Vec<f32> = (0..DIMENSION)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    schema.normalise(&VectorName::default(), &mut v).unwrap();
    v
}

fn benches(c: &mut Criterion) {
    let mut rng = StdRng::seed_from_u64(1);
    let schema = CollectionSchema::single(DIMENSION, Metric::Cosine);
    let mut index = CollectionIndex::new(&schema);
    for id in 0..POINTS {
        let vectors = BTreeMap::from([(VectorName::default(), vector(&mut rng, &schema))]);
        let tenth = Value::Int(i64::try_from(id % 10).unwrap());
        let payload = Payload(BTreeMap::from([("tenth".to_owned(), tenth)]));
        index.upsert(PointId::Num(id), Stamp::at(id), &vectors, payload.encode());
    }
    let queries: Vec<_> = (0..BATCH)
        .map(|_| SearchQuery::new(vector(&mut rng, &schema), 10))
        .collect();
    let text = r#"{"must": [{"key": "tenth", "match": {"value": 3}}]}"#;
    let filtered = SearchQuery {
        filter: Some(Filter::from_json(text).unwrap()),
        ..queries[0].clone()
    };
    let mut group = c.benchmark_group("exact scan of 10k x 384");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one query", |b| {
        b.iter(|| black_box(index.search(&queries[..1], &NoOriginals)))
    });
    group.bench_function("one query, filter passing 10 %", |b| {
        b.iter(|| black_box(index.search(std::slice::from_ref(&filtered), &NoOriginals)));
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("64 queries in a batch", |b| {
        b.iter(|| black_box(index.search(&queries, &NoOriginals)))
    });
    group.finish();
}

criterion_group!(search, benches);
criterion_main!(search);
