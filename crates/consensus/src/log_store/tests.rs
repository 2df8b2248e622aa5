use openraft::storage::RaftLogStorageExt;
use openraft::{CommittedLeaderId, EntryPayload};
use pando_model::{Command, Proposal, Stamp};
use pando_storage::MemoryStore;

use super::*;

const GROUP: GroupId = GroupId::CATALOGUE;

fn id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, 1), index)
}

fn in_term(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn entry_in_term(term: u64, index: u64) -> Entry {
    Entry {
        log_id: in_term(term, index),
        ..entry(index)
    }
}

fn entry(index: u64) -> Entry {
    let command = Command::ConsistencyCheck;
    let proposal = Proposal {
        group: GROUP,
        stamp: Stamp::at(index),
        request: None,
        command,
    };
    Entry {
        log_id: id(index),
        payload: EntryPayload::Normal(proposal),
    }
}

fn open(store: &Arc<MemoryStore>) -> LogStore {
    let store: Arc<dyn KvStore> = store.clone();
    LogStore::open(store, GROUP, 1).unwrap()
}

async fn indexes(log: &mut LogStore) -> Vec<u64> {
    let entries = log.try_get_log_entries(..).await.unwrap();
    entries.iter().map(|entry| entry.log_id.index).collect()
}

/// Waits for the writer to have done everything it was asked for.
async fn settled(log: &mut LogStore) {
    log.save_vote(&Vote::new(1, 2)).await.unwrap();
}

#[tokio::test]
async fn what_was_reported_flushed_survives_a_crash() {
    let store = Arc::new(MemoryStore::new());
    let mut log = open(&store);
    log.blocking_append((0..10).map(entry)).await.unwrap();
    log.save_vote(&Vote::new_committed(7, 2)).await.unwrap();
    log.save_committed(Some(id(5))).await.unwrap();
    let mut after = open(&Arc::new(store.crash()));
    assert_eq!(indexes(&mut after).await, (0..10).collect::<Vec<_>>());
    assert_eq!(
        after.read_vote().await.unwrap(),
        Some(Vote::new_committed(7, 2))
    );
    assert_eq!(after.size().entries, 10);
    assert_eq!(after.size(), log.size(), "counted anew, it is the same");
}

#[tokio::test]
async fn a_node_that_led_starts_as_a_follower() {
    let store = Arc::new(MemoryStore::new());
    let mut log = open(&store);
    log.save_vote(&Vote::new_committed(7, 1)).await.unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(7, 1)));
}

#[tokio::test]
async fn truncating_and_purging_survive_a_crash_once_anything_later_is_flushed() {
    let store = Arc::new(MemoryStore::new());
    let mut log = open(&store);
    log.blocking_append((0..100).map(entry)).await.unwrap();
    log.truncate(id(90)).await.unwrap();
    log.purge(id(19)).await.unwrap();
    log.blocking_append([entry(90)]).await.unwrap();
    for log in [&mut log, &mut open(&Arc::new(store.crash()))] {
        assert_eq!(indexes(log).await, (20..91).collect::<Vec<_>>());
        let state = log.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(id(19)));
        assert_eq!(state.last_log_id, Some(id(90)));
        assert_eq!(log.size().entries, 71);
    }
    assert_eq!(purged_index(store.as_ref(), GROUP).unwrap(), Some(19));
}

#[tokio::test]
async fn truncating_is_durable_when_it_is_answered() {
    let store = Arc::new(MemoryStore::new());
    let mut log = open(&store);
    log.blocking_append((0..=100).map(entry)).await.unwrap();
    log.truncate(id(51)).await.unwrap();
    let store = Arc::new(store.crash());
    let mut log = open(&store);
    assert_eq!(indexes(&mut log).await, (0..=50).collect::<Vec<_>>());
    // Then the snapshot of a newer leader is installed, and its next entry follows.
    log.purge(in_term(2, 90)).await.unwrap();
    log.blocking_append([entry_in_term(2, 91)]).await.unwrap();
    for log in [&mut log, &mut open(&Arc::new(store.crash()))] {
        assert_eq!(indexes(log).await, [91]);
    }
}

#[tokio::test]
async fn purging_deletes_what_conflicts_with_the_purged_position() {
    let store = Arc::new(MemoryStore::new());
    let mut log = open(&store);
    log.blocking_append((0..=100).map(entry)).await.unwrap();
    let upto = in_term(2, 90);
    log.purge(upto).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(upto));
    assert_eq!(log.size(), LogSize::default());
    // A vote is flushed here, and with it the purge.
    settled(&mut log).await;
    let mut after = open(&Arc::new(store.crash()));
    let state = after.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(upto));
    assert_eq!(state.last_log_id, Some(upto), "of 91..=100 nothing is left");
    let next = [entry_in_term(2, 91)];
    for log in [&mut log, &mut after] {
        log.blocking_append(next.clone()).await.unwrap();
        assert_eq!(log.try_get_log_entries(..).await.unwrap(), next);
    }
}

#[tokio::test]
async fn purging_keeps_newer_entries_behind_the_purged_position() {
    let store = Arc::new(MemoryStore::new());
    let mut log = open(&store);
    let entries = (0..50).map(entry);
    let newer = (50..60).map(|index| entry_in_term(2, index));
    log.blocking_append(entries.chain(newer)).await.unwrap();
    log.purge(id(40)).await.unwrap();
    assert_eq!(indexes(&mut log).await, (41..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_entry_is_read_behind_a_gap() {
    let store = Arc::new(MemoryStore::new());
    let mut log = open(&store);
    log.blocking_append((0..10).map(entry)).await.unwrap();
    log.purge(id(3)).await.unwrap();
    let read = log.limited_get_log_entries(2, 8).await.unwrap();
    assert!(read.is_empty(), "it would begin at 4");
    assert_eq!(log.limited_get_log_entries(4, 8).await.unwrap().len(), 4);
    // As if 6 was deleted while the entries are read from the store.
    let mut batch = pando_storage::Batch::new();
    let deleted = EntryLog::new(GROUP).delete(store.as_ref(), &mut batch, 6);
    assert!(deleted.unwrap());
    store.apply(batch).unwrap();
    log.kept.lock().forget_tail();
    assert_eq!(indexes(&mut log).await, [4, 5]);
    assert!(log.limited_get_log_entries(6, 8).await.unwrap().is_empty());
}

#[tokio::test]
async fn purged_entries_are_deleted_even_if_a_crash_came_first() {
    let store = Arc::new(MemoryStore::new());
    let mut log = open(&store);
    log.blocking_append((0..1_000).map(entry)).await.unwrap();
    // Noted, but not deleted: as if the crash came right after.
    let mut batch = pando_storage::Batch::new();
    let purged = codec::encode_versioned(RECORD_VERSION, &id(899));
    batch.put(StoredKey::Purged.encode(GROUP), purged);
    store.apply(batch).unwrap();
    drop(log);
    let mut log = open(&store);
    assert_eq!(indexes(&mut log).await, (900..1_000).collect::<Vec<_>>());
    let gone = async {
        while EntryLog::new(GROUP).first_index(store.as_ref()).unwrap() != Some(900) {
            settled(&mut log).await;
        }
    };
    let limit = std::time::Duration::from_secs(30);
    tokio::time::timeout(limit, gone)
        .await
        .expect("they are deleted in between");
}

#[tokio::test]
async fn one_answer_holds_a_bounded_number_of_bytes() {
    let store = Arc::new(MemoryStore::new());
    let mut log = open(&store);
    let large = |index: u64| {
        let filler = (0..30_000).map(pando_model::PointId::Num).collect();
        let selector = pando_model::Selector::Ids(filler);
        let command = Command::Delete {
            tree: pando_model::TreeId(1),
            selector,
        };
        let EntryPayload::Normal(proposal) = entry(index).payload else {
            unreachable!()
        };
        Entry {
            log_id: id(index),
            payload: EntryPayload::Normal(Proposal {
                command,
                ..proposal
            }),
        }
    };
    log.blocking_append((0..60).map(large)).await.unwrap();
    let size = log.size().bytes / 60;
    assert!(size > 60_000, "{size}");
    let mut reader = log.get_log_reader().await;
    let sent = reader.limited_get_log_entries(0, 60).await.unwrap();
    assert!(
        !sent.is_empty() && sent.len() as u64 * size <= APPEND_BYTES_MAX,
        "{}",
        sent.len()
    );
    assert_eq!(sent[0].log_id.index, 0);
    // Older entries come from the store, fresh ones from memory; they are the same.
    assert_eq!(indexes(&mut log).await, (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn damage_is_a_typed_error() {
    let store = Arc::new(MemoryStore::new());
    let mut log = open(&store);
    log.blocking_append((0..3).map(entry)).await.unwrap();
    let mut batch = pando_storage::Batch::new();
    EntryLog::new(GROUP)
        .put(store.as_ref(), &mut batch, 1, b"\x01nonsense")
        .unwrap();
    store.apply(batch).unwrap();
    let damaged: Arc<dyn KvStore> = store.clone();
    let error = LogStore::open(damaged, GROUP, 1).err().unwrap();
    assert!(matches!(error, LogError::Entry { index: 1, .. }), "{error}");
    let mut batch = pando_storage::Batch::new();
    EntryLog::new(GROUP)
        .delete(store.as_ref(), &mut batch, 1)
        .unwrap();
    store.apply(batch).unwrap();
    let error = LogStore::open(store, GROUP, 1).err().unwrap();
    assert!(
        matches!(
            error,
            LogError::Gap {
                expected: 1,
                found: 2
            }
        ),
        "{error}"
    );
}
