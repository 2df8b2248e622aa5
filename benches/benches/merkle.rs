//! The tree: what a write pays to keep it, and what finding a difference costs.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(
    clippy::allow_attributes,
    reason = "an inner expect would fail where the macro documents them"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pando_merkle::{Key, Leaf, Tree, diff, leaf_digest, value_digest};

const LEAVES: u64 = 100_000;
const CHANGED: u64 = LEAVES / 100;
/// A tree that no cache holds, and the rows of one entry.
const MANY: u64 = 1_000_000;
const ENTRY: u64 = 100;
/// Odd, and far from all that the keys of one entry have in common.
const STEP: u64 = 7_919;

fn leaf(id: u64, version: u64) -> (Key, Leaf) {
    let id = id.to_be_bytes();
    let mut stamp = [0; 16];
    stamp[8..].copy_from_slice(&version.to_be_bytes());
    let digest = leaf_digest(&id, &stamp, &value_digest(&id));
    (
        Key::derive(&[7; 16], &id),
        Leaf {
            digest,
            bytes: 1_600,
            index: version,
        },
    )
}

fn tree(leaves: u64) -> Tree {
    let tree: Tree = (0..leaves).map(|id| leaf(id, 1)).collect();
    tree.root();
    tree
}

fn benches(c: &mut Criterion) {
    let base = tree(LEAVES);
    let changed = |tree: &mut Tree| {
        for id in 0..CHANGED {
            let (key, leaf) = leaf(id * 100, 2);
            tree.insert(key, leaf);
        }
    };
    c.bench_function("write 1 leaf of 100k, root", |b| {
        let mut version = 2;
        b.iter_batched_ref(
            || base.clone(),
            |tree| {
                version += 1;
                let (key, leaf) = leaf(77, version);
                tree.insert(key, leaf);
                black_box(tree.root())
            },
            BatchSize::SmallInput,
        );
    });
    c.bench_function("write 1,000 leaves of 100k, root", |b| {
        b.iter_batched_ref(
            || base.clone(),
            |tree| {
                changed(tree);
                black_box(tree.root())
            },
            BatchSize::SmallInput,
        );
    });
    let mut other = base.clone();
    changed(&mut other);
    c.bench_function("diff of 1 % of 100k", |b| {
        b.iter(|| black_box(diff(&base, &other).count()));
    });
    commits(c);
    let content = vec![7; 4_096];
    c.bench_function("digest of 4 KiB", |b| {
        b.iter(|| value_digest(black_box(&content)))
    });
}

/// What a commit pays to know the root before it changes anything, and to change the tree then.
fn commits(c: &mut Criterion) {
    let mut base = tree(MANY);
    let mut version = 2;
    let entry =
        |version: u64| (0..ENTRY).map(move |n| leaf((version * ENTRY + n) * STEP % MANY, version));
    c.bench_function("commit 100 leaves to 1m, by a clone", |b| {
        b.iter(|| {
            version += 1;
            let mut next = base.clone();
            next.extend(entry(version));
            black_box(next.root());
            base = next;
        });
    });
    c.bench_function("commit 100 leaves to 1m, prepared", |b| {
        b.iter(|| {
            version += 1;
            let changes = entry(version).map(|(key, leaf)| (key, Some(leaf)));
            let prepared = base.prepare(changes, version);
            black_box(prepared.root());
            base.apply(prepared);
        });
    });
}

criterion_group!(merkle, benches);
criterion_main!(merkle);
