//! Every command: what it does, and what is refused with nothing changed.

use std::collections::BTreeMap;

use pando_model::limits::{
    COLLECTIONS_MAX, PAYLOAD_BYTES_MAX, POINTS_PER_WRITE_MAX, REQUEST_IDS_REMEMBERED,
};
use pando_model::{
    CollectionSchema, Command, Effect, Filter, InvalidInput, Metric, Payload, Point, PointId,
    RequestId, Selector, Stamp, TreeId, Value, WithVectors, WriteError,
};
use uuid::Uuid;

use super::harness::{
    CONTENT_KIND, World, create, entry, ids_of, name, payload, point, position, refused,
};
use crate::{ApplyEntry, ApplyPayload, ReplicaError};

pub(super) fn drop_collection(text: &str) -> Command {
    Command::DropCollection { name: name(text) }
}

fn set_alias(alias: &str, collection: &str) -> Command {
    Command::SetAlias {
        alias: name(alias),
        collection: name(collection),
    }
}

fn drop_alias(alias: &str) -> Command {
    Command::DropAlias { alias: name(alias) }
}

fn register(id: u64, instance: u128) -> Command {
    Command::RegisterNode {
        id,
        instance: Uuid::from_u128(instance),
    }
}

pub(super) fn everything() -> Selector {
    Selector::Filter {
        filter: Filter::default(),
        from: None,
    }
}

fn request(n: u64) -> RequestId {
    RequestId(Uuid::from_u128(n.into()))
}

/// A payload with one field of about this many bytes.
pub(super) fn large(bytes: usize) -> Payload {
    Payload(BTreeMap::from([(
        "text".to_owned(),
        Value::Str("x".repeat(bytes)),
    )]))
}

/// Refused, with nothing changed but the position.
pub(super) fn refused_whole(world: &World, command: Command) -> WriteError {
    let before = world.replica.applied();
    let stored = world.dump().len();
    let error = refused(world.write(command));
    let after = world.replica.applied();
    assert_eq!(
        (after.root, after.index()),
        (before.root, before.index() + 1)
    );
    assert_eq!(world.dump().len(), stored.max(1));
    error
}

#[test]
fn collections_are_created_once_and_dropped_by_name() {
    let world = World::new();
    let tree = world.create("a");
    assert_eq!(tree, TreeId(1));
    assert_eq!(
        refused_whole(&world, create("a")),
        WriteError::CollectionExists { name: name("a") }
    );
    let missing = WriteError::CollectionNotFound { name: "b".into() };
    assert_eq!(refused_whole(&world, drop_collection("b")), missing);
    let bad = Command::CreateCollection {
        name: name("b"),
        schema: CollectionSchema::single(0, Metric::Dot),
        salt: [0; 16],
    };
    assert!(matches!(
        refused_whole(&world, bad),
        WriteError::Invalid(InvalidInput::BadDimension { .. })
    ));
    assert_eq!(world.write(drop_collection("a")), Ok(Effect::Done));
    assert!(world.replica.collections().unwrap().is_empty());
}

#[test]
fn aliases_follow_their_rules() {
    let world = World::new();
    world.create("a");
    world.create("b");
    assert_eq!(world.write(set_alias("x", "a")), Ok(Effect::Done));
    assert_eq!(world.write(set_alias("y", "a")), Ok(Effect::Done));
    assert_eq!(
        refused_whole(&world, create("x")),
        WriteError::NameIsAlias { name: name("x") }
    );
    assert_eq!(
        refused_whole(&world, drop_collection("x")),
        WriteError::NameIsAlias { name: name("x") }
    );
    assert_eq!(
        refused_whole(&world, set_alias("b", "a")),
        WriteError::CollectionExists { name: name("b") }
    );
    for target in ["x", "z"] {
        assert_eq!(
            refused_whole(&world, set_alias("w", target)),
            WriteError::CollectionNotFound {
                name: target.into()
            }
        );
    }
    assert_eq!(
        refused_whole(&world, drop_alias("a")),
        WriteError::AliasNotFound { name: name("a") }
    );
    assert_eq!(world.write(set_alias("y", "b")), Ok(Effect::Done));
    assert_eq!(world.replica.resolve(&name("y")).unwrap().name, name("b"));
    assert_eq!(world.write(drop_collection("a")), Ok(Effect::Done));
    assert_eq!(
        world.replica.aliases().unwrap(),
        [(name("y"), name("b"))],
        "x went with a"
    );
    assert_eq!(world.write(drop_alias("y")), Ok(Effect::Done));
    assert!(world.replica.aliases().unwrap().is_empty());
}

#[test]
fn the_catalogue_has_a_limit() {
    let world = World::new();
    for n in 0..COLLECTIONS_MAX {
        world.create(&format!("c{n}"));
        assert_eq!(
            world.write(set_alias(&format!("a{n}"), "c0")),
            Ok(Effect::Done)
        );
    }
    let full = |what: &str| WriteError::CatalogueFull {
        what: what.into(),
        max: COLLECTIONS_MAX,
    };
    assert_eq!(refused_whole(&world, create("more")), full("collections"));
    assert_eq!(
        refused_whole(&world, set_alias("more", "c0")),
        full("aliases")
    );
    assert_eq!(
        world.write(set_alias("a1", "c1")),
        Ok(Effect::Done),
        "moving one needs no room"
    );
    assert_eq!(world.write(drop_collection("c9")), Ok(Effect::Done));
    world.create("more");
}

#[test]
fn a_node_id_is_for_one_data_directory() {
    let world = World::new();
    assert_eq!(world.write(register(1, 5)), Ok(Effect::Done));
    let root = world.replica.root();
    assert_eq!(world.write(register(1, 5)), Ok(Effect::Done));
    assert_eq!(world.replica.root(), root);
    assert_eq!(
        refused_whole(&world, register(1, 6)),
        WriteError::NodeIdUsed { id: 1 }
    );
    let world = world.reopened();
    assert_eq!(
        refused_whole(&world, register(1, 6)),
        WriteError::NodeIdUsed { id: 1 }
    );
}

#[test]
fn points_that_do_not_fit_are_refused_whole() {
    let world = World::new();
    let tree = world.create("a");
    let upsert = |points| Command::Upsert { tree, points };
    let invalid = |command| match refused_whole(&world, command) {
        WriteError::Invalid(invalid) => invalid,
        other => panic!("{other:?}"),
    };
    let short = Point::new(2, vec![1.0], Payload::default());
    assert!(matches!(
        invalid(upsert(vec![point(1, 1), short])),
        InvalidInput::DimensionMismatch {
            expected: 3,
            actual: 1,
            ..
        }
    ));
    let nan = Point::new(2, vec![1.0, f32::NAN, 0.0], Payload::default());
    assert!(matches!(
        invalid(upsert(vec![nan])),
        InvalidInput::NotFinite { .. }
    ));
    let bare = Point {
        vectors: BTreeMap::new(),
        ..point(2, 2)
    };
    assert!(matches!(
        invalid(upsert(vec![bare])),
        InvalidInput::NoVector { .. }
    ));
    assert!(matches!(
        invalid(upsert(vec![])),
        InvalidInput::Empty { .. }
    ));
    let twice = vec![point(1, 1), point(1, 2)];
    assert!(matches!(
        invalid(upsert(twice)),
        InvalidInput::DuplicateId { .. }
    ));
    let many = (0..=POINTS_PER_WRITE_MAX as u64)
        .map(|id| point(id, 1))
        .collect();
    assert!(matches!(
        invalid(upsert(many)),
        InvalidInput::TooMany { .. }
    ));
    let unknown = Command::Upsert {
        tree: TreeId(7),
        points: vec![point(1, 1)],
    };
    assert!(matches!(
        refused_whole(&world, unknown),
        WriteError::CollectionNotFound { .. }
    ));
}

#[test]
fn a_payload_that_would_grow_too_large_refuses_the_write_whole() {
    let world = World::new();
    let tree = world.create("a");
    let full = Point {
        payload: large(PAYLOAD_BYTES_MAX - 100),
        ..point(2, 2)
    };
    world
        .write(Command::Upsert {
            tree,
            points: vec![point(1, 1), full, point(3, 3)],
        })
        .unwrap();
    let set = Command::SetPayload {
        tree,
        selector: ids_of([1, 2, 3]),
        payload: Payload(BTreeMap::from([(
            "more".into(),
            Value::Str("x".repeat(200)),
        )])),
    };
    let error = refused_whole(&world, set);
    assert!(matches!(
        error,
        WriteError::Invalid(InvalidInput::PayloadTooLarge { .. })
    ));
}

#[test]
fn payload_fields_are_set_and_cleared() {
    let world = World::new();
    let tree = world.create("a");
    world.upsert(tree, [1, 2]);
    let payload_of = |id: u64| {
        let points = world
            .replica
            .get(&name("a"), &[id.into()], true, &WithVectors::None);
        points.unwrap().remove(0).payload.unwrap()
    };
    let set = Command::SetPayload {
        tree,
        selector: ids_of([1, 9]),
        payload: Payload(BTreeMap::from([
            ("n".into(), Value::Null),
            ("s".into(), Value::Int(1)),
        ])),
    };
    assert_eq!(
        world.write(set),
        Ok(Effect::Points {
            affected: 1,
            next: None
        }),
        "9 does not exist"
    );
    let mut expected = payload(1);
    expected
        .0
        .extend([("n".into(), Value::Null), ("s".into(), Value::Int(1))]);
    assert_eq!(payload_of(1), expected);
    assert_eq!(payload_of(2), payload(2));
    let clear = |keys: &[&str]| Command::ClearPayload {
        tree,
        selector: ids_of([1]),
        keys: keys.iter().map(ToString::to_string).collect(),
    };
    world.write(clear(&["n", "absent"])).unwrap();
    expected.0.remove("n");
    assert_eq!(payload_of(1), expected);
    world.write(clear(&[])).unwrap();
    assert_eq!(payload_of(1), Payload::default());
}

#[test]
fn a_repeated_request_is_answered_and_not_applied() {
    let world = World::new();
    let tree = world.create("a");
    let first = world.write_as(Some(request(1)), create("b"));
    assert_eq!(first, Ok(Effect::Created { tree: TreeId(2) }));
    let refusal = world.write_as(Some(request(2)), create("b"));
    assert!(refusal.is_err());
    let root = world.replica.root();
    assert_eq!(world.write_as(Some(request(1)), create("b")), first);
    let upsert = Command::Upsert {
        tree,
        points: vec![point(1, 1)],
    };
    // Another write under a used id must not be taken for done.
    let reused = |world: &World| match refused(world.write_as(Some(request(1)), upsert.clone())) {
        WriteError::Invalid(InvalidInput::BadField { field, .. }) => {
            assert_eq!(field, "request_id")
        }
        other => panic!("{other}"),
    };
    reused(&world);
    assert_eq!(world.write_as(Some(request(2)), create("b")), refusal);
    assert_eq!(world.replica.root(), root);
    let world = world.reopened();
    assert_eq!(world.write_as(Some(request(1)), create("b")), first);
    reused(&world);
    assert_eq!(world.replica.root(), root);
}

#[test]
fn a_check_reports_the_root_and_does_not_change_it() {
    let world = World::new();
    let tree = world.create("a");
    world.upsert(tree, 0..5);
    let root = world.replica.root();
    let result = world.write_as(Some(request(1)), Command::ConsistencyCheck);
    let Ok(Effect::Checked(report)) = result else {
        panic!("{result:?}")
    };
    assert_eq!((report.root, report.points, report.index), (root.0, 5, 3));
    assert_eq!(world.replica.last_check(), Some(report));
    assert_eq!(world.replica.root(), root);
}

/// The oldest replies go, one for one, in the order of the log.
#[test]
fn requests_are_forgotten_beyond_the_limit_in_log_order() {
    let world = World::new();
    let absent = drop_alias("x");
    let log = |range: std::ops::Range<u64>| {
        let first = world.next_index() - range.start;
        let entry = |n| entry(first + n, Some(request(n)), absent.clone());
        range.map(entry).collect::<Vec<_>>()
    };
    for start in (0..REQUEST_IDS_REMEMBERED).step_by(4096) {
        world.replica.apply(log(start..start + 4096)).unwrap();
        world.replica.make_durable().unwrap();
    }
    let rows = world.keys_of_kind(2) as u64;
    assert_eq!(rows, REQUEST_IDS_REMEMBERED);
    let tree = world.create("a");
    let upsert = |n| Command::Upsert {
        tree,
        points: vec![point(n, n)],
    };
    assert!(
        world.write_as(Some(request(0)), upsert(0)).is_err(),
        "remembered"
    );
    assert!(world.write_as(Some(request(70_000)), upsert(0)).is_ok());
    let world = world.reopened();
    assert!(
        world.write_as(Some(request(0)), upsert(1)).is_ok(),
        "forgotten, so applied"
    );
    assert!(
        world.write_as(Some(request(2)), upsert(2)).is_err(),
        "still remembered"
    );
    assert!(
        world.write_as(Some(request(1)), upsert(3)).is_ok(),
        "forgotten by request 0"
    );
    assert_eq!(world.keys_of_kind(2) as u64, REQUEST_IDS_REMEMBERED + 2 + 3);
}

#[test]
fn a_collection_created_anew_has_another_tree() {
    let world = World::new();
    let old = world.create("a");
    world.upsert(old, 0..600);
    world.write(drop_collection("a")).unwrap();
    world.tidy();
    assert_eq!(
        world.keys_of_kind(CONTENT_KIND),
        1,
        "rows go with their collection; the counters stay"
    );
    let new = world.create("a");
    assert_ne!(old, new);
    let late = Command::Upsert {
        tree: old,
        points: vec![point(1, 1)],
    };
    assert!(matches!(
        refused_whole(&world, late),
        WriteError::CollectionNotFound { .. }
    ));
    let late = Command::Delete {
        tree: old,
        selector: everything(),
    };
    assert!(matches!(
        refused_whole(&world, late),
        WriteError::CollectionNotFound { .. }
    ));
    assert_eq!(world.replica.collection(&name("a")).unwrap().points, 0);
}

#[test]
fn versions_rise_whatever_the_leaders_clock_says() {
    let world = World::new();
    let tree = world.create("a");
    let mut last = Stamp::default();
    for wall in [5_000, 4_000, 5_000, 1, 9_000, 8_999] {
        let mut entry = entry(
            world.next_index(),
            None,
            Command::Upsert {
                tree,
                points: vec![point(1, 1)],
            },
        );
        if let ApplyPayload::Command(proposal) = &mut entry.payload {
            proposal.stamp = Stamp::at(wall);
        }
        world.replica.apply(vec![entry]).unwrap()[0]
            .clone()
            .unwrap();
        let points = world
            .replica
            .get(&name("a"), &[PointId::Num(1)], false, &WithVectors::None);
        let version = points.unwrap()[0].version;
        assert!(version > last, "{version} after {last}");
        last = version;
    }
    assert_eq!(last.wall_ms, 9_000);
}

#[test]
fn entries_out_of_order_stop_the_replica() {
    let world = World::new();
    world.create("a");
    let blank = |index| ApplyEntry {
        position: position(index),
        payload: ApplyPayload::Blank,
    };
    assert_eq!(
        world.replica.apply(vec![blank(2)]).unwrap(),
        [Ok(Effect::Done)]
    );
    let again = world.replica.apply(vec![blank(2)]);
    assert!(matches!(
        again,
        Err(ReplicaError::OutOfOrder {
            index: 2,
            applied: 2
        })
    ));
    assert!(matches!(
        world.replica.apply(vec![blank(3)]),
        Err(ReplicaError::Poisoned)
    ));
    assert!(matches!(
        world.replica.freeze(),
        Err(ReplicaError::Poisoned)
    ));
    assert!(matches!(
        world.replica.begin_stage(),
        Err(ReplicaError::Poisoned)
    ));
    assert!(world.replica.collections().is_err());
    let first = World::new();
    assert_eq!(
        first.replica.apply(vec![blank(0), blank(1)]).unwrap().len(),
        2,
        "a log may begin at 0"
    );
}

#[test]
fn membership_is_kept_and_not_hashed() {
    let world = World::new();
    let root = world.replica.root();
    let payload = ApplyPayload::Membership(vec![1, 2, 3]);
    world
        .replica
        .apply(vec![ApplyEntry {
            position: position(1),
            payload,
        }])
        .unwrap();
    world.write(drop_alias("x")).unwrap_err();
    let applied = world.reopened().replica.applied();
    assert_eq!(
        (applied.membership, applied.root, applied.position),
        (vec![1, 2, 3], root, Some(position(2)))
    );
}
