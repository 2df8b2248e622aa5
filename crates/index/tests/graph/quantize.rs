//! Graphs over signs find what graphs over halves do, and one takes the other's place while searches go on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::half::f16;
use pando_index::graph::diskann::DiskAnn;
use pando_index::graph::{Coding, Graph, GraphParams, Library};
use pando_index::{
    Checkpoint, CheckpointError, CollectionIndex, NoOriginals, Originals, Plan, Scored,
};
use pando_model::{Metric, PointId, Quantization, SearchQuery, Stamp, VectorName, VectorParams};
use proptest::prelude::*;

use super::support::{
    By, METRICS, Numbers, filter, fingerprint, half, quantized, schema, settle, small, stored,
    upsert, vector,
};

/// Enough for signs.
const DIMENSION: usize = 96;
const OWNER: &[u8] = b"the test";

fn one(metric: Metric, numbers: &mut Numbers) -> Vec<f32> {
    stored(&schema(DIMENSION, metric), vector(numbers, DIMENSION, 1.0))
}

/// What is to be found of vectors that scatter around few centres, all about as far from each other: signs of so few
/// values tell the nearest of these from others by chance.
fn enough(quantization: Quantization) -> f64 {
    match quantization {
        Quantization::F16 => 0.97,
        Quantization::Int8 | Quantization::Binary => 0.8,
    }
}

fn params(metric: Metric, quantization: Quantization) -> VectorParams {
    VectorParams {
        quantization,
        ..VectorParams::new(u32::try_from(DIMENSION).expect("small"), metric)
    }
}

/// An index, and what is in it.
struct World {
    metric: Metric,
    numbers: Numbers,
    index: CollectionIndex,
    model: BTreeMap<u64, Vec<f32>>,
}

impl World {
    fn new(metric: Metric, quantization: Quantization) -> Self {
        let schema = quantized(schema(DIMENSION, metric), quantization);
        Self {
            metric,
            numbers: Numbers::new(3),
            index: CollectionIndex::with_options(&schema, small()),
            model: BTreeMap::new(),
        }
    }

    fn filled(metric: Metric, quantization: Quantization, count: u64) -> Self {
        let mut world = Self::new(metric, quantization);
        (0..count).for_each(|n| world.upsert(n));
        world.finish();
        world
    }

    fn upsert(&mut self, n: u64) {
        let vector = one(self.metric, &mut self.numbers);
        upsert(&mut self.index, n, &vector);
        self.model.insert(n, vector);
    }

    fn remove(&mut self, n: u64) {
        let existed = self.model.remove(&n).is_some();
        assert_eq!(self.index.remove(PointId::Num(n)), existed);
    }

    fn quantize(&mut self, quantization: Quantization) {
        let schema = quantized(schema(DIMENSION, self.metric), quantization);
        self.index.quantize(&schema);
    }

    fn originals(&self) -> impl Originals + '_ {
        By(|n| self.model.get(&n).cloned())
    }

    /// Gives some vectors again; says how many.
    fn give(&mut self, most: usize) -> usize {
        let wanted = self.index.wanted(most);
        let mut given = 0;
        for (name, ids) in wanted {
            given += ids.len();
            for id in ids {
                let PointId::Num(n) = id else {
                    unreachable!("all ids are numbers")
                };
                (self.index).give(id, Stamp::at(1), &name, &self.model[&n]);
            }
        }
        given
    }

    /// Goes on until the new graph has taken over; says how many were replaced, and are gone.
    fn finish(&mut self) -> usize {
        let (since, mut replaced) = (Instant::now(), 0);
        while self.index.is_quantizing() {
            assert!(since.elapsed() < Duration::from_secs(120));
            if self.give(200) == 0 {
                replaced += self.index.take_over().len();
            }
        }
        settle(&self.index);
        replaced
    }

    fn queries(&mut self, exact: bool) -> Vec<SearchQuery> {
        let query = |_| SearchQuery {
            exact,
            ..SearchQuery::new(one(self.metric, &mut self.numbers), 10)
        };
        (0..30).map(query).collect()
    }

    /// Exact searches are those of an index that keeps everything, and scores of others are right; returns the recall.
    fn check(&mut self, plans: bool) -> f64 {
        let mut whole = CollectionIndex::new(&schema(DIMENSION, self.metric));
        for (n, vector) in &self.model {
            upsert(&mut whole, *n, vector);
        }
        let exact = self.queries(true);
        let truth = whole.search(&exact, &NoOriginals).expect("valid");
        let found = self.index.search(&exact, &self.originals()).expect("valid");
        assert_eq!(bits(&found), bits(&truth));
        let (mut hits, mut of) = (0, 0);
        for (query, truth) in exact.into_iter().zip(truth) {
            // A list as long as is worth it among so few.
            let query = SearchQuery {
                exact: false,
                ef: Some(80),
                ..query
            };
            let all = SearchQuery {
                limit: self.model.len().max(1),
                exact: true,
                ..query.clone()
            };
            let all = whole.search(&[all], &NoOriginals).expect("valid");
            let scores: BTreeMap<PointId, f32> =
                all[0].iter().map(|hit| (hit.id, hit.score)).collect();
            let found = self.index.search_planned(&[query], &self.originals());
            let found = found.expect("valid").remove(0);
            let by_graph = matches!(found.plan, Plan::Graph { .. });
            assert!(by_graph || !plans, "{}", found.plan);
            for hit in &found.hits {
                assert_eq!(hit.score.to_bits(), scores[&hit.id].to_bits());
            }
            of += truth.len();
            hits += (truth.iter())
                .filter(|hit| found.hits.iter().any(|it| it.id == hit.id))
                .count();
        }
        hits as f64 / of.max(1) as f64
    }

    fn save(&self) -> Vec<u8> {
        let saving = self.index.saving(&VectorName::default()).expect("a graph");
        let mut bytes = Vec::new();
        let of = |id: PointId| match id {
            PointId::Num(n) => Some(fingerprint(n, 1)),
            PointId::Uuid(_) => None,
        };
        saving.write(OWNER, of, &mut bytes).expect("it is written");
        bytes
    }
}

fn bits(hits: &[Vec<Scored>]) -> Vec<Vec<(PointId, u32)>> {
    let of = |hits: &Vec<Scored>| {
        let hits = hits.iter();
        hits.map(|hit| (hit.id, hit.score.to_bits())).collect()
    };
    hits.iter().map(of).collect()
}

#[test]
fn a_graph_over_signs_finds_most_with_a_short_list() {
    for metric in METRICS {
        let mut world = World::filled(metric, Quantization::Int8, 4000);
        let recall = world.check(true);
        assert!(recall >= enough(Quantization::Int8), "{recall}, {metric}");
        // What is hidden in segments is on no list, and what moved between them is.
        for n in 0..3000 {
            world.remove(n);
        }
        for n in 4000..6000 {
            world.upsert(n);
        }
        settle(&world.index);
        let recall = world.check(true);
        let enough = enough(Quantization::Int8);
        assert!(recall >= enough, "{recall}, {metric}, afterwards");
    }
}

#[test]
fn another_graph_takes_over_while_searches_and_writes_go_on() {
    let all = Quantization::ALL;
    let pairs = all.into_iter().flat_map(|from| all.map(|to| (from, to)));
    for (from, to) in pairs.filter(|(from, to)| from != to) {
        let mut world = World::filled(Metric::Cosine, from, 2000);
        let points = world.index.len();
        world.quantize(to);
        assert!(world.index.is_quantizing());
        let is_given = (from, to) != (Quantization::Int8, Quantization::Binary);
        if is_given {
            assert!(world.index.is_indexing());
            assert!(world.index.backlog() >= points, "all are to be given");
            assert!(world.index.saving(&VectorName::default()).is_none());
            assert!(world.index.take_over().is_empty(), "it has none yet");
        }
        assert!(world.check(true) >= enough(from), "the old one answers");
        world.give(500);
        for n in (0..400).chain(2000..2400) {
            world.upsert(n);
        }
        for n in 400..600 {
            world.remove(n);
        }
        assert!(world.check(false) >= enough(from), "halfway");
        let coding = |quantization| Coding::of(params(Metric::Cosine, quantization));
        let replaced = usize::from(coding(from) != coding(to));
        assert_eq!(world.finish(), replaced, "{from}, {to}");
        assert_eq!(world.index.backlog(), 0);
        let recall = world.check(true);
        assert!(recall >= enough(to), "{recall}");
    }
}

#[test]
fn a_change_that_is_taken_back_leaves_the_graph_as_it_was() {
    let mut world = World::filled(Metric::Dot, Quantization::F16, 1000);
    let saved = world.save();
    world.quantize(Quantization::Int8);
    world.give(100);
    world.quantize(Quantization::F16);
    assert!(!world.index.is_quantizing());
    assert_eq!(world.give(100), 0);
    assert_eq!(world.save(), saved);
    // Where there is no graph there is nothing to be made anew.
    let mut few = World::filled(Metric::Dot, Quantization::F16, 100);
    few.quantize(Quantization::Int8);
    assert!(!few.index.is_quantizing());
    assert_eq!(few.check(false), 1.0);
}

#[test]
fn what_was_given_of_another_version_is_not_taken() {
    let mut world = World::filled(Metric::Cosine, Quantization::F16, 500);
    world.quantize(Quantization::Int8);
    let (name, ids) = world.index.wanted(1).remove(0);
    let vector = world.model[&0].clone();
    (world.index).give(ids[0], Stamp::at(2), &name, &vector);
    assert_eq!(world.index.wanted(1), [(name.clone(), ids.clone())]);
    (world.index).give(ids[0], Stamp::at(1), &name, &vector);
    assert_ne!(world.index.wanted(1), [(name, ids)]);
}

#[test]
fn a_checkpoint_is_of_one_coding() {
    for is in Quantization::ALL {
        let mut world = World::filled(Metric::Cosine, is, 2000);
        let bytes = world.save();
        for read in Quantization::ALL {
            let from = Box::new(Cursor::new(bytes.clone()));
            let checkpoint = Checkpoint::read(params(world.metric, read), OWNER, from);
            let is_signs = |it| it != Quantization::F16;
            if is_signs(is) != is_signs(read) {
                let error = checkpoint.err().expect("it is refused");
                assert!(matches!(
                    error,
                    CheckpointError::Others {
                        what: "quantization"
                    }
                ));
                continue;
            }
            let schema = quantized(schema(DIMENSION, world.metric), read);
            let counts = Arc::default();
            let options = pando_index::IndexOptions {
                counts: Arc::clone(&counts),
                ..small()
            };
            let mut index = CollectionIndex::with_options(&schema, options);
            let name = VectorName::default();
            index.restore(&name, checkpoint.expect("whole"), Box::new(|_| {}));
            for (n, vector) in &world.model {
                let vectors = BTreeMap::from([(name.clone(), vector.clone())]);
                let (id, payload) = (PointId::Num(*n), super::support::payload(*n));
                index.load(id, Stamp::at(1), &vectors, payload, fingerprint(*n, 1));
            }
            index.loaded();
            settle(&index);
            assert_eq!((counts.reused(), counts.indexed()), (2000, 0));
            world.index = index;
            world.finish();
            let recall = world.check(true);
            assert!(recall >= enough(is), "{recall}, {is}");
        }
    }
}

fn segment(metric: Metric, capacity: usize) -> Arc<dyn Graph> {
    let mut numbers = Numbers::new(99);
    let start = one(metric, &mut numbers);
    let params = GraphParams {
        dimension: DIMENSION,
        metric,
        coding: Coding::Signs,
        capacity,
        start: half(&start).into(),
    };
    DiskAnn.open(&params).expect("it opens")
}

#[test]
fn a_row_that_moves_stays_what_it_was() {
    for metric in METRICS {
        let mut numbers = Numbers::new(5);
        let vectors: Vec<_> = (0..400).map(|_| one(metric, &mut numbers)).collect();
        let (first, second) = (segment(metric, 400), segment(metric, 400));
        for (row, vector) in (0..).zip(&vectors) {
            first.insert(row, &half(vector)).expect("there is room");
        }
        for row in first.rows() {
            let kept = first.vector(row).expect("it is there");
            second.insert(row, &kept).expect("there is room");
            let moved = second.vector(row).expect("it is there");
            let bits = |code: &[f16]| code.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&moved), bits(&kept), "row {row}");
        }
        let nearest = |segment: &dyn Graph, vector: &[f32]| {
            let found = segment
                .search(&half(vector), 100, None)
                .expect("it searches");
            let mut found: Vec<_> = (found.iter())
                .map(|found| (found.row, found.distance.to_bits()))
                .collect();
            found.truncate(20);
            found
        };
        let mut same = 0;
        for vector in &vectors {
            let (a, b) = (nearest(&*first, vector), nearest(&*second, vector));
            let b: BTreeSet<_> = b.into_iter().collect();
            same += a.iter().filter(|found| b.contains(found)).count();
        }
        assert!(same > 400 * 20 * 95 / 100, "{same} of 8000, {metric}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Upsert(u64),
    Remove(u64),
    Quantize(Quantization),
    Give(usize),
    TakeOver,
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        60 => (0..600_u64).prop_map(Step::Upsert),
        10 => (0..600_u64).prop_map(Step::Remove),
        2 => prop::sample::select(Quantization::ALL.to_vec()).prop_map(Step::Quantize),
        3 => (1..300_usize).prop_map(Step::Give),
        1 => Just(Step::TakeOver),
        1 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 200..900)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is written and changed in whatever order, nothing is lost and nothing is there that should not be.
    #[test]
    fn changes_and_writes_in_any_order_lose_nothing(
        metric in prop::sample::select(METRICS.as_slice()),
        steps in steps(),
    ) {
        let mut world = World::new(metric, Quantization::F16);
        for step in steps {
            match step {
                Step::Upsert(n) => world.upsert(n),
                Step::Remove(n) => world.remove(n),
                Step::Quantize(quantization) => world.quantize(quantization),
                Step::Give(most) => drop(world.give(most)),
                Step::TakeOver => drop(world.index.take_over()),
                Step::Settle => {
                    let since = Instant::now();
                    while !world.index.is_quantizing() && world.index.is_indexing() {
                        prop_assert!(since.elapsed() < Duration::from_secs(120));
                    }
                }
            }
        }
        let recall = world.check(false);
        prop_assert!(recall >= 0.9, "{} before", recall);
        world.finish();
        let recall = world.check(false);
        prop_assert!(recall >= 0.9, "{} after", recall);
        let query = SearchQuery {
            filter: Some(filter("half")),
            ..SearchQuery::new(one(metric, &mut world.numbers), 10)
        };
        let found = world.index.search(&[query], &world.originals()).expect("valid");
        prop_assert!(found[0].iter().all(|hit| matches!(hit.id, PointId::Num(n) if n % 2 == 0)));
    }
}
