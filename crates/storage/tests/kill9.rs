//! The durable store against SIGKILL: a child process writes batches and reports each one after its flush; it is
//! killed at some moment; every batch it reported must be there, and the store must hold exactly the state after
//! some batch: none in part, none skipped.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write, stdout};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pando_merkle::Key;
use pando_model::{Row, TreeId};
use pando_storage::{
    Batch, EntryLog, GroupId, KvStore, RowAddress, Rows, SledOptions, SledStore, StoredKey, codec,
    leaf_of,
};

const DIRECTORY_VARIABLE: &str = "PANDO_STORAGE_KILL9_DIRECTORY";
const GROUP: GroupId = GroupId(0);
const TREE: TreeId = TreeId(1);
const CYCLES: u64 = 20;
const ENTRIES_KEPT: u64 = 20;

/// Rows of the batch: ids repeat, so that later batches overwrite, and sizes change, so that chunks come and go.
fn rows_of(number: u64) -> Vec<Row> {
    // Every other batch is as large as a full Raft entry: more than one of sled's buffers, so that parts of it are
    // in the file before it is complete.
    let count = if number.is_multiple_of(2) { 200 } else { 12 };
    (0..count)
        .map(|i| {
            let mixed = (number * 1000 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let size = usize::try_from(mixed % 9000).unwrap();
            Row {
                id: ((number * 7 + i) % 500).to_be_bytes().to_vec(),
                version: u128::from(number).to_be_bytes(),
                content: vec![u8::try_from(mixed % 256).unwrap(); size],
            }
        })
        .collect()
}

fn address(row: &Row) -> RowAddress {
    RowAddress::new(TREE, Key::derive(&[1; 16], &row.id))
}

fn entry_of(number: u64) -> Vec<u8> {
    vec![u8::try_from(number % 256).unwrap(); usize::try_from(number * 977 % 20_000).unwrap()]
}

fn open(path: &Path) -> SledStore {
    SledStore::open(
        path,
        SledOptions {
            cache_bytes: 4 << 20,
        },
    )
    .unwrap()
}

fn last_batch(store: &SledStore) -> u64 {
    let meta = store.get(&StoredKey::Meta.encode(GROUP)).unwrap();
    meta.map_or(0, |value| codec::decode_versioned(1, &value).unwrap())
}

fn write_batch(store: &SledStore, number: u64) {
    let (rows, log) = (Rows::new(GROUP), EntryLog::new(GROUP));
    let mut batch = Batch::new();
    for row in rows_of(number) {
        let at = address(&row);
        let previous = rows.digest(store, at).unwrap();
        let digest = rows
            .put(&mut batch, at, &row, &leaf_of(&row, number))
            .unwrap();
        if let Some(previous) = previous.filter(|previous| previous.digest() != digest.digest()) {
            rows.delete_content(&mut batch, at, &previous);
        }
    }
    log.put(store, &mut batch, number, &entry_of(number))
        .unwrap();
    if let Some(purged) = number.checked_sub(ENTRIES_KEPT) {
        log.delete(store, &mut batch, purged).unwrap();
    }
    batch.put(
        StoredKey::Meta.encode(GROUP),
        codec::encode_versioned(1, &number),
    );
    store.apply(batch).unwrap();
}

fn say(line: &str) {
    let mut stdout = stdout();
    // Fails when the parent is gone, which ends this process too.
    writeln!(stdout, "{line}").unwrap();
    stdout.flush().unwrap();
}

/// Not a test: the process that is killed, started by the one below.
#[test]
#[ignore = "the child process of the test below"]
fn writer() {
    let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) else {
        return;
    };
    say("opening");
    let store = open(Path::new(&directory));
    for number in last_batch(&store) + 1.. {
        write_batch(&store, number);
        store.flush().unwrap();
        say(&format!("acknowledged {number}"));
    }
}

fn spawn_writer(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--ignored", "--nocapture"])
        .env(DIRECTORY_VARIABLE, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Starts the writer, kills it a moment after it has said so many lines, and returns the last batch it acknowledged.
fn write_until_killed(directory: &Path, lines: u64, moment: Duration) -> Option<u64> {
    let mut child = spawn_writer(directory);
    let said = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut heard = 0;
    let mut acknowledged = None;
    // Also what it said between the kill and its death counts.
    for line in said {
        if let Some(number) = line.strip_prefix("acknowledged ") {
            acknowledged = Some(number.parse().unwrap());
        }
        // The test harness says something too, before it runs the writer.
        heard += u64::from(acknowledged.is_some() || line.ends_with("opening"));
        if heard == lines {
            // Not to wait for anything: to be killed anywhere between two lines, not always right behind one.
            std::thread::sleep(moment);
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "the writer ends by the kill only");
    assert!(heard >= lines, "the writer failed by itself: {status}");
    acknowledged
}

#[test]
fn no_acknowledged_batch_is_lost_or_torn_by_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected: BTreeMap<Key, (Row, u64)> = BTreeMap::new();
    let mut replayed = 0;
    let mut acknowledged = 0;
    for cycle in 0..CYCLES {
        // Some are killed while they open, some after a few batches, some after many.
        let lines = 1 + (cycle * 37 + 11) % 41 * u64::from(cycle % 4 != 0);
        let moment = Duration::from_micros(cycle * 7919 % 12_000);
        if let Some(number) = write_until_killed(directory.path(), lines, moment) {
            acknowledged = number;
        }

        let store = open(directory.path());
        let last = last_batch(&store);
        assert!(
            last >= acknowledged,
            "cycle {cycle}: {acknowledged} was acknowledged, {last} is there"
        );
        assert!(
            last >= replayed,
            "cycle {cycle}: what was there after a restart is gone"
        );
        for number in replayed + 1..=last {
            for row in rows_of(number) {
                expected.insert(address(&row).key, (row, number));
            }
        }
        replayed = last;
        check(&store, &expected, last, cycle);
    }
    assert!(
        acknowledged > CYCLES,
        "the writers did next to nothing: {acknowledged}"
    );
}

/// The store holds exactly the rows and entries after the batch `last`.
fn check(store: &SledStore, expected: &BTreeMap<Key, (Row, u64)>, last: u64, cycle: u64) {
    let mut after = None;
    let mut rest = expected.iter();
    loop {
        let page = Rows::new(GROUP).page(store, TREE, after, 100).unwrap();
        let Some((end, _)) = page.last() else { break };
        after = Some(*end);
        for (key, read) in page {
            let wanted = rest.next().map(|(key, (row, index))| (*key, row, *index));
            assert!(
                wanted == Some((key, &read.row, read.leaf.index)),
                "cycle {cycle}, after batch {last}: row {key:?} is of batch {}, not {:?}",
                read.leaf.index,
                wanted.map(|(key, _, index)| (key, index)),
            );
        }
    }
    assert_eq!(rest.next(), None, "cycle {cycle}: rows are missing");

    let entries = EntryLog::new(GROUP)
        .read(store, 0..u64::MAX, usize::MAX)
        .unwrap();
    let first = (last + 1).saturating_sub(ENTRIES_KEPT).max(1);
    let wanted: Vec<_> = (first..=last)
        .map(|number| (number, entry_of(number)))
        .collect();
    assert!(
        entries == wanted,
        "cycle {cycle}: the log is not that after batch {last}"
    );
}
