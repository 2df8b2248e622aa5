//! The inverted index against brute force: through any sequence of writes, every search by a sparse vector finds exactly
//! what a scan of a plain map finds, to the last bit of the scores.

use std::collections::{BTreeMap, BTreeSet};

use pando_index::{CollectionIndex, NoOriginals, Plan, Scored, SearchError};
use pando_model::{
    CollectionSchema, EncodedPayload, Filter, InvalidInput, Metric, Payload, PointId, SearchQuery,
    SparseVector, Stamp, VectorName,
};
use proptest::prelude::*;
use serde_json::json;

/// Few, so that most writes replace or remove something, and removals move slots.
const IDS: u64 = 40;
/// Few, so that vectors share some.
const INDICES: u32 = 24;

type Vectors = BTreeMap<VectorName, SparseVector>;
type Model = BTreeMap<PointId, (Vectors, EncodedPayload)>;

fn name(text: &str) -> VectorName {
    VectorName::parse(text).expect("name")
}

fn schema() -> CollectionSchema {
    CollectionSchema {
        sparse_vectors: ["tags", "terms"].map(name).into(),
        ..CollectionSchema::single(2, Metric::Cosine)
    }
}

/// Weights of many sizes and both signs, some of which cancel exactly and leave what was lost or kept beside them, so that
/// sums depend on the order they are added up in; and small whole ones, whose sums tie.
fn weights() -> impl Strategy<Value = f32> {
    let sizes = vec![1e-20_f32, 0.1, 1.0, 2.0, 3.7e6, 1e15, 1e38];
    let size = prop::sample::select(sizes);
    prop_oneof![
        2 => (size, any::<bool>()).prop_map(|(size, plus)| if plus { size } else { -size }),
        1 => -1.0_f32..1.0,
        1 => (-2_i8..3).prop_map(f32::from),
    ]
    .prop_filter("none is zero", |weight| *weight != 0.0)
}

fn sparse() -> impl Strategy<Value = SparseVector> {
    prop::collection::btree_map(0..INDICES, weights(), 1..8).prop_map(|pairs| {
        // Far apart as well as side by side.
        let far = pairs.into_iter().map(|(index, weight)| match index % 5 {
            0 => (u32::MAX - index, weight),
            _ => (index, weight),
        });
        SparseVector::from_pairs(far).expect("fine")
    })
}

#[derive(Clone, Debug)]
enum Write {
    Upsert {
        id: u64,
        tags: Option<SparseVector>,
        terms: Option<SparseVector>,
        dense: bool,
        even: bool,
    },
    Remove(u64),
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let maybe = || prop::option::weighted(0.8, sparse());
    let write = prop_oneof![
        3 => (0..IDS, maybe(), maybe(), any::<bool>(), any::<bool>()).prop_map(
            |(id, tags, terms, dense, even)| Write::Upsert { id, tags, terms, dense, even }
        ),
        2 => (0..IDS).prop_map(Write::Remove),
    ];
    prop::collection::vec(write, 0..160)
}

fn put(
    index: &mut CollectionIndex,
    id: PointId,
    dense: bool,
    sparse: &Vectors,
    payload: EncodedPayload,
) {
    let mut vectors = BTreeMap::new();
    if dense {
        vectors.insert(VectorName::default(), vec![1.0, 0.0]);
    }
    index.upsert(id, Stamp::at(1), (&vectors, sparse), payload);
}

fn apply(index: &mut CollectionIndex, model: &mut Model, write: Write) {
    match write {
        Write::Upsert {
            id,
            tags,
            terms,
            dense,
            even,
        } => {
            let id = PointId::Num(id);
            let named = [("tags", tags), ("terms", terms)].into_iter();
            let vectors: Vectors = named.filter_map(|(n, v)| Some((name(n), v?))).collect();
            let payload = Payload::from_json(json!({ "even": even })).expect("an object");
            put(index, id, dense, &vectors, payload.encode());
            model.insert(id, (vectors, payload.encode()));
        }
        Write::Remove(id) => {
            let id = PointId::Num(id);
            assert_eq!(index.remove(id), model.remove(&id).is_some());
        }
    }
}

/// The plainest way to search.
fn naive(model: &Model, query: &SearchQuery) -> Vec<Scored> {
    let by = query.sparse_vector.as_ref().expect("a sparse query");
    let mut hits: Vec<_> = (model.iter())
        .filter(|(id, (_, payload))| {
            let filter = query.filter.as_ref();
            filter.is_none_or(|filter| filter.matches(**id, payload))
        })
        .filter_map(|(id, (vectors, _))| {
            let score = by.dot(vectors.get(&query.vector_name)?)?;
            Some(Scored { id: *id, score })
        })
        .filter(|hit| query.score_threshold.is_none_or(|least| hit.score >= least))
        .collect();
    // The sort is stable, and the model is in the order of the ids.
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits.into_iter()
        .skip(query.offset)
        .take(query.limit)
        .collect()
}

fn postings(model: &Model, query: &SearchQuery) -> usize {
    let by = query.sparse_vector.as_ref().expect("a sparse query");
    let wanted: BTreeSet<u32> = by.indices().iter().copied().collect();
    let vectors = model.values();
    let vectors = vectors.filter_map(|(vectors, _)| vectors.get(&query.vector_name));
    let shared = vectors.flat_map(SparseVector::indices);
    shared.filter(|index| wanted.contains(index)).count()
}

fn filter(even: bool) -> Filter {
    let json = json!({ "must": [{ "key": "even", "match": { "value": even } }] });
    Filter::from_json(&json.to_string()).expect("a filter")
}

fn queries() -> impl Strategy<Value = Vec<SearchQuery>> {
    let query = (
        sparse(),
        prop::sample::select(vec!["tags", "terms"]),
        prop::option::of(any::<bool>().prop_map(filter)),
        (1..30_usize, 0..5_usize),
        prop::option::weighted(0.3, weights()),
    );
    let query = query.prop_map(
        |(by, of, filter, (limit, offset), score_threshold)| SearchQuery {
            filter,
            offset,
            score_threshold,
            ..SearchQuery::by_sparse(name(of), by, limit)
        },
    );
    prop::collection::vec(query, 1..6)
}

/// With the bits of the scores: `-0.0 == 0.0`, and no two runs may differ even in that.
fn bits(hits: &[Scored]) -> Vec<(PointId, u32)> {
    hits.iter()
        .map(|hit| (hit.id, hit.score.to_bits()))
        .collect()
}

fn check(index: &CollectionIndex, model: &Model, queries: &[SearchQuery]) {
    let found = index.search_planned(queries, &NoOriginals).expect("valid");
    assert_eq!(found.len(), queries.len());
    for (query, found) in queries.iter().zip(found) {
        let expected = naive(model, query);
        assert_eq!(bits(&found.hits), bits(&expected), "{query:?}");
        let Plan::Inverted {
            postings: told,
            filtered,
            ..
        } = found.plan
        else {
            unreachable!("{:?}", found.plan)
        };
        assert_eq!(told, postings(model, query));
        assert_eq!(filtered, query.filter.is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_inverted_index_equals_brute_force(
        writes in writes(),
        more in writes(),
        queries in queries(),
    ) {
        let mut index = CollectionIndex::new(&schema());
        let empty = index.memory_bytes();
        let mut model = Model::new();
        for write in writes.into_iter().chain(more) {
            apply(&mut index, &mut model, write);
        }
        check(&index, &model, &queries);
        let half: Vec<_> = model.keys().copied().step_by(2).collect();
        for id in half {
            prop_assert!(index.remove(id));
            model.remove(&id);
        }
        check(&index, &model, &queries);
        for id in model.keys() {
            prop_assert!(index.remove(*id));
        }
        check(&index, &Model::new(), &queries);
        let left = index.memory_bytes() - empty;
        prop_assert!(left < 4096, "{left} bytes are left of nothing");
    }

    #[test]
    fn the_order_of_writes_changes_no_score(
        points in prop::collection::btree_map(0..IDS, sparse(), 1..30),
        query in sparse(),
    ) {
        let of = |ids: Vec<u64>| {
            let mut index = CollectionIndex::new(&schema());
            for id in ids {
                let vectors = Vectors::from([(name("terms"), points[&id].clone())]);
                put(&mut index, PointId::Num(id), false, &vectors, EncodedPayload::default());
            }
            let query = SearchQuery::by_sparse(name("terms"), query.clone(), 40);
            bits(&index.search(&[query], &NoOriginals).expect("valid")[0])
        };
        let ids: Vec<u64> = points.keys().copied().collect();
        prop_assert_eq!(of(ids.iter().rev().copied().collect()), of(ids));
    }
}

#[test]
fn many_points_are_searched_in_blocks_on_all_threads() {
    const POINTS: u64 = 150_000;
    let schema = CollectionSchema {
        vectors: BTreeMap::new(),
        ..schema()
    };
    let mut index = CollectionIndex::new(&schema);
    let mut model = Model::new();
    let vector = |id: u64| {
        let n = u32::try_from(id).expect("small");
        let weight = f32::from(u16::try_from(n % 977).expect("small")) + 0.1;
        // Every point has the first, one in seven the second, few share the others.
        let mut pairs = vec![(0, weight), (1000 + n / 50, -1.5)];
        pairs.extend((n % 7 == 0).then_some((1, 2.0 * weight)));
        SparseVector::from_pairs(pairs).expect("fine")
    };
    for n in 0..POINTS {
        let (id, vectors) = (PointId::Num(n), Vectors::from([(name("terms"), vector(n))]));
        put(&mut index, id, false, &vectors, EncodedPayload::default());
        model.insert(id, (vectors, EncodedPayload::default()));
    }
    // From the front, so that points move there from the last blocks.
    for n in (0..20_000).step_by(3) {
        let id = PointId::Num(n);
        assert!(index.remove(id));
        model.remove(&id);
    }
    let by = |pairs: &[(u32, f32)], offset, limit| SearchQuery {
        offset,
        ..SearchQuery::by_sparse(
            name("terms"),
            SparseVector::from_pairs(pairs.iter().copied()).expect("fine"),
            limit,
        )
    };
    check(
        &index,
        &model,
        &[
            by(&[(0, 1.0), (1, -0.5), (3_999, 7.0)], 0, 500),
            by(&[(0, -1.0), (1, 0.5)], 100, 50),
            by(&[(2_500, 1.0)], 0, 100),
            by(&[(9, 1.0)], 0, 100),
        ],
    );
    let entries = POINTS * 2;
    let bytes = index.memory_bytes();
    assert!(
        bytes > entries * 10,
        "what the lists take is counted: {bytes}"
    );
}

#[test]
fn kinds_are_not_mixed_up() {
    let mut index = CollectionIndex::new(&schema());
    let vector = SparseVector::new(vec![3], vec![1.0]).expect("fine");
    let vectors = Vectors::from([(name("terms"), vector.clone())]);
    put(
        &mut index,
        PointId::Num(1),
        true,
        &vectors,
        EncodedPayload::default(),
    );
    let error = |query: SearchQuery| match index.search(&[query], &NoOriginals) {
        Err(SearchError::Invalid(error)) => error,
        other => panic!("{other:?}"),
    };
    let dense = SearchQuery {
        vector_name: name("terms"),
        ..SearchQuery::new(vec![1.0, 0.0], 1)
    };
    assert!(matches!(error(dense), InvalidInput::IsSparse { .. }));
    let sparse = |of| SearchQuery::by_sparse(name(of), vector.clone(), 1);
    assert!(matches!(error(sparse("")), InvalidInput::IsDense { .. }));
    assert!(matches!(
        error(sparse("x")),
        InvalidInput::UnknownVector { .. }
    ));
    // A batch may hold both kinds; one point answers by each.
    let both = [
        sparse("terms"),
        SearchQuery::new(vec![1.0, 0.0], 1),
        sparse("tags"),
    ];
    let found = index.search(&both, &NoOriginals).expect("valid");
    let counts: Vec<_> = found.iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 1, 0], "it has no tags");
}
