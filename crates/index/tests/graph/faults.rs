//! A library that fails, or takes its time, costs speed, never answers.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use half::f16;
use pando_index::graph::diskann::DiskAnn;
use pando_index::graph::{
    Accept, Coding, Found, Graph, GraphError, GraphParams, Library, LoadError, VectorOf,
};
use pando_index::{CollectionIndex, IndexOptions, Numbered, Plan, Why};
use pando_model::{Metric, PointId, SearchQuery};

use super::support::{Numbers, schema, settle, small, stored, upsert, vector};

const DIMENSION: usize = 16;

/// What is wrong with a library.
#[derive(Clone)]
enum Fault {
    /// Every third insertion fails.
    Insertions,
    /// Every search fails.
    Searches,
    /// Every copy fails.
    Copies,
    /// Insertions return late, when their rows can be found already.
    Late(Arc<Gate>),
}

struct Faulty(Fault);

/// Holds insertions up while it is closed.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
    held: AtomicU64,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.closed.lock().expect("sound") = closed;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut closed = self.closed.lock().expect("sound");
        if *closed {
            self.held.fetch_add(1, Ordering::Release);
        }
        while *closed {
            closed = self.opened.wait(closed).expect("sound");
        }
    }
}

struct FaultyGraph {
    inner: Arc<dyn Graph>,
    insertions: AtomicU64,
    fault: Fault,
}

fn fault() -> GraphError {
    GraphError::Library {
        action: "please",
        detail: "a fault was asked for".into(),
    }
}

impl Library for Faulty {
    fn row_bytes(&self, dimension: usize, coding: Coding) -> usize {
        DiskAnn.row_bytes(dimension, coding)
    }

    fn open(&self, params: &GraphParams) -> Result<Arc<dyn Graph>, GraphError> {
        Ok(Arc::new(FaultyGraph {
            inner: DiskAnn.open(params)?,
            insertions: AtomicU64::new(0),
            fault: self.0.clone(),
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
        let number = self.insertions.fetch_add(1, Ordering::Relaxed);
        if matches!(self.fault, Fault::Insertions) && number % 3 == 2 {
            return Err(fault());
        }
        self.inner.insert(row, vector)?;
        if let Fault::Late(gate) = &self.fault {
            gate.pass();
        }
        Ok(())
    }

    fn remove(&self, row: u64) -> bool {
        self.inner.remove(row)
    }

    fn resized(&self, capacity: usize) -> Result<Arc<dyn Graph>, GraphError> {
        if let Fault::Copies = self.fault {
            return Err(fault());
        }
        Ok(Arc::new(FaultyGraph {
            inner: self.inner.resized(capacity)?,
            insertions: AtomicU64::new(self.insertions.load(Ordering::Relaxed)),
            fault: self.fault.clone(),
        }))
    }

    fn search(
        &self,
        query: &[f16],
        ef: usize,
        accept: Option<&Accept<'_>>,
    ) -> Result<Vec<Found>, GraphError> {
        match self.fault {
            Fault::Searches => Err(fault()),
            Fault::Insertions | Fault::Copies | Fault::Late(_) => {
                self.inner.search(query, ef, accept)
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        self.inner.memory_bytes()
    }

    fn save(&self, to: &mut dyn Write) -> Result<(), GraphError> {
        self.inner.save(to)
    }
}

fn filled(fault: Fault) -> (CollectionIndex, Vec<Vec<f32>>) {
    let schema = schema(DIMENSION, Metric::Cosine);
    let options = IndexOptions {
        library: Arc::new(Faulty(fault)),
        ..small()
    };
    let mut index = CollectionIndex::with_options(&schema, options);
    let mut numbers = Numbers::new(8);
    let vectors: Vec<_> = (0..4000)
        .map(|_| stored(&schema, vector(&mut numbers, DIMENSION, 1.0)))
        .collect();
    for (n, vector) in (0..).zip(&vectors) {
        upsert(&mut index, n, vector);
        if n % 500 == 0 {
            settle(&index);
        }
    }
    settle(&index);
    (index, vectors)
}

#[test]
fn rows_that_were_not_taken_are_scanned() {
    let (mut index, vectors) = filled(Fault::Insertions);
    let backlog = index.backlog();
    assert!(
        (1000..2000).contains(&backlog),
        "{backlog} of 4000: a third is refused"
    );
    for (n, vector) in (0..).zip(&vectors) {
        let query = SearchQuery::new(vector.clone(), 1);
        let hits = index.search(&[query], &Numbered(&vectors)).expect("valid");
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
        let hits = index.search(&[query], &Numbered(&vectors)).expect("valid");
        assert_eq!(hits[0][0].id, PointId::Num(n));
    }
}

#[test]
fn rows_of_a_segment_that_cannot_be_copied_stay_in_it() {
    let (mut index, vectors) = filled(Fault::Copies);
    assert_eq!(index.backlog(), 0);
    assert!(
        index.segments() > 1,
        "more segments instead of a larger one"
    );
    for n in (0..4000).filter(|n| n % 4 != 0) {
        assert!(index.remove(PointId::Num(n)));
    }
    settle(&index);
    for (n, vector) in (0..).zip(&vectors).step_by(4) {
        let query = SearchQuery::new(vector.clone(), 1);
        let hits = index.search(&[query], &Numbered(&vectors)).expect("valid");
        assert_eq!(hits[0][0].id, PointId::Num(n));
    }
}

#[test]
fn a_search_that_fails_is_a_scan() {
    let (mut index, vectors) = filled(Fault::Searches);
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
    let results = index
        .search_planned(&[query, exact], &Numbered(&vectors))
        .expect("valid");
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

#[test]
fn a_row_that_is_in_the_backlog_and_in_the_graph_is_found_once() {
    let gate = Arc::new(Gate::default());
    let (mut index, vectors) = filled(Fault::Late(Arc::clone(&gate)));
    gate.set(true);
    upsert(&mut index, 4000, &vectors[7]);
    while gate.held.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    let query = SearchQuery::new(vectors[7].clone(), 10);
    let stored = [vectors.clone(), vec![vectors[7].clone()]].concat();
    let searched = index.search_planned(&[query], &Numbered(&stored));
    let searched = searched.expect("valid").remove(0);
    gate.set(false);
    assert!(
        matches!(searched.plan, Plan::Graph { unindexed: 1, .. }),
        "{}",
        searched.plan
    );
    let ids: BTreeSet<PointId> = searched.hits.iter().map(|hit| hit.id).collect();
    assert_eq!(ids.len(), 10, "{:?}", searched.hits);
    assert!(ids.contains(&PointId::Num(4000)) && ids.contains(&PointId::Num(7)));
}
