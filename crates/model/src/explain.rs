//! How a search was answered.

use std::time::Duration;

use crate::group::Group;
use crate::ids::NodeId;
use crate::query::Hit;

/// What a search looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanKind {
    /// All points.
    Exact,
    /// The graph, and points not in it yet.
    Graph,
    /// All points that pass the filter, and few others.
    Matching,
    /// The inverted index of a sparse vector: all points that share an index with the query.
    Inverted,
}

impl PlanKind {
    /// The name users read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Graph => "graph",
            Self::Matching => "matching",
            Self::Inverted => "inverted",
        }
    }
}

/// The way one search went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPlan {
    /// What was looked at.
    pub kind: PlanKind,
    /// Length of the graph's list.
    pub ef: Option<u32>,
    /// Points that were not in the graph yet, and looked at one by one.
    pub unindexed: u64,
    /// Whether the graph was told the filter.
    pub filtered: bool,
    /// Whether a shorter list had found too little.
    pub widened: bool,
    /// How many points pass the filter, if payload indexes tell.
    pub matching: Option<u64>,
    /// Why the graph was not asked, in one word with underscores, such as `few_points`; empty if it was.
    pub reason: String,
    /// All of it in words, for people.
    pub text: String,
}

/// The hits of one search, and the way it went.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The hits, nearest first, equal scores by id.
    pub hits: Vec<Hit>,
    /// How they were found.
    pub plan: SearchPlan,
}

/// What a node says about a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// How it went.
    pub plan: SearchPlan,
    /// From the request's arrival to the result on that node, waiting included, to the microsecond; of a batch, for the
    /// whole of it.
    pub elapsed: Duration,
    /// The node that answered.
    pub node: NodeId,
}

/// The hits of one search, and what the node says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The hits, nearest first, equal scores by id.
    pub hits: Vec<Hit>,
    /// How they were found.
    pub explanation: Explanation,
}

/// The hits of several searches, fused, and what the node says about each.
#[derive(Clone, Debug, PartialEq)]
pub struct FusedExplained {
    /// The hits by fused score, highest first, equal scores by id.
    pub hits: Vec<Hit>,
    /// How each search was answered, in order; empty unless asked for.
    pub explanations: Vec<Explanation>,
}

/// The groups of a search, and what the node says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupedExplained {
    /// By their nearest hit; groups that share it by value.
    pub groups: Vec<Group>,
    /// How the groups were found, if asked for.
    pub explanation: Option<Explanation>,
}
