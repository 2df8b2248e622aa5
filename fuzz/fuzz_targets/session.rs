//! A session between two small states, with something between them that drops, repeats, holds back, damages and invents
//! messages. Whatever comes of it, no state is ever called verified that is not the one its header names, the leader
//! never fails for anything but a typed refusal, and nobody panics.
#![no_main]

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use pando_merkle::{Key, Tree};
use pando_model::{Row, TreeId};
use pando_sync::{
    Base, Compression, FRAME_HEADER_BYTES, Finished, Follower, FollowerOptions, Leader, LeaderOptions, Request,
    Response, SnapshotHeader, Source, Step, TreeHeader, decode, encode, header_root, row_key, row_leaf,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

const TREE: TreeId = TreeId(1);
const SALT: [u8; 16] = [1; 16];
const BEFORE: u64 = 5;
/// More steps than any honest session of these states takes.
const STEPS_MAX: usize = 2_000;

struct View {
    header: SnapshotHeader,
    trees: BTreeMap<TreeId, Tree>,
    rows: BTreeMap<Key, Row>,
}

impl Source for View {
    type Error = Infallible;

    fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    fn tree(&self, id: TreeId) -> Option<&Tree> {
        self.trees.get(&id)
    }

    fn rows(&self, _: TreeId, keys: &[Key]) -> Result<Vec<Row>, Infallible> {
        Ok(keys.iter().map(|key| self.rows[key].clone()).collect())
    }
}

fn row(id: u64, version: u8) -> Row {
    Row {
        id: id.to_be_bytes().to_vec(),
        version: [version; 16],
        content: vec![version; 9],
    }
}

fn header(trees: &BTreeMap<TreeId, Tree>, index: u64) -> SnapshotHeader {
    let heads = trees.iter().map(|(id, tree)| {
        let named = *id == TREE;
        TreeHeader {
            id: *id,
            name: if named { "c".to_owned() } else { String::new() },
            definition: Vec::new(),
            salt: if named { SALT } else { [0; 16] },
            root: tree.root(),
            count: tree.len(),
            bytes: tree.bytes(),
        }
    });
    let trees: Vec<_> = heads.collect();
    SnapshotHeader {
        root: header_root(&trees),
        index,
        meta: Vec::new(),
        trees,
    }
}

/// The leader's view and the follower's base: `shape` says how many rows are the same, new, changed and gone.
fn states(shape: [u8; 4], clean: bool) -> (View, Base) {
    let [same, new, changed, gone] = shape.map(u64::from);
    let mut tree = Tree::new();
    let put = |tree: &mut Tree, row: Row, index| {
        let key = row_key(&SALT, &row);
        tree.insert(key, row_leaf(&row, index));
        (key, row)
    };
    let mut rows: BTreeMap<Key, Row> = (0..4 * same).map(|id| put(&mut tree, row(id, 1), 1)).collect();
    for id in (2_000..2_000 + changed).chain(3_000..3_000 + gone) {
        put(&mut tree, row(id, 1), 1);
    }
    let old = tree.clone();
    rows.extend((1_000..1_000 + new).chain(2_000..2_000 + changed).map(|id| put(&mut tree, row(id, 2), BEFORE + 1)));
    for id in 3_000..3_000 + gone {
        tree.remove(&row_key(&SALT, &row(id, 1)), BEFORE + 1);
    }
    let trees = |tree| BTreeMap::from([(TreeId::SYSTEM, Tree::new()), (TREE, tree)]);
    let (leaders, own) = (trees(tree), trees(old));
    let base = Base {
        root: header(&own, BEFORE).root,
        index: BEFORE,
        trees: own,
        clean,
    };
    let header = header(&leaders, BEFORE + 2);
    (View { header, trees: leaders, rows }, base)
}

/// Takes bytes from the input; zeros when it is used up.
struct Dice<'a>(std::slice::Iter<'a, u8>);

impl Dice<'_> {
    fn roll(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn place(&mut self, below: usize) -> usize {
        let two = usize::from(self.roll()) << 8 | usize::from(self.roll());
        two % below.max(1)
    }
}

/// A message with a few of its bits flipped, if that still is one.
fn damage<T: Serialize + DeserializeOwned>(message: &T, dice: &mut Dice<'_>) -> Option<T> {
    let frame = encode(message, Compression::None).ok()?;
    let mut body = frame.get(FRAME_HEADER_BYTES..)?.to_vec();
    for _ in 0..=dice.roll() % 3 {
        let at = dice.place(body.len());
        *body.get_mut(at)? ^= dice.roll();
    }
    let length = (body.len() as u32).to_be_bytes();
    let mut checked = length.to_vec();
    checked.push(0);
    checked.extend(length);
    checked.extend(&body);
    let crc = crc32fast::hash(&checked).to_be_bytes();
    decode(&[&length[..], &crc[..], &checked[4..]].concat()).ok()
}

/// Asks the leader; its answer may be refused, but never fails.
fn ask(leader: &Leader<View>, request: Request) -> VecDeque<Response> {
    match leader.answer(request) {
        Ok(answer) => answer.take(STEPS_MAX).map(|response| response.expect("its store is whole")).collect(),
        Err(_) => VecDeque::new(),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut dice = Dice(bytes.iter());
    let shape = std::array::from_fn(|_| dice.roll());
    let how = dice.roll();
    let (view, base) = states(shape, how & 1 != 0);
    let root = view.header.root;
    let leader = Leader::new(view, LeaderOptions { frame_bytes: 400, rows_per_read: 7 });
    let options = FollowerOptions {
        lineage: how & 2 != 0,
        window: 3,
        prefixes_per_request: 8,
        listed_per_request: 64,
        list_max: 64,
        wide_start_min: 500,
        stream_bytes: 2_000,
        deletes_per_step: 50,
        ..FollowerOptions::default()
    };
    let mut follower = Follower::new(base, options);
    let mut answers: Vec<VecDeque<Response>> = Vec::new();
    let mut step = Step { send: follower.start(), ..Step::default() };
    for _ in 0..STEPS_MAX {
        for request in std::mem::take(&mut step.send) {
            let damaged = (dice.roll() == 1).then(|| damage(&request, &mut dice)).flatten();
            answers.push(ask(&leader, damaged.unwrap_or(request)));
        }
        if let Some(finished) = &step.finished {
            if let Finished::Verified { header, trees } = finished {
                assert_eq!(header_root(&header.trees), header.root);
                for head in &header.trees {
                    assert_eq!((trees[&head.id].root(), trees[&head.id].len()), (head.root, head.count));
                }
                // What no root covers may be a lie; what it covers is the leader's.
                assert_eq!(header.root, root);
            }
            return;
        }
        let next = if step.more {
            follower.proceed()
        } else {
            answers.retain(|answer| !answer.is_empty());
            if answers.is_empty() {
                return;
            }
            let from = dice.place(answers.len());
            let Some(response) = answers[from].pop_front() else {
                return;
            };
            match dice.roll() {
                // Lost.
                1 => continue,
                // Twice.
                2 => answers[from].push_front(response.clone()),
                // Out of order.
                3 => {
                    answers[from].push_back(response);
                    continue;
                }
                _ => {}
            }
            let damaged = (dice.roll() == 1).then(|| damage(&response, &mut dice)).flatten();
            follower.on_response(damaged.unwrap_or(response))
        };
        match next {
            Ok(next) => step = next,
            Err(_) => return,
        }
    }
});
