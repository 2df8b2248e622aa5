//! The in-memory twin of the durable store: the same contract, and a crash on demand. For tests and simulation.

use std::collections::BTreeMap;
use std::ops::Bound;

use parking_lot::RwLock;

use crate::batch::{Batch, Op};
use crate::error::StorageError;
use crate::kv::{KvStore, Pair};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A [`KvStore`] in memory, deterministic, which remembers what a crash would leave behind.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Map,
    /// What the disk would hold: `live` without the batches in `unflushed`.
    durable: Map,
    unflushed: Vec<Batch>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The store a restart would find after a crash now: all that was flushed, nothing else.
    #[must_use]
    pub fn crash(&self) -> Self {
        let durable = self.state.read().durable.clone();
        Self {
            state: RwLock::new(State {
                live: durable.clone(),
                durable,
                unflushed: Vec::new(),
            }),
        }
    }
}

fn write(map: &mut Map, batch: Batch) {
    for op in batch.into_ops() {
        match op {
            Op::Put(key, value) => {
                map.insert(key, value);
            }
            Op::Delete(key) => {
                map.remove(&key);
            }
        }
    }
}

impl KvStore for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.state.read().live.get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StorageError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let state = self.state.read();
        Ok(state
            .live
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, StorageError> {
        let end = match successor(prefix) {
            Some(end) => Bound::Excluded(end),
            None => Bound::Unbounded,
        };
        let state = self.state.read();
        Ok(state
            .live
            .range::<[u8], _>((Bound::Included(prefix), end.as_ref().map(Vec::as_slice)))
            .next_back()
            .map(|(key, value)| (key.clone(), value.clone())))
    }

    fn apply(&self, batch: Batch) -> Result<(), StorageError> {
        batch.check()?;
        let mut state = self.state.write();
        write(&mut state.live, batch.clone());
        state.unflushed.push(batch);
        Ok(())
    }

    fn flush(&self) -> Result<(), StorageError> {
        let mut state = self.state.write();
        for batch in std::mem::take(&mut state.unflushed) {
            write(&mut state.durable, batch);
        }
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64, StorageError> {
        let state = self.state.read();
        Ok(state
            .live
            .iter()
            .map(|(key, value)| (key.len() + value.len()) as u64)
            .sum())
    }
}

/// The least byte string greater than all that start with `prefix`; none when there is no end.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite;

    #[test]
    fn passes_the_suite() {
        suite::run(&|| Box::new(MemoryStore::new()));
    }

    #[test]
    fn a_crash_keeps_flushed_batches_and_drops_the_others_whole() {
        let store = MemoryStore::new();
        let mut batch = Batch::new();
        batch.put(*b"a", *b"1");
        batch.put(*b"b", *b"1");
        store.apply(batch).unwrap();
        store.flush().unwrap();
        let mut batch = Batch::new();
        batch.put(*b"a", *b"2");
        batch.delete(*b"b");
        batch.put(*b"c", *b"2");
        store.apply(batch).unwrap();
        assert_eq!(
            store.get(b"a").unwrap().unwrap(),
            b"2",
            "applied is visible at once"
        );

        let restarted = store.crash();
        let found = restarted.scan(b"", None, 10).unwrap();
        assert_eq!(
            found,
            [
                (b"a".to_vec(), b"1".to_vec()),
                (b"b".to_vec(), b"1".to_vec())
            ],
            "the second batch was not flushed"
        );

        store.flush().unwrap();
        let found = store.crash().scan(b"", None, 10).unwrap();
        assert_eq!(
            found,
            [
                (b"a".to_vec(), b"2".to_vec()),
                (b"c".to_vec(), b"2".to_vec())
            ]
        );
    }
}
