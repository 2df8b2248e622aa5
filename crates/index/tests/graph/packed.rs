//! An index that keeps less of its vectors answers exact searches like one that keeps them whole, to the last bit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use pando_index::{
    CollectionIndex, IndexOptions, NoOriginals, Numbered, Originals, Plan, PointVersion,
    SearchError, SlabForm, Unavailable,
};
use pando_model::{Metric, PointId, Quantization, SearchQuery, Stamp, VectorName};
use proptest::prelude::*;

use super::support::{
    By, METRICS, Numbers, filter, payload, quantized, schema, settle, small, stored, upsert, vector,
};

/// What is kept of vectors, beside the graph and in it.
type Form = (SlabForm, Quantization);

const FORMS: [Form; 4] = [
    (SlabForm::Half, Quantization::F16),
    (SlabForm::Int8, Quantization::F16),
    (SlabForm::Int8, Quantization::Int8),
    (SlabForm::Int8, Quantization::Binary),
];

/// Two indexes with the same points: only one of them ever has a graph.
struct Pair {
    metric: Metric,
    dimension: usize,
    packed: CollectionIndex,
    whole: CollectionIndex,
    model: BTreeMap<u64, Vec<f32>>,
}

impl Pair {
    fn new(
        metric: Metric,
        dimension: usize,
        (slab_form, quantization): Form,
        graph_rows_min: usize,
    ) -> Self {
        let open = |graph_rows_min| {
            let options = IndexOptions {
                graph_rows_min,
                slab_form,
                ..small()
            };
            let schema = quantized(schema(dimension, metric), quantization);
            CollectionIndex::with_options(&schema, options)
        };
        Self {
            metric,
            dimension,
            packed: open(graph_rows_min),
            whole: open(usize::MAX),
            model: BTreeMap::new(),
        }
    }

    fn upsert(&mut self, n: u64, vector: &[f32]) {
        // The schema refuses vectors of no length under cosine.
        let mut vector = vector.to_vec();
        if vector.iter().all(|value| *value == 0.0) {
            vector[0] = 1.0;
        }
        let vector = stored(&schema(self.dimension, self.metric), vector);
        upsert(&mut self.packed, n, &vector);
        upsert(&mut self.whole, n, &vector);
        self.model.insert(n, vector);
    }

    fn remove(&mut self, n: u64) {
        let existed = self.model.remove(&n).is_some();
        assert_eq!(self.packed.remove(PointId::Num(n)), existed);
        assert_eq!(self.whole.remove(PointId::Num(n)), existed);
    }

    fn originals(&self) -> impl Originals + '_ {
        By(|n| self.model.get(&n).cloned())
    }

    /// Both answer alike; returns the answers.
    fn compare(&self, queries: &[SearchQuery]) -> Vec<Vec<(PointId, f32)>> {
        let whole = self.whole.search(queries, &NoOriginals).expect("valid");
        let packed = (self.packed.search(queries, &self.originals())).expect("valid");
        let bits = |hits: &Vec<Vec<pando_index::Scored>>| -> Vec<Vec<(PointId, u32)>> {
            let of = |hits: &Vec<pando_index::Scored>| {
                let hits = hits.iter();
                hits.map(|hit| (hit.id, hit.score.to_bits())).collect()
            };
            hits.iter().map(of).collect()
        };
        assert_eq!(bits(&packed), bits(&whole), "{queries:?}");
        let pairs = |hits: &Vec<pando_index::Scored>| {
            let hits = hits.iter();
            hits.map(|hit| (hit.id, hit.score)).collect()
        };
        whole.iter().map(pairs).collect()
    }
}

/// What a vector is like beside others.
#[derive(Clone, Debug)]
enum Shape {
    /// One of its own.
    Own(u64),
    /// Beside one of a few: what is kept of these is often the same.
    Near(u8, u64),
    /// One of a few, exactly.
    Twin(u8),
    /// Much larger or smaller than others.
    Scaled(i8, u64),
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        4 => any::<u64>().prop_map(Shape::Own),
        6 => (0..4_u8, any::<u64>()).prop_map(|(of, seed)| Shape::Near(of, seed)),
        2 => (0..4_u8).prop_map(Shape::Twin),
        1 => (-90..60_i8, any::<u64>()).prop_map(|(by, seed)| Shape::Scaled(by, seed)),
    ]
}

impl Shape {
    fn vector(&self, dimension: usize, scale: f32) -> Vec<f32> {
        let twin = |of: u8| vector(&mut Numbers::new(u64::from(of)), dimension, scale);
        match self {
            Self::Own(seed) => vector(&mut Numbers::new(*seed), dimension, scale),
            Self::Twin(of) => twin(*of),
            Self::Near(of, seed) => {
                let (mut vector, mut numbers) = (twin(*of), Numbers::new(*seed));
                for value in &mut vector {
                    *value *= 1.0 + numbers.normal() * 1e-5;
                }
                vector
            }
            Self::Scaled(by, seed) => {
                let scale = scale * f32::from(*by).exp2();
                vector(&mut Numbers::new(*seed), dimension, scale)
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Write {
    Upsert(u64, Shape),
    Remove(u64),
}

#[derive(Clone, Debug)]
struct Asked {
    by: Shape,
    limit: usize,
    offset: usize,
    filter: Option<&'static str>,
    /// At the score of which hit.
    threshold: Option<usize>,
}

fn asks() -> impl Strategy<Value = Vec<Asked>> {
    let limit = prop_oneof![3 => 1..12_usize, 1 => 1..400_usize];
    let filter = prop::sample::select(&["half", "tenth", "hundredth"][..]);
    let ask = (
        shape(),
        limit,
        0..20_usize,
        prop::option::of(filter),
        prop::option::of(0..15_usize),
    );
    let ask = ask.prop_map(|(by, limit, offset, filter, threshold)| Asked {
        by,
        limit,
        offset: offset.saturating_sub(10),
        filter,
        threshold,
    });
    prop::collection::vec(ask, 1..6)
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let write = prop_oneof![
        8 => (0..500_u64, shape()).prop_map(|(n, shape)| Write::Upsert(n, shape)),
        1 => (0..500_u64).prop_map(Write::Remove),
    ];
    prop::collection::vec(write, 1..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exact_searches_are_those_of_the_vectors_themselves(
        metric in prop::sample::select(METRICS.as_slice()),
        form in prop::sample::select(FORMS.as_slice()),
        dimension in prop::sample::select(&[2, 3, 17, 64][..]),
        scale in prop::sample::select(&[1.0_f32, 1e-20, 1e-36, 1e6, 1e17][..]),
        graph_rows_min in 20..400_usize,
        writes in writes(),
        asks in asks(),
    ) {
        let mut pair = Pair::new(metric, dimension, form, graph_rows_min);
        for write in writes {
            match write {
                Write::Upsert(n, shape) => pair.upsert(n, &shape.vector(dimension, scale)),
                Write::Remove(n) => pair.remove(n),
            }
        }
        if form.1 == Quantization::Binary {
            settle(&pair.packed);
            drop(pair.packed.take_over());
        }
        let schema = schema(dimension, metric);
        let query = |ask: &Asked| {
            let mut vector = ask.by.vector(dimension, scale);
            if vector.iter().all(|value| *value == 0.0) {
                vector[0] = 1.0;
            }
            SearchQuery {
                exact: true,
                offset: ask.offset,
                filter: ask.filter.map(filter),
                ..SearchQuery::new(stored(&schema, vector), ask.limit)
            }
        };
        let mut queries: Vec<_> = asks.iter().map(query).collect();
        let hits = pair.compare(&queries);
        for ((query, ask), hits) in queries.iter_mut().zip(&asks).zip(hits) {
            let at = ask.threshold.and_then(|rank| hits.get(rank));
            query.score_threshold = at.map(|(_, score)| *score);
        }
        pair.compare(&queries);
        for query in queries {
            pair.compare(&[query]);
        }
    }
}

#[test]
fn many_points_that_are_kept_alike_are_told_apart() {
    for (metric, form) in METRICS
        .into_iter()
        .flat_map(|m| FORMS.map(|form| (m, form)))
    {
        let mut pair = Pair::new(metric, 32, form, 500);
        for n in 0..3000 {
            let shape = match n % 3 {
                0 => Shape::Own(n),
                _ => Shape::Near(0, n),
            };
            pair.upsert(n, &shape.vector(32, 1.0));
        }
        let near = stored(&schema(32, metric), Shape::Twin(0).vector(32, 1.0));
        let query = SearchQuery {
            exact: true,
            ..SearchQuery::new(near, 50)
        };
        // By now the graph has been built over most of them, and is asked, too.
        pair.compare(std::slice::from_ref(&query));
        settle(&pair.packed);
        let graph = SearchQuery {
            exact: false,
            ..query
        };
        let found = (pair
            .packed
            .search(std::slice::from_ref(&graph), &pair.originals()))
        .expect("valid")
        .remove(0);
        assert_eq!(found.len(), 50);
        let all = SearchQuery {
            exact: true,
            ..SearchQuery::new(graph.vector, 3000)
        };
        let truth: BTreeMap<PointId, f32> = pair.compare(&[all]).remove(0).into_iter().collect();
        for hit in found {
            assert_eq!(hit.score.to_bits(), truth[&hit.id].to_bits(), "{metric:?}");
        }
    }
}

/// Counts what is asked for.
struct Counted<'a> {
    vectors: &'a [Vec<f32>],
    asked: AtomicUsize,
}

impl Originals for Counted<'_> {
    fn with(
        &self,
        point: PointVersion,
        name: &VectorName,
        use_it: &mut dyn FnMut(&[f32]),
    ) -> Result<bool, Unavailable> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Numbered(self.vectors).with(point, name, use_it)
    }
}

fn random(points: usize, dimension: usize, metric: Metric) -> Vec<Vec<f32>> {
    let (mut numbers, schema) = (Numbers::new(11), schema(dimension, metric));
    let mut vector = || -> Vec<f32> {
        let values = (0..dimension).map(|_| numbers.normal());
        stored(&schema, values.collect())
    };
    (0..points).map(|_| vector()).collect()
}

fn filled(vectors: &[Vec<f32>], metric: Metric, options: IndexOptions) -> CollectionIndex {
    filled_as(vectors, metric, Quantization::F16, options)
}

fn filled_as(
    vectors: &[Vec<f32>],
    metric: Metric,
    quantization: Quantization,
    options: IndexOptions,
) -> CollectionIndex {
    let schema = quantized(schema(vectors[0].len(), metric), quantization);
    let mut index = CollectionIndex::with_options(&schema, options);
    for (n, vector) in (0..).zip(vectors) {
        upsert(&mut index, n, vector);
    }
    index
}

#[test]
fn few_vectors_are_asked_for() {
    for (metric, form) in METRICS
        .into_iter()
        .flat_map(|m| FORMS.map(|form| (m, form)))
    {
        let vectors = random(5000, 64, metric);
        let options = IndexOptions {
            slab_form: form.0,
            graph_rows_min: 1000,
            ..small()
        };
        let mut index = filled_as(&vectors, metric, form.1, options);
        settle(&index);
        drop(index.take_over());
        let originals = Counted {
            vectors: &vectors,
            asked: AtomicUsize::new(0),
        };
        for (exact, query) in random(40, 64, metric).into_iter().enumerate() {
            let query = SearchQuery {
                exact: exact % 2 == 0,
                // A list as long as is worth it among so few.
                ef: (form.1 == Quantization::Binary).then_some(100),
                ..SearchQuery::new(query, 10)
            };
            let hits = index.search(&[query], &originals).expect("valid");
            assert_eq!(hits[0].len(), 10);
            let asked = originals.asked.swap(0, Ordering::Relaxed);
            let most = match (form.1, exact % 2) {
                (Quantization::Binary, 0) => 5001,
                (Quantization::Binary, _) => 400,
                _ => 100,
            };
            assert!((10..most).contains(&asked), "{asked}, {metric:?}, {form:?}");
        }
    }
}

#[test]
fn vectors_that_are_kept_whole_are_asked_of_nobody() {
    let vectors = random(1000, 16, Metric::Cosine);
    let options = IndexOptions {
        graph_rows_min: 1001,
        ..small()
    };
    let index = filled(&vectors, Metric::Cosine, options);
    let originals = Counted {
        vectors: &vectors,
        asked: AtomicUsize::new(0),
    };
    let query = SearchQuery::new(vectors[3].clone(), 10);
    index.search(&[query], &originals).expect("valid");
    assert_eq!(originals.asked.into_inner(), 0);
}

/// Storage that fails.
struct Broken;

impl Originals for Broken {
    fn with(
        &self,
        _: PointVersion,
        _: &VectorName,
        _: &mut dyn FnMut(&[f32]),
    ) -> Result<bool, Unavailable> {
        Err(Unavailable("the disk is on fire".to_owned()))
    }
}

#[test]
fn a_vector_that_cannot_be_had_is_an_error() {
    let vectors = random(1000, 16, Metric::Dot);
    let index = filled(&vectors, Metric::Dot, small());
    settle(&index);
    for exact in [false, true] {
        let query = SearchQuery {
            exact,
            ..SearchQuery::new(vectors[3].clone(), 10)
        };
        let of = |originals: &dyn Originals| {
            let alone = index.search(std::slice::from_ref(&query), originals);
            let batch = index.search(&[query.clone(), query.clone()], originals);
            assert_eq!(alone.is_err(), batch.is_err());
            alone
        };
        let Err(SearchError::Original { why, .. }) = of(&Broken) else {
            panic!("storage failed")
        };
        assert_eq!(why, Unavailable("the disk is on fire".to_owned()));
        let other_dimension = vec![vec![1.0; 15]; 1000];
        assert!(of(&NoOriginals).is_err(), "there is none");
        assert!(of(&Numbered(&other_dimension)).is_err());
        assert!(of(&Numbered(&vectors)).is_ok());
    }
}

#[test]
fn an_update_that_is_kept_alike_changes_scores() {
    for form in FORMS {
        let mut vectors = random(1000, 64, Metric::Euclidean);
        let options = IndexOptions {
            slab_form: form.0,
            ..small()
        };
        let mut index = filled_as(&vectors, Metric::Euclidean, form.1, options);
        settle(&index);
        // So near to it that it is kept alike.
        vectors[3][0] *= 1.0 + 1e-6;
        upsert(&mut index, 3, &vectors[3]);
        assert_eq!(index.backlog(), 0, "it keeps its place in the graph");
        for exact in [true, false] {
            let query = SearchQuery {
                exact,
                score_threshold: Some(0.0),
                ..SearchQuery::new(vectors[3].clone(), 2)
            };
            let hits = index.search(&[query], &Numbered(&vectors)).expect("valid");
            let hits: Vec<_> = hits[0].iter().map(|hit| (hit.id, hit.score)).collect();
            assert_eq!(hits, [(PointId::Num(3), 0.0)], "{form:?}");
        }
    }
}

#[test]
fn memory_with_a_graph_is_close_to_the_raw_vectors() {
    const DIMENSION: usize = 384;
    const POINTS: usize = 6000;
    // What does not grow with the points: a chunk that was begun, and the free halves of short lists.
    const SLACK: usize = 256 << 10;
    let vectors = random(POINTS, DIMENSION, Metric::Cosine);
    let raw = POINTS * DIMENSION * size_of::<f32>();
    for (form, most) in FORMS.into_iter().zip([1.6, 1.35, 0.65, 0.42]) {
        let options = IndexOptions {
            slab_form: form.0,
            graph_rows_min: POINTS,
            // Room to spare is the segments' affair; of what is quantized the rows are weighed.
            segment_rows_min: match form.1 {
                Quantization::F16 => 1000,
                Quantization::Int8 | Quantization::Binary => POINTS,
            },
            ..IndexOptions::default()
        };
        let mut index = filled_as(&vectors, Metric::Cosine, form.1, options);
        settle(&index);
        drop(index.take_over());
        assert_eq!((index.backlog(), index.segments()), (0, 1));
        let bytes = usize::try_from(index.memory_bytes()).expect("small");
        let ratio = (bytes - SLACK) as f64 / raw as f64;
        assert!(ratio <= most, "{ratio} of the vectors, {form:?}");
        // Ids, versions and payloads are there whatever becomes of the vectors.
        let none: BTreeMap<VectorName, Vec<f32>> = BTreeMap::new();
        let mut points = CollectionIndex::new(&schema(DIMENSION, Metric::Cosine));
        for n in 0..POINTS as u64 {
            points.upsert(PointId::Num(n), Stamp::at(1), &none, payload(n));
        }
        let points = usize::try_from(points.memory_bytes()).expect("small");
        let ratio = (bytes - points - SLACK) as f64 / raw as f64;
        if form.1 == Quantization::Int8 {
            assert!(ratio <= 0.5, "{ratio} of the vectors alone");
        }
        if form.1 == Quantization::Binary {
            assert!(ratio <= 0.25, "{ratio} of the vectors alone");
        }
    }
}

#[test]
fn what_is_packed_alike_has_a_place_of_its_own_in_the_graph() {
    // One value of each vector is so large that the others are lost: all of them are packed alike.
    let mut pair = Pair::new(Metric::Euclidean, 3, FORMS[1], 1000);
    let mut numbers = Numbers::new(31);
    let near = |numbers: &mut Numbers| {
        let [x, y] = [(); 2].map(|()| 3.0 * vector(numbers, 1, 1.0)[0]);
        vec![1000.0, x, y]
    };
    let count = 3000;
    for n in 0..count {
        let vector = near(&mut numbers);
        pair.upsert(n, &vector);
    }
    settle(&pair.packed);
    for n in 0..count {
        let vector = near(&mut numbers);
        pair.upsert(n, &vector);
    }
    settle(&pair.packed);
    let found = |pair: &Pair| {
        let finds = |(n, vector): (&u64, &Vec<f32>)| {
            let query = SearchQuery::new(vector.clone(), 1);
            let found = pair.packed.search_planned(&[query], &pair.originals());
            let found = found.expect("valid").remove(0);
            assert!(matches!(found.plan, Plan::Graph { .. }), "{:?}", found.plan);
            found.hits[0].id == PointId::Num(*n)
        };
        pair.model
            .iter()
            .step_by(10)
            .filter(|it| finds(*it))
            .count()
    };
    assert!(
        found(&pair) >= 297,
        "{} of 300 find themselves",
        found(&pair)
    );

    // A graph that lost most of its points, and got as many again, is as good.
    for n in 100..count {
        pair.remove(n);
    }
    for n in 100..count {
        let vector = near(&mut numbers);
        pair.upsert(n, &vector);
    }
    settle(&pair.packed);
    assert!(
        found(&pair) >= 297,
        "{} of 300 find themselves",
        found(&pair)
    );
}
