//! Every way there is to the leader's state: which is taken when, what it costs, and what follows when hints lie.

use std::collections::BTreeMap;

use pando_merkle::{Leaf, Tree};
use pando_model::TreeId;
use pando_sync::{
    Base, Finished, FollowerOptions, Leader, LeaderOptions, Mode, Op, Request, Staged, row_leaf,
};
use proptest::prelude::*;

use crate::convergence::states;
use crate::world::{
    Drive, Plot, State, View, assert_verified, base, by_key, difference, drive, lay, row,
    small_options, state,
};

const TREE: TreeId = TreeId(1);
/// Log index of the follower's state, and of the leader's.
const BEFORE: u64 = 5;
const AFTER: u64 = 9;

/// What a leader still knows of when its rows were written and removed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Hints {
    /// All.
    Kept,
    /// Nothing of removals, as after a restart.
    RemovalsLost,
    /// Every other write looks older than it is.
    Wrong,
}

/// A leader that came from `old` to `new` by writes after [`BEFORE`].
pub(crate) fn leader(old: &State, new: &State, hints: Hints) -> Leader<View> {
    let mut view = View::of(new, AFTER);
    for (id, tree) in &mut view.trees {
        let mut grown = Tree::new();
        let then = old.get(id).cloned().unwrap_or_default();
        grown.extend(
            crate::world::trees(&BTreeMap::from([(*id, then)]))[id]
                .iter()
                .map(|(k, l)| (k, *l)),
        );
        for (number, ((_, key), op)) in difference(old, new)
            .iter()
            .filter(|((at, _), _)| at == id)
            .enumerate()
        {
            match op {
                Op::Put(row) => {
                    let late = hints != Hints::Wrong || number % 2 == 0;
                    let index = if late { BEFORE + 1 } else { 1 };
                    grown.insert(*key, row_leaf(row, index));
                }
                Op::Delete => drop(grown.remove(key, BEFORE + 1)),
            }
        }
        assert_eq!(grown.root(), tree.root());
        if hints == Hints::RemovalsLost {
            let leaves: Vec<(_, Leaf)> = grown.iter().map(|(key, leaf)| (key, *leaf)).collect();
            grown = leaves.into_iter().collect();
        }
        *tree = grown;
    }
    let options = LeaderOptions {
        frame_bytes: 300,
        rows_per_read: 7,
    };
    Leader::new(view, options)
}

pub(crate) fn clean(state: &State) -> Base {
    Base {
        index: BEFORE,
        clean: true,
        ..base(state)
    }
}

/// Every way, with hints or without.
pub(crate) fn ways() -> impl Strategy<Value = (Hints, FollowerOptions)> {
    let hints = prop_oneof![
        Just(Hints::Kept),
        Just(Hints::RemovalsLost),
        Just(Hints::Wrong)
    ];
    (
        hints,
        any::<bool>(),
        any::<bool>(),
        prop_oneof![Just(0), Just(2), Just(1_000)],
    )
        .prop_map(|(hints, lineage, wide, bulk_ratio)| {
            let small = if wide {
                FollowerOptions::default()
            } else {
                small_options()
            };
            let options = FollowerOptions {
                lineage,
                bulk_ratio,
                ..small
            };
            (hints, options)
        })
}

/// The rows staged, whatever was sent besides.
fn ends_equal(ended: &Drive, old: &State, new: &State) {
    if matches!(ended.end, Ok(Some(Finished::Equal { .. }))) {
        assert_eq!(ended.stats.mode, Some(Mode::Equal));
    } else {
        assert_verified(ended, new);
    }
    assert_eq!(by_key(&ended.staged), difference(old, new));
    let staged = ended.stats.rows_put + ended.stats.rows_deleted;
    assert_eq!(staged, ended.staged.len() as u64);
}

/// The rows of the trees that `of` has.
fn rows(state: &State, of: &State) -> BTreeMap<TreeId, BTreeMap<Vec<u8>, pando_model::Row>> {
    let rows = |id: &TreeId| {
        state
            .get(id)
            .map(|plot| plot.rows.clone())
            .unwrap_or_default()
    };
    of.keys().map(|id| (*id, rows(id))).collect()
}

/// When a write looks older than it is, a row may be taken for removed, and come again by the walk.
fn lies_do_no_harm(ended: &Drive, old: &State, new: &State) {
    if !matches!(ended.end, Ok(Some(Finished::Equal { .. }))) {
        assert_verified(ended, new);
        assert_eq!(rows(&lay(old, &ended.staged), new), rows(new, new));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn every_way_ends_in_equal_roots_and_stages_just_the_difference(
        (new, old) in states(),
        (hints, options) in ways(),
        seed: u64,
    ) {
        let ended = drive(&leader(&old, &new, hints), clean(&old), options, seed, None);
        if hints == Hints::Wrong {
            lies_do_no_harm(&ended, &old, &new);
        } else {
            ends_equal(&ended, &old, &new);
        }
        prop_assert_eq!(ended.stats.reruns, 0);
        if hints == Hints::Kept {
            prop_assert_eq!(ended.stats.fallbacks, 0);
        }
    }

    #[test]
    fn a_cut_in_any_way_costs_only_what_was_in_flight(
        (new, old) in states(),
        (hints, options) in ways(),
        seed: u64,
        cut in 0..60_usize,
    ) {
        let leader = leader(&old, &new, hints);
        let first = drive(&leader, clean(&old), options, seed, Some(cut));
        if matches!(first.end, Ok(Some(Finished::Equal { .. }))) {
            return Ok(());
        }
        let mut working = base(&lay(&old, &first.staged));
        (working.root, working.index) = (base(&old).root, BEFORE);
        working.clean = first.staged.is_empty();
        let second = drive(&leader, working, options, seed ^ 1, None);
        assert_verified(&second, &new);
        let all: Vec<Staged> = first.staged.iter().chain(&second.staged).cloned().collect();
        if hints == Hints::Wrong {
            prop_assert_eq!(rows(&lay(&old, &all), &new), rows(&new, &new));
        } else {
            prop_assert_eq!(by_key(&all), difference(&old, &new));
        }
        if !first.staged.is_empty() {
            // What was staged is not even sent, but for rows under a prefix that nobody knew to be partly there.
            prop_assert_eq!(second.stats.rows_held, 0);
        }
    }
}

/// 4,000 rows; 40 written, 10 new, 10 gone.
pub(crate) fn lagging() -> (State, State) {
    let old = state((0..4_000).map(|id| row(id, "old")));
    let new = state((10..4_010).map(|id| row(id, if id % 100 == 0 { "new" } else { "old" })));
    (new, old)
}

#[test]
fn known_lineage_lists_nothing_and_needs_one_round_trip_after_the_header() {
    let (new, old) = lagging();
    let ended = drive(
        &leader(&old, &new, Hints::Kept),
        clean(&old),
        FollowerOptions::default(),
        3,
        None,
    );
    ends_equal(&ended, &old, &new);
    let stats = &ended.stats;
    assert_eq!(
        (stats.mode, stats.fallbacks, stats.round_trips),
        (Some(Mode::Lineage), 0, 2)
    );
    assert_eq!(
        (stats.leaves_listed, stats.nodes, stats.rows_held),
        (0, 0, 0)
    );
    assert!(
        ended
            .requests
            .iter()
            .all(|r| matches!(r, Request::Hello { .. } | Request::Since { .. }))
    );
}

#[test]
fn lost_removals_are_found_by_a_walk_that_moves_only_them() {
    let (new, old) = lagging();
    let ended = drive(
        &leader(&old, &new, Hints::RemovalsLost),
        clean(&old),
        FollowerOptions::default(),
        3,
        None,
    );
    ends_equal(&ended, &old, &new);
    let stats = &ended.stats;
    assert_eq!(
        (stats.mode, stats.fallbacks, stats.reruns),
        (Some(Mode::Lineage), 1, 0)
    );
    assert_eq!((stats.rows_put, stats.rows_deleted), (49, 10));
    // The ten buckets of the ten rows, and no more.
    assert!(stats.leaves_listed <= 320, "{}", stats.leaves_listed);
}

#[test]
fn without_known_lineage_trees_are_walked() {
    let (new, old) = lagging();
    for (clean_base, lineage) in [(true, false), (false, true)] {
        let base = Base {
            clean: clean_base,
            ..clean(&old)
        };
        let options = FollowerOptions {
            lineage,
            ..FollowerOptions::default()
        };
        let ended = drive(&leader(&old, &new, Hints::Kept), base, options, 3, None);
        ends_equal(&ended, &old, &new);
        assert_eq!(
            (ended.stats.mode, ended.stats.fallbacks),
            (Some(Mode::Walk), 0)
        );
    }
}

#[test]
fn a_follower_with_few_of_the_rows_takes_everything_in_key_order() {
    let new = state((0..4_000).map(|id| row(id, "row")));
    let old = state((3_900..4_100).map(|id| row(id, "row")));
    let options = FollowerOptions {
        lineage: false,
        ..small_options()
    };
    let ended = drive(
        &leader(&old, &new, Hints::Kept),
        clean(&old),
        options,
        3,
        None,
    );
    ends_equal(&ended, &old, &new);
    let stats = &ended.stats;
    assert_eq!(
        (stats.mode, stats.nodes, stats.leaves_listed),
        (Some(Mode::Bulk), 0, 0)
    );
    assert_eq!(
        (stats.rows_put, stats.rows_held, stats.rows_deleted),
        (3_900, 100, 100)
    );
    // In parts, few of them in flight.
    assert_eq!(ended.requests.len(), 1 + 256);
    // With twice as many of the rows it walks.
    let more = state((3_000..4_100).map(|id| row(id, "row")));
    let ended = drive(
        &leader(&more, &new, Hints::Kept),
        clean(&more),
        options,
        3,
        None,
    );
    assert_eq!(ended.stats.mode, Some(Mode::Walk));
    ends_equal(&ended, &more, &new);
}

#[test]
fn a_mostly_changed_tree_costs_no_more_by_lineage_than_in_bulk() {
    let old = state((0..3_000).map(|id| row(id, "old")));
    let new = state((0..3_000).map(|id| row(id, "new")));
    let lineage = drive(
        &leader(&old, &new, Hints::Kept),
        clean(&old),
        FollowerOptions::default(),
        3,
        None,
    );
    assert_eq!(lineage.stats.mode, Some(Mode::Lineage));
    let nothing = BTreeMap::from([(TreeId::SYSTEM, Plot::default())]);
    let bulk = drive(
        &leader(&old, &new, Hints::Kept),
        clean(&nothing),
        FollowerOptions::default(),
        3,
        None,
    );
    assert_eq!(bulk.stats.mode, Some(Mode::Bulk));
    assert!(
        lineage.wire_bytes <= bulk.wire_bytes,
        "{} {}",
        lineage.wire_bytes,
        bulk.wire_bytes
    );
    assert_eq!(
        bulk.staged
            .iter()
            .filter(|staged| staged.tree == TREE)
            .count(),
        3_000
    );
}

#[test]
fn a_bulk_follower_stages_in_key_order_when_answers_come_in_order() {
    let new = state((0..2_000).map(|id| row(id, "row")));
    let options = FollowerOptions {
        streams: 1,
        ..small_options()
    };
    let nothing = BTreeMap::from([(TreeId::SYSTEM, Plot::default())]);
    let ended = drive(
        &leader(&nothing, &new, Hints::Kept),
        clean(&nothing),
        options,
        3,
        None,
    );
    assert_verified(&ended, &new);
    assert!(
        ended
            .staged
            .is_sorted_by_key(|staged| (staged.tree, staged.key))
    );
}
