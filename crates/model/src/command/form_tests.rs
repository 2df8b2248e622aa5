//! The form before there were sparse vectors and quantization, as it was derived then, is the oracle of what is written
//! now.

use proptest::prelude::*;

use super::*;
use crate::filter::Filter;
use crate::schema::Metric;

#[derive(Serialize, Deserialize)]
struct OldParams {
    dimension: u32,
    metric: Metric,
}

#[derive(Serialize, Deserialize)]
struct OldSchema {
    vectors: BTreeMap<VectorName, OldParams>,
}

#[derive(Serialize, Deserialize)]
struct OldPoint {
    id: PointId,
    vectors: BTreeMap<VectorName, Vec<f32>>,
    payload: Payload,
}

#[derive(Serialize, Deserialize)]
enum Old {
    CreateCollection {
        name: CollectionName,
        schema: OldSchema,
        salt: [u8; 16],
    },
    DropCollection {
        name: CollectionName,
    },
    SetAlias {
        alias: CollectionName,
        collection: CollectionName,
    },
    DropAlias {
        alias: CollectionName,
    },
    Upsert {
        tree: TreeId,
        points: Vec<OldPoint>,
    },
    Delete {
        tree: TreeId,
        selector: Selector,
    },
    SetPayload {
        tree: TreeId,
        selector: Selector,
        payload: Payload,
    },
    ClearPayload {
        tree: TreeId,
        selector: Selector,
        keys: BTreeSet<String>,
    },
    RegisterNode {
        id: NodeId,
        instance: Uuid,
    },
    ConsistencyCheck,
}

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).expect("encodes")
}

fn read(bytes: &[u8]) -> Option<Command> {
    let config = bincode::config::standard();
    let (command, used) = bincode::serde::decode_from_slice(bytes, config).ok()?;
    (used == bytes.len()).then_some(command)
}

fn name(text: &str) -> CollectionName {
    CollectionName::parse(text).expect("name")
}

fn vector(text: &str) -> VectorName {
    VectorName::parse(text).expect("name")
}

fn payload(n: i64) -> Payload {
    Payload::from_json(serde_json::json!({ "n": n, "s": "text" })).expect("an object")
}

fn selectors() -> [Selector; 2] {
    let ids = BTreeSet::from([PointId::Num(3), PointId::Uuid(Uuid::from_u128(7))]);
    let filter = Filter::from_json(r#"{"must": [{"key": "a", "match": {"value": 1}}]}"#);
    let filter = filter.expect("a filter");
    let from = Some(PointId::Num(9));
    [Selector::Ids(ids), Selector::Filter { filter, from }]
}

fn schema() -> CollectionSchema {
    CollectionSchema::single(4, Metric::Euclidean)
}

fn old_params() -> OldParams {
    OldParams {
        dimension: 4,
        metric: Metric::Euclidean,
    }
}

/// Every command that there was, as it is now and as it was.
fn pairs() -> Vec<(Command, Old)> {
    let (tree, salt, instance) = (TreeId(300), [7; 16], Uuid::from_u128(5));
    let mut pairs = vec![
        (
            Command::CreateCollection {
                name: name("a"),
                schema: schema(),
                salt,
            },
            Old::CreateCollection {
                name: name("a"),
                schema: OldSchema {
                    vectors: [(vector(""), old_params())].into(),
                },
                salt,
            },
        ),
        (
            Command::DropCollection { name: name("a") },
            Old::DropCollection { name: name("a") },
        ),
        (
            Command::SetAlias {
                alias: name("b"),
                collection: name("a"),
            },
            Old::SetAlias {
                alias: name("b"),
                collection: name("a"),
            },
        ),
        (
            Command::DropAlias { alias: name("b") },
            Old::DropAlias { alias: name("b") },
        ),
        (
            Command::RegisterNode { id: 8, instance },
            Old::RegisterNode { id: 8, instance },
        ),
        (Command::ConsistencyCheck, Old::ConsistencyCheck),
    ];
    for selector in selectors() {
        let keys = BTreeSet::from(["k".to_owned()]);
        let is = selector.clone();
        let delete = Command::Delete { tree, selector: is };
        let was = selector.clone();
        pairs.push((
            delete,
            Old::Delete {
                tree,
                selector: was,
            },
        ));
        pairs.push((
            Command::SetPayload {
                tree,
                selector: selector.clone(),
                payload: payload(1),
            },
            Old::SetPayload {
                tree,
                selector: selector.clone(),
                payload: payload(1),
            },
        ));
        pairs.push((
            Command::ClearPayload {
                tree,
                selector: selector.clone(),
                keys: keys.clone(),
            },
            Old::ClearPayload {
                tree,
                selector,
                keys,
            },
        ));
    }
    pairs
}

#[test]
fn what_could_be_said_before_keeps_its_bytes() {
    for (command, old) in pairs() {
        let bytes = bytes(&old);
        assert_eq!(self::bytes(&command), bytes, "{command:?}");
        assert_eq!(read(&bytes), Some(command));
    }
}

proptest! {
    #[test]
    fn points_without_sparse_vectors_keep_their_bytes(
        points in prop::collection::vec(
            (any::<u64>(), prop::collection::vec(-1.0_f32..1.0, 0..5), any::<i64>()), 0..4,
        ),
    ) {
        let tree = TreeId(2);
        let now = points.iter().map(|(id, values, n)| Point::new(*id, values.clone(), payload(*n)));
        let command = Command::Upsert { tree, points: now.collect() };
        let old = points.iter().map(|(id, values, n)| OldPoint {
            id: PointId::Num(*id),
            vectors: [(vector(""), values.clone())].into(),
            payload: payload(*n),
        });
        let bytes = bytes(&Old::Upsert { tree, points: old.collect() });
        prop_assert_eq!(&self::bytes(&command), &bytes);
        prop_assert_eq!(read(&bytes), Some(command));
    }
}

fn sparse(pairs: &[(u32, f32)]) -> SparseVector {
    SparseVector::from_pairs(pairs.iter().copied()).expect("fine")
}

#[test]
fn sparse_vectors_come_as_further_variants() {
    let create = Command::CreateCollection {
        name: name("a"),
        schema: CollectionSchema {
            sparse_vectors: [vector("terms")].into(),
            ..schema()
        },
        salt: [1; 16],
    };
    let with = Point::new(1, vec![0.5; 4], payload(1))
        .with_sparse(vector("terms"), sparse(&[(3, 1.0), (70_000, -2.0)]));
    let upsert = Command::Upsert {
        tree: TreeId(2),
        points: vec![Point::new(2, vec![1.0; 4], payload(2)), with],
    };
    for (command, variant) in [(create, 10), (upsert, 11)] {
        let bytes = bytes(&command);
        assert_eq!(bytes[0], variant);
        assert_eq!(read(&bytes).as_ref(), Some(&command));
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), None, "cut at {cut}");
        }
    }
}

#[test]
fn quantization_comes_as_further_variants() {
    let changes = BTreeMap::from([(vector(""), Quantization::Int8)]);
    let schema = schema().quantized(&changes).expect("known");
    let create = |schema| Command::CreateCollection {
        name: name("a"),
        schema,
        salt: [1; 16],
    };
    let change = Command::Quantize {
        tree: TreeId(2),
        vectors: changes,
    };
    let mixed = schema.clone().with_sparse(vector("terms"));
    for (command, variant) in [(create(schema), 12), (create(mixed), 12), (change, 13)] {
        let bytes = bytes(&command);
        assert_eq!(bytes[0], variant);
        assert_eq!(read(&bytes).as_ref(), Some(&command));
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), None, "cut at {cut}");
        }
    }
}

#[test]
fn a_sparse_vector_in_a_command_is_checked() {
    let point = Point {
        vectors: BTreeMap::new(),
        payload: Payload::default(),
        ..Point::new(1, Vec::new(), Payload::default())
    };
    let point = point.with_sparse(vector("t"), sparse(&[(3, 1.0), (4, 1.0)]));
    let command = Command::Upsert {
        tree: TreeId(2),
        points: vec![point],
    };
    let bytes = bytes(&command);
    let at = bytes
        .windows(3)
        .position(|w| w == [2, 3, 4])
        .expect("there");
    let mut unsorted = bytes.clone();
    unsorted[at + 2] = 2;
    assert_eq!(read(&bytes), Some(command));
    assert_eq!(read(&unsorted), None);
}
