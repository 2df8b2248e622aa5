//! A session that is cut loses only what was in flight.

use pando_sync::{Finished, Op};
use proptest::prelude::*;

use crate::convergence::states;
use crate::world::{
    Drive, State, assert_verified, base, by_key, difference, drive, lay, leader, small_options,
};

/// Resumes with what was staged laid over the follower's own state.
fn resume(new: &State, old: &State, staged: &[pando_sync::Staged], seed: u64) -> Drive {
    let mut working = base(&lay(old, staged));
    // What is installed has not changed.
    working.root = base(old).root;
    drive(&leader(new, 10), working, small_options(), seed, None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_staged_is_never_sent_again(
        (new, old) in states(),
        seed: u64,
        cut in 0..60_usize,
    ) {
        let first = drive(&leader(&new, 9), base(&old), small_options(), seed, Some(cut));
        prop_assert!(first.end.is_ok());
        if matches!(first.end, Ok(Some(Finished::Equal { .. }))) {
            return Ok(());
        }
        let second = resume(&new, &old, &first.staged, seed ^ 1);
        assert_verified(&second, &new);
        let all: Vec<_> = first.staged.iter().chain(&second.staged).cloned().collect();
        prop_assert_eq!(by_key(&all), difference(&old, &new));
    }

    #[test]
    fn a_newer_leader_sends_only_what_still_differs(
        (new, old) in states(),
        (newer, _) in states(),
        seed: u64,
        cut in 0..60_usize,
    ) {
        let first = drive(&leader(&new, 9), base(&old), small_options(), seed, Some(cut));
        let working = lay(&old, &first.staged);
        let second = resume(&newer, &old, &first.staged, seed ^ 1);
        if matches!(second.end, Ok(Some(Finished::Equal { .. }))) {
            prop_assert_eq!(base(&old).root, base(&newer).root);
            return Ok(());
        }
        assert_verified(&second, &newer);
        prop_assert_eq!(by_key(&second.staged), difference(&working, &newer));
        let puts = second.staged.iter().filter(|staged| matches!(staged.op, Op::Put(_))).count();
        prop_assert_eq!(second.stats.rows_put, puts as u64);
    }
}
