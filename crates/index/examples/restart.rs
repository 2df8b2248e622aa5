//! How long a graph takes to be ready: built anew, and taken up from a checkpoint, with none and with 1 % changed.
//!
//! ```text
//! cargo run --release -p pando-index --example restart -- data/wordnet-10k
//! ```
//!
//! The folder holds `vectors.f16.npy`, like the one that comes with the repository.
#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use npyz::half::f16;
use pando_index::{Checkpoint, CollectionIndex, Fingerprint, IndexOptions, Numbered};
use pando_model::{CollectionSchema, Metric, Payload, PointId, SearchQuery, Stamp, VectorName};

const DIMENSION: usize = 384;
const OWNER: &[u8] = b"an example";

fn vectors(folder: &Path, schema: &CollectionSchema) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(folder.join("vectors.f16.npy")).expect("the folder holds the set");
    let npy = npyz::NpyFile::new(&bytes[..]).expect("a npy file");
    let values: Vec<f16> = npy.into_vec().expect("half precision");
    let rows = values.chunks_exact(DIMENSION).map(|row| {
        let mut row: Vec<f32> = row.iter().map(|value| value.to_f32()).collect();
        (schema.normalise(&VectorName::default(), &mut row)).expect("not zero");
        row
    });
    rows.collect()
}

fn fingerprint(n: u64, version: u64) -> Fingerprint {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes[8..].copy_from_slice(&version.to_le_bytes());
    Fingerprint(bytes)
}

/// Loads all points, of which one in a hundred has another version if `changed`, and waits for the graph.
fn open(
    schema: &CollectionSchema,
    base: &[Vec<f32>],
    file: Option<&Path>,
    changed: bool,
) -> CollectionIndex {
    let options = IndexOptions {
        graph_rows_min: 1000,
        ..IndexOptions::default()
    };
    let counts = options.counts.clone();
    let mut index = CollectionIndex::with_options(schema, options);
    let name = VectorName::default();
    let since = Instant::now();
    if let Some(file) = file {
        let file = File::open(file).expect("it was written");
        let from = Box::new(BufReader::with_capacity(1 << 18, file));
        let params = schema.vectors[&name];
        let checkpoint = Checkpoint::read(params, OWNER, from).expect("it is whole");
        let failed = Box::new(|restored| println!("  {restored:?}"));
        index.restore(&name, checkpoint, failed);
    }
    let read = since.elapsed();
    for (n, vector) in (0_u64..).zip(base) {
        let vectors = BTreeMap::from([(name.clone(), vector.clone())]);
        let version = u64::from(changed && n % 100 == 0);
        let payload = Payload::default().encode();
        let of = fingerprint(n, version);
        index.load(PointId::Num(n), Stamp::at(1), &vectors, payload, of);
    }
    index.loaded();
    let loaded = since.elapsed();
    while index.is_indexing() {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!(
        "{} points: head read in {} ms, loaded after {} ms, graph ready {} ms later; {} taken up, {} indexed; \
         {} segments, index {} MiB",
        index.len(),
        read.as_millis(),
        loaded.as_millis(),
        (since.elapsed() - loaded).as_millis(),
        counts.reused(),
        counts.indexed(),
        index.segments(),
        index.memory_bytes() >> 20,
    );
    index
}

/// Recall@10 over points as queries.
fn recall(index: &CollectionIndex, base: &[Vec<f32>]) -> f64 {
    let (mut found, mut there) = (0, 0);
    for vector in base.iter().step_by((base.len() / 500).max(1)) {
        let query = SearchQuery::new(vector.clone(), 10);
        let exact = SearchQuery {
            exact: true,
            ..query.clone()
        };
        let results = index
            .search(&[query, exact], &Numbered(base))
            .expect("valid");
        let is_found = |id| results[0].iter().any(|hit| hit.id == id);
        found += results[1].iter().filter(|hit| is_found(hit.id)).count();
        there += results[1].len();
    }
    found as f64 / there as f64
}

fn main() {
    let folder = std::env::args().nth(1).expect("usage: restart FOLDER");
    let schema = CollectionSchema::single(u32::try_from(DIMENSION).expect("small"), Metric::Cosine);
    let base = vectors(Path::new(&folder), &schema);
    let index = open(&schema, &base, None, false);
    println!("  recall@10 {:.4}", recall(&index, &base));
    let path = std::env::temp_dir().join(format!("pando-restart-{}", std::process::id()));
    let since = Instant::now();
    let saving = index.saving(&VectorName::default()).expect("a graph");
    let noted = since.elapsed();
    let mut to = BufWriter::with_capacity(1 << 18, File::create(&path).expect("a file"));
    let of = |id| match id {
        PointId::Num(n) => Some(fingerprint(n, 0)),
        PointId::Uuid(_) => None,
    };
    saving.write(OWNER, of, &mut to).expect("it is written");
    to.flush().expect("it is written");
    to.get_ref().sync_all().expect("it is durable");
    println!(
        "saved: {} ms under a lock, {} ms in all, {} KiB",
        noted.as_millis(),
        since.elapsed().as_millis(),
        path.metadata().map_or(0, |meta| meta.len()) >> 10
    );
    drop((saving, index));
    for changed in [false, true] {
        let index = open(&schema, &base, Some(&path), changed);
        println!("  recall@10 {:.4}", recall(&index, &base));
    }
    std::fs::remove_file(&path).expect("it is there");
}
