//! What a tree costs: bytes per leaf at a million leaves, and bytes copied by a write after a
//! freeze. Counted by the allocator, so the figures do not depend on the machine.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use pando_merkle::{Key, Leaf, Tree, value_digest};

/// Bytes a general-purpose allocator spends beside each block.
const BLOCK_OVERHEAD: usize = 16;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(
    unsafe_code,
    reason = "counting allocations takes an allocator, and that trait is unsafe"
)]
// SAFETY: every call goes to the system allocator unchanged; only counters are added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size() + BLOCK_OVERHEAD;
        LIVE.fetch_add(size, Ordering::Relaxed);
        ALLOCATED.fetch_add(size, Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() + BLOCK_OVERHEAD, Ordering::Relaxed);
        // SAFETY: the caller's promises about `block` and `layout` are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

fn row(n: u32) -> (Key, Leaf) {
    let digest = value_digest(&n.to_be_bytes());
    (
        Key::derive(&[3; 16], &n.to_be_bytes()),
        Leaf {
            digest,
            bytes: 4_096,
            index: n.into(),
        },
    )
}

// One test: two in one process would count each other's blocks.
#[test]
fn a_million_leaves_stay_small_and_a_write_copies_one_path() {
    let before = LIVE.load(Ordering::Relaxed);
    let mut tree: Tree = (0..1_000_000).map(row).collect();
    tree.root();
    let used = LIVE.load(Ordering::Relaxed) - before;
    assert!(used < 120_000_000, "a million leaves take {used} bytes");
    assert!(
        used > 64_000_000,
        "the counter counts: a leaf alone is 64 bytes, all took {used}"
    );

    let before = LIVE.load(Ordering::Relaxed);
    let frozen = black_box(tree.clone());
    assert_eq!(
        LIVE.load(Ordering::Relaxed),
        before,
        "freezing allocates nothing"
    );

    let before = ALLOCATED.load(Ordering::Relaxed);
    let (key, _) = row(12_345);
    let (_, other) = row(54_321);
    tree.insert(key, other);
    let copied = ALLOCATED.load(Ordering::Relaxed) - before;
    // Five inner nodes of some 300 bytes and one bucket of at most 32 leaves; a tenth of that for
    // every node beside the path would already show.
    assert!(
        copied < 5_000,
        "one write after a freeze allocated {copied} bytes"
    );

    let before = ALLOCATED.load(Ordering::Relaxed);
    tree.insert(key, row(1).1);
    assert_eq!(
        ALLOCATED.load(Ordering::Relaxed),
        before,
        "the path is already our own"
    );
    assert_ne!(tree.root(), frozen.root());
}
