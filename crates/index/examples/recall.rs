//! Recall and speed of the graph against the scan on real embeddings, one query at a time on one thread:
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo run --release -p pando-index --example recall -- data/wordnet-10k
//! ```
//!
//! The folder holds `vectors.f16.npy`, `queries.f16.npy` and `ground_truth.i32.npy`, like the one that comes with
//! the repository.
#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use npyz::half::f16;
use pando_index::{CollectionIndex, IndexOptions};
use pando_model::{
    CollectionSchema, Filter, Metric, Payload, PointId, SearchQuery, Stamp, VectorName,
};
use serde_json::json;

const DIMENSION: usize = 384;
const LIMIT: usize = 10;

fn read<T: npyz::Deserialize>(folder: &Path, file: &str) -> Vec<T> {
    let bytes = std::fs::read(folder.join(file)).expect("the folder holds the data set");
    let npy = npyz::NpyFile::new(&bytes[..]).expect("a npy file");
    npy.into_vec().expect("values of this type")
}

fn vectors(folder: &Path, file: &str, schema: &CollectionSchema) -> Vec<Vec<f32>> {
    let values: Vec<f16> = read(folder, file);
    let rows = values.chunks_exact(DIMENSION).map(|row| {
        let mut row: Vec<f32> = row.iter().map(|value| value.to_f32()).collect();
        (schema.normalise(&VectorName::default(), &mut row)).expect("not zero");
        row
    });
    rows.collect()
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0_u64) / 1024
}

/// Recall and queries per second over all queries, and how the last one was answered.
fn measure(
    index: &CollectionIndex,
    queries: &[SearchQuery],
    truth: &[Vec<PointId>],
) -> (f64, f64, String) {
    let (mut hits, mut plan) = (0, String::new());
    let since = Instant::now();
    let mut searched = Vec::with_capacity(queries.len());
    for query in queries {
        searched.push(
            index
                .search_planned(std::slice::from_ref(query))
                .expect("valid"),
        );
    }
    let seconds = since.elapsed().as_secs_f64();
    for (searched, truth) in searched.iter().zip(truth) {
        let found = &searched[0].hits;
        hits += truth
            .iter()
            .filter(|id| found.iter().any(|hit| hit.id == **id))
            .count();
        plan = searched[0].plan.to_string();
    }
    let there: usize = truth.iter().take(queries.len()).map(Vec::len).sum();
    (
        hits as f64 / there as f64,
        queries.len() as f64 / seconds,
        plan,
    )
}

fn exact(index: &CollectionIndex, queries: &[SearchQuery]) -> Vec<Vec<PointId>> {
    let exact: Vec<_> = (queries.iter().cloned())
        .map(|query| SearchQuery {
            exact: true,
            ..query
        })
        .collect();
    let results = index.search(&exact).expect("valid");
    let ids = results
        .iter()
        .map(|hits| hits.iter().map(|hit| hit.id).collect());
    ids.collect()
}

fn main() {
    let folder = std::env::args()
        .nth(1)
        .expect("usage: recall FOLDER [ROWS]");
    let folder = Path::new(&folder);
    let rows: Option<usize> = std::env::args()
        .nth(2)
        .map(|rows| rows.parse().expect("a number"));
    let dimension = u32::try_from(DIMENSION).expect("small");
    let schema = CollectionSchema::single(dimension, Metric::Cosine);
    let mut base = vectors(folder, "vectors.f16.npy", &schema);
    base.truncate(rows.unwrap_or(base.len()));
    let queries = vectors(folder, "queries.f16.npy", &schema);
    let options = IndexOptions {
        graph_rows_min: 1000,
        ..IndexOptions::default()
    };
    let mut index = CollectionIndex::with_options(&schema, options);
    let before = resident_mib();
    let since = Instant::now();
    for (n, vector) in base.iter().enumerate() {
        let json = json!({ "half": n % 2, "tenth": n % 10, "hundredth": n % 100 });
        let payload = Payload::from_json(json).expect("an object").encode();
        let vectors = BTreeMap::from([(VectorName::default(), vector.clone())]);
        index.upsert(PointId::Num(n as u64), Stamp::at(1), &vectors, payload);
    }
    let written = since.elapsed();
    while index.is_indexing() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let raw = base.len() * DIMENSION * size_of::<f32>();
    println!(
        "{} points: written in {:.1} s, indexed after {:.1} s, {} segments; index {} MiB (resident +{} MiB), \
         f32 vectors {} MiB",
        base.len(),
        written.as_secs_f64(),
        since.elapsed().as_secs_f64(),
        index.segments(),
        index.memory_bytes() >> 20,
        resident_mib() - before,
        raw >> 20,
    );
    let queries: Vec<_> = (queries.into_iter().take(1000))
        .map(|vector| SearchQuery::new(vector, LIMIT))
        .collect();
    let truth = exact(&index, &queries);
    let with = |ef: Option<u32>| -> Vec<SearchQuery> {
        (queries.iter().cloned())
            .map(|query| SearchQuery { ef, ..query })
            .collect()
    };
    for ef in [16, 32, 64, 128, 256] {
        let measured = measure(&index, &with(Some(ef)), &truth);
        show(&format!("ef {ef}"), measured);
    }
    show("default", measure(&index, &queries, &truth));
    show("exact", measure(&index, &few_exact(&queries), &truth));
    filtered(&index, &queries);
}

fn filtered(index: &CollectionIndex, queries: &[SearchQuery]) {
    for key in ["half", "tenth", "hundredth"] {
        let json = json!({ "must": [{ "key": key, "match": { "value": 0 } }] });
        let filter = Filter::from_json(&json.to_string()).expect("a filter");
        let queries: Vec<_> = (queries.iter().cloned())
            .map(|query| SearchQuery {
                filter: Some(filter.clone()),
                ..query
            })
            .collect();
        let truth = exact(index, &queries);
        show(key, measure(index, &queries, &truth));
        let measured = measure(index, &few_exact(&queries), &truth);
        show("the same, exact", measured);
    }
}

/// The scan is slow: some of the queries tell as much.
fn few_exact(queries: &[SearchQuery]) -> Vec<SearchQuery> {
    (queries.iter().take(200).cloned())
        .map(|query| SearchQuery {
            exact: true,
            ..query
        })
        .collect()
}

fn show(what: &str, (recall, qps, plan): (f64, f64, String)) {
    println!("{what:>16}: recall@10 {recall:.4}, {qps:8.0} queries/s   ({plan})");
}
