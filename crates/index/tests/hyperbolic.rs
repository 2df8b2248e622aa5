//! Searches under poincare against a sort by the textbook's distance.

use std::collections::BTreeMap;

use pando_index::{CollectionIndex, IndexOptions, NoOriginals, Plan, Why};
use pando_model::{
    CollectionSchema, EncodedPayload, Metric, PointId, SearchQuery, Stamp, VectorName,
};

const DIMENSION: u32 = 6;

/// A vector within the ball, the same on every run; many lie close to the boundary.
fn vector(seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..DIMENSION).map(|_| next()).collect();
    let norm = values.iter().map(|v| v * v).sum::<f32>().sqrt();
    let radius = (1.0 - next().abs().powi(4)).min(0.999_99);
    values.iter().map(|v| v / norm * radius).collect()
}

fn textbook(x: &[f32], y: &[f32]) -> f64 {
    let norm = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let gap = (x.iter().zip(y)).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2));
    (1.0 + 2.0 * gap.sum::<f64>() / ((1.0 - norm(x)) * (1.0 - norm(y)))).acosh()
}

#[test]
fn searches_find_the_nearest_in_the_ball_by_a_scan() {
    let schema = CollectionSchema::single(DIMENSION, Metric::Poincare);
    let options = IndexOptions {
        graph_rows_min: 1,
        ..IndexOptions::default()
    };
    let mut index = CollectionIndex::with_options(&schema, options);
    let points: BTreeMap<PointId, Vec<f32>> =
        (0..500).map(|n| (PointId::Num(n), vector(n))).collect();
    for (id, vector) in &points {
        schema
            .check_vector(&VectorName::default(), vector)
            .expect("within the ball");
        let vectors = BTreeMap::from([(VectorName::default(), vector.clone())]);
        index.upsert(*id, Stamp::at(1), &vectors, EncodedPayload::default());
    }
    assert_eq!((index.segments(), index.backlog()), (0, 0), "no graph");

    for seed in 1_000..1_050 {
        let query = SearchQuery::new(vector(seed), 20);
        let searched = (index.search_planned(std::slice::from_ref(&query), &NoOriginals))
            .expect("valid")
            .remove(0);
        assert_eq!(searched.plan, Plan::Exact(Why::Metric));
        let mut expected: Vec<f64> = points
            .values()
            .map(|v| textbook(&query.vector, v))
            .collect();
        expected.sort_by(f64::total_cmp);
        assert_eq!(searched.hits.len(), 20);
        for (hit, expected) in searched.hits.iter().zip(expected) {
            let own = textbook(&query.vector, &points[&hit.id]);
            let score = f64::from(hit.score);
            assert!((score - own).abs() < 1e-5 * (1.0 + own), "{score} {own}");
            assert!(
                (score - expected).abs() < 1e-5 * (1.0 + own),
                "{score} {expected}"
            );
        }
    }

    let outside = SearchQuery::new(vec![0.5; 6], 1);
    assert!(
        index.search(&[outside], &NoOriginals).is_err(),
        "norm above 1"
    );
}
