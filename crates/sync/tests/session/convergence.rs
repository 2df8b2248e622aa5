//! Any two states, any order of answers: equal in the end, and nothing moved that both had.

use std::collections::BTreeMap;

use pando_model::TreeId;
use pando_sync::{Finished, FollowerOptions};
use proptest::prelude::*;

use crate::world::{
    Plot, State, assert_verified, base, by_key, difference, drive, leader, plot, row,
    small_options, state,
};

/// How two versions of one tree differ.
#[derive(Clone, Debug)]
struct Shape {
    leader: bool,
    follower: bool,
    same: u64,
    changed: u64,
    only_leader: u64,
    only_follower: u64,
}

fn shape() -> impl Strategy<Value = Shape> {
    let few = || prop_oneof![4 => 0..4_u64, 2 => 0..40_u64, 1 => 0..300_u64];
    let same = prop_oneof![2 => Just(0), 2 => 0..60_u64, 2 => 0..700_u64];
    let sides =
        prop_oneof![6 => Just((true, true)), 1 => Just((true, false)), 1 => Just((false, true))];
    (sides, same, few(), few(), few()).prop_map(
        |((leader, follower), same, changed, only_leader, only_follower)| Shape {
            leader,
            follower,
            same,
            changed,
            only_leader,
            only_follower,
        },
    )
}

impl Shape {
    fn plots(&self) -> (Plot, Plot) {
        let group = |from: u64, count: u64, content: &'static str| {
            (from..from + count).map(move |id| row(id, &format!("{content} {id}")))
        };
        let same = || group(0, self.same, "same");
        let new = same().chain(group(1_000, self.changed, "new")).chain(group(
            2_000,
            self.only_leader,
            "only the leader has",
        ));
        let old = same().chain(group(1_000, self.changed, "old")).chain(group(
            3_000,
            self.only_follower,
            "only the follower has",
        ));
        (plot(new), plot(old))
    }
}

/// (the leader's, the follower's)
pub(crate) fn states() -> impl Strategy<Value = (State, State)> {
    proptest::collection::vec(shape(), 1..5).prop_map(|shapes| {
        let (mut new, mut old) = (BTreeMap::new(), BTreeMap::new());
        for (id, shape) in (0..).map(TreeId).zip(&shapes) {
            let (leader, follower) = shape.plots();
            // Every replica has a system tree.
            if shape.leader || id == TreeId::SYSTEM {
                new.insert(id, leader);
            }
            if shape.follower || id == TreeId::SYSTEM {
                old.insert(id, follower);
            }
        }
        (new, old)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_two_states_become_equal_and_exactly_the_difference_moves(
        (new, old) in states(),
        seed: u64,
        wide in any::<bool>(),
    ) {
        let options = if wide { FollowerOptions::default() } else { small_options() };
        let ended = drive(&leader(&new, 9), base(&old), options, seed, None);
        let expected = difference(&old, &new);
        if let Ok(Some(Finished::Equal { index })) = ended.end {
            prop_assert_eq!(index, 9);
            prop_assert!(expected.is_empty() && new.len() == old.len());
        } else {
            assert_verified(&ended, &new);
        }
        prop_assert_eq!(by_key(&ended.staged), expected);
        prop_assert_eq!(ended.stats.reruns, 0);
        prop_assert_eq!(
            ended.stats.rows_put + ended.stats.rows_deleted,
            ended.staged.len() as u64
        );
    }
}

#[test]
fn equal_states_need_one_round_trip_and_few_bytes() {
    let same = state((0..500).map(|id| row(id, "same")));
    let ended = drive(
        &leader(&same, 4),
        base(&same),
        FollowerOptions::default(),
        1,
        None,
    );
    assert!(
        matches!(ended.end, Ok(Some(Finished::Equal { index: 4 }))),
        "{:?}",
        ended.end
    );
    assert_eq!((ended.stats.round_trips, ended.stats.requests), (1, 1));
    assert!(ended.wire_bytes < 200, "{} bytes", ended.wire_bytes);
}

#[test]
fn one_changed_row_moves_alone() {
    let old = state((0..3_000).map(|id| row(id, "same")));
    let mut new = old.clone();
    new.get_mut(&TreeId(1))
        .unwrap()
        .rows
        .insert(5_u64.to_be_bytes().to_vec(), row(5, "new"));
    let ended = drive(
        &leader(&new, 4),
        base(&old),
        FollowerOptions::default(),
        1,
        None,
    );
    assert_verified(&ended, &new);
    assert_eq!((ended.stats.rows_put, ended.stats.rows_deleted), (1, 0));
    assert!(
        ended.stats.leaves_listed <= 32,
        "{} leaves",
        ended.stats.leaves_listed
    );
}

#[test]
fn an_empty_follower_asks_once_per_tree_and_lists_nothing() {
    let new = state((0..5_000).map(|id| row(id, "new")));
    let old = BTreeMap::from([(TreeId::SYSTEM, Plot::default())]);
    let ended = drive(
        &leader(&new, 4),
        base(&old),
        FollowerOptions::default(),
        1,
        None,
    );
    assert_verified(&ended, &new);
    assert_eq!((ended.stats.requests, ended.stats.leaves_listed), (2, 0));
    assert_eq!(ended.stats.round_trips, 2);
}

#[test]
fn a_tree_the_leader_does_not_have_is_dropped_in_bounded_steps() {
    let old = state((0..20_000).map(|id| row(id, "old")));
    let new = BTreeMap::from([(TreeId::SYSTEM, Plot::default())]);
    let options = FollowerOptions {
        deletes_per_step: 100,
        ..FollowerOptions::default()
    };
    let mut follower = pando_sync::Follower::new(base(&old), options);
    assert_eq!(follower.start().len(), 1);
    let header = crate::world::View::of(&new, 4).header;
    let mut step = follower
        .on_response(pando_sync::Response::Snapshot(header))
        .unwrap();
    let mut staged = 0;
    loop {
        assert!(step.stage.len() <= 100 && step.send.is_empty());
        staged += step.stage.len();
        if let Some(finished) = step.finished {
            assert!(matches!(finished, Finished::Verified { trees, .. } if trees.len() == 1));
            break;
        }
        assert!(step.more);
        step = follower.proceed().unwrap();
    }
    assert_eq!(staged, 20_000);
}

#[test]
fn a_leader_that_shrank_to_a_bucket_costs_no_long_list() {
    let old = state((0..5_000).map(|id| row(id, "same")));
    let new = state((0..20).map(|id| row(id, "same")));
    let ended = drive(
        &leader(&new, 4),
        base(&old),
        FollowerOptions::default(),
        1,
        None,
    );
    assert_verified(&ended, &new);
    assert_eq!((ended.stats.rows_put, ended.stats.rows_deleted), (0, 4_980));
    assert!(
        ended.stats.leaves_listed <= 5_000,
        "{} leaves",
        ended.stats.leaves_listed
    );
}
