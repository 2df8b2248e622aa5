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

fn tree() -> Tree {
    let tree: Tree = (0..LEAVES).map(|id| leaf(id, 1)).collect();
    tree.root();
    tree
}

fn benches(c: &mut Criterion) {
    let base = tree();
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
    let content = vec![7; 4_096];
    c.bench_function("digest of 4 KiB", |b| {
        b.iter(|| value_digest(black_box(&content)))
    });
}

criterion_group!(merkle, benches);
criterion_main!(merkle);
