//! The outcome of a comparison of all members.

use pando_model::NodeId;

use super::{all, fixed};
use crate::error::DecodeError;
use crate::report::{CollectionRoot, Quarantined, ReplicaRoot, Verdict, Verified, VerifyReport};
use crate::v1::{self, node_root};

impl From<VerifyReport> for v1::VerifyResponse {
    fn from(report: VerifyReport) -> Self {
        let node = |(node_id, result): (NodeId, Result<ReplicaRoot, String>)| v1::NodeRoot {
            node_id,
            result: Some(match result {
                Ok(root) => node_root::Result::Root(root.into()),
                Err(error) => node_root::Result::Error(error),
            }),
        };
        let (verdict, majority_root) = match report.verdict {
            Verdict::Equal { root } => (v1::Verdict::Equal, root.to_vec()),
            Verdict::Minority { root } => (v1::Verdict::Minority, root.to_vec()),
            Verdict::NoMajority => (v1::Verdict::NoMajority, Vec::new()),
            Verdict::Unknown => (v1::Verdict::Unknown, Vec::new()),
        };
        let minority = report.minority.into_iter().map(|found| v1::Quarantined {
            node_id: found.node,
            error: found.error.unwrap_or_default(),
            resigning: found.resigning,
        });
        Self {
            log_index: report.index,
            equal: report.equal,
            nodes: report.nodes.into_iter().map(node).collect(),
            verdict: verdict.into(),
            majority_root,
            minority: minority.collect(),
        }
    }
}

impl From<ReplicaRoot> for v1::ReplicaRoot {
    fn from(found: ReplicaRoot) -> Self {
        let collection = |found: CollectionRoot| v1::CollectionRoot {
            name: found.name,
            root: found.root.to_vec(),
            points: found.points,
        };
        Self {
            root: found.root.to_vec(),
            points: found.points,
            bytes: found.bytes,
            collections: found.collections.into_iter().map(collection).collect(),
        }
    }
}

impl TryFrom<v1::ReplicaRoot> for ReplicaRoot {
    type Error = DecodeError;

    fn try_from(wire: v1::ReplicaRoot) -> Result<Self, Self::Error> {
        let collection = |found: v1::CollectionRoot| {
            Ok(CollectionRoot {
                root: fixed("root", &found.root)?,
                name: found.name,
                points: found.points,
            })
        };
        Ok(Self {
            root: fixed("root", &wire.root)?,
            points: wire.points,
            bytes: wire.bytes,
            collections: all("collections", wire.collections, collection)?,
        })
    }
}

impl TryFrom<v1::VerifyResponse> for VerifyReport {
    type Error = DecodeError;

    fn try_from(wire: v1::VerifyResponse) -> Result<Self, Self::Error> {
        let node = |n: v1::NodeRoot| {
            let result = match n.result {
                Some(node_root::Result::Root(root)) => Ok(root.try_into()?),
                Some(node_root::Result::Error(error)) => Err(error),
                None => return Err(DecodeError::missing("result")),
            };
            Ok((n.node_id, result))
        };
        let root = || fixed("majority_root", &wire.majority_root);
        let verdict = match v1::Verdict::try_from(wire.verdict) {
            Ok(v1::Verdict::Equal) => Verdict::Equal { root: root()? },
            Ok(v1::Verdict::Minority) => Verdict::Minority { root: root()? },
            Ok(v1::Verdict::NoMajority) => Verdict::NoMajority,
            Ok(v1::Verdict::Unknown) => Verdict::Unknown,
            Ok(v1::Verdict::Unspecified) => return Err(DecodeError::missing("verdict")),
            Err(_) => {
                let reason = format!("unknown: {}", wire.verdict);
                return Err(DecodeError::malformed("verdict", reason));
            }
        };
        let minority = wire.minority.into_iter().map(|found| Quarantined {
            node: found.node_id,
            error: Some(found.error).filter(|error| !error.is_empty()),
            resigning: found.resigning,
        });
        Ok(Self {
            index: wire.log_index,
            equal: wire.equal,
            nodes: all("nodes", wire.nodes, node)?,
            verdict,
            minority: minority.collect(),
        })
    }
}

impl From<Verified> for v1::VerifiedStatus {
    fn from(last: Verified) -> Self {
        Self {
            log_index: last.log_index,
            at_ms: last.at_ms,
            no_majority: last.no_majority,
            divergences: last.divergences,
            compared_index: last.compared_index,
        }
    }
}

impl From<v1::VerifiedStatus> for Verified {
    fn from(wire: v1::VerifiedStatus) -> Self {
        Self {
            log_index: wire.log_index,
            at_ms: wire.at_ms,
            no_majority: wire.no_majority,
            divergences: wire.divergences,
            compared_index: wire.compared_index,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_round_trips() {
        let root = [7; 32];
        for verdict in [
            Verdict::Equal { root },
            Verdict::Minority { root },
            Verdict::NoMajority,
            Verdict::Unknown,
        ] {
            let collections = vec![CollectionRoot {
                name: "words".into(),
                root,
                points: 3,
            }];
            let found = ReplicaRoot {
                root,
                points: 3,
                bytes: 9,
                collections,
            };
            let report = VerifyReport {
                index: 17,
                equal: false,
                nodes: [(1, Ok(found)), (2, Err("gone".into()))].into(),
                verdict,
                minority: vec![Quarantined {
                    node: 3,
                    error: Some("not reached".into()),
                    resigning: true,
                }],
            };
            let wire = v1::VerifyResponse::from(report.clone());
            assert_eq!(VerifyReport::try_from(wire).expect("own message"), report);
            let json = serde_json::to_value(report.nodes[&1].clone()).expect("JSON");
            assert_eq!(json["Ok"]["root"], "07".repeat(32));
        }
    }

    #[test]
    fn a_reply_without_a_verdict_is_refused() {
        let wire = v1::VerifyResponse::default();
        let error = VerifyReport::try_from(wire).expect_err("no verdict");
        assert!(error.to_string().contains("verdict"), "{error}");
    }
}
