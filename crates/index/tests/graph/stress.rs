//! Writers and readers side by side, the way a replica has them: an index behind a lock.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pando_index::{CollectionIndex, Originals};
use pando_model::{Metric, PointId, SearchQuery};

use super::support::{By, Numbers, filter, payload, schema, settle, small, stored, upsert, vector};

const DIMENSION: usize = 16;
const IDS: u64 = 4000;
/// How long, unless `PANDO_STRESS_SECONDS` says otherwise.
const SECONDS: u64 = 5;

/// What is stored, written together with the index: by id, the seed of its vector.
struct Shared {
    index: CollectionIndex,
    seeds: Vec<Option<u64>>,
}

fn length() -> Duration {
    let told = std::env::var("PANDO_STRESS_SECONDS").ok();
    let seconds = told.map(|told| told.parse().expect("PANDO_STRESS_SECONDS is a number"));
    Duration::from_secs(seconds.unwrap_or(SECONDS))
}

fn vector_of(seed: u64) -> Vec<f32> {
    let vector = vector(&mut Numbers::new(seed), DIMENSION, 1.0);
    stored(&schema(DIMENSION, Metric::Cosine), vector)
}

impl Shared {
    fn originals(&self) -> impl Originals + '_ {
        By(|n| {
            let place = usize::try_from(n).expect("small");
            self.seeds[place].map(vector_of)
        })
    }
}

/// Readers hold the lock for one search, so whatever a search returns must be what is stored at that moment.
fn read(shared: &RwLock<Shared>, numbers: &mut Numbers, missed: &AtomicU64) -> u64 {
    let state = shared.read().expect("no writer panicked");
    let n = numbers.below(IDS);
    let seed = state.seeds[usize::try_from(n).expect("small")];
    let filtered = numbers.below(3) == 0;
    let query = SearchQuery {
        filter: filtered.then(|| filter("half")),
        ..SearchQuery::new(vector_of(seed.unwrap_or_else(|| numbers.next())), 10)
    };
    let hits = state
        .index
        .search(std::slice::from_ref(&query), &state.originals())
        .expect("valid");
    for hit in &hits[0] {
        let PointId::Num(found) = hit.id else {
            unreachable!("all ids are numbers")
        };
        let stored = state.seeds[usize::try_from(found).expect("small")];
        assert!(stored.is_some(), "{found} was deleted");
        let vector = vector_of(stored.unwrap_or_default());
        let score: f32 = vector.iter().zip(&query.vector).map(|(a, b)| a * b).sum();
        assert!(
            (score - hit.score).abs() < 1e-4,
            "{found} was superseded: {score}, {}",
            hit.score
        );
    }
    let Some(_) = seed else { return 0 };
    let passes = query
        .filter
        .is_none_or(|f| f.matches(PointId::Num(n), &payload(n)));
    let itself = hits[0].iter().any(|hit| hit.id == PointId::Num(n));
    missed.fetch_add(u64::from(passes && !itself), Ordering::Relaxed);
    u64::from(passes)
}

#[test]
fn nothing_deleted_or_superseded_is_found_and_everything_else_is() {
    let index = CollectionIndex::with_options(&schema(DIMENSION, Metric::Cosine), small());
    let seeds = vec![None; usize::try_from(IDS).expect("small")];
    let shared = RwLock::new(Shared { index, seeds });
    let (stop, missed, asked) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (shared, stop, missed, asked) = (&shared, &stop, &missed, &asked);
            scope.spawn(move || {
                let mut numbers = Numbers::new(100 + reader);
                while !stop.load(Ordering::Relaxed) {
                    asked.fetch_add(read(shared, &mut numbers, missed), Ordering::Relaxed);
                }
            });
        }
        let mut numbers = Numbers::new(1);
        let (since, length) = (Instant::now(), length());
        while since.elapsed() < length {
            let mut state = shared.write().expect("no reader panicked");
            for _ in 0..16 {
                let (n, seed) = (numbers.below(IDS), numbers.next());
                let place = usize::try_from(n).expect("small");
                if numbers.below(4) == 0 {
                    state.index.remove(PointId::Num(n));
                    state.seeds[place] = None;
                } else {
                    upsert(&mut state.index, n, &vector_of(seed));
                    state.seeds[place] = Some(seed);
                }
            }
            drop(state);
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (missed, asked) = (missed.into_inner(), asked.into_inner());
    assert!(
        missed * 100 <= asked,
        "{missed} of {asked} points did not find themselves"
    );

    let state = shared.into_inner().expect("nobody panicked");
    settle(&state.index);
    assert_eq!(state.index.backlog(), 0);
    let (mut there, mut missed) = (0, 0);
    for (n, seed) in (0..).zip(&state.seeds) {
        let Some(seed) = seed else { continue };
        let query = SearchQuery::new(vector_of(*seed), 1);
        let hits = (state.index).search(&[query], &state.originals());
        there += 1;
        missed += u64::from(hits.expect("valid")[0][0].id != PointId::Num(n));
    }
    assert!(missed * 200 <= there, "{missed} of {there} points are lost");
}

#[test]
fn an_index_that_is_dropped_lets_go_of_its_threads() {
    for _ in 0..20 {
        let mut index = CollectionIndex::with_options(&schema(DIMENSION, Metric::Cosine), small());
        for n in 0..400 {
            upsert(&mut index, n, &vector_of(n));
        }
    }
    // Were the threads still at the dropped ones, this would wait for all of their rows.
    let mut index = CollectionIndex::with_options(&schema(DIMENSION, Metric::Cosine), small());
    for n in 0..400 {
        upsert(&mut index, n, &vector_of(n));
    }
    settle(&index);
    assert_eq!(index.backlog(), 0);
}
