//! How a search is answered: by a scan of everything, or by the graph.
//!
//! The graph is worth it while it looks at fewer rows than there are. How many it looks at goes with the length of
//! its list, and the list has to be longer the fewer points pass a filter: the nearest that pass must be on it.
//! That share is estimated from a sample, and what the estimate gets wrong is noticed and made good afterwards.

use std::fmt;

use pando_model::SearchQuery;

/// What a graph search costs for each item of its list, in rows of a scan.
const ROWS_PER_ITEM: usize = 24;
/// The same where a filter is asked about every node that is met.
const ROWS_PER_FILTERED_ITEM: usize = 64;
/// A longer list than this is a scan by other means.
const EF_MAX: usize = pando_model::limits::EF_MAX as usize;
/// A list is this much longer than what is to be found by it.
const LIST_PER_HIT: usize = 2;
/// The same for hits that pass a filter.
const LIST_PER_FILTERED_HIT: usize = 4;

/// How a search was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// All points were looked at.
    Exact(Why),
    /// The graph was asked, and points not in it were looked at.
    Graph {
        /// Length of its list.
        ef: usize,
        /// Points that were not in it yet.
        unindexed: usize,
        /// Whether it was told the filter.
        filtered: bool,
        /// Whether a shorter list had found too little.
        widened: bool,
    },
}

/// Why all points were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The query asked for it.
    Requested,
    /// There are too few points for a graph.
    FewPoints,
    /// So many hits or so long a list were asked for that the graph saves nothing.
    LongList,
    /// So few points pass the filter that the graph saves nothing.
    FewMatch,
    /// Much of what there is, is not in the graph yet.
    Backlog,
    /// The graph found too little.
    TooFewFound,
    /// The graph could not take the query, or failed.
    GraphFailed,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(why) => write!(f, "exact scan: {why}"),
            Self::Graph {
                ef,
                unindexed,
                filtered,
                widened,
            } => {
                f.write_str(if *filtered { "filtered graph" } else { "graph" })?;
                write!(f, ", ef {ef}")?;
                f.write_str(if *widened { ", widened" } else { "" })?;
                match unindexed {
                    0 => Ok(()),
                    n => write!(f, ", and {n} points not in it yet"),
                }
            }
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "asked for",
            Self::FewPoints => "few points",
            Self::LongList => "a long list was asked for",
            Self::FewMatch => "few points pass the filter",
            Self::Backlog => "much is not in the graph yet",
            Self::TooFewFound => "the graph found too little",
            Self::GraphFailed => "the graph failed",
        })
    }
}

/// What there is to search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    /// Points with such a vector.
    pub(crate) points: usize,
    /// Those of them that are not in the graph, if there is one.
    pub(crate) unindexed: Option<usize>,
    /// List size if the query names none.
    pub(crate) ef: usize,
}

/// The length of the list to search the graph with, or why to scan. `share` tells which share of the points passes
/// the query's filter.
pub(crate) fn choose(
    query: &SearchQuery,
    situation: Situation,
    share: impl FnOnce() -> Option<f64>,
) -> Result<usize, Why> {
    let Situation { points, ef, .. } = situation;
    if query.exact {
        return Err(Why::Requested);
    }
    let unindexed = situation.unindexed.ok_or(Why::FewPoints)?;
    if unindexed > points / 4 {
        return Err(Why::Backlog);
    }
    let keep = query.limit.saturating_add(query.offset);
    let ef = match query.ef {
        Some(ef) => (ef as usize).max(keep),
        None => ef.max(keep.saturating_mul(LIST_PER_HIT)),
    };
    let within = |ef: usize, rows: usize| ef <= EF_MAX && ef.saturating_mul(rows) < points;
    if query.filter.is_none() {
        return within(ef, ROWS_PER_ITEM).then_some(ef).ok_or(Why::LongList);
    }
    let share = share().ok_or(Why::FewMatch)?;
    let needed = keep.saturating_mul(LIST_PER_FILTERED_HIT) as f64 / share;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and cut off where it is too large"
    )]
    let ef = ef.max(needed.ceil() as usize);
    within(ef, ROWS_PER_FILTERED_ITEM)
        .then_some(ef)
        .ok_or(Why::FewMatch)
}

/// The list for another try, if that is worth it.
pub(crate) fn widen(ef: usize, situation: Situation) -> Option<usize> {
    let wider = ef * 4;
    (wider <= EF_MAX && wider * ROWS_PER_FILTERED_ITEM < situation.points).then_some(wider)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pando_model::Filter;

    fn query(limit: usize, ef: Option<u32>) -> SearchQuery {
        SearchQuery {
            ef,
            ..SearchQuery::new(vec![1.0], limit)
        }
    }

    fn situation(points: usize, unindexed: Option<usize>) -> Situation {
        Situation {
            points,
            unindexed,
            ef: 64,
        }
    }

    fn unfiltered(query: &SearchQuery, situation: Situation) -> Result<usize, Why> {
        choose(query, situation, || panic!("no filter, no estimate"))
    }

    #[test]
    fn the_graph_is_asked_where_it_saves_work() {
        let many = situation(100_000, Some(0));
        assert_eq!(unfiltered(&query(10, None), many), Ok(64));
        assert_eq!(unfiltered(&query(100, None), many), Ok(200));
        assert_eq!(unfiltered(&query(10, Some(16)), many), Ok(16));
        assert_eq!(
            unfiltered(&query(10, Some(4)), many),
            Ok(10),
            "a list holds its hits"
        );
        assert_eq!(unfiltered(&query(10_000, None), many), Err(Why::LongList));
        assert_eq!(
            unfiltered(&query(10, None), situation(100_000, Some(30_000))),
            Err(Why::Backlog)
        );
        assert_eq!(
            unfiltered(&query(10, None), situation(100_000, None)),
            Err(Why::FewPoints)
        );
        let exact = SearchQuery {
            exact: true,
            ..query(10, None)
        };
        assert_eq!(unfiltered(&exact, many), Err(Why::Requested));
    }

    #[test]
    fn the_fewer_pass_the_longer_the_list() {
        let filtered = SearchQuery {
            filter: Some(Filter::default()),
            ..query(10, None)
        };
        let choose = |points, share| choose(&filtered, situation(points, Some(0)), || share);
        assert_eq!(choose(100_000, Some(0.5)), Ok(80));
        assert_eq!(choose(100_000, Some(0.1)), Ok(400));
        assert_eq!(choose(100_000, Some(0.01)), Err(Why::FewMatch));
        assert_eq!(choose(1_000_000, Some(0.01)), Ok(4000));
        assert_eq!(
            choose(1_000_000_000, Some(0.001)),
            Err(Why::FewMatch),
            "no endless lists"
        );
        assert_eq!(choose(1_000_000_000, None), Err(Why::FewMatch));
    }

    #[test]
    fn plans_read_like_sentences() {
        let plan = Plan::Graph {
            ef: 64,
            unindexed: 3,
            filtered: true,
            widened: false,
        };
        assert_eq!(
            plan.to_string(),
            "filtered graph, ef 64, and 3 points not in it yet"
        );
        assert_eq!(
            Plan::Exact(Why::FewPoints).to_string(),
            "exact scan: few points"
        );
    }
}
