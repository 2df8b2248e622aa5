//! The leader offers a view to a follower, and waits until it is installed there.

use std::sync::Arc;

use pando_model::NodeId;
use pando_replica::FrozenView;
use pando_sync::Source;
use thiserror::Error;

use crate::address::NodeAddress;
use crate::log_book::Why;
use crate::session::outgoing::Turn;
use crate::session::views::Views;
use crate::session::{Accepted, Offer};
use crate::transport::{PeerRpc, Transport, TransportError};
use crate::types::{SnapshotMeta, Vote};
use crate::wire::{self, WireError};

/// An offer has no deadline of its own: while it stands, the follower's stream shows whether it makes progress, and a
/// broken connection ends the call. This bounds it all the same.
const OFFER_MAX: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Why an offer was not taken.
#[derive(Debug, Error)]
pub(crate) enum OfferError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// What is offered.
pub(crate) struct Offered {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) view: Arc<FrozenView>,
    pub(crate) why: Why,
    /// The right to serve it.
    pub(crate) turn: Turn,
}

/// Offers the view, serves it while the offer stands, and returns the follower's vote when it is installed.
pub(crate) async fn send_offer(
    views: &Arc<Views>,
    transport: &dyn Transport,
    (target, address): (NodeId, &NodeAddress),
    offered: Offered,
) -> Result<Vote, OfferError> {
    let Offered {
        vote,
        meta,
        view,
        why,
        turn,
    } = offered;
    let header = view.header().clone();
    let lease = views.open(view, target, turn);
    let body = wire::encode(&Offer {
        vote,
        meta,
        header,
        token: lease.token,
        why,
    })?;
    let answer = transport
        .call(target, address, PeerRpc::SnapshotOffer, body, OFFER_MAX)
        .await?;
    drop(lease);
    let accepted: Accepted = wire::decode(&answer)?;
    Ok(accepted.vote)
}
