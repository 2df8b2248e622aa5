//! Searches by graph against the scan, over any history of writes.

use std::collections::{BTreeMap, BTreeSet};

use pando_index::{CollectionIndex, IndexOptions, Originals, Plan, Why};
use pando_model::{Filter, Metric, PointId, SearchQuery};
use proptest::prelude::*;

use super::support::{
    By, METRICS, Numbers, filter, payload, schema, settle, small, stored, upsert, vector,
};

const DIMENSION: usize = 16;
const LIMIT: usize = 10;

struct World {
    metric: Metric,
    scale: f32,
    numbers: Numbers,
    index: CollectionIndex,
    model: BTreeMap<u64, Vec<f32>>,
}

impl World {
    fn new(metric: Metric, scale: f32, seed: u64, options: IndexOptions) -> Self {
        Self {
            metric,
            scale,
            numbers: Numbers::new(seed),
            index: CollectionIndex::with_options(&schema(DIMENSION, metric), options),
            model: BTreeMap::new(),
        }
    }

    fn vector(&mut self) -> Vec<f32> {
        let vector = vector(&mut self.numbers, DIMENSION, self.scale);
        stored(&schema(DIMENSION, self.metric), vector)
    }

    fn upsert(&mut self, n: u64) {
        let vector = self.vector();
        upsert(&mut self.index, n, &vector);
        self.model.insert(n, vector);
    }

    fn remove(&mut self, n: u64) {
        let existed = self.model.remove(&n).is_some();
        assert_eq!(self.index.remove(PointId::Num(n)), existed);
    }

    fn originals(&self) -> impl Originals + '_ {
        By(|n| self.model.get(&n).cloned())
    }

    /// Recall over some queries, each checked for what may never happen.
    fn recall(&mut self, filter: Option<&Filter>) -> f64 {
        let (mut found, mut there) = (0, 0);
        for _ in 0..30 {
            let query = SearchQuery {
                filter: filter.cloned(),
                ..SearchQuery::new(self.vector(), LIMIT)
            };
            let exact = SearchQuery {
                exact: true,
                ..query.clone()
            };
            let results = (self
                .index
                .search_planned(&[query, exact], &self.originals()))
            .expect("valid");
            let requested = Why::Requested;
            let scan = results[1].plan;
            assert!(
                matches!(scan, Plan::Exact(why) | Plan::Matching { why, .. } if why == requested),
                "{scan}"
            );
            let (hits, truth) = (&results[0].hits, &results[1].hits);
            assert_eq!(hits.len(), truth.len(), "{}", results[0].plan);
            let ids: BTreeSet<PointId> = hits.iter().map(|hit| hit.id).collect();
            assert_eq!(ids.len(), hits.len(), "none twice");
            for hit in hits {
                let PointId::Num(n) = hit.id else {
                    unreachable!("all ids are numbers")
                };
                assert!(self.model.contains_key(&n), "{n} is a ghost");
                let passes = filter.is_none_or(|f| f.matches(hit.id, &payload(n)));
                assert!(passes, "{n} does not pass");
            }
            // What both found has the same score to the last bit, and at every rank the scan's is no worse.
            for (hit, best) in hits.iter().zip(truth) {
                let worse = match self.metric.higher_is_nearer() {
                    true => hit.score <= best.score,
                    false => hit.score >= best.score,
                };
                assert!(worse, "{} beats {}", hit.score, best.score);
                assert!(truth.iter().all(|t| t.id != hit.id || t.score == hit.score));
            }
            there += truth.len();
            found += truth.iter().filter(|hit| ids.contains(&hit.id)).count();
        }
        found as f64 / f64::from(u32::try_from(there.max(1)).expect("small"))
    }
}

#[derive(Clone, Debug)]
enum Write {
    Upsert(u64),
    Remove(u64),
    Settle,
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let write = prop_oneof![
        30 => (0..900_u64).prop_map(Write::Upsert),
        12 => (0..900_u64).prop_map(Write::Remove),
        1 => Just(Write::Settle),
    ];
    prop::collection::vec(write, 1..1500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_graph_answers_like_the_scan(
        metric in prop::sample::select(METRICS.as_slice()),
        scale in prop::sample::select([1.0_f32, 1e-6, 1e6].as_slice()),
        writes in writes(),
        first in 0..900_u64,
        seed in any::<u64>(),
    ) {
        let mut world = World::new(metric, scale, seed, small());
        for n in 0..first {
            world.upsert(n);
        }
        for write in writes {
            match write {
                Write::Upsert(n) => world.upsert(n),
                Write::Remove(n) => world.remove(n),
                Write::Settle => settle(&world.index),
            }
        }
        let filters = ["half", "tenth", "hundredth"].map(filter);
        // Once while threads are at work, once afterwards.
        for settled in [false, true] {
            if settled {
                settle(&world.index);
                assert_eq!(world.index.backlog(), 0);
            }
            for filter in [None].into_iter().chain(filters.iter().map(Some)) {
                let recall = world.recall(filter);
                prop_assert!(recall >= 0.97, "{recall} ({metric:?}, {filter:?}, settled: {settled})");
            }
        }
    }
}

#[test]
fn many_points_are_found_by_the_graph() {
    for metric in METRICS {
        let mut world = World::new(metric, 1.0, 7, small());
        for n in 0..6000 {
            world.upsert(n);
        }
        settle(&world.index);
        let mut query = SearchQuery::new(world.vector(), LIMIT);
        let plan = |world: &World, query: &SearchQuery| {
            let searched =
                (world.index).search_planned(std::slice::from_ref(query), &world.originals());
            searched.expect("valid")[0].plan
        };
        let graph = plan(&world, &query);
        assert!(
            matches!(
                graph,
                Plan::Graph {
                    ef: 64,
                    unindexed: 0,
                    filtered: false,
                    ..
                }
            ),
            "{graph}"
        );
        let recall = world.recall(None);
        assert!(recall >= 0.97, "{metric:?}: {recall}");
        query.filter = Some(filter("half"));
        let graph = plan(&world, &query);
        assert!(
            matches!(graph, Plan::Graph { filtered: true, .. }),
            "{graph}"
        );
        let recall = world.recall(query.filter.as_ref());
        assert!(recall >= 0.97, "{metric:?}, filtered: {recall}");
        query.filter = Some(filter("hundredth"));
        let matching = Plan::Matching {
            points: 60,
            doubts: 0,
            why: Why::FewMatch,
        };
        assert_eq!(plan(&world, &query), matching);
    }
}

#[test]
fn what_was_just_written_is_found_at_once_and_counted() {
    let mut world = World::new(Metric::Euclidean, 1.0, 3, small());
    let mut seen = 0;
    for n in 0..3000 {
        world.upsert(n);
        seen = seen.max(world.index.backlog());
        let query = SearchQuery::new(world.model[&n].clone(), 1);
        let hits = (world.index.search(&[query], &world.originals())).expect("valid");
        assert_eq!(hits[0][0].id, PointId::Num(n));
    }
    assert!(seen > 0, "a graph begins with a backlog");
    settle(&world.index);
    assert_eq!(world.index.backlog(), 0);
}

#[test]
fn memory_comes_back_with_the_points() {
    let mut world = World::new(Metric::Cosine, 1.0, 4, small());
    for n in 0..6000 {
        world.upsert(n);
    }
    settle(&world.index);
    let full = world.index.memory_bytes();
    for n in 0..6000 {
        if n % 12 != 0 {
            world.remove(n);
        }
    }
    settle(&world.index);
    assert_eq!(world.index.len(), 500);
    let left = world.index.memory_bytes();
    // Rows go at once; how much room the last segment keeps depends on when it was opened.
    assert!(left < full, "{left} of {full} for a twelfth of the points");
    assert!(world.recall(None) >= 0.97);
    for n in 0..6000 {
        world.remove(n);
    }
    settle(&world.index);
    assert_eq!((world.index.segments(), world.index.backlog()), (0, 0));
}

#[test]
fn endless_updates_leave_no_trace() {
    let mut world = World::new(Metric::Cosine, 1.0, 5, small());
    let mut most = 0;
    for round in 0..12 {
        for n in 0..1000 {
            world.upsert(n);
        }
        settle(&world.index);
        if round == 1 {
            most = world.index.memory_bytes() * 2;
        }
        let bytes = world.index.memory_bytes();
        assert!(
            round < 1 || bytes <= most,
            "round {round}: {bytes}, at first {}",
            most / 2
        );
        assert!(world.index.segments() <= 4);
    }
    assert!(world.recall(None) >= 0.97);
}

#[test]
fn vectors_that_half_precision_cannot_hold_are_found() {
    let mut world = World::new(Metric::Euclidean, 1.0, 6, small());
    for n in 0..1000 {
        world.upsert(n);
    }
    let huge: Vec<f32> = world.vector().iter().map(|value| value * 1e9).collect();
    upsert(&mut world.index, 5000, &huge);
    settle(&world.index);
    assert_eq!(world.index.backlog(), 1, "it stays outside of the graph");
    world.model.insert(5000, huge.clone());
    let hits = world
        .index
        .search(&[SearchQuery::new(huge, 1)], &world.originals())
        .expect("valid");
    assert_eq!(hits[0][0].id, PointId::Num(5000));
}
