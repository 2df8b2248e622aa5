//! A replica over a store in memory, written to as by a log of one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pando_merkle::{Digest, Key, Tree, collection_root, leaf_digest, replica_root, value_digest};
use pando_model::{
    CollectionInfo, CollectionName, CollectionSchema, Command, CountQuery, Definition, Effect,
    GroupId, LogPosition, Metric, Payload, Point, PointId, Proposal, RequestId, Row, ScrollQuery,
    SearchQuery, Selector, Stamp, StoredPoint, TreeId, Value, WithVectors, WriteError, WriteResult,
};
use pando_storage::{Batch, KvStore, MemoryStore, RowAddress, Rows, StoredKey};

use crate::system_row::SystemRow;
use crate::{
    Applied, ApplyEntry, ApplyPayload, Replica, ReplicaError, ReplicaOptions, decode_meta,
};

pub(super) const DIMENSION: u32 = 3;

pub(super) fn name(text: &str) -> CollectionName {
    CollectionName::parse(text).unwrap()
}

pub(super) fn options() -> ReplicaOptions {
    ReplicaOptions::default()
}

/// A replica and its store.
#[derive(Clone)]
pub(super) struct World {
    pub(super) store: Arc<MemoryStore>,
    pub(super) replica: Arc<Replica>,
}

/// Far longer than indexing takes.
const DEADLINE: Duration = Duration::from_secs(60);

impl World {
    pub(super) fn new() -> Self {
        Self::open(MemoryStore::new(), None).unwrap()
    }

    pub(super) fn open(store: MemoryStore, purged: Option<u64>) -> Result<Self, ReplicaError> {
        Self::open_with(store, options(), purged)
    }

    pub(super) fn open_with(
        store: MemoryStore,
        options: ReplicaOptions,
        purged: Option<u64>,
    ) -> Result<Self, ReplicaError> {
        let store = Arc::new(store);
        let replica = Replica::open(Arc::<MemoryStore>::clone(&store), options, purged)?;
        let replica = Arc::new(replica);
        Ok(Self { store, replica })
    }

    /// The same state, from its store alone.
    pub(super) fn reopened(&self) -> Self {
        Self::open(copy(self.store.as_ref()), None).unwrap()
    }

    pub(super) fn next_index(&self) -> u64 {
        self.replica.applied().index() + 1
    }

    /// Applies a command as the next entry.
    pub(super) fn write(&self, command: Command) -> WriteResult {
        self.write_as(None, command)
    }

    pub(super) fn write_as(&self, request: Option<RequestId>, command: Command) -> WriteResult {
        let entry = entry(self.next_index(), request, command);
        self.replica.apply(vec![entry]).unwrap().remove(0)
    }

    pub(super) fn create(&self, text: &str) -> TreeId {
        match self.write(create(text)) {
            Ok(Effect::Created { tree }) => tree,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until all is indexed, and indexed anew where that is to be.
    pub(super) fn settle(&self) {
        let since = Instant::now();
        loop {
            self.replica.reindex();
            let state = self.replica.state.read();
            let busy = state.collections.values().any(|c| c.index.is_indexing());
            drop(state);
            if !busy {
                return;
            }
            assert!(since.elapsed() < DEADLINE);
            std::thread::yield_now();
        }
    }

    pub(super) fn upsert(&self, tree: TreeId, ids: impl IntoIterator<Item = u64>) {
        let points = ids.into_iter().map(|id| point(id, id)).collect();
        self.write(Command::Upsert { tree, points }).unwrap();
    }

    pub(super) fn delete(&self, tree: TreeId, ids: impl IntoIterator<Item = u64>) {
        let selector = ids_of(ids);
        self.write(Command::Delete { tree, selector }).unwrap();
    }

    /// Everything stored.
    pub(super) fn dump(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        dump(self.store.as_ref())
    }

    /// Clears all garbage.
    pub(super) fn tidy(&self) {
        while self.replica.tidy().unwrap() {}
    }

    /// Clears all garbage; then every content stored is a row's.
    pub(super) fn assert_tidy(&self) {
        self.tidy();
        assert_eq!(self.keys_of_kind(OVERLAY_KIND), 0, "nothing is laid over");
        let rows = Rows::new(GroupId::CATALOGUE);
        let digests = self.dump().into_iter().filter(|(key, _)| key[4] == 2);
        let chunks = digests.map(|(key, _)| {
            let at = StoredKey::decode(&key).unwrap().1.address().unwrap();
            let digest = rows.digest(self.store.as_ref(), at).unwrap().unwrap();
            usize::from(digest.chunks())
        });
        assert_eq!(
            self.keys_of_kind(CONTENT_KIND),
            chunks.sum::<usize>(),
            "no orphans"
        );
    }

    /// Keys stored under a kind byte.
    pub(super) fn keys_of_kind(&self, kind: u8) -> usize {
        self.dump().keys().filter(|key| key[4] == kind).count()
    }
}

pub(super) const OVERLAY_KIND: u8 = 4;
pub(super) const CONTENT_KIND: u8 = 9;
pub(super) const INTENT_KIND: u8 = 7;

pub(super) fn dump(store: &dyn KvStore) -> BTreeMap<Vec<u8>, Vec<u8>> {
    store
        .scan(b"", None, usize::MAX)
        .unwrap()
        .into_iter()
        .collect()
}

/// A store that holds what this one shows, all of it durable.
pub(super) fn copy(store: &dyn KvStore) -> MemoryStore {
    let copy = MemoryStore::new();
    for (key, value) in dump(store) {
        let mut batch = Batch::new();
        batch.put(key, value);
        copy.apply(batch).unwrap();
    }
    copy.flush().unwrap();
    copy
}

pub(super) fn position(index: u64) -> LogPosition {
    let (term, leader) = (1, 1);
    LogPosition {
        term,
        leader,
        index,
    }
}

pub(super) fn entry(index: u64, request: Option<RequestId>, command: Command) -> ApplyEntry {
    let proposal = Proposal {
        group: GroupId::CATALOGUE,
        stamp: Stamp::at(1_000 + index),
        request,
        command,
    };
    ApplyEntry {
        position: position(index),
        payload: ApplyPayload::Command(proposal),
    }
}

pub(super) fn create(text: &str) -> Command {
    Command::CreateCollection {
        name: name(text),
        schema: CollectionSchema::single(DIMENSION, Metric::Dot),
        salt: [u8::try_from(text.len()).unwrap(); 16],
    }
}

pub(super) fn payload(n: u64) -> Payload {
    let n = i64::try_from(n).unwrap();
    Payload(BTreeMap::from([
        ("n".to_owned(), Value::Int(n)),
        ("even".to_owned(), Value::Bool(n % 2 == 0)),
    ]))
}

/// A point whose vector and payload tell its value.
pub(super) fn point(id: u64, value: u64) -> Point {
    let x = f32::from(u16::try_from(value % 1_000).unwrap());
    Point::new(id, vec![x, 1.0, -x], payload(value))
}

pub(super) fn ids_of(ids: impl IntoIterator<Item = u64>) -> Selector {
    Selector::Ids(ids.into_iter().map(PointId::Num).collect())
}

/// Everything a client can read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Readings {
    root: Digest,
    collections: Vec<CollectionInfo>,
    aliases: Vec<(CollectionName, CollectionName)>,
    points: Vec<Vec<StoredPoint>>,
    nearest: Vec<Vec<(f32, PointId)>>,
    counts: Vec<u64>,
}

pub(super) fn readings(replica: &Replica) -> Readings {
    let collections = replica.collections().unwrap();
    let names: Vec<_> = collections
        .iter()
        .map(|c| c.definition.name.clone())
        .collect();
    let all = ScrollQuery {
        filter: None,
        from: None,
        limit: 10_000,
        with_payload: true,
        with_vectors: WithVectors::All,
    };
    let nearest = |name| {
        let query = SearchQuery::new(vec![1.0, 0.5, -0.25], 7);
        let hits = replica.search(name, vec![query]).unwrap().remove(0);
        hits.into_iter()
            .map(|hit| (hit.score, hit.point.id))
            .collect()
    };
    Readings {
        root: replica.root(),
        aliases: replica.aliases().unwrap(),
        points: names
            .iter()
            .map(|name| replica.scroll(name, &all).unwrap().points)
            .collect(),
        nearest: names.iter().map(nearest).collect(),
        counts: names
            .iter()
            .map(|name| replica.count(name, &CountQuery::default()).unwrap())
            .collect(),
        collections,
    }
}

/// The root of what is stored, computed from ids, versions and contents alone.
pub(super) fn stored_root(store: &dyn KvStore) -> Digest {
    let rows = Rows::new(GroupId::CATALOGUE);
    let read = |tree, salt: &[u8; 16], count: &mut u64, visit: &mut dyn FnMut(&Row)| {
        let mut grown = Tree::new();
        let mut after = None;
        loop {
            let page = rows.page(store, tree, after, 100).unwrap();
            let Some((last, _)) = page.last() else {
                return grown;
            };
            after = Some(*last);
            for (key, stored) in page {
                let row = &stored.row;
                assert_eq!(key, Key::derive(salt, &row.id));
                let digest = leaf_digest(&row.id, &row.version, &value_digest(&row.content));
                grown.insert(
                    key,
                    pando_merkle::Leaf {
                        digest,
                        bytes: 0,
                        index: 0,
                    },
                );
                *count += 1;
                visit(row);
            }
        }
    };
    let mut definitions: BTreeMap<CollectionName, Definition> = BTreeMap::new();
    let system = read(TreeId::SYSTEM, &[0; 16], &mut 0, &mut |row| {
        if let SystemRow::Collection(definition) = SystemRow::from_row(row).unwrap() {
            definitions.insert(definition.name.clone(), definition);
        }
    });
    let roots = definitions.values().map(|definition| {
        let mut count = 0;
        let tree = read(definition.tree, &definition.salt, &mut count, &mut |_| {});
        let encoded = definition.encode();
        collection_root(definition.name.as_str(), &encoded, count, &tree.root())
    });
    replica_root(&system.root(), roots.collect::<Vec<_>>())
}

/// That memory, disk and a fresh start agree.
pub(super) fn assert_sound(world: &World) {
    let applied: Applied = world.replica.applied();
    assert_eq!(
        applied.root,
        stored_root(world.store.as_ref()),
        "root of the stored rows"
    );
    let reopened = world.reopened();
    assert_eq!(reopened.replica.applied(), applied);
    assert_eq!(readings(&reopened.replica), readings(&world.replica));
}

pub(super) fn refused(result: WriteResult) -> WriteError {
    result.expect_err("this write is refused")
}

pub(super) fn address(replica: &Replica, collection: &str, id: u64) -> RowAddress {
    let definition = replica.resolve(&name(collection)).unwrap();
    let key = Key::derive(&definition.salt, &PointId::Num(id).to_bytes());
    RowAddress::new(definition.tree, key)
}

/// The log index that a store's state is at.
pub(super) fn applied_of(store: &dyn KvStore) -> u64 {
    let meta = StoredKey::Meta.encode(GroupId::CATALOGUE);
    let meta = store.get(&meta).unwrap().unwrap();
    decode_meta(&meta).unwrap().index()
}
