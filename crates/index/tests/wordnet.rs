//! Real embeddings: the scan finds exactly what the shipped ground truth says, whatever the filter or the batch.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use npyz::half::f16;
use pando_index::{CollectionIndex, IndexOptions, NoOriginals, Plan, Scored};
use pando_model::{
    CollectionSchema, EncodedPayload, Filter, Metric, Payload, PointId, Quantization, SearchQuery,
    Stamp, VectorName,
};
use serde_json::json;

const DIMENSION: usize = 384;
const TRUTHS: usize = 100;
/// Scores in `f32` against cosines in `f64`: a sum of 384 products of a unit vector's values, rounded.
const TOLERANCE: f64 = 1e-6;

fn read<T: npyz::Deserialize>(file: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../data/wordnet-10k")
        .join(file);
    let bytes = std::fs::read(&path).expect("the data set comes with the repository");
    let npy = npyz::NpyFile::new(&bytes[..]).expect("a npy file");
    npy.into_vec().expect("values of this type")
}

fn vectors(file: &str) -> Vec<Vec<f32>> {
    let values: Vec<f16> = read(file);
    let rows = values.chunks_exact(DIMENSION);
    rows.map(|row| row.iter().map(|v| v.to_f32()).collect())
        .collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        (a.iter().zip(b))
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

struct Set {
    rows: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
    index: CollectionIndex,
    /// The vectors as they were given to the index.
    stored: BTreeMap<PointId, BTreeMap<VectorName, Vec<f32>>>,
    schema: CollectionSchema,
}

/// The payload tells every tenth row from the others.
fn payload(row: usize) -> EncodedPayload {
    let json = json!({ "tenth": row.is_multiple_of(10) });
    Payload::from_json(json).expect("an object").encode()
}

fn load() -> Set {
    load_with(IndexOptions::default())
}

fn load_with(options: IndexOptions) -> Set {
    load_as(Quantization::F16, options)
}

fn load_as(quantization: Quantization, options: IndexOptions) -> Set {
    let dimension = u32::try_from(DIMENSION).expect("small");
    let name = VectorName::default();
    let schema = CollectionSchema::single(dimension, Metric::Cosine)
        .quantized(&BTreeMap::from([(name.clone(), quantization)]))
        .expect("there is one");
    let rows = vectors("vectors.f16.npy");
    let mut index = CollectionIndex::with_options(&schema, options);
    let mut stored = BTreeMap::new();
    for (row, vector) in rows.iter().enumerate() {
        let mut vector = vector.clone();
        schema.normalise(&name, &mut vector).expect("real vectors");
        let (id, vectors) = (PointId::Num(row as u64), [(name.clone(), vector)].into());
        index.upsert(id, Stamp::at(1), &vectors, payload(row));
        stored.insert(id, vectors);
    }
    Set {
        rows,
        queries: vectors("queries.f16.npy"),
        index,
        stored,
        schema,
    }
}

impl Set {
    fn queries(&self, limit: usize, filter: Option<&Filter>) -> Vec<SearchQuery> {
        let query = |vector: &Vec<f32>| {
            let mut query = SearchQuery::new(vector.clone(), limit);
            (self.schema)
                .normalise(&query.vector_name, &mut query.vector)
                .expect("real vectors");
            query.filter = filter.cloned();
            query.exact = true;
            query
        };
        self.queries.iter().map(query).collect()
    }

    /// Ids may differ where scores are equal; the scores at each rank may not.
    fn check(&self, query: usize, hits: &[Scored], truth: &[usize]) {
        assert_eq!(hits.len(), truth.len());
        for (rank, (hit, expected)) in hits.iter().zip(truth).enumerate() {
            let PointId::Num(found) = hit.id else {
                unreachable!("all ids are numbers");
            };
            let row = usize::try_from(found).expect("a row");
            let score = cosine(&self.queries[query], &self.rows[row]);
            let best = cosine(&self.queries[query], &self.rows[*expected]);
            assert!(
                (score - best).abs() <= TOLERANCE
                    && (f64::from(hit.score) - best).abs() <= TOLERANCE,
                "query {query}, rank {rank}: found {row} at {} ({score}), expected {expected} at {best}",
                hit.score
            );
        }
    }
}

#[test]
fn recall_of_the_exact_scan_is_one() {
    let set = load();
    let truth: Vec<i32> = read("ground_truth.i32.npy");
    let truth: Vec<usize> = (truth.into_iter())
        .map(|row| usize::try_from(row).expect("a row"))
        .collect();
    let results = set
        .index
        .search(&set.queries(TRUTHS, None), &NoOriginals)
        .expect("valid");
    assert_eq!(results.len() * TRUTHS, truth.len());
    for (query, (hits, truth)) in results.iter().zip(truth.chunks_exact(TRUTHS)).enumerate() {
        set.check(query, hits, truth);
    }
    let alone = (set.queries(TRUTHS, None).into_iter())
        .flat_map(|query| set.index.search(&[query], &NoOriginals).expect("valid"))
        .collect::<Vec<_>>();
    assert_eq!(alone, results, "a batch changes nothing");
}

fn settle(index: &CollectionIndex) {
    let since = Instant::now();
    while index.is_indexing() {
        assert!(
            since.elapsed() < Duration::from_secs(300),
            "{} rows are left",
            index.backlog()
        );
        std::thread::yield_now();
    }
}

/// Recall@10 of the graph against the scan.
fn recall(set: &Set) -> f64 {
    let exact = set.queries(10, None);
    let graph: Vec<_> = (exact.iter().cloned())
        .map(|query| SearchQuery {
            exact: false,
            ..query
        })
        .collect();
    let truth = set.index.search(&exact, &set.stored).expect("valid");
    let found = set
        .index
        .search_planned(&graph, &set.stored)
        .expect("valid");
    let mut hits = 0;
    for (searched, truth) in found.iter().zip(&truth) {
        assert!(
            matches!(searched.plan, Plan::Graph { unindexed: 0, .. }),
            "{}",
            searched.plan
        );
        let ids = |hit: &&Scored| searched.hits.iter().any(|found| found.id == hit.id);
        hits += truth.iter().filter(ids).count();
    }
    hits as f64 / (truth.len() * 10) as f64
}

#[test]
fn recall_of_the_graph_by_default_is_above_97_percent() {
    for quantization in Quantization::ALL {
        let options = IndexOptions {
            graph_rows_min: 5_000,
            ..IndexOptions::default()
        };
        let mut set = load_as(quantization, options);
        settle(&set.index);
        drop(set.index.take_over());
        let recall = recall(&set);
        assert!(recall >= 0.97, "{recall}, {quantization}");
    }
}

#[test]
fn a_graph_all_of_whose_points_were_written_again_finds_as_much() {
    // Small segments are full often, so that their rows are copied many times and lose the removed ones each time.
    let mut set = load_with(IndexOptions {
        graph_rows_min: 5_000,
        segment_rows_min: 1_000,
        ..IndexOptions::default()
    });
    settle(&set.index);
    let fresh = recall(&set);
    let ids: Vec<PointId> = set.stored.keys().copied().collect();
    for some in ids.chunks(500) {
        for id in some {
            assert!(set.index.remove(*id));
        }
        for id in some {
            let payload = payload(0);
            (set.index).upsert(*id, Stamp::at(2), &set.stored[id], payload);
        }
        settle(&set.index);
    }
    let rewritten = recall(&set);
    assert!(rewritten >= fresh - 0.01, "{rewritten}, it was {fresh}");
    // What is left of a graph that lost most of its points, some at a time.
    for some in ids.chunks(500) {
        for id in some.iter().take(400) {
            assert!(set.index.remove(*id));
            set.stored.remove(id);
        }
        settle(&set.index);
    }
    assert_eq!(set.index.len(), ids.len() / 5);
    let left = recall(&set);
    assert!(left >= fresh - 0.01, "{left}, it was {fresh}");
}

#[test]
fn a_filter_finds_the_nearest_that_pass() {
    let set = load();
    let filter = r#"{ "must": [{ "key": "tenth", "match": { "value": true } }] }"#;
    let filter = Filter::from_json(filter).expect("a filter");
    let limit = 10;
    let results = (set.index)
        .search(&set.queries(limit, Some(&filter)), &NoOriginals)
        .expect("valid");
    for (query, hits) in results.iter().enumerate() {
        let vector = &set.queries[query];
        let mut scored: Vec<_> = (0..set.rows.len())
            .step_by(10)
            .map(|row| (cosine(vector, &set.rows[row]), row))
            .collect();
        scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let truth: Vec<_> = (scored.into_iter().take(limit))
            .map(|(_, row)| row)
            .collect();
        set.check(query, hits, &truth);
    }
}

#[test]
fn memory_is_close_to_the_raw_vectors_and_comes_back() {
    let Set {
        rows, mut index, ..
    } = load();
    let raw = (rows.len() * DIMENSION * size_of::<f32>()) as f64;
    let ratio = index.memory_bytes() as f64 / raw;
    assert!(ratio < 1.15, "{ratio} of the vectors");
    for row in 0..rows.len() as u64 {
        if !row.is_multiple_of(20) {
            assert!(index.remove(PointId::Num(row)));
        }
    }
    assert_eq!(index.len(), rows.len() / 20);
    let ratio = index.memory_bytes() as f64 / raw;
    assert!(
        ratio < 0.1,
        "{ratio} of the vectors for a twentieth of the points"
    );
}
