//! A library that fails costs speed, never answers.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use half::f16;
use pando_index::graph::diskann::DiskAnn;
use pando_index::graph::{Accept, Graph, GraphError, GraphParams, Library, LoadError, VectorOf};
use pando_index::{CollectionIndex, IndexOptions, Plan, Why};
use pando_model::{Metric, PointId, SearchQuery};

use super::support::{Numbers, schema, settle, small, stored, upsert, vector};

const DIMENSION: usize = 16;

/// Fails every third insertion, or every search.
struct Faulty {
    searches_fail: bool,
}

struct FaultyGraph {
    inner: Arc<dyn Graph>,
    insertions: AtomicU64,
    searches_fail: bool,
}

fn fault() -> GraphError {
    GraphError::Library {
        action: "please",
        detail: "a fault was asked for".into(),
    }
}

impl Library for Faulty {
    fn row_bytes(&self, dimension: usize) -> usize {
        DiskAnn.row_bytes(dimension)
    }

    fn open(&self, params: &GraphParams) -> Result<Arc<dyn Graph>, GraphError> {
        Ok(Arc::new(FaultyGraph {
            inner: DiskAnn.open(params)?,
            insertions: AtomicU64::new(0),
            searches_fail: self.searches_fail,
        }))
    }

    fn load(
        &self,
        expected: &GraphParams,
        from: &mut dyn Read,
        vectors: &mut VectorOf<'_>,
    ) -> Result<Arc<dyn Graph>, LoadError> {
        DiskAnn.load(expected, from, vectors)
    }
}

impl Graph for FaultyGraph {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    fn visible(&self) -> usize {
        self.inner.visible()
    }

    fn contains(&self, row: u64) -> bool {
        self.inner.contains(row)
    }

    fn rows(&self) -> Vec<u64> {
        self.inner.rows()
    }

    fn vector(&self, row: u64) -> Option<Box<[f16]>> {
        self.inner.vector(row)
    }

    fn insert(&self, row: u64, vector: &[f16]) -> Result<(), GraphError> {
        match self.insertions.fetch_add(1, Ordering::Relaxed) % 3 {
            2 => Err(fault()),
            _ => self.inner.insert(row, vector),
        }
    }

    fn remove(&self, row: u64) -> bool {
        self.inner.remove(row)
    }

    fn search(
        &self,
        query: &[f16],
        ef: usize,
        accept: Option<&Accept<'_>>,
    ) -> Result<Vec<u64>, GraphError> {
        match self.searches_fail {
            true => Err(fault()),
            false => self.inner.search(query, ef, accept),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.inner.memory_bytes()
    }

    fn save(&self, to: &mut dyn Write) -> Result<(), GraphError> {
        self.inner.save(to)
    }
}

fn filled(searches_fail: bool) -> (CollectionIndex, Vec<Vec<f32>>) {
    let schema = schema(DIMENSION, Metric::Cosine);
    let options = IndexOptions {
        library: Arc::new(Faulty { searches_fail }),
        ..small()
    };
    let mut index = CollectionIndex::with_options(&schema, options);
    let mut numbers = Numbers::new(8);
    let vectors: Vec<_> = (0..4000)
        .map(|_| stored(&schema, vector(&mut numbers, DIMENSION, 1.0)))
        .collect();
    for (n, vector) in (0..).zip(&vectors) {
        upsert(&mut index, n, vector);
    }
    settle(&index);
    (index, vectors)
}

#[test]
fn rows_that_were_not_taken_are_scanned() {
    let (mut index, vectors) = filled(false);
    let backlog = index.backlog();
    assert!(
        (1000..2000).contains(&backlog),
        "{backlog} of 4000: a third is refused"
    );
    for (n, vector) in (0..).zip(&vectors) {
        let query = SearchQuery::new(vector.clone(), 1);
        let hits = index.search(&[query]).expect("valid");
        assert_eq!(hits[0][0].id, PointId::Num(n));
    }
    for n in 0..2500 {
        assert!(index.remove(PointId::Num(n)));
    }
    settle(&index);
    assert!(
        index.backlog() < backlog,
        "what is refused goes with its point"
    );
    for (n, vector) in (0..).zip(&vectors).skip(2500) {
        let query = SearchQuery::new(vector.clone(), 1);
        let hits = index.search(&[query]).expect("valid");
        assert_eq!(hits[0][0].id, PointId::Num(n));
    }
}

#[test]
fn a_search_that_fails_is_a_scan() {
    let (mut index, vectors) = filled(true);
    // Until the backlog alone would be a reason to scan.
    for n in (0..4000).step_by(3) {
        assert!(index.remove(PointId::Num(n)));
    }
    settle(&index);
    let query = SearchQuery::new(vectors[1].clone(), 10);
    let exact = SearchQuery {
        exact: true,
        ..query.clone()
    };
    let results = index.search_planned(&[query, exact]).expect("valid");
    assert!(
        matches!(
            results[0].plan,
            Plan::Exact(Why::GraphFailed | Why::Backlog)
        ),
        "{}",
        results[0].plan
    );
    assert_eq!(results[0].hits, results[1].hits);
}
