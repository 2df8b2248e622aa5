//! A graph that was written down and is taken up again answers like the scan, whatever was changed in between; and
//! what cannot be used is indexed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, RwLock};

use pando_index::graph::{LoadError, Restored};
use pando_index::{Checkpoint, CheckpointError, CollectionIndex, IndexCounts, IndexOptions, Plan};
use pando_model::{Metric, PointId, SearchQuery, Stamp, VectorName, VectorParams};
use proptest::prelude::*;

use super::support::{
    METRICS, Numbers, fingerprint, payload, schema, settle, small, stored, upsert, vector,
    versioned,
};

const DIMENSION: usize = 16;
const OWNER: &[u8] = b"a collection";
const LIMIT: usize = 10;

/// Points by id: which version, and its vector.
type Model = BTreeMap<u64, (u64, Vec<f32>)>;

struct World {
    metric: Metric,
    scale: f32,
    numbers: Numbers,
    model: Model,
    versions: u64,
    index: CollectionIndex,
}

/// A vector as it is stored.
fn fresh(metric: Metric, numbers: &mut Numbers) -> Vec<f32> {
    stored(&schema(DIMENSION, metric), vector(numbers, DIMENSION, 1.0))
}

fn params(metric: Metric) -> VectorParams {
    let dimension = u32::try_from(DIMENSION).expect("small");
    VectorParams::new(dimension, metric)
}

fn read(metric: Metric, bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::read(params(metric), OWNER, Box::new(Cursor::new(bytes.to_vec())))
}

/// An index over a model as at a start, with what its graph came from.
struct Opened {
    index: CollectionIndex,
    counts: Arc<IndexCounts>,
    restored: Receiver<Restored>,
}

fn open(metric: Metric, model: &Model, checkpoint: Option<Checkpoint>) -> Opened {
    open_with(small(), metric, model, checkpoint)
}

fn open_with(
    options: IndexOptions,
    metric: Metric,
    model: &Model,
    checkpoint: Option<Checkpoint>,
) -> Opened {
    let counts = Arc::clone(&options.counts);
    let mut index = CollectionIndex::with_options(&schema(DIMENSION, metric), options);
    let (tell, restored) = channel();
    if let Some(checkpoint) = checkpoint {
        let when_restored = Box::new(move |restored| tell.send(restored).expect("it is heard"));
        index.restore(&VectorName::default(), checkpoint, when_restored);
    }
    for (n, (version, vector)) in model {
        let vectors = BTreeMap::from([(VectorName::default(), vector.clone())]);
        let (id, of) = (PointId::Num(*n), fingerprint(*n, *version));
        index.load(id, Stamp::at(*version), &vectors, payload(*n), of);
    }
    index.loaded();
    Opened {
        index,
        counts,
        restored,
    }
}

fn save(index: &CollectionIndex, model: &Model) -> Vec<u8> {
    let saving = index.saving(&VectorName::default());
    let saving = saving.expect("there are enough for a graph");
    let of = |id: PointId| match id {
        PointId::Num(n) => model.get(&n).map(|(version, _)| fingerprint(n, *version)),
        PointId::Uuid(_) => None,
    };
    let mut bytes = Vec::new();
    saving
        .write(OWNER, of, &mut bytes)
        .expect("memory takes it");
    bytes
}

/// Recall over some queries, each checked for what may never happen.
fn recall(index: &CollectionIndex, metric: Metric, model: &Model, numbers: &mut Numbers) -> f64 {
    let (mut found, mut there) = (0, 0);
    let vectors: Vec<_> = model.values().map(|(_, vector)| vector).collect();
    for _ in 0..40 {
        let scale = vectors[0].iter().map(|v| v.abs()).fold(0.0, f32::max);
        let near = vector(numbers, DIMENSION, scale);
        let query = SearchQuery::new(stored(&schema(DIMENSION, metric), near), LIMIT);
        let exact = SearchQuery {
            exact: true,
            ..query.clone()
        };
        let originals = versioned(model);
        let results = index.search(&[query, exact], &originals).expect("valid");
        let ids = |hits: &[pando_index::Scored]| -> BTreeSet<PointId> {
            hits.iter().map(|hit| hit.id).collect()
        };
        let (hits, truth) = (ids(&results[0]), ids(&results[1]));
        assert_eq!(hits.len(), truth.len(), "as many, and none twice");
        for id in &hits {
            assert!(
                matches!(id, PointId::Num(n) if model.contains_key(n)),
                "{id} is a ghost"
            );
        }
        there += truth.len();
        found += truth.intersection(&hits).count();
    }
    found as f64 / f64::from(u32::try_from(there.max(1)).expect("small"))
}

impl World {
    fn new(metric: Metric, scale: f32, seed: u64) -> Self {
        Self {
            metric,
            scale,
            numbers: Numbers::new(seed),
            model: Model::new(),
            versions: 0,
            index: CollectionIndex::with_options(&schema(DIMENSION, metric), small()),
        }
    }

    fn filled(metric: Metric, points: u64) -> Self {
        let mut world = Self::new(metric, 1.0, 5);
        for n in 0..points {
            world.upsert(n);
        }
        settle(&world.index);
        world
    }

    fn upsert(&mut self, n: u64) {
        let vector = vector(&mut self.numbers, DIMENSION, self.scale);
        let vector = stored(&schema(DIMENSION, self.metric), vector);
        upsert(&mut self.index, n, &vector);
        self.versions += 1;
        self.model.insert(n, (self.versions, vector));
    }

    /// Writes a point anew with the same vector: the graph need not know, but the fingerprint is another.
    fn touch(&mut self, n: u64) {
        self.versions += 1;
        if let Some((version, vector)) = self.model.get_mut(&n) {
            *version = self.versions;
            upsert(&mut self.index, n, vector);
        }
    }

    fn remove(&mut self, n: u64) {
        let existed = self.model.remove(&n).is_some();
        assert_eq!(self.index.remove(PointId::Num(n)), existed);
    }

    fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Upsert(n) => self.upsert(n),
                Write::Touch(n) => self.touch(n),
                Write::Remove(n) => self.remove(n),
                Write::Settle => settle(&self.index),
            }
        }
    }

    /// Starts anew from what was saved, and checks everything there is to check.
    fn reopen(&mut self, saved: &[u8], at: &Model) -> Opened {
        let checkpoint = read(self.metric, saved).expect("it is whole");
        assert_eq!(checkpoint.len(), at.len());
        let opened = open(self.metric, &self.model, Some(checkpoint));
        settle(&opened.index);
        let restored = opened.restored.recv().expect("it is told");
        assert!(restored.failed.is_none(), "{restored:?}");
        let same = |(n, (version, _)): &(&u64, &(u64, _))| {
            at.get(n).is_some_and(|(saved, _)| saved == version)
        };
        let unchanged = self.model.iter().filter(same).count() as u64;
        assert_eq!(restored.reused, unchanged);
        assert_eq!(opened.counts.reused(), unchanged);
        assert_eq!(opened.counts.indexed(), self.model.len() as u64 - unchanged);
        assert_eq!(opened.index.backlog(), 0);
        assert_eq!(opened.index.changes(), self.model.len() as u64 - unchanged);
        opened
    }
}

#[derive(Clone, Debug)]
enum Write {
    Upsert(u64),
    Touch(u64),
    Remove(u64),
    Settle,
}

fn writes(most: usize) -> impl Strategy<Value = Vec<Write>> {
    let write = prop_oneof![
        30 => (0..900_u64).prop_map(Write::Upsert),
        5 => (0..900_u64).prop_map(Write::Touch),
        12 => (0..900_u64).prop_map(Write::Remove),
        1 => Just(Write::Settle),
    ];
    prop::collection::vec(write, 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_saved_serves_for_all_that_did_not_change(
        metric in prop::sample::select(METRICS.as_slice()),
        scale in prop::sample::select([1.0_f32, 1e-6, 1e6].as_slice()),
        before in writes(800),
        between in writes(600),
        after in writes(300),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(metric, scale, seed);
        for n in 0..500 {
            world.upsert(n);
        }
        world.apply(before);
        settle(&world.index);
        let (saved, at) = (save(&world.index, &world.model), world.model.clone());
        world.apply(between);
        let opened = world.reopen(&saved, &at);
        let found = recall(&opened.index, metric, &world.model, &mut world.numbers);
        prop_assert!(found >= 0.97, "{found} after a restart");
        // It goes on from there, through another restart.
        world.index = opened.index;
        world.apply(after);
        settle(&world.index);
        let (saved, at) = (save(&world.index, &world.model), world.model.clone());
        let opened = world.reopen(&saved, &at);
        assert_eq!(opened.counts.indexed(), 0);
        let found = recall(&opened.index, metric, &world.model, &mut world.numbers);
        prop_assert!(found >= 0.97, "{found} after two restarts");
    }
}

#[test]
fn until_it_is_taken_up_everything_is_scanned() {
    let world = World::filled(Metric::Cosine, 3000);
    let checkpoint = read(world.metric, &save(&world.index, &world.model)).expect("whole");
    let options = small();
    let mut index = CollectionIndex::with_options(&schema(DIMENSION, world.metric), options);
    index.restore(&VectorName::default(), checkpoint, Box::new(|_| {}));
    let originals = versioned(&world.model);
    for (n, (version, vector)) in &world.model {
        let vectors = BTreeMap::from([(VectorName::default(), vector.clone())]);
        let (id, of) = (PointId::Num(*n), fingerprint(*n, *version));
        index.load(id, Stamp::at(*version), &vectors, payload(*n), of);
        let query = SearchQuery::new(vector.clone(), 1);
        if *n % 500 == 499 {
            let searched = index.search_planned(&[query], &originals).expect("valid");
            assert!(
                matches!(searched[0].plan, Plan::Exact(_)),
                "{}",
                searched[0].plan
            );
            assert_eq!(searched[0].hits[0].id, id);
            assert_eq!(
                index.backlog() as u64,
                n + 1,
                "nothing is done before all are loaded"
            );
        }
    }
    index.loaded();
    settle(&index);
    let query = SearchQuery::new(world.model[&7].1.clone(), 1);
    let searched = index.search_planned(&[query], &originals).expect("valid");
    assert!(
        matches!(searched[0].plan, Plan::Graph { unindexed: 0, .. }),
        "{}",
        searched[0].plan
    );
    assert_eq!(searched[0].hits[0].id, PointId::Num(7));
}

#[test]
fn a_graph_that_lost_most_of_its_points_stays_and_few_points_are_scanned() {
    let mut world = World::filled(Metric::Dot, 400);
    let saved = save(&world.index, &world.model);
    for n in 50..400 {
        world.remove(n);
    }
    let checkpoint = read(world.metric, &saved).expect("whole");
    let opened = open(world.metric, &world.model, Some(checkpoint));
    settle(&opened.index);
    assert_eq!((opened.index.segments(), opened.index.backlog()), (1, 0));
    let query = SearchQuery::new(world.model[&7].1.clone(), 5);
    let originals = versioned(&world.model);
    let searched = opened.index.search_planned(&[query], &originals);
    let plan = searched.expect("valid").remove(0).plan;
    assert!(matches!(plan, Plan::Exact(_)), "{plan}");
    let found = recall(
        &opened.index,
        world.metric,
        &world.model,
        &mut world.numbers,
    );
    assert_eq!(found, 1.0);
}

/// What is refused at once, or when its segments are read; either way all points are found afterwards.
fn assert_made_good(world: &mut World, bytes: &[u8], what: &str) {
    let points = world.model.len() as u64;
    let checkpoint = read(world.metric, bytes);
    let refused = checkpoint.is_err();
    let opened = open(world.metric, &world.model, checkpoint.ok());
    settle(&opened.index);
    let failed = opened
        .restored
        .try_recv()
        .is_ok_and(|restored| restored.failed.is_some());
    assert!(refused || failed, "{what} goes unnoticed");
    let (reused, indexed) = (opened.counts.reused(), opened.counts.indexed());
    assert_eq!(reused + indexed, points, "{what}");
    assert_eq!(opened.index.backlog(), 0, "{what}");
    let found = recall(
        &opened.index,
        world.metric,
        &world.model,
        &mut world.numbers,
    );
    assert!(found >= 0.97, "{what}: {found}");
}

#[test]
fn torn_files_are_noticed_wherever_they_end() {
    let mut world = World::filled(Metric::Euclidean, 300);
    let bytes = save(&world.index, &world.model);
    for cut in (0..bytes.len()).step_by(bytes.len() / 60) {
        assert_made_good(&mut world, &bytes[..cut], &format!("cut at {cut}"));
    }
    assert_made_good(&mut world, &bytes[..bytes.len() - 1], "the last byte");
}

#[test]
fn flipped_bits_are_noticed_wherever_they_are() {
    let mut world = World::filled(Metric::Cosine, 300);
    let bytes = save(&world.index, &world.model);
    let step = bytes.len() / 60;
    for at in (0..bytes.len()).step_by(step) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert_made_good(&mut world, &flipped, &format!("a bit of byte {at}"));
    }
}

#[test]
fn the_segments_before_a_damaged_one_are_kept() {
    let segments_of_256 = || IndexOptions {
        segment_bytes_max: 1,
        ..small()
    };
    let mut world = World::new(Metric::Cosine, 1.0, 9);
    let schema = schema(DIMENSION, world.metric);
    world.index = CollectionIndex::with_options(&schema, segments_of_256());
    for n in 0..1000 {
        world.upsert(n);
    }
    settle(&world.index);
    assert_eq!(world.index.segments(), 4);
    let bytes = save(&world.index, &world.model);
    let checkpoint = read(world.metric, &bytes[..bytes.len() - 1]).expect("its head is whole");
    let (metric, model) = (world.metric, &world.model);
    let opened = open_with(segments_of_256(), metric, model, Some(checkpoint));
    settle(&opened.index);
    let restored = opened.restored.recv().expect("it is told");
    assert_eq!(restored.reused, 3 * 256);
    let torn = matches!(restored.failed, Some(LoadError::Torn { .. }));
    assert!(torn, "{restored:?}");
    assert_eq!(opened.counts.indexed(), 1000 - restored.reused);
    let found = recall(
        &opened.index,
        world.metric,
        &world.model,
        &mut world.numbers,
    );
    assert!(found >= 0.97, "{found}");
}

#[test]
fn what_is_of_something_else_says_so() {
    let world = World::filled(Metric::Cosine, 300);
    let bytes = save(&world.index, &world.model);
    let error = |params: VectorParams, owner: &[u8], bytes: &[u8]| {
        let from = Box::new(Cursor::new(bytes.to_vec()));
        (Checkpoint::read(params, owner, from).err()).expect("it is refused")
    };
    let right = params(world.metric);
    let found = error(right, OWNER, b"PK\x03\x04 and so on");
    assert!(matches!(found, CheckpointError::Foreign), "{found}");
    let mut newer = bytes.clone();
    newer[8] = 2;
    let found = error(right, OWNER, &newer);
    let version = matches!(found, CheckpointError::Version { found: 2, known: 1 });
    assert!(version, "{found}");
    for (owner, params, what) in [
        (&b"b collection"[..], right, "collection"),
        (b"another", right, "collection"),
        (OWNER, params(Metric::Dot), "metric"),
        (
            OWNER,
            VectorParams {
                dimension: 15,
                ..right
            },
            "dimension",
        ),
    ] {
        let found = error(params, owner, &bytes);
        assert!(
            matches!(found, CheckpointError::Others { what: w } if w == what),
            "{found}"
        );
    }
}

/// Bytes before the table of rows.
const HEAD: usize = 8 + 4 + 4 + OWNER.len() + 4 + 1 + 4 + 2 * DIMENSION + 8 + 4 + 8;

/// A file changed by someone who knows its checksum.
fn forged(bytes: &[u8], points: usize, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let end = HEAD + points * 24;
    change(&mut bytes[..end]);
    let sum = crc32fast::hash(&bytes[..end]);
    bytes[end..end + 4].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn numbers_that_cannot_be_are_not_believed() {
    let mut world = World::filled(Metric::Dot, 300);
    let bytes = save(&world.index, &world.model);
    let same = forged(&bytes, 300, |_| {});
    assert_eq!(same, bytes, "the layout is the one known here");
    let rows_end = HEAD - 20;
    for (at, what) in [
        (rows_end, "rows past the end"),
        (rows_end + 8, "many segments"),
        (HEAD - 8, "many rows"),
    ] {
        let value = if at == rows_end {
            [1, 0, 0, 0]
        } else {
            [0xff; 4]
        };
        let forged = forged(&bytes, 300, |head| head[at..at + 4].copy_from_slice(&value));
        let error = read(world.metric, &forged).err();
        let damaged = matches!(
            error,
            Some(CheckpointError::Damaged { .. } | CheckpointError::Torn { .. })
        );
        assert!(damaged, "{what}: {error:?}");
    }
    let error = read(
        world.metric,
        &forged(&bytes, 300, |head| {
            head.copy_within(HEAD + 8..HEAD + 24, HEAD + 32);
        }),
    );
    assert!(
        matches!(error.err(), Some(CheckpointError::Damaged { .. })),
        "one fingerprint twice"
    );

    // Two points with one row: the first gets it, the other is indexed, and both are found.
    let twice = forged(&bytes, 300, |head| {
        head.copy_within(HEAD..HEAD + 8, HEAD + 24)
    });
    let opened = open(
        world.metric,
        &world.model,
        Some(read(world.metric, &twice).expect("whole")),
    );
    settle(&opened.index);
    assert_eq!((opened.counts.reused(), opened.counts.indexed()), (299, 1));
    let found = recall(
        &opened.index,
        world.metric,
        &world.model,
        &mut world.numbers,
    );
    assert!(found >= 0.97, "{found}");
}

#[test]
fn a_graph_is_saved_beside_writes() {
    let mut world = World::filled(Metric::Cosine, 2000);
    let shared = RwLock::new((
        std::mem::replace(
            &mut world.index,
            CollectionIndex::new(&schema(DIMENSION, Metric::Cosine)),
        ),
        std::mem::take(&mut world.model),
    ));
    let done = AtomicBool::new(false);
    let mut versions = 2000;
    let saved = std::thread::scope(|scope| {
        let saver = scope.spawn(|| {
            let mut saves = Vec::new();
            while !done.load(Ordering::Relaxed) || saves.is_empty() {
                let (saving, at) = {
                    let state = shared.read().expect("no writer panicked");
                    let saving = state.0.saving(&VectorName::default());
                    (saving.expect("a graph"), state.1.clone())
                };
                // Written without the lock, while rows come and go.
                let of = |id: PointId| match id {
                    PointId::Num(n) => at.get(&n).map(|(version, _)| fingerprint(n, *version)),
                    PointId::Uuid(_) => None,
                };
                let mut bytes = Vec::new();
                saving
                    .write(OWNER, of, &mut bytes)
                    .expect("memory takes it");
                saves.push(bytes);
            }
            saves
        });
        for _ in 0..6000 {
            let n = world.numbers.below(3000);
            let vector = fresh(Metric::Cosine, &mut world.numbers);
            let mut state = shared.write().expect("no saver panicked");
            if n.is_multiple_of(3) {
                state.0.remove(PointId::Num(n));
                state.1.remove(&n);
            } else {
                versions += 1;
                upsert(&mut state.0, n, &vector);
                state.1.insert(n, (versions, vector));
            }
        }
        done.store(true, Ordering::Relaxed);
        saver.join().expect("it has saved")
    });
    let (_, model) = shared.into_inner().expect("nobody panicked");
    for bytes in [&saved[0], &saved[saved.len() / 2], &saved[saved.len() - 1]] {
        let checkpoint = read(Metric::Cosine, bytes).expect("whole");
        let opened = open(Metric::Cosine, &model, Some(checkpoint));
        settle(&opened.index);
        let restored = opened.restored.recv().expect("it is told");
        assert!(restored.failed.is_none(), "{restored:?}");
        let taken = opened.counts.reused() + opened.counts.indexed();
        assert_eq!(taken, model.len() as u64);
        let found = recall(&opened.index, Metric::Cosine, &model, &mut world.numbers);
        assert!(found >= 0.97, "{found}");
    }
}

#[test]
fn points_written_while_segments_are_taken_up_are_the_ones_found() {
    let world = World::filled(Metric::Cosine, 3000);
    let checkpoint = read(world.metric, &save(&world.index, &world.model)).expect("whole");
    let Opened {
        mut index,
        restored,
        ..
    } = open(world.metric, &world.model, Some(checkpoint));
    // At once, while a background thread is at it.
    let (mut model, mut numbers) = (world.model, Numbers::new(77));
    for n in 0..600 {
        if n % 2 == 0 {
            assert!(index.remove(PointId::Num(n)));
            model.remove(&n);
        } else {
            let vector = fresh(world.metric, &mut numbers);
            upsert(&mut index, n, &vector);
            model.insert(n, (9000 + n, vector));
        }
    }
    settle(&index);
    assert!(restored.recv().expect("it is told").failed.is_none());
    assert_eq!(index.backlog(), 0);
    let found = recall(&index, world.metric, &model, &mut numbers);
    assert!(found >= 0.97, "{found}");
}
