//! What every [`KvStore`] must do, as tests. Each implementation runs all of it; a store that passes can take
//! the place of another. Durability across a crash is tested beside each store, since each crashes its own way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::batch::{BATCH_BYTES_MAX, Batch, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::error::StorageError;
use crate::kv::KvStore;

/// Runs the suite. `fresh` returns a new, empty store at each call.
///
/// # Panics
/// When the store breaks the contract.
pub fn run(fresh: &dyn Fn() -> Box<dyn KvStore>) {
    an_empty_store_has_nothing(&*fresh());
    puts_overwrites_and_deletes_are_seen(&*fresh());
    the_last_write_to_a_key_in_a_batch_counts(&*fresh());
    a_scan_is_ordered_bounded_and_stays_under_its_prefix(&*fresh());
    pages_cover_everything_once(&*fresh());
    the_last_pair_is_the_greatest_under_the_prefix(&*fresh());
    limits_are_refused_and_nothing_is_applied(&*fresh());
    readers_see_whole_batches(&*fresh());
    random_writes_agree_with_a_map(&*fresh());
}

fn batch(puts: &[(&[u8], &[u8])], deletes: &[&[u8]]) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in puts {
        batch.put(*key, *value);
    }
    for key in deletes {
        batch.delete(*key);
    }
    batch
}

fn keys(store: &dyn KvStore, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Vec<u8>> {
    let pairs = store.scan(prefix, after, limit).expect("scan");
    pairs.into_iter().map(|(key, _)| key).collect()
}

fn an_empty_store_has_nothing(store: &dyn KvStore) {
    assert_eq!(store.get(b"k").expect("get"), None);
    assert_eq!(store.scan(b"", None, 10).expect("scan"), []);
    assert_eq!(store.last(b"").expect("last"), None);
    store
        .apply(Batch::new())
        .expect("an empty batch changes nothing");
    store.flush().expect("flush of nothing");
    assert_eq!(store.scan(b"", None, 10).expect("scan"), []);
}

fn puts_overwrites_and_deletes_are_seen(store: &dyn KvStore) {
    store
        .apply(batch(&[(b"a", b"1"), (b"b", b"")], &[]))
        .expect("apply");
    assert_eq!(store.get(b"a").expect("get").expect("present"), b"1");
    assert_eq!(
        store
            .get(b"b")
            .expect("get")
            .expect("an empty value is a value"),
        b""
    );
    store
        .apply(batch(&[(b"a", b"22")], &[b"b", b"never there"]))
        .expect("apply");
    assert_eq!(store.get(b"a").expect("get").expect("present"), b"22");
    assert_eq!(store.get(b"b").expect("get"), None);
    store.flush().expect("flush");
    assert_eq!(keys(store, b"", None, 10), [b"a"]);
}

fn the_last_write_to_a_key_in_a_batch_counts(store: &dyn KvStore) {
    let mut writes = Batch::new();
    writes.delete(*b"a");
    writes.put(*b"a", *b"1");
    writes.put(*b"a", *b"2");
    writes.put(*b"b", *b"1");
    writes.delete(*b"b");
    store.apply(writes).expect("apply");
    assert_eq!(store.get(b"a").expect("get").expect("present"), b"2");
    assert_eq!(store.get(b"b").expect("get"), None);
}

fn a_scan_is_ordered_bounded_and_stays_under_its_prefix(store: &dyn KvStore) {
    let all: [&[u8]; 6] = [b"a", b"b", b"b\0", b"b\x01x", b"b\xff\xff", b"c"];
    for key in all.iter().rev() {
        store.apply(batch(&[(key, b"v")], &[])).expect("apply");
    }
    assert_eq!(keys(store, b"", None, 10), all);
    assert_eq!(keys(store, b"b", None, 10), all[1..5]);
    assert_eq!(keys(store, b"b", None, 2), all[1..3]);
    assert_eq!(keys(store, b"b", None, 0), [] as [&[u8]; 0]);
    assert_eq!(
        keys(store, b"b", Some(b"b"), 10),
        all[2..5],
        "after is exclusive"
    );
    assert_eq!(
        keys(store, b"b", Some(b"b\0\0"), 10),
        all[3..5],
        "after need not be present"
    );
    assert_eq!(
        keys(store, b"b", Some(b"a"), 10),
        all[1..5],
        "after before the prefix"
    );
    assert_eq!(keys(store, b"b", Some(b"bz"), 10), all[4..5]);
    assert_eq!(
        keys(store, b"b", Some(b"c"), 10),
        [] as [&[u8]; 0],
        "after behind the prefix"
    );
    assert_eq!(keys(store, b"b\xff", None, 10), all[4..5]);
    assert_eq!(keys(store, b"bb", None, 10), [] as [&[u8]; 0]);
}

fn pages_cover_everything_once(store: &dyn KvStore) {
    // More than a leaf of sled holds, with values near the limit.
    let value = vec![7; VALUE_BYTES_MAX];
    let mut expected = Vec::new();
    for i in 0_u32..300 {
        let key = [b"p".as_slice(), &i.to_be_bytes()].concat();
        store.apply(batch(&[(&key, &value)], &[])).expect("apply");
        expected.push(key);
    }
    let mut found: Vec<Vec<u8>> = Vec::new();
    loop {
        let page = keys(store, b"p", found.last().map(Vec::as_slice), 7);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, expected);
    assert!(store.size_on_disk().expect("size") > 0);
}

fn the_last_pair_is_the_greatest_under_the_prefix(store: &dyn KvStore) {
    let puts: [(&[u8], &[u8]); 4] = [
        (b"a", b"1"),
        (b"b\x01", b"2"),
        (b"b\xff", b"3"),
        (b"d", b"4"),
    ];
    store.apply(batch(&puts, &[])).expect("apply");
    let last = |prefix: &[u8]| store.last(prefix).expect("last").map(|(_, value)| value);
    assert_eq!(last(b"b"), Some(b"3".to_vec()));
    assert_eq!(last(b"a"), Some(b"1".to_vec()));
    assert_eq!(
        last(b"c"),
        None,
        "nothing under the prefix, though there is before and behind"
    );
    assert_eq!(last(b""), Some(b"4".to_vec()));
    assert_eq!(last(b"\xff"), None);
}

fn limits_are_refused_and_nothing_is_applied(store: &dyn KvStore) {
    let refused = |key: &[u8], value_bytes: usize| {
        let mut writes = batch(&[(b"before", b"1")], &[]);
        writes.put(key, vec![0; value_bytes]);
        store.apply(writes).expect_err("over a limit")
    };
    assert!(matches!(
        refused(b"k", VALUE_BYTES_MAX + 1),
        StorageError::ValueTooLarge { bytes, bytes_max }
            if bytes == VALUE_BYTES_MAX + 1 && bytes_max == VALUE_BYTES_MAX
    ));
    assert!(matches!(
        refused(&[1; KEY_BYTES_MAX + 1], 1),
        StorageError::KeyLength { bytes, bytes_max }
            if bytes == KEY_BYTES_MAX + 1 && bytes_max == KEY_BYTES_MAX
    ));
    assert!(matches!(
        refused(b"", 1),
        StorageError::KeyLength { bytes: 0, .. }
    ));
    let mut huge = Batch::new();
    let mut next = 0_u32;
    while huge.bytes() <= BATCH_BYTES_MAX {
        huge.put(next.to_be_bytes(), vec![0; VALUE_BYTES_MAX]);
        next += 1;
    }
    let error = store.apply(huge).expect_err("over the limit");
    assert!(
        matches!(error, StorageError::BatchTooLarge { .. }),
        "{error}"
    );
    assert_eq!(
        store.scan(b"", None, 10).expect("scan"),
        [],
        "nothing was applied"
    );

    let longest = [1; KEY_BYTES_MAX];
    store
        .apply(batch(&[(&longest, &[2; VALUE_BYTES_MAX])], &[]))
        .expect("at the limit");
    assert_eq!(
        store.get(&longest).expect("get").expect("present"),
        [2; VALUE_BYTES_MAX]
    );
}

/// While one thread rewrites all keys with one number per batch, every scan sees a single number.
fn readers_see_whole_batches(store: &dyn KvStore) {
    const KEYS: u8 = 40;
    let write = |number: u32| {
        let mut writes = Batch::new();
        for key in 0..KEYS {
            writes.put([b'w', key], number.to_be_bytes());
        }
        store.apply(writes).expect("apply");
    };
    write(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..200 {
                write(number);
            }
            done.store(true, Ordering::Release);
        });
        // A single read sees the batches in order; two reads of one batch's keys, later first, never go back.
        while !done.load(Ordering::Acquire) {
            let first = store.get(&[b'w', 0]).expect("get").expect("present");
            let last = store.get(&[b'w', KEYS - 1]).expect("get").expect("present");
            assert!(
                last >= first,
                "batch {last:?} is seen in part after batch {first:?}"
            );
        }
    });
    let values: Vec<_> = store.scan(b"w", None, 100).expect("scan");
    assert_eq!(values.len(), usize::from(KEYS));
    assert!(
        values
            .iter()
            .all(|(_, value)| *value == 199_u32.to_be_bytes())
    );
}

fn random_writes_agree_with_a_map(store: &dyn KvStore) {
    let mut map: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut random = Random(0x5eed);
    for step in 0..400 {
        let mut writes = Batch::new();
        for _ in 0..random.below(12) {
            let key = vec![random.byte(5), random.byte(5), random.byte(5)];
            if random.below(3) == 0 {
                writes.delete(key.clone());
                map.remove(&key);
            } else {
                let value = vec![random.byte(255); random.below(600)];
                writes.put(key.clone(), value.clone());
                map.insert(key, value);
            }
        }
        store.apply(writes).expect("apply");
        let prefix: Vec<u8> = (0..random.below(3)).map(|_| random.byte(5)).collect();
        let after = vec![random.byte(5), random.byte(5)];
        let expected: Vec<_> = map
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix) && **key > after)
            .take(9)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(
            store.scan(&prefix, Some(&after), 9).expect("scan"),
            expected,
            "step {step}"
        );
        let last = map.iter().rfind(|(key, _)| key.starts_with(&prefix));
        let last = last.map(|(key, value)| (key.clone(), value.clone()));
        assert_eq!(store.last(&prefix).expect("last"), last, "step {step}");
    }
    let all: Vec<_> = map.into_iter().collect();
    assert_eq!(store.scan(b"", None, usize::MAX).expect("scan"), all);
}

/// A fixed sequence, so that a failure repeats (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % end as u64).expect("below a usize")
    }

    fn byte(&mut self, end: u8) -> u8 {
        u8::try_from(self.below(usize::from(end))).expect("below a byte")
    }
}
