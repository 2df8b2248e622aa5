//! What a session costs in bytes, on trees large enough to have the shape of a million rows.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;

use pando_merkle::{Key, Tree};
use pando_model::{Row, TreeId};
use pando_sync::{
    Base, Compression, Finished, Follower, FollowerOptions, Leader, LeaderOptions, Mode, Response,
    SnapshotHeader, Source, Stats, TreeHeader, decode, encode, header_root, row_key, row_leaf,
};

const TREE: TreeId = TreeId(1);
const SALT: [u8; 16] = [1; 16];
/// Bytes of a record with a 1024-dimensional vector of 32-bit floats, its id and its version.
const RECORD_BYTES: u64 = 4_096 + 16 + 8;
/// What its content takes more than the short one used here: a longer length.
const LENGTH_BYTES: u64 = 2;

fn row(id: u64, version: u8) -> Row {
    Row {
        id: id.to_be_bytes().to_vec(),
        version: [version; 16],
        content: vec![version],
    }
}

/// A view of one tree whose rows are made when they are read. Counts the reads.
struct Synthetic {
    header: SnapshotHeader,
    system: Tree,
    tree: Tree,
    ids: HashMap<Key, (u64, u8)>,
    reads: std::cell::Cell<usize>,
}

impl Source for Synthetic {
    type Error = Infallible;

    fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    fn tree(&self, id: TreeId) -> Option<&Tree> {
        Some(if id == TREE { &self.tree } else { &self.system })
    }

    fn rows(&self, _: TreeId, keys: &[Key]) -> Result<Vec<Row>, Infallible> {
        self.reads.set(self.reads.get() + 1);
        let rows = keys.iter().map(|key| {
            let (id, version) = self.ids[key];
            row(id, version)
        });
        Ok(rows.collect())
    }
}

fn header(system: &Tree, tree: &Tree) -> SnapshotHeader {
    let head = |id, name: &str, salt, tree: &Tree| TreeHeader {
        id,
        name: name.to_owned(),
        definition: if id == TREE {
            b"cosine".to_vec()
        } else {
            Vec::new()
        },
        salt,
        root: tree.root(),
        count: tree.len(),
        bytes: tree.bytes(),
    };
    let trees = vec![
        head(TreeId::SYSTEM, "", [0; 16], system),
        head(TREE, "c", SALT, tree),
    ];
    SnapshotHeader {
        root: header_root(&trees),
        index: 2,
        meta: Vec::new(),
        trees,
    }
}

fn tree(count: u64) -> Tree {
    (0..count)
        .map(|id| row(id, 1))
        .map(|row| (row_key(&SALT, &row), row_leaf(&row, 1)))
        .collect()
}

/// A leader at log index 2 that wrote every `every`-th row of `old` anew after index 1.
fn leader(old: &Tree, every: usize) -> Leader<Synthetic> {
    let (mut new, mut ids) = (old.clone(), HashMap::new());
    for id in (0..old.len()).step_by(every) {
        let row = row(id, 2);
        let key = row_key(&SALT, &row);
        new.insert(key, row_leaf(&row, 2));
        ids.insert(key, (id, 2));
    }
    let system = Tree::new();
    let source = Synthetic {
        header: header(&system, &new),
        system,
        tree: new,
        ids,
        reads: std::cell::Cell::new(0),
    };
    Leader::new(source, LeaderOptions::default())
}

fn base(old: &Tree, clean: bool) -> Base {
    Base {
        root: header(&Tree::new(), old).root,
        index: 1,
        trees: BTreeMap::from([(TreeId::SYSTEM, Tree::new()), (TREE, old.clone())]),
        clean,
    }
}

/// Runs a session, every message as an uncompressed frame, and returns what it cost.
fn run(leader: &Leader<Synthetic>, base: Base) -> Stats {
    let mut follower = Follower::new(base, FollowerOptions::default());
    let mut requests: VecDeque<_> = follower.start().into();
    while let Some(request) = requests.pop_front() {
        follower.count_sent(&encode(&request, Compression::None).unwrap());
        for response in leader.answer(request).unwrap() {
            let frame = encode(&response.unwrap(), Compression::None).unwrap();
            follower.count_received(&frame);
            let step = follower
                .on_response(decode::<Response>(&frame).unwrap())
                .unwrap();
            requests.extend(step.send);
            match step.finished {
                Some(Finished::Verified { header, trees }) => {
                    assert_eq!(trees[&TREE].root(), header.trees[1].root);
                    return follower.stats().clone();
                }
                Some(Finished::Equal { .. }) => return follower.stats().clone(),
                None => {}
            }
        }
    }
    panic!("the session did not end")
}

/// Metadata of a session, as if the rows were records with vectors.
fn overhead(name: &str, stats: &Stats) -> (u64, f64) {
    let metadata = stats.metadata_bytes() + LENGTH_BYTES * stats.rows_put;
    let records = RECORD_BYTES * stats.rows_put;
    let part = 100.0 * metadata as f64 / records.max(1) as f64;
    println!(
        "{name}: {:?}, {} rows: {metadata} bytes of metadata ({} up), {part:.2} % of {records}; {} requests, {} round \
         trips, {} nodes, {} leaves listed",
        stats.mode,
        stats.rows_put,
        stats.sent.wire_bytes,
        stats.requests,
        stats.round_trips,
        stats.nodes,
        stats.leaves_listed,
    );
    (metadata, part)
}

/// One million rows, so that the figures are those of the design: 65,536 buckets of about 15 leaves. With a share c
/// of rows changed, about 65,536 (1 - exp(-15.26 c)) buckets are listed, each with 16 tags of 3 bytes and 4 bytes
/// more, and as many nodes one level up are received as have a changed row, each with 16 hashes of 4 bytes and 6 more.
#[test]
fn a_million_rows() {
    let old = tree(1_000_000);

    let one_percent = leader(&old, 100);
    let walked = run(&one_percent, base(&old, false));
    assert_eq!((walked.mode, walked.rows_put), (Some(Mode::Walk), 10_000));
    let (_, part) = overhead("1 %, unknown lineage", &walked);
    assert!(part <= 3.0, "{part:.2} %");
    let known = run(&one_percent, base(&old, true));
    assert_eq!(
        (known.mode, known.rows_put, known.fallbacks),
        (Some(Mode::Lineage), 10_000, 0)
    );
    let (_, part) = overhead("1 %, known lineage", &known);
    assert!(part <= 0.5, "{part:.2} %");

    let ten = leader(&old, 100_000);
    for clean in [false, true] {
        let stats = run(&ten, base(&old, clean));
        assert_eq!(stats.rows_put, 10);
        let (bytes, _) = overhead("10 rows", &stats);
        assert!(bytes <= 64 << 10, "{bytes} bytes");
    }

    let all = leader(&old, 1);
    let stats = run(&all, base(&old, false));
    let (_, part) = overhead("all, unknown lineage", &stats);
    assert!(part <= 0.5, "{part:.2} %");
}

#[test]
fn equal_replicas_cost_one_round_trip_few_bytes_and_no_read() {
    let old = tree(10_000);
    let equal = leader(&old, usize::MAX);
    // The first row is written by any step.
    let same = equal.source().tree.clone();
    for clean in [false, true] {
        let stats = run(&equal, base(&same, clean));
        assert_eq!((stats.mode, stats.round_trips), (Some(Mode::Equal), 1));
        let bytes = stats.sent.wire_bytes + stats.received.wire_bytes;
        // The frame that opens the stream is 13 bytes and what it says.
        assert!(bytes <= 256 - 40, "{bytes} bytes");
        assert_eq!(equal.source().reads.get(), 0);
    }
}
