//! One segment keeps the promises of the trait.

use std::collections::BTreeSet;
use std::sync::Arc;

use pando_index::graph::diskann::DiskAnn;
use pando_index::graph::{Coding, Graph, GraphError, GraphParams, Library};
use pando_model::Metric;

use super::support::{METRICS, Numbers, half, schema, stored, vector};

pub(crate) const DIMENSION: usize = 24;

pub(crate) fn params(metric: Metric, capacity: usize) -> GraphParams {
    // Within the unit ball, where the metric asks for that.
    let scale = if metric == Metric::Poincare { 0.1 } else { 1.0 };
    let start = vector(&mut Numbers::new(99), DIMENSION, scale);
    GraphParams {
        dimension: DIMENSION,
        metric,
        coding: Coding::Half,
        capacity,
        start: half(&stored(&schema(DIMENSION, metric), start)).into(),
    }
}

/// Row numbers are sparse, so that nobody takes them for slots.
pub(crate) fn row(n: usize) -> u64 {
    1_000_000 + 7 * n as u64
}

pub(crate) fn vectors(metric: Metric, count: usize) -> Vec<Vec<f32>> {
    let schema = schema(DIMENSION, metric);
    let mut numbers = Numbers::new(5);
    (0..count)
        .map(|_| stored(&schema, vector(&mut numbers, DIMENSION, 1.0)))
        .collect()
}

pub(crate) fn filled(metric: Metric, vectors: &[Vec<f32>], capacity: usize) -> Arc<dyn Graph> {
    let segment = DiskAnn.open(&params(metric, capacity)).expect("it opens");
    for (n, vector) in vectors.iter().enumerate() {
        segment
            .insert(row(n), &half(vector))
            .expect("there is room");
    }
    segment
}

#[test]
fn rows_find_themselves_and_gone_rows_are_never_found() {
    for metric in METRICS {
        let vectors = vectors(metric, 600);
        let segment = filled(metric, &vectors, 600);
        for n in (0..600).step_by(3) {
            assert!(segment.remove(row(n)));
            assert!(!segment.remove(row(n)), "only once");
        }
        assert_eq!((segment.len(), segment.visible()), (600, 400));
        let visible: BTreeSet<u64> = (0..600).filter(|n| n % 3 != 0).map(row).collect();
        assert_eq!(segment.rows().into_iter().collect::<BTreeSet<_>>(), visible);
        let mut missed = 0;
        for (n, vector) in vectors.iter().enumerate() {
            let found = segment.search(&half(vector), 64, None).expect("it answers");
            assert!(found.is_sorted_by(|a, b| a.distance <= b.distance));
            let distinct: BTreeSet<u64> = found.iter().map(|found| found.row).collect();
            assert_eq!(distinct.len(), found.len(), "none twice");
            let shown = distinct.iter().filter(|row| segment.contains(**row));
            assert!(shown.copied().all(|row| visible.contains(&row)));
            let accepted = segment.search(&half(vector), 64, Some(&|_| true));
            let accepted = accepted.expect("it answers");
            assert!(
                accepted.iter().all(|found| visible.contains(&found.row)),
                "{metric:?}: a ghost"
            );
            missed += usize::from(n % 3 != 0 && !distinct.contains(&row(n)));
            let (kept, expected) = (segment.vector(row(n)), (n % 3 != 0).then(|| half(vector)));
            assert_eq!(kept, expected);
        }
        assert!(
            missed <= 4,
            "{metric:?}: {missed} of 400 rows did not find themselves"
        );
    }
}

#[test]
fn a_copy_has_the_visible_rows_and_other_room() {
    for metric in METRICS {
        let vectors = vectors(metric, 600);
        let segment = filled(metric, &vectors, 600);
        for n in (0..600).step_by(3) {
            segment.remove(row(n));
        }
        let full = segment.resized(399).map(|_| ()).expect_err("no room");
        assert!(
            matches!(full, GraphError::Full { capacity: 399 }),
            "{full:?}"
        );
        let copy = segment.resized(500).expect("there is room");
        assert_eq!(
            (copy.len(), copy.visible(), copy.capacity()),
            (400, 400, 500)
        );
        let sorted = |graph: &dyn Graph| graph.rows().into_iter().collect::<BTreeSet<_>>();
        assert_eq!(sorted(copy.as_ref()), sorted(segment.as_ref()));
        for n in (0..600).step_by(3).take(100) {
            (copy.insert(row(n), &half(&vectors[n]))).expect("there is room");
        }
        assert_eq!((copy.len(), segment.len()), (500, 600), "they are apart");
        let missed = (0..600).filter(|n| {
            let found = copy.search(&half(&vectors[*n]), 64, None);
            let found = found.expect("it answers");
            let itself = found.iter().any(|found| found.row == row(*n));
            assert!(copy.contains(row(*n)) || !itself, "{metric:?}: a ghost");
            copy.contains(row(*n)) && !itself
        });
        let missed = missed.count();
        assert!(
            missed <= 5,
            "{metric:?}: {missed} of 500 rows did not find themselves"
        );
    }
}

#[test]
fn a_filtered_search_finds_only_what_passes_and_much_of_it() {
    let vectors = vectors(Metric::Euclidean, 800);
    let segment = filled(Metric::Euclidean, &vectors, 1000);
    let accept = |row: u64| ((row - 1_000_000) / 7).is_multiple_of(4);
    for vector in vectors.iter().take(50) {
        let found = segment
            .search(&half(vector), 64, Some(&accept))
            .expect("it answers");
        assert!(found.len() >= 16, "{}", found.len());
        assert!(found.iter().all(|found| accept(found.row)));
    }
    let none = segment.search(&half(&vectors[0]), 64, Some(&|_| false));
    assert!(none.expect("it answers").is_empty());
}

#[test]
fn what_does_not_fit_is_refused() {
    let vectors = vectors(Metric::Dot, 11);
    let segment = filled(Metric::Dot, &vectors[..10], 10);
    let full = segment.insert(row(10), &half(&vectors[10]));
    assert!(
        matches!(full, Err(GraphError::Full { capacity: 10 })),
        "{full:?}"
    );
    let short = segment.search(&half(&vectors[0][..3]), 8, None);
    let expected = DIMENSION;
    assert!(
        matches!(short, Err(GraphError::Dimension { expected: e, found: 3 }) if e == expected),
        "{short:?}"
    );
    let empty = DiskAnn.open(&params(Metric::Dot, 10)).expect("it opens");
    let found = empty.search(&half(&vectors[0]), 8, None);
    assert!(found.expect("it answers").is_empty());
    assert!(empty.is_empty() && !empty.remove(row(0)));
    for metric in [Metric::Manhattan, Metric::Poincare] {
        let refused = DiskAnn.open(&params(metric, 10)).err();
        assert!(
            matches!(refused, Some(GraphError::Library { .. })),
            "the library has no {metric} distance"
        );
    }
}
