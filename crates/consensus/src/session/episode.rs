//! When a catch-up begins and ends, and what it cost.
//!
//! A follower is always a little behind: entries that a majority has while it waits for its own disk are no catch-up.
//! One by log begins with the first missed entry after this node was away, which it was if it had just started, heard
//! no leader for longer than a lease, or lacked more entries than a member that counts as caught up may lack. It ends
//! when everything is applied that was committed at the moment the last missed entry came. One by session begins when
//! the first offer arrives and ends with an install; entries written meanwhile belong to it. Knows no clock: each
//! moment is told.

use std::time::Duration;

use tokio::time::Instant;

use crate::catch_up::{CatchUpPath, CatchUpReason, CatchUpWhy, LastCatchUp};

/// When a node counts as having been away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Away {
    /// It heard no leader for this long ..
    pub(crate) silence: Duration,
    /// .. or lacks more entries than this.
    pub(crate) entries: u64,
}

/// A successful call for replication, as the follower saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    /// When it came.
    pub(crate) at: Instant,
    /// Last index here before it.
    pub(crate) had: Option<u64>,
    /// Last index here after it.
    pub(crate) have: Option<u64>,
    /// The leader's commit index; none if it does not say.
    pub(crate) committed: Option<u64>,
    /// New entries in it that were committed before they came.
    pub(crate) missed: u64,
    /// Its bytes.
    pub(crate) received: u64,
    /// Bytes of the answer.
    pub(crate) sent: u64,
}

/// Sums over all sessions since the node started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rows_put: u64,
    pub(crate) rows_deleted: u64,
    pub(crate) row_bytes: u64,
    pub(crate) metadata_bytes: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) round_trips: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Episodes {
    heard: Option<Instant>,
    /// It was away, and what it missed has not come yet.
    returning: bool,
    replay: Option<Replay>,
    session: Option<Session>,
    /// A session was installed; what was written meanwhile comes by log.
    tail: bool,
    count: u64,
    last: Option<LastCatchUp>,
}

#[derive(Debug)]
struct Replay {
    began: Instant,
    had: Option<u64>,
    entries: u64,
    calls: u64,
    received: u64,
    sent: u64,
    /// All missed entries are here; it ends when this is applied.
    goal: Option<u64>,
}

#[derive(Debug)]
struct Session {
    began: Instant,
    before: Tally,
    why: CatchUpWhy,
    path: Option<CatchUpPath>,
    install: Duration,
}

impl Episodes {
    /// Takes a call into account.
    pub(crate) fn appended(&mut self, away: Away, call: &Appended) {
        let silence = self.heard.map(|heard| call.at.duration_since(heard));
        self.heard = Some(call.at);
        let Some(committed) = call.committed else {
            return;
        };
        let lacks = call
            .had
            .map_or(committed + 1, |had| committed.saturating_sub(had));
        if lacks == 0 {
            self.returning = false;
            self.tail = false;
            return;
        }
        self.returning |=
            silence.is_none_or(|silence| silence > away.silence) || lacks > away.entries;
        if call.missed == 0 {
            return;
        }
        let complete = call.have >= Some(committed);
        if self.tail {
            if let Some(last) = &mut self.last {
                last.entries += call.missed;
            }
            self.tail = !complete;
            self.returning = false;
            return;
        }
        if self.replay.is_none() && self.returning {
            self.session = None;
            self.replay = Some(Replay {
                began: call.at,
                had: call.had,
                entries: 0,
                calls: 0,
                received: 0,
                sent: 0,
                goal: None,
            });
        }
        self.returning &= !complete;
        if let Some(replay) = self.replay.as_mut().filter(|replay| replay.goal.is_none()) {
            replay.entries += call.missed;
            replay.calls += 1;
            replay.received += call.received;
            replay.sent += call.sent;
            replay.goal = complete.then_some(committed);
        }
    }

    /// The state has come to this index.
    pub(crate) fn applied(&mut self, at: Instant, index: u64) {
        let reached = |replay: &mut Replay| replay.goal.is_some_and(|goal| index >= goal);
        if let Some(replay) = self.replay.take_if(reached) {
            self.finish(LastCatchUp {
                path: CatchUpPath::Log,
                why: CatchUpWhy {
                    reason: CatchUpReason::LogKept,
                    had: replay.had,
                    kept_from: 0,
                    replay_bytes: None,
                },
                index: replay.goal.unwrap_or(index),
                took: at.duration_since(replay.began),
                install: Duration::ZERO,
                rows_put: 0,
                rows_deleted: 0,
                row_bytes: 0,
                metadata_bytes: 0,
                received_bytes: replay.received,
                sent_bytes: replay.sent,
                round_trips: replay.calls,
                entries: replay.entries,
            });
        }
    }

    /// Work on an offer that arrived at `at` begins. Returns whether it goes on from rows that an earlier offer
    /// brought.
    pub(crate) fn session_began(&mut self, at: Instant, before: Tally, why: CatchUpWhy) -> bool {
        self.replay = None;
        let rows = |tally: &Tally| tally.rows_put + tally.rows_deleted;
        let now = rows(&before);
        let session = self.session.get_or_insert(Session {
            began: at,
            before,
            why,
            path: None,
            install: Duration::ZERO,
        });
        now > rows(&session.before)
    }

    /// A stream of the session has ended that came far enough to tell how it was gone about; those that follow the first
    /// go on from what was staged.
    pub(crate) fn streamed(&mut self, path: CatchUpPath) {
        if let Some(session) = &mut self.session {
            session.path.get_or_insert(path);
        }
    }

    /// An install took this long.
    pub(crate) fn install_took(&mut self, took: Duration) {
        if let Some(session) = &mut self.session {
            session.install += took;
        }
    }

    /// What the offers were for is here.
    pub(crate) fn session_needless(&mut self) {
        self.session = None;
    }

    /// A session's outcome is installed.
    pub(crate) fn session_done(&mut self, at: Instant, index: u64, now: &Tally) {
        let Some(Session {
            began,
            before,
            why,
            path,
            install,
        }) = self.session.take()
        else {
            return;
        };
        self.tail = true;
        self.finish(LastCatchUp {
            path: path.unwrap_or(CatchUpPath::Delta),
            why,
            index,
            took: at.duration_since(began),
            install,
            rows_put: now.rows_put - before.rows_put,
            rows_deleted: now.rows_deleted - before.rows_deleted,
            row_bytes: now.row_bytes - before.row_bytes,
            metadata_bytes: now.metadata_bytes - before.metadata_bytes,
            received_bytes: now.received - before.received,
            sent_bytes: now.sent - before.sent,
            round_trips: now.round_trips - before.round_trips,
            entries: 0,
        });
    }

    fn finish(&mut self, done: LastCatchUp) {
        self.count += 1;
        self.last = Some(done);
    }

    /// Catch-ups finished.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The last of them.
    pub(crate) fn last(&self) -> Option<LastCatchUp> {
        self.last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_policy::PurgeCause;

    const AWAY: Away = Away {
        silence: Duration::from_secs(3),
        entries: 64,
    };

    /// A follower with a log of its own, its clock and what it has noted.
    struct World {
        episodes: Episodes,
        now: Instant,
        log: u64,
    }

    impl World {
        fn new(log: u64) -> Self {
            Self {
                episodes: Episodes::default(),
                now: Instant::now(),
                log,
            }
        }

        /// Nothing happens for a while.
        fn pass(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }

        /// A call with this many entries.
        fn append(&mut self, entries: u64, committed: u64) {
            let had = self.log;
            self.log += entries;
            let call = Appended {
                at: self.now,
                had: Some(had),
                have: Some(self.log),
                committed: Some(committed),
                missed: committed.min(self.log).saturating_sub(had),
                received: 100 * entries,
                sent: 10,
            };
            self.episodes.appended(AWAY, &call);
        }

        fn apply(&mut self) {
            let (now, log) = (self.now, self.log);
            self.episodes.applied(now, log);
        }
    }

    #[test]
    fn a_follower_that_is_always_a_little_behind_catches_up_with_nothing() {
        let mut world = World::new(10);
        world.append(0, 10);
        for round in 0..100 {
            world.pass(50);
            // Of three entries two are committed by the others already.
            world.append(3, 10 + 3 * round + 2);
            world.apply();
        }
        assert_eq!(world.episodes.count(), 0);
    }

    #[test]
    fn what_was_missed_while_it_was_down_is_one_replay() {
        let mut world = World::new(10);
        world.append(0, 40);
        world.pass(7);
        world.append(20, 40);
        assert_eq!(world.episodes.count(), 0, "there is more to come");
        world.pass(2);
        world.append(11, 41);
        world.pass(3);
        world.episodes.applied(world.now, 40);
        assert_eq!(world.episodes.count(), 0, "one is not applied yet");
        // Written since: no part of it.
        world.append(5, 46);
        world.pass(1);
        world.apply();
        let last = world.episodes.last().unwrap();
        assert_eq!(
            (world.episodes.count(), last.index, last.entries),
            (1, 41, 31)
        );
        assert_eq!((last.took.as_millis(), last.path), (6, CatchUpPath::Log));
        assert_eq!(
            (last.received_bytes, last.sent_bytes, last.round_trips),
            (3_100, 20, 2)
        );
        world.pass(50);
        world.append(3, 48);
        world.apply();
        assert_eq!(world.episodes.count(), 1);
    }

    #[test]
    fn silence_and_a_long_way_are_being_away_too() {
        let mut world = World::new(10);
        world.append(0, 10);
        world.pass(3_001);
        world.append(2, 12);
        world.apply();
        assert_eq!(world.episodes.count(), 1);
        world.pass(50);
        world.append(64, 76);
        world.apply();
        assert_eq!(world.episodes.count(), 1, "that many may be lacking");
        world.pass(50);
        world.append(65, 141);
        world.apply();
        assert_eq!(world.episodes.count(), 2);
    }

    #[test]
    fn a_session_counts_from_its_first_offer_and_takes_what_was_written_meanwhile() {
        let mut world = World::new(10);
        world.append(0, 900);
        let why = CatchUpWhy {
            reason: CatchUpReason::LogPurged(PurgeCause::Bytes),
            had: Some(10),
            kept_from: 700,
            replay_bytes: None,
        };
        let again = world
            .episodes
            .session_began(world.now, Tally::default(), why);
        assert!(!again);
        world.pass(100);
        let first = Tally {
            rows_put: 5,
            received: 500,
            ..Tally::default()
        };
        assert!(
            world.episodes.session_began(world.now, first, why),
            "rows came before"
        );
        world.pass(100);
        world.episodes.install_took(Duration::from_millis(9));
        let second = Tally {
            rows_put: 7,
            received: 700,
            ..first
        };
        world.log = 900;
        let path = CatchUpPath::Delta;
        world.episodes.session_done(world.now, 900, &second);
        world.append(100, 1_200);
        world.append(200, 1_200);
        world.apply();
        world.append(10, 1_210);
        let last = world.episodes.last().unwrap();
        assert_eq!(
            (world.episodes.count(), last.path, last.entries),
            (1, path, 300)
        );
        assert_eq!((last.took.as_millis(), last.install.as_millis()), (200, 9));
        assert_eq!((last.rows_put, last.received_bytes), (7, 700));
    }

    #[test]
    fn the_sign_of_life_of_a_leader_that_offers_a_session_says_nothing() {
        let mut world = World::new(10);
        world.append(0, 900);
        let beat = Appended {
            at: world.now,
            had: Some(10),
            have: Some(10),
            committed: None,
            missed: 0,
            received: 1,
            sent: 1,
        };
        world.episodes.appended(AWAY, &beat);
        world.append(890, 900);
        world.apply();
        assert_eq!(world.episodes.count(), 1, "it is still returning");
    }
}
