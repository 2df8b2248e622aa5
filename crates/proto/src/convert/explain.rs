//! How a search was answered.

use std::time::Duration;

use pando_model::{Explained, Explanation, Hit, PlanKind, SearchPlan};

use crate::error::DecodeError;
use crate::v1;

impl From<Explanation> for v1::Explanation {
    fn from(explanation: Explanation) -> Self {
        let Explanation {
            plan,
            elapsed,
            node,
        } = explanation;
        let kind = match plan.kind {
            PlanKind::Exact => v1::PlanKind::Exact,
            PlanKind::Graph => v1::PlanKind::Graph,
            PlanKind::Matching => v1::PlanKind::Matching,
            PlanKind::Inverted => v1::PlanKind::Inverted,
        };
        Self {
            kind: kind.into(),
            ef: plan.ef,
            unindexed: plan.unindexed,
            filtered: plan.filtered,
            widened: plan.widened,
            reason: plan.reason,
            text: plan.text,
            elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            node_id: node,
            matching: plan.matching,
        }
    }
}

impl TryFrom<v1::Explanation> for Explanation {
    type Error = DecodeError;

    fn try_from(wire: v1::Explanation) -> Result<Self, Self::Error> {
        let kind = match wire.kind() {
            v1::PlanKind::Exact => PlanKind::Exact,
            v1::PlanKind::Graph => PlanKind::Graph,
            v1::PlanKind::Matching => PlanKind::Matching,
            v1::PlanKind::Inverted => PlanKind::Inverted,
            v1::PlanKind::Unspecified => return Err(DecodeError::missing("kind")),
        };
        let plan = SearchPlan {
            kind,
            ef: wire.ef,
            unindexed: wire.unindexed,
            filtered: wire.filtered,
            widened: wire.widened,
            matching: wire.matching,
            reason: wire.reason,
            text: wire.text,
        };
        Ok(Self {
            plan,
            elapsed: Duration::from_micros(wire.elapsed_us),
            node: wire.node_id,
        })
    }
}

impl From<Explained> for v1::Hits {
    fn from(explained: Explained) -> Self {
        Self {
            explanation: Some(explained.explanation.into()),
            ..explained.hits.into()
        }
    }
}

impl TryFrom<v1::Hits> for Explained {
    type Error = DecodeError;

    fn try_from(wire: v1::Hits) -> Result<Self, Self::Error> {
        let explanation = (wire.explanation.clone())
            .ok_or_else(|| DecodeError::missing("explanation"))?
            .try_into()
            .map_err(DecodeError::within("explanation"))?;
        let hits = Vec::<Hit>::try_from(wire)?;
        Ok(Self { hits, explanation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_round_trip() {
        let plan = SearchPlan {
            kind: PlanKind::Graph,
            ef: Some(64),
            unindexed: 3,
            filtered: true,
            widened: false,
            matching: None,
            reason: String::new(),
            text: "graph, ef 64".into(),
        };
        let exact = SearchPlan {
            kind: PlanKind::Exact,
            ef: None,
            reason: "few_points".into(),
            widened: true,
            ..plan.clone()
        };
        let matching = SearchPlan {
            kind: PlanKind::Matching,
            matching: Some(17),
            ..exact.clone()
        };
        let inverted = SearchPlan {
            kind: PlanKind::Inverted,
            ..matching.clone()
        };
        for plan in [plan, exact, matching, inverted] {
            let explained = Explained {
                hits: Vec::new(),
                explanation: Explanation {
                    plan,
                    elapsed: Duration::from_micros(1_234_567),
                    node: 3,
                },
            };
            let wire = v1::Hits::from(explained.clone());
            assert_eq!(Explained::try_from(wire), Ok(explained));
        }
        let bare = v1::Hits::from(Vec::<Hit>::new());
        let error = Explained::try_from(bare).expect_err("nothing explained");
        assert_eq!(error, DecodeError::missing("explanation"));
    }
}
