//! What a comparison came to, for the wire.

use pando_consensus as consensus;
use pando_model::CheckReport;
use pando_proto::{CollectionRoot, Quarantined, ReplicaRoot, Verdict, VerifyReport};

/// The comparison as clients are told of it.
pub(super) fn report(found: consensus::VerifyReport) -> VerifyReport {
    let told = |id| {
        let told = found.quarantined.iter().find(|(node, _)| *node == id);
        told.and_then(|(_, told)| told.clone().err())
    };
    let minority = found.verdict.minority().map(|node| Quarantined {
        node,
        error: told(node),
        resigning: found.resigning && !found.quarantined.iter().any(|(id, _)| *id == node),
    });
    let minority = minority.collect();
    let verdict = match found.verdict {
        consensus::Verdict::Equal { root } => Verdict::Equal { root },
        consensus::Verdict::Minority { root, .. } => Verdict::Minority { root },
        consensus::Verdict::NoMajority { .. } => Verdict::NoMajority,
        consensus::Verdict::Unknown { .. } => Verdict::Unknown,
    };
    let nodes = found.nodes.into_iter();
    VerifyReport {
        index: found.index,
        equal: found.equal,
        nodes: nodes.map(|(id, check)| (id, check.map(root))).collect(),
        verdict,
        minority,
    }
}

fn root(check: CheckReport) -> ReplicaRoot {
    let collections = check.collections.into_iter();
    let collections = collections.map(|found| CollectionRoot {
        name: found.name.to_string(),
        root: found.root,
        points: found.points,
    });
    ReplicaRoot {
        root: check.root,
        points: check.points,
        bytes: check.bytes,
        collections: collections.collect(),
    }
}
