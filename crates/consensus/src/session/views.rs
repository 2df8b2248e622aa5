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
}

/// Keeps a view open.
pub(crate) struct Lease {
    pub(crate) token: u64,
    closed: CancellationToken,
    views: Arc<Views>,
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

    /// Opens a view for one follower.
    pub(crate) fn open(self: &Arc<Self>, view: Arc<FrozenView>, target: NodeId) -> Lease {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let closed = CancellationToken::new();
        self.behind.lock().insert(target, view.applied().index());
        let open = Open {
            view,
            target,
            closed: closed.clone(),
        };
        self.open.lock().insert(token, open);
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
