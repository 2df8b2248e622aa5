//! Calls and refusals as the wire names them and as the consensus layer does.
//!
//! The consensus layer knows fewer refusals: what the envelope refuses is all the same to it.

use pando_consensus::{PeerRpc, RefusalCode as Ours, TransportError};
use pando_proto::cluster_v1::{PeerRpc as WireRpc, RefusalCode as Wire};

use super::envelope::Refusal;

pub(super) fn to_wire(code: Ours) -> Wire {
    match code {
        Ours::Malformed => Wire::Malformed,
        Ours::Foreign => Wire::WrongNode,
        Ours::Busy => Wire::Busy,
        Ours::Stale => Wire::Stale,
        Ours::Failed => Wire::Internal,
        Ours::Stopped => Wire::Stopped,
    }
}

fn from_wire(code: Wire) -> Ours {
    match code {
        Wire::Malformed => Ours::Malformed,
        Wire::ForeignCluster
        | Wire::ProtocolVersion
        | Wire::WrongNode
        | Wire::NotInitialized
        | Wire::AlreadyInitialized => Ours::Foreign,
        Wire::Busy => Ours::Busy,
        Wire::Stale => Ours::Stale,
        Wire::Stopped => Ours::Stopped,
        Wire::Unspecified | Wire::Internal => Ours::Failed,
    }
}

pub(super) fn rpc_to_wire(rpc: PeerRpc) -> WireRpc {
    match rpc {
        PeerRpc::Append => WireRpc::Append,
        PeerRpc::Vote => WireRpc::Vote,
        PeerRpc::SnapshotOffer => WireRpc::SnapshotOffer,
        PeerRpc::Propose => WireRpc::Propose,
        PeerRpc::ReadIndex => WireRpc::ReadIndex,
        PeerRpc::Elect => WireRpc::Elect,
        PeerRpc::Report => WireRpc::Report,
        PeerRpc::Rows => WireRpc::Rows,
        PeerRpc::View => WireRpc::View,
        PeerRpc::Trust => WireRpc::Trust,
    }
}

pub(super) fn rpc_from_wire(rpc: WireRpc) -> Option<PeerRpc> {
    PeerRpc::ALL
        .into_iter()
        .find(|candidate| rpc_to_wire(*candidate) == rpc)
}

impl From<Refusal> for TransportError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            code: from_wire(refusal.code),
            reason: refusal.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_consensus_layer_says_survives_the_wire() {
        for code in [
            Ours::Malformed,
            Ours::Foreign,
            Ours::Busy,
            Ours::Stale,
            Ours::Failed,
            Ours::Stopped,
        ] {
            assert_eq!(from_wire(to_wire(code)), code);
        }
    }

    #[test]
    fn every_call_has_a_name_on_the_wire() {
        for rpc in PeerRpc::ALL {
            assert_eq!(rpc_from_wire(rpc_to_wire(rpc)), Some(rpc));
        }
        assert_eq!(rpc_from_wire(WireRpc::Unspecified), None);
    }
}
