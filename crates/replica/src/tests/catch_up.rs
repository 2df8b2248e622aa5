//! A follower catches up with a leader by a session, while its log goes on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pando_merkle::{Key, Tree};
use pando_model::{Row, TreeId};
use pando_sync::{
    Finished, Follower, FollowerOptions, Leader, LeaderOptions, Op, Request, SnapshotHeader,
    Source, Staged, Step,
};
use proptest::prelude::*;

use super::harness::{INTENT_KIND, World, assert_sound, readings};
use super::script::acts;
use crate::{FrozenView, Replica, ReplicaError, Stage, StagedDelta, ViewError};

pub(super) struct View(pub(super) Arc<FrozenView>);

impl Source for View {
    type Error = ViewError;

    fn header(&self) -> &SnapshotHeader {
        self.0.header()
    }

    fn tree(&self, id: TreeId) -> Option<&Tree> {
        self.0.tree(id)
    }

    fn rows(&self, id: TreeId, keys: &[Key]) -> Result<Vec<Row>, ViewError> {
        self.0.rows(id, keys)
    }
}

/// One session, its messages carried in memory, in small parts.
pub(super) struct Session {
    pub(super) stage: Stage,
    leader: Leader<View>,
    follower: Follower,
    requests: VecDeque<Request>,
    replica: Arc<Replica>,
    pub(super) puts: Vec<(TreeId, Key)>,
    verified: Option<(SnapshotHeader, BTreeMap<TreeId, Tree>)>,
}

impl Session {
    pub(super) fn begin(view: Arc<FrozenView>, replica: &Arc<Replica>) -> Self {
        let stage = replica.begin_stage().unwrap();
        let base = stage.base();
        let options = FollowerOptions {
            window: 3,
            prefixes_per_request: 8,
            listed_per_request: 64,
            list_max: 64,
            wide_start_min: 500,
            deletes_per_step: 5,
            ..FollowerOptions::default()
        };
        let mut follower = Follower::new(base, options);
        let small = LeaderOptions {
            frame_bytes: 300,
            rows_per_read: 9,
        };
        Self {
            stage,
            leader: Leader::new(View(view), small),
            requests: follower.start().into(),
            follower,
            replica: Arc::clone(replica),
            puts: Vec::new(),
            verified: None,
        }
    }

    /// Carries messages until the session is over, or this many responses are in. Whether it is over.
    pub(super) fn run(&mut self, mut responses: usize) -> bool {
        while let Some(request) = self.requests.pop_front() {
            let answers: Vec<_> = self.leader.answer(request).unwrap().collect();
            for response in answers {
                if responses == 0 {
                    return false;
                }
                responses -= 1;
                let step = self.follower.on_response(response.unwrap()).unwrap();
                self.follow(step);
            }
        }
        assert!(self.verified.is_some(), "no request is left, and no end");
        true
    }

    fn follow(&mut self, mut step: Step) {
        loop {
            let put = |staged: &Staged| {
                matches!(staged.op, Op::Put(_)).then_some((staged.tree, staged.key))
            };
            self.puts.extend(step.stage.iter().filter_map(put));
            self.stage.put(std::mem::take(&mut step.stage)).unwrap();
            self.requests.extend(step.send);
            match step.finished {
                Some(Finished::Verified { header, trees }) => self.verified = Some((header, trees)),
                Some(Finished::Equal { .. }) => {
                    let header = self.leader.source().header().clone();
                    self.verified = Some((header, self.replica.current().0));
                }
                None if step.more => {
                    step = self.follower.proceed().unwrap();
                    continue;
                }
                None => {}
            }
            return;
        }
    }

    pub(super) fn verified(self) -> (Stage, SnapshotHeader, BTreeMap<TreeId, Tree>) {
        let (header, trees) = self.verified.expect("the session has ended");
        (self.stage, header, trees)
    }

    pub(super) fn finish(self) -> Result<StagedDelta, ReplicaError> {
        let (stage, header, trees) = self.verified();
        stage.finish(&header, trees)
    }
}

/// Pulls the view, whole, and installs it.
pub(super) fn catch_up(view: Arc<FrozenView>, world: &World) {
    let mut session = Session::begin(view, &world.replica);
    assert!(session.run(usize::MAX));
    world.replica.install(session.finish().unwrap()).unwrap();
}

pub(super) fn assert_caught_up(follower: &World, leader: &World) {
    assert_eq!(follower.replica.applied(), leader.replica.applied());
    assert_eq!(readings(&follower.replica), readings(&leader.replica));
    assert_sound(follower);
    follower.assert_tidy();
    assert_eq!(follower.keys_of_kind(INTENT_KIND), 0, "no intent is left");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The follower applies entries between begin and finish, and between finish and install.
    #[test]
    fn a_follower_gets_the_leaders_state_while_its_log_goes_on(
        before in acts(0..30),
        behind in acts(1..60),
        cuts in prop::array::uniform2(0..100_usize),
        after in acts(0..12),
    ) {
        let (leader, mut log) = World::populated();
        log.extend(leader.act(&before));
        let follower = World::new();
        follower.replica.apply(log).unwrap();
        prop_assert_eq!(follower.replica.root(), leader.replica.root());
        let missed = leader.act(&behind);
        let (first, second) = (cuts[0] % (missed.len() + 1), cuts[1] % (missed.len() + 1));
        let (first, second) = (first.min(second), first.max(second));

        let mut session = Session::begin(leader.replica.freeze().unwrap(), &follower.replica);
        session.run(usize::MAX);
        follower.replica.apply(missed[..first].to_vec()).unwrap();
        let delta = session.finish().unwrap();
        follower.replica.apply(missed[first..second].to_vec()).unwrap();
        follower.replica.install(delta).unwrap();
        assert_caught_up(&follower, &leader);

        // Remembered requests are remembered; the log goes on alike.
        let more = leader.act(&after);
        follower.replica.apply(more).unwrap();
        prop_assert_eq!(readings(&follower.replica), readings(&leader.replica));
        assert_sound(&follower);
    }

    /// Cut anywhere and resumed, against the same view or a newer one, nothing staged and still right comes again.
    #[test]
    fn a_cut_session_is_resumed_without_sending_again(
        behind in acts(1..60),
        between in acts(0..20),
        cut in 1..40_usize,
        crash in any::<bool>(),
    ) {
        let (leader, _) = World::populated();
        let mut follower = World::new();
        leader.act(&behind);
        let view = leader.replica.freeze().unwrap();
        let mut first = Session::begin(Arc::clone(&view), &follower.replica);
        first.run(cut);
        let sent = std::mem::take(&mut first.puts);
        first.stage.keep().unwrap();
        if crash {
            follower = World::open(follower.store.crash(), None).unwrap();
        }
        leader.act(&between);
        let newer = leader.replica.freeze().unwrap();
        let leaf = |view: &FrozenView, (tree, key): &(TreeId, Key)| {
            view.tree(*tree).and_then(|tree| tree.get(key)).map(|leaf| leaf.digest)
        };
        let mut second = Session::begin(Arc::clone(&newer), &follower.replica);
        second.run(usize::MAX);
        for put in &second.puts {
            let again = sent.contains(put) && leaf(&view, put) == leaf(&newer, put);
            prop_assert!(!again, "{put:?} came twice");
        }
        follower.replica.install(second.finish().unwrap()).unwrap();
        assert_caught_up(&follower, &leader);
    }
}
