//! One log, one state: however it is batched, wherever it is applied, and after every start.

use std::sync::Arc;

use pando_model::{Command, RequestId};
use pando_storage::{Batch, KvStore};
use proptest::prelude::*;
use uuid::Uuid;

use super::harness::{World, assert_sound, copy, options, point, readings, stored_root};
use super::script::{Act, acts};
use crate::Replica;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_makes_the_same_bytes_in_any_batches(
        acts in acts(1..60),
        sizes in prop::collection::vec(1..9_usize, 1..8),
    ) {
        let one_by_one = World::new();
        let mut log = Vec::new();
        for act in &acts {
            log.extend(one_by_one.act(std::slice::from_ref(act)));
            let stored = stored_root(one_by_one.store.as_ref());
            prop_assert_eq!(one_by_one.replica.root(), stored, "after {:?}", act);
        }
        let batched = World::new();
        let mut rest = log.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (batch, after) = rest.split_at(rest.len().min(*size));
            batched.replica.apply(batch.to_vec()).unwrap();
            rest = after;
        }
        prop_assert_eq!(batched.dump(), one_by_one.dump());
        prop_assert_eq!(readings(&batched.replica), readings(&one_by_one.replica));
        assert_sound(&batched);
    }
}

/// Every byte of every stored value: turned over, the replica does not start. Only the log index of a row is not
/// covered by anything, being a hint: turned over, everything read is the same.
#[test]
fn a_flipped_byte_keeps_the_replica_from_starting() {
    let world = World::new();
    let tree = world.create("a");
    world.upsert(tree, 0..4);
    world.delete(tree, [2]);
    let request = Some(RequestId(Uuid::from_u128(9)));
    let upsert = Command::Upsert {
        tree,
        points: vec![point(3, 8)],
    };
    world.write_as(request, upsert).unwrap();
    world.act(&[
        Act::SetAlias {
            alias: 0,
            collection: 0,
        },
        Act::Membership(7),
        Act::RegisterNode(1),
    ]);
    let before = readings(&world.replica);
    let (mut refused, mut hints) = (0, 0);
    for (key, value) in world.dump() {
        for at in 0..value.len() {
            let mut flipped = value.clone();
            flipped[at] ^= 0x55;
            let store = copy(world.store.as_ref());
            let mut batch = Batch::new();
            batch.put(key.clone(), flipped);
            store.apply(batch).unwrap();
            match Replica::open(Arc::new(store), options(), None) {
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().is_empty());
                }
                Ok(replica) => {
                    hints += 1;
                    assert_eq!(
                        (key[4], readings(&replica)),
                        (2, before.clone()),
                        "byte {at}"
                    );
                    assert_eq!(replica.applied(), world.replica.applied());
                }
            }
        }
        let store = copy(world.store.as_ref());
        let mut batch = Batch::new();
        batch.delete(key.clone());
        store.apply(batch).unwrap();
        let opened = Replica::open(Arc::new(store), options(), None);
        assert!(opened.is_err(), "without {key:02x?}");
    }
    assert!(refused > 500, "{refused}");
    assert!(
        hints <= world.keys_of_kind(2),
        "{hints} flips went unnoticed"
    );
}
