//! What the index says about a search, in the words of the API. The only place that knows both.

use pando_index::{Plan, Why};
use pando_model::{PlanKind, SearchPlan};

/// The plan as users see it.
pub(super) fn describe(plan: Plan) -> SearchPlan {
    let text = plan.to_string();
    match plan {
        Plan::Exact(why) => SearchPlan {
            kind: PlanKind::Exact,
            ef: None,
            unindexed: 0,
            filtered: false,
            widened: false,
            matching: None,
            reason: reason(why).to_owned(),
            text,
        },
        Plan::Matching {
            points,
            doubts,
            why,
        } => SearchPlan {
            kind: PlanKind::Matching,
            ef: None,
            unindexed: 0,
            filtered: true,
            widened: false,
            matching: (doubts == 0).then_some(points as u64),
            reason: reason(why).to_owned(),
            text,
        },
        Plan::Graph {
            ef,
            unindexed,
            filtered,
            matching,
            widened,
        } => SearchPlan {
            kind: PlanKind::Graph,
            ef: u32::try_from(ef).ok(),
            unindexed: unindexed as u64,
            filtered,
            widened,
            matching: matching.map(|points| points as u64),
            reason: String::new(),
            text,
        },
        Plan::Inverted {
            postings: _,
            filtered,
            matching,
        } => SearchPlan {
            kind: PlanKind::Inverted,
            ef: None,
            unindexed: 0,
            filtered,
            widened: false,
            matching: matching.map(|points| points as u64),
            reason: String::new(),
            text,
        },
    }
}

/// One word, documented in `search.proto`, that never changes its meaning.
fn reason(why: Why) -> &'static str {
    match why {
        Why::Requested => "requested",
        Why::FewPoints => "few_points",
        Why::LongList => "long_list",
        Why::FewMatch => "few_match",
        Why::Backlog => "backlog",
        Why::TooFewFound => "too_few_found",
        Why::GraphFailed => "graph_failed",
        Why::Metric => "metric",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_told_in_full() {
        let plan = describe(Plan::Graph {
            ef: 128,
            unindexed: 7,
            filtered: true,
            matching: Some(900),
            widened: true,
        });
        let expected = SearchPlan {
            kind: PlanKind::Graph,
            ef: Some(128),
            unindexed: 7,
            filtered: true,
            widened: true,
            matching: Some(900),
            reason: String::new(),
            text: "filtered graph, ef 128, widened, 900 points match, and 7 points not in it yet"
                .to_owned(),
        };
        assert_eq!(plan, expected);
        let plan = describe(Plan::Inverted {
            postings: 12,
            filtered: true,
            matching: Some(3),
        });
        assert_eq!((plan.kind, plan.matching), (PlanKind::Inverted, Some(3)));
        assert_eq!(plan.text, "inverted index, 12 postings, 3 points match");
        let plan = describe(Plan::Exact(Why::FewMatch));
        assert_eq!((plan.kind, plan.ef), (PlanKind::Exact, None));
        assert_eq!(
            (plan.reason.as_str(), plan.text.as_str()),
            ("few_match", "exact scan: few points pass the filter")
        );
    }
}
