//! States, views of them, and a carrier that delivers answers in any order.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use pando_merkle::{Key, Tree};
use pando_model::{Row, TreeId};
use pando_sync::{
    Base, Compression, Finished, Follower, FollowerOptions, Framer, Leader, LeaderOptions, Op,
    Request, Response, SnapshotHeader, Source, Staged, Stats, Step, SyncError, TreeHeader, decode,
    encode, header_root, row_key, row_leaf,
};

/// One tree with its rows, by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plot {
    pub(crate) rows: BTreeMap<Vec<u8>, Row>,
}

/// A replica's state.
pub(crate) type State = BTreeMap<TreeId, Plot>;

pub(crate) fn salt(tree: TreeId) -> [u8; 16] {
    if tree == TreeId::SYSTEM {
        [0; 16]
    } else {
        [u8::try_from(tree.0).unwrap(); 16]
    }
}

pub(crate) fn row(id: u64, content: &str) -> Row {
    Row {
        id: id.to_be_bytes().to_vec(),
        version: [7; 16],
        content: content.as_bytes().to_vec(),
    }
}

pub(crate) fn plot(rows: impl IntoIterator<Item = Row>) -> Plot {
    Plot {
        rows: rows.into_iter().map(|row| (row.id.clone(), row)).collect(),
    }
}

/// A state with the system tree and one collection, of these rows.
pub(crate) fn state(rows: impl IntoIterator<Item = Row>) -> State {
    BTreeMap::from([(TreeId::SYSTEM, Plot::default()), (TreeId(1), plot(rows))])
}

pub(crate) fn trees(state: &State) -> BTreeMap<TreeId, Tree> {
    let grow = |(id, plot): (&TreeId, &Plot)| {
        let mut tree = Tree::new();
        for row in plot.rows.values() {
            tree.insert(row_key(&salt(*id), row), row_leaf(row, 1));
        }
        (*id, tree)
    };
    state.iter().map(grow).collect()
}

pub(crate) fn base(state: &State) -> Base {
    let trees = trees(state);
    Base {
        root: header(state, &trees, 0).root,
        index: 0,
        trees,
        clean: false,
    }
}

pub(crate) fn header(state: &State, trees: &BTreeMap<TreeId, Tree>, index: u64) -> SnapshotHeader {
    let heads = state.keys().map(|id| {
        let tree = &trees[id];
        let named = *id != TreeId::SYSTEM;
        TreeHeader {
            id: *id,
            name: if named {
                format!("c{:03}", id.0)
            } else {
                String::new()
            },
            definition: if named {
                b"384 cosine".to_vec()
            } else {
                Vec::new()
            },
            salt: salt(*id),
            root: tree.root(),
            count: tree.len(),
            bytes: tree.bytes(),
        }
    });
    let trees: Vec<TreeHeader> = heads.collect();
    SnapshotHeader {
        root: header_root(&trees),
        index,
        meta: b"meta".to_vec(),
        trees,
    }
}

/// A frozen view of a state.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) header: SnapshotHeader,
    pub(crate) trees: BTreeMap<TreeId, Tree>,
    pub(crate) rows: BTreeMap<(TreeId, Key), Row>,
}

impl View {
    pub(crate) fn of(state: &State, index: u64) -> Self {
        let trees = trees(state);
        let header = header(state, &trees, index);
        let rows = state.iter().flat_map(|(id, plot)| {
            plot.rows
                .values()
                .map(|row| ((*id, row_key(&salt(*id), row)), row.clone()))
        });
        Self {
            header,
            rows: rows.collect(),
            trees,
        }
    }
}

impl Source for View {
    type Error = Infallible;

    fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    fn tree(&self, id: TreeId) -> Option<&Tree> {
        self.trees.get(&id)
    }

    fn rows(&self, id: TreeId, keys: &[Key]) -> Result<Vec<Row>, Infallible> {
        Ok(keys
            .iter()
            .map(|key| self.rows[&(id, *key)].clone())
            .collect())
    }
}

pub(crate) fn leader(state: &State, index: u64) -> Leader<View> {
    // Small frames and reads, so that small states have answers of many parts.
    let options = LeaderOptions {
        frame_bytes: 300,
        rows_per_read: 7,
    };
    Leader::new(View::of(state, index), options)
}

pub(crate) fn small_options() -> FollowerOptions {
    FollowerOptions {
        window: 3,
        streams: 2,
        prefixes_per_request: 8,
        listed_per_request: 64,
        list_max: 64,
        wide_start_min: 500,
        stream_bytes: 2_000,
        deletes_per_step: 5,
        ..FollowerOptions::default()
    }
}

/// Numbers that look random, the same for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }
}

/// How a drive went.
pub(crate) struct Drive {
    pub(crate) staged: Vec<Staged>,
    pub(crate) requests: Vec<Request>,
    pub(crate) end: Result<Option<Finished>, SyncError>,
    pub(crate) stats: Stats,
    /// Bytes of all frames.
    pub(crate) wire_bytes: usize,
}

/// What stands between leader and follower; it may change a response, add some, or swallow it.
pub(crate) type Tamper<'a> = &'a mut dyn FnMut(Response) -> Vec<Response>;

/// Runs a session, delivering the answers of the outstanding requests in random order, until it ends or, if `cut`
/// is given, that many responses were delivered.
pub(crate) fn drive(
    leader: &Leader<View>,
    base: Base,
    options: FollowerOptions,
    seed: u64,
    cut: Option<usize>,
) -> Drive {
    run(leader, base, options, (seed, cut), None)
}

/// The same, with something between the two.
pub(crate) fn drive_tampered(
    leader: &Leader<View>,
    base: Base,
    options: FollowerOptions,
    seed: u64,
    tamper: Tamper<'_>,
) -> Drive {
    run(leader, base, options, (seed, None), Some(tamper))
}

fn run(
    leader: &Leader<View>,
    base: Base,
    options: FollowerOptions,
    (seed, cut): (u64, Option<usize>),
    mut tamper: Option<Tamper<'_>>,
) -> Drive {
    let mut dice = Dice(seed);
    let mut follower = Follower::new(base, options);
    let mut drive = Drive {
        staged: Vec::new(),
        requests: Vec::new(),
        end: Ok(None),
        stats: Stats::default(),
        wire_bytes: 0,
    };
    let mut outstanding: Vec<VecDeque<Response>> = Vec::new();
    let mut delivered = 0;
    let mut step = Step {
        send: follower.start(),
        ..Step::default()
    };
    loop {
        drive.staged.append(&mut step.stage);
        for request in step.send.drain(..) {
            let frame = encode(&request, Compression::None).unwrap();
            follower.count_sent(&frame);
            drive.wire_bytes += frame.len();
            assert_eq!(decode::<Request>(&frame).unwrap(), request);
            let answer = match leader.answer(request.clone()) {
                Ok(answer) => answer.map(Result::unwrap),
                // Led astray, the follower asks for what there is not: its connection is closed.
                Err(_) if tamper.is_some() => return drive,
                Err(refusal) => panic!("an honest request is refused: {refusal}"),
            };
            outstanding.push(match &mut tamper {
                Some(tamper) => answer.flat_map(tamper).collect(),
                None => answer.collect(),
            });
            drive.requests.push(request);
        }
        outstanding.retain(|answer| !answer.is_empty());
        assert!(
            tamper.is_some() || outstanding.len() <= options.window,
            "the window is {}",
            options.window
        );
        let next = if let Some(finished) = step.finished.take() {
            assert!(
                tamper.is_some() || outstanding.is_empty(),
                "finished with answers outstanding"
            );
            drive.end = Ok(Some(finished));
            break;
        } else if step.more && dice.roll(2) == 0 {
            follower.proceed()
        } else if outstanding.is_empty() && !step.more {
            // A tampering carrier swallowed an answer: the follower waits. The end stays `Ok(None)`.
            break;
        } else if outstanding.is_empty() {
            follower.proceed()
        } else if cut == Some(delivered) {
            break;
        } else {
            delivered += 1;
            let from = dice.roll(outstanding.len());
            let response = outstanding[from].pop_front().unwrap();
            deliver(&mut follower, &response, &mut drive.wire_bytes)
        };
        match next {
            Ok(next) => step = next,
            Err(error) => {
                let after = follower.on_response(Response::Equal { index: 0 });
                assert!(
                    matches!(after, Err(SyncError::Unexpected { .. })),
                    "{after:?}"
                );
                drive.end = Err(error);
                break;
            }
        }
    }
    drive.stats = follower.stats().clone();
    drive
}

fn deliver(
    follower: &mut Follower,
    response: &Response,
    wire_bytes: &mut usize,
) -> Result<Step, SyncError> {
    let frame = Framer::new(Compression::default())
        .frame(response.clone(), |r| r)
        .unwrap();
    follower.count_received(&frame);
    *wire_bytes += frame.len();
    let (before, _) = follower.progress();
    let step = follower.on_response(decode(&frame).unwrap());
    let (done, total) = follower.progress();
    let again = follower.stats().reruns + follower.stats().fallbacks > 0;
    assert!(done <= total && (done >= before || again));
    step
}

/// Lays staged changes over a state.
pub(crate) fn lay(state: &State, staged: &[Staged]) -> State {
    let mut state = state.clone();
    for change in staged {
        let plot = state.entry(change.tree).or_default();
        match &change.op {
            Op::Put(row) => {
                plot.rows.insert(row.id.clone(), row.clone());
            }
            Op::Delete => {
                let salt = salt(change.tree);
                let before = plot.rows.len();
                plot.rows.retain(|_, row| row_key(&salt, row) != change.key);
                assert_eq!(
                    plot.rows.len(),
                    before - 1,
                    "a delete of a row that is not there"
                );
            }
        }
    }
    state
}

/// What makes `from` equal to `to`, found the slow way.
pub(crate) fn difference(from: &State, to: &State) -> BTreeMap<(TreeId, Key), Op> {
    let mut difference = BTreeMap::new();
    let nothing = Plot::default();
    for id in from.keys().chain(to.keys()) {
        let (old, new) = (
            from.get(id).unwrap_or(&nothing),
            to.get(id).unwrap_or(&nothing),
        );
        for row in new
            .rows
            .values()
            .filter(|row| old.rows.get(&row.id) != Some(row))
        {
            difference.insert((*id, row_key(&salt(*id), row)), Op::Put(row.clone()));
        }
        for row in old
            .rows
            .values()
            .filter(|row| !new.rows.contains_key(&row.id))
        {
            difference.insert((*id, row_key(&salt(*id), row)), Op::Delete);
        }
    }
    difference
}

/// The staged changes by key; none may be staged twice.
pub(crate) fn by_key(staged: &[Staged]) -> BTreeMap<(TreeId, Key), Op> {
    let map: BTreeMap<_, _> = staged
        .iter()
        .map(|s| ((s.tree, s.key), s.op.clone()))
        .collect();
    assert_eq!(map.len(), staged.len(), "a key is staged twice");
    map
}

/// Asserts that a drive ended with working trees equal to the state.
pub(crate) fn assert_verified(drive: &Drive, to: &State) {
    match &drive.end {
        Ok(Some(Finished::Verified { header, trees })) => {
            let expected: BTreeMap<TreeId, Tree> = self::trees(to);
            assert_eq!(
                trees.keys().collect::<Vec<_>>(),
                expected.keys().collect::<Vec<_>>()
            );
            for (id, tree) in &expected {
                assert_eq!(trees[id].root(), tree.root());
                assert_eq!(trees[id].len(), tree.len());
            }
            assert_eq!(header.root, self::header(to, &expected, 0).root);
        }
        other => panic!("the session did not verify: {other:?}"),
    }
}
