//! The views this node serves as leader. A view is open as long as its offer is; no longer, since every open view
//! costs the writer a copy of what it overwrites. What a follower needs of the log behind its view is remembered a
//! little longer, until it has come up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pando_model::NodeId;
use pando_replica::FrozenView;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::session::outgoing::Turn;

/// The open views by token.
pub(crate) struct Views {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Open>>,
    /// Followers that may still need the log behind the index of their last view.
    behind: Mutex<BTreeMap<NodeId, u64>>,
}

struct Open {
    view: Arc<FrozenView>,
    target: NodeId,
    closed: CancellationToken,
    /// Held as long as the view is open.
    turn: Turn,
    /// Whether it is of no more use once it was read to its end; else its offer says.
    once: bool,
}

/// Keeps a view open, unless another takes its place.
pub(crate) struct Lease {
    pub(crate) token: u64,
    closed: CancellationToken,
    views: Arc<Views>,
}

impl Lease {
    /// Resolves when the view is closed all the same.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

impl Views {
    /// No views yet. Tokens start at `seed`, which should differ from one run to the next.
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            next: AtomicU64::new(seed),
            open: Mutex::default(),
            behind: Mutex::default(),
        })
    }

    /// Opens a view for one follower, whose turn it is.
    pub(crate) fn open(
        self: &Arc<Self>,
        view: Arc<FrozenView>,
        target: NodeId,
        turn: Turn,
    ) -> Lease {
        let mut open = self.open.lock();
        self.insert(&mut open, (view, false), target, turn)
    }

    /// Opens a view for a follower in the place of those it has, whose streams end; it is closed when it was read to its
    /// end. The turn is theirs, or else `free` gives one; none if there is none.
    pub(crate) fn open_anew(
        self: &Arc<Self>,
        view: Arc<FrozenView>,
        target: NodeId,
        free: impl FnOnce() -> Option<Turn>,
    ) -> Option<Lease> {
        let mut open = self.open.lock();
        let earlier = open.extract_if(.., |_, open| open.target == target);
        let mut turn = None;
        for (_, earlier) in earlier {
            earlier.closed.cancel();
            turn = Some(earlier.turn);
        }
        let turn = turn.or_else(free)?;
        Some(self.insert(&mut open, (view, true), target, turn))
    }

    /// Notes that a follower has all of a view.
    pub(super) fn read_to_end(&self, token: u64) {
        let mut open = self.open.lock();
        if open.get(&token).is_some_and(|open| open.once)
            && let Some(read) = open.remove(&token)
        {
            read.closed.cancel();
        }
    }

    fn insert(
        self: &Arc<Self>,
        open: &mut BTreeMap<u64, Open>,
        (view, once): (Arc<FrozenView>, bool),
        target: NodeId,
        turn: Turn,
    ) -> Lease {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let closed = CancellationToken::new();
        self.behind.lock().insert(target, view.applied().index());
        let view = Open {
            view,
            target,
            closed: closed.clone(),
            turn,
            once,
        };
        open.insert(token, view);
        Lease {
            token,
            closed,
            views: Arc::clone(self),
        }
    }

    /// The view of a token, if it is open for this follower, and the sign that it is closed.
    pub(super) fn get(
        &self,
        token: u64,
        target: NodeId,
    ) -> Option<(Arc<FrozenView>, CancellationToken)> {
        let open = self.open.lock();
        let found = open.get(&token).filter(|open| open.target == target)?;
        Some((Arc::clone(&found.view), found.closed.clone()))
    }

    /// The last index of the log that no follower in a sync needs, or just behind one; none if there is no such
    /// follower. `needs` tells where a follower is that has not come up with the log yet.
    pub(crate) fn held(&self, needs: impl Fn(NodeId) -> Option<u64>) -> Option<u64> {
        let open: BTreeSet<NodeId> = self.open.lock().values().map(|open| open.target).collect();
        let mut behind = self.behind.lock();
        behind.retain(|follower, _| open.contains(follower) || needs(*follower).is_some());
        let place = |(follower, view): (&NodeId, &u64)| {
            // The log before its view it will never ask for.
            needs(*follower).unwrap_or_default().max(*view)
        };
        behind.iter().map(place).min()
    }

    /// Withdraws all of them: their streams end.
    pub(crate) fn withdraw_all(&self) {
        for open in self.open.lock().values() {
            open.closed.cancel();
        }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open.lock().len()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.views.open.lock().remove(&self.token);
        self.closed.cancel();
    }
}
