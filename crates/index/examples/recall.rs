//! Recall and speed of the graph against the scan on real embeddings, one query at a time on one thread:
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo run --release -p pando-index --example recall -- data/wordnet-10k
//! ```
//!
//! A number after the folder says how many vectors to take, and after that `int8` how to quantize them. The folder holds
//! `vectors.f16.npy`, `queries.f16.npy` and `ground_truth.i32.npy`, like the one that comes with the repository.
#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use npyz::half::f16;
use pando_index::{CollectionIndex, IndexOptions, Numbered};
use pando_model::{
    CollectionSchema, Filter, Metric, Payload, PointId, Quantization, SearchQuery, Stamp,
    VectorName,
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
    (index, originals): (&CollectionIndex, Numbered<'_>),
    queries: &[SearchQuery],
    truth: &[Vec<PointId>],
) -> (f64, f64, String) {
    let (mut hits, mut plan) = (0, String::new());
    let since = Instant::now();
    let mut searched = Vec::with_capacity(queries.len());
    for query in queries {
        searched.push(
            index
                .search_planned(std::slice::from_ref(query), &originals)
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

fn exact(
    (index, originals): (&CollectionIndex, Numbered<'_>),
    queries: &[SearchQuery],
) -> Vec<Vec<PointId>> {
    let exact: Vec<_> = (queries.iter().cloned())
        .map(|query| SearchQuery {
            exact: true,
            ..query
        })
        .collect();
    let results = index.search(&exact, &originals).expect("valid");
    let ids = results
        .iter()
        .map(|hits| hits.iter().map(|hit| hit.id).collect());
    ids.collect()
}

fn main() {
    let folder = std::env::args()
        .nth(1)
        .expect("usage: recall FOLDER [ROWS [QUANTIZATION]]");
    let folder = Path::new(&folder);
    let rows: Option<usize> = std::env::args()
        .nth(2)
        .map(|rows| rows.parse().expect("a number"));
    let dimension = u32::try_from(DIMENSION).expect("small");
    let quantization: Quantization = std::env::args()
        .nth(3)
        .map_or(Quantization::default(), |form| {
            form.parse().expect("one that there is")
        });
    let schema = CollectionSchema::single(dimension, Metric::Cosine)
        .quantized(&BTreeMap::from([(VectorName::default(), quantization)]))
        .expect("there is one");
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
        put(&mut index, n, Some(vector), 0);
    }
    let written = since.elapsed();
    while index.is_indexing() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // As `binary` nothing is kept beside the graph from here on.
    drop(index.take_over());
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
    println!(
        "{} bytes a vector, of {} as f32; ids, versions and payloads are not counted",
        (index.memory_bytes() - bytes_of_points(base.len())) / base.len() as u64,
        DIMENSION * size_of::<f32>(),
    );
    let queries: Vec<_> = (queries.into_iter().take(1000))
        .map(|vector| SearchQuery::new(vector, LIMIT))
        .collect();
    let originals = Numbered(&base);
    let set = (&index, originals);
    let truth = exact(set, &queries);
    let with = |ef: Option<u32>| -> Vec<SearchQuery> {
        (queries.iter().cloned())
            .map(|query| SearchQuery { ef, ..query })
            .collect()
    };
    for ef in [16, 32, 64, 128, 256, 512] {
        let measured = measure(set, &with(Some(ef)), &truth);
        show(&format!("ef {ef}"), measured);
    }
    show("default", measure(set, &queries, &truth));
    show("exact", measure(set, &few_exact(&queries), &truth));
    let bytes = index.memory_bytes();
    writes(&mut index, &base, 1);
    filtered((&index, originals), &queries);
    println!(
        "{} KiB of payload indexes",
        (index.memory_bytes() - bytes) >> 10
    );
    writes(&mut index, &base, 0);
}

/// What so many points take without their vectors.
fn bytes_of_points(count: usize) -> u64 {
    let mut points = CollectionIndex::new(&CollectionSchema::single(1, Metric::Cosine));
    for n in 0..count {
        put(&mut points, n, None, 0);
    }
    points.memory_bytes()
}

fn put(index: &mut CollectionIndex, n: usize, vector: Option<&[f32]>, shift: usize) {
    let of = n + shift;
    let json = json!({
        "n": of, "half": of % 2, "tenth": of % 10, "hundredth": of % 100, "thousandth": of % 1000,
        "word": format!("word{}", of % 5000),
    });
    let payload = Payload::from_json(json).expect("an object").encode();
    let vectors = vector.map(|vector| (VectorName::default(), vector.to_vec()));
    let vectors: BTreeMap<_, _> = vectors.into_iter().collect();
    index.upsert(PointId::Num(n as u64), Stamp::at(1), &vectors, payload);
}

/// Points that pass are spread evenly where they go by a remainder, and are alike where they are the first ones: words
/// of one kind follow each other.
fn filtered(set: (&CollectionIndex, Numbered<'_>), queries: &[SearchQuery]) {
    let (index, _) = set;
    let equal = |key: &str| json!({ "key": key, "match": { "value": 0 } });
    let first = |share: usize| json!({ "key": "n", "range": { "lt": index.len() / share } });
    let filters = [
        ("half", equal("half")),
        ("first half", first(2)),
        ("tenth", equal("tenth")),
        ("first tenth", first(10)),
        ("hundredth", equal("hundredth")),
        ("first hundredth", first(100)),
        ("thousandth", equal("thousandth")),
    ];
    for (name, condition) in filters {
        let json = json!({ "must": [condition] });
        let filter = Filter::from_json(&json.to_string()).expect("a filter");
        let queries: Vec<_> = (queries.iter().cloned())
            .map(|query| SearchQuery {
                filter: Some(filter.clone()),
                ..query
            })
            .collect();
        let since = Instant::now();
        // Each filter makes its index a bit more complete.
        let asked = (0..40).map(|_| index.count(Some(&filter))).max();
        let built = since.elapsed();
        let truth = exact(set, &queries);
        show(name, measure(set, &queries, &truth));
        let measured = measure(set, &few_exact(&queries), &truth);
        show("the same, exact", measured);
        let since = Instant::now();
        let counted = (0..100).map(|_| index.count(Some(&filter))).max();
        println!(
            "{:>16}  {} pass; 40 counts while it was indexed {:.1} ms, a count then {:.1} us",
            "",
            asked.max(counted).unwrap_or(0),
            built.as_secs_f64() * 1e3,
            since.elapsed().as_secs_f64() * 1e4,
        );
    }
}

/// What a write costs with the payload indexes there are: every payload is changed, no vector is.
fn writes(index: &mut CollectionIndex, base: &[Vec<f32>], shift: usize) {
    let since = Instant::now();
    for (n, vector) in base.iter().enumerate() {
        put(index, n, Some(vector), shift);
    }
    println!(
        "{:>16}: a changed payload {:.2} us, with {} payload indexes",
        "writes",
        since.elapsed().as_secs_f64() * 1e6 / base.len() as f64,
        index.payload_indexes(),
    );
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
