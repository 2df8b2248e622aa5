//! A saved segment comes back as it was; anything else is a typed error.

use std::collections::BTreeSet;
use std::sync::Arc;

use pando_index::graph::diskann::DiskAnn;
use pando_index::graph::{Coding, Graph, GraphParams, Library, LoadError};
use pando_model::Metric;
use proptest::prelude::*;

use super::segment::{filled, params, row, vectors};
use super::support::half;

fn save(segment: &dyn Graph) -> Vec<u8> {
    let mut bytes = Vec::new();
    segment.save(&mut bytes).expect("memory takes it");
    bytes
}

/// Loads with the vectors of those rows that `kept` names.
fn load(
    bytes: &[u8],
    expected: &GraphParams,
    vectors: &[Vec<f32>],
    kept: impl Fn(usize) -> bool,
) -> Result<Arc<dyn Graph>, LoadError> {
    let mut vector_of = |wanted: u64| {
        let n = usize::try_from(wanted.checked_sub(1_000_000)? / 7).ok()?;
        (row(n) == wanted && kept(n)).then(|| vectors.get(n).map(|v| half(v)))?
    };
    DiskAnn.load(expected, &mut &bytes[..], &mut vector_of)
}

#[test]
fn a_saved_segment_answers_as_before_and_goes_on() {
    let metric = Metric::Cosine;
    let vectors = vectors(metric, 500);
    let segment = filled(metric, &vectors[..400], 512);
    let bytes = save(segment.as_ref());
    let loaded = load(&bytes, &params(metric, 512), &vectors, |_| true).expect("it is whole");
    for vector in &vectors {
        let ask = |graph: &dyn Graph| graph.search(&half(vector), 32, None).expect("it answers");
        assert_eq!(ask(loaded.as_ref()), ask(segment.as_ref()));
    }
    assert_eq!(
        save(loaded.as_ref()),
        bytes,
        "saved again, it is the same file"
    );
    for (n, vector) in vectors.iter().enumerate().skip(400) {
        loaded.insert(row(n), &half(vector)).expect("there is room");
        let found = loaded.search(&half(vector), 32, None).expect("it answers");
        assert!(found.iter().any(|found| found.row == row(n)));
    }
}

#[test]
fn rows_that_are_no_more_are_left_out_and_the_others_stay_reachable() {
    let metric = Metric::Euclidean;
    let vectors = vectors(metric, 600);
    let segment = filled(metric, &vectors, 600);
    // A third was removed before it was saved, another third until it is loaded.
    for n in (0..600).step_by(3) {
        segment.remove(row(n));
    }
    let bytes = save(segment.as_ref());
    let kept = |n: usize| n % 3 == 1;
    let loaded = load(&bytes, &params(metric, 600), &vectors, kept).expect("it is whole");
    let expected: BTreeSet<u64> = (0..600).filter(|n| kept(*n)).map(row).collect();
    assert_eq!(loaded.rows().into_iter().collect::<BTreeSet<_>>(), expected);
    let mut missed = 0;
    for n in (0..600).filter(|n| kept(*n)) {
        let found = loaded
            .search(&half(&vectors[n]), 64, None)
            .expect("it answers");
        missed += usize::from(found.iter().all(|found| found.row != row(n)));
    }
    assert!(missed <= 4, "{missed} of 200 rows cannot be reached");
}

#[test]
fn a_segment_of_something_else_is_told_from_a_damaged_one() {
    let vectors = vectors(Metric::Dot, 20);
    let bytes = save(filled(Metric::Dot, &vectors, 32).as_ref());
    let load = |bytes: &[u8], expected: &GraphParams| {
        (load(bytes, expected, &vectors, |_| true).err()).expect("it is refused")
    };
    let good = params(Metric::Dot, 32);
    let error = load(b"PK\x03\x04 and so on", &good);
    assert!(matches!(error, LoadError::Foreign), "{error}");
    let error = load(b"PANDO", &good);
    assert!(matches!(error, LoadError::Torn { .. }), "{error}");
    let mut newer = bytes.clone();
    newer[8] = 2;
    let error = load(&newer, &good);
    assert!(
        matches!(error, LoadError::Version { found: 2, known: 1 }),
        "{error}"
    );
    for (what, other) in [
        ("metric or coding", params(Metric::Cosine, 32)),
        (
            "metric or coding",
            GraphParams {
                coding: Coding::Signs,
                ..good.clone()
            },
        ),
        ("capacity", params(Metric::Dot, 31)),
        (
            "dimension",
            GraphParams {
                dimension: 7,
                ..good.clone()
            },
        ),
    ] {
        let error = load(&bytes, &other);
        assert!(
            matches!(error, LoadError::Mismatch { what: w, .. } if w == what),
            "{error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_damage_is_taken_for_a_segment(
        bit in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        static SAVED: std::sync::LazyLock<(Vec<Vec<f32>>, Vec<u8>)> = std::sync::LazyLock::new(|| {
            let vectors = vectors(Metric::Dot, 20);
            let bytes = save(filled(Metric::Dot, &vectors, 32).as_ref());
            (vectors, bytes)
        });
        let (vectors, bytes) = &*SAVED;
        let expected = params(Metric::Dot, 32);
        let mut flipped = bytes.clone();
        let at = bit.index(flipped.len() * 8);
        flipped[at / 8] ^= 1 << (at % 8);
        prop_assert!(load(&flipped, &expected, vectors, |_| true).is_err(), "bit {at}");
        let torn = &bytes[..cut.index(bytes.len())];
        let error = load(torn, &expected, vectors, |_| true).err();
        let torn = matches!(error, Some(LoadError::Torn { .. }));
        prop_assert!(torn, "{error:?}");
    }
}
