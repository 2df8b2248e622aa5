//! How a search is answered: by a scan of everything, of what passes the filter, or by the graph.
//!
//! The graph is worth it while it looks at fewer rows than a scan. How many it looks at goes with the length of its
//! list, and the list has to be longer the fewer points pass a filter: the nearest that pass must be on it. Payload
//! indexes tell how many do, and which: where they are few, those are scanned and nothing else. What the indexes do
//! not tell is estimated from a sample, and what the estimate gets wrong is noticed and made good afterwards.

use std::fmt;

use pando_model::SearchQuery;

use crate::matching::Passing;

/// What a graph search costs for each item of its list, in rows of a scan.
const ROWS_PER_ITEM: usize = 24;
/// The same where every node that is met is looked up in the payload indexes. An estimate between the other two, not
/// measured yet; `examples/recall.rs` tells whether it fits.
const ROWS_PER_INDEXED_ITEM: usize = 32;
/// The same where a filter is asked about the payload of every node that is met.
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
    /// All points that pass the filter were looked at, and few others.
    Matching {
        /// How many were looked at.
        points: usize,
        /// Those of them of which payload indexes did not tell whether they pass.
        doubts: usize,
        /// Why the graph was not asked.
        why: Why,
    },
    /// The graph was asked, and points not in it were looked at.
    Graph {
        /// Length of its list.
        ef: usize,
        /// Points that were not in it yet.
        unindexed: usize,
        /// Whether it was told the filter.
        filtered: bool,
        /// How many points pass the filter, if payload indexes tell.
        matching: Option<usize>,
        /// Whether a shorter list had found too little.
        widened: bool,
    },
    /// All points that share an index with a sparse query were looked at.
    Inverted {
        /// How many entries of the inverted index were added up.
        postings: usize,
        /// Whether there was a filter.
        filtered: bool,
        /// How many points pass it, if payload indexes tell.
        matching: Option<usize>,
    },
}

/// Why the graph was not asked.
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
    /// There are no graphs for this metric.
    Metric,
}

/// A number with a comma before every three digits.
struct Grouped(usize);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n < 1000 => write!(f, "{n}"),
            n => write!(f, "{},{:03}", Self(n / 1000), n % 1000),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exact(why) => write!(f, "exact scan: {why}"),
            Self::Matching {
                points,
                doubts: 0,
                why,
            } => write!(
                f,
                "exact scan of {} matching points: {why}",
                Grouped(points)
            ),
            Self::Matching {
                points,
                doubts,
                why,
            } => write!(
                f,
                "exact scan of {} points, of which {} had to be asked whether they match: {why}",
                Grouped(points),
                Grouped(doubts)
            ),
            Self::Graph {
                ef,
                unindexed,
                filtered,
                matching,
                widened,
            } => {
                f.write_str(if filtered { "filtered graph" } else { "graph" })?;
                write!(f, ", ef {ef}")?;
                f.write_str(if widened { ", widened" } else { "" })?;
                if let Some(matching) = matching {
                    write!(f, ", {} points match", Grouped(matching))?;
                }
                match unindexed {
                    0 => Ok(()),
                    n => write!(f, ", and {} points not in it yet", Grouped(n)),
                }
            }
            Self::Inverted {
                postings, matching, ..
            } => {
                write!(f, "inverted index, {} postings", Grouped(postings))?;
                matching.map_or(Ok(()), |n| write!(f, ", {} points match", Grouped(n)))
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
            Self::Metric => "there are no graphs for this metric",
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
    /// How many times longer a list is where the query does not say, for what the graph's rows do not tell.
    pub(crate) oversampling: usize,
}

/// A search by the graph, and what it is weighed against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The length of the list.
    pub(crate) ef: usize,
    /// Points with such a vector.
    pub(crate) points: usize,
    rows_per_item: usize,
    /// Rows that a scan would look at.
    scanned: usize,
}

impl Choice {
    /// What it costs, in rows of a scan.
    pub(crate) fn rows(&self) -> usize {
        self.ef.saturating_mul(self.rows_per_item)
    }

    fn is_worth_it(&self) -> bool {
        self.ef <= EF_MAX && self.rows() < self.scanned
    }

    /// The list for another try, if that is worth it.
    pub(crate) fn widen(&self, list: usize) -> Option<usize> {
        let wider = Self {
            ef: list * 4,
            ..*self
        };
        wider.is_worth_it().then_some(wider.ef)
    }
}

/// How to search the graph, or why to scan. `passing` tells how many points pass the query's filter, if it has one.
pub(crate) fn choose(
    query: &SearchQuery,
    situation: Situation,
    passing: impl FnOnce() -> Option<Passing>,
) -> Result<Choice, Why> {
    let Situation {
        points,
        ef,
        oversampling,
        ..
    } = situation;
    if query.exact {
        return Err(Why::Requested);
    }
    let unindexed = situation.unindexed.ok_or(Why::FewPoints)?;
    if unindexed > points / 4 {
        return Err(Why::Backlog);
    }
    let keep = query.limit.saturating_add(query.offset);
    let ef = match (query.ef, query.oversampling) {
        (Some(ef), None) => (ef as usize).max(keep),
        (None, None) => ef
            .max(keep.saturating_mul(LIST_PER_HIT))
            .saturating_mul(oversampling),
        (asked, Some(times)) => asked.map_or(ef, |ef| ef as usize).max(scaled(keep, times)),
    };
    let unfiltered = Choice {
        ef,
        points,
        rows_per_item: ROWS_PER_ITEM,
        scanned: points,
    };
    if query.filter.is_none() {
        return Some(unfiltered)
            .filter(Choice::is_worth_it)
            .ok_or(Why::LongList);
    }
    let passing = passing().ok_or(Why::FewMatch)?;
    let per_hit = (query.oversampling).unwrap_or((LIST_PER_FILTERED_HIT * oversampling) as f32);
    let ef = ef.max(scaled(keep, f64::from(per_hit) / passing.share));
    let filtered = Choice {
        ef,
        rows_per_item: match passing.doubts {
            0 => ROWS_PER_INDEXED_ITEM,
            _ => ROWS_PER_FILTERED_ITEM,
        },
        scanned: passing.candidates.min(points),
        ..unfiltered
    };
    Some(filtered)
        .filter(Choice::is_worth_it)
        .ok_or(Why::FewMatch)
}

/// So many times as many, rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive, and cut off where it is too large"
)]
fn scaled(count: usize, times: impl Into<f64>) -> usize {
    (count as f64 * times.into()).ceil() as usize
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
            oversampling: 1,
        }
    }

    fn unfiltered(query: &SearchQuery, situation: Situation) -> Result<usize, Why> {
        let choice = choose(query, situation, || panic!("no filter, no estimate"));
        choice.map(|choice| choice.ef)
    }

    #[test]
    fn the_graph_is_asked_where_it_saves_work() {
        let many = situation(100_000, Some(0));
        assert_eq!(unfiltered(&query(10, None), many), Ok(64));
        assert_eq!(unfiltered(&query(100, None), many), Ok(200));
        assert_eq!(unfiltered(&query(10, Some(16)), many), Ok(16));
        let coarse = Situation {
            oversampling: 3,
            ..many
        };
        assert_eq!(unfiltered(&query(10, None), coarse), Ok(192));
        assert_eq!(unfiltered(&query(100, None), coarse), Ok(600));
        assert_eq!(unfiltered(&query(10, Some(16)), coarse), Ok(16));
        let times = |ef, times| SearchQuery {
            oversampling: Some(times),
            ..query(10, ef)
        };
        assert_eq!(unfiltered(&times(None, 8.0), coarse), Ok(80));
        assert_eq!(unfiltered(&times(None, 2.0), coarse), Ok(64));
        assert_eq!(unfiltered(&times(Some(16), 2.55), coarse), Ok(26));
        assert_eq!(unfiltered(&times(Some(16), 1.0), coarse), Ok(16));
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

    fn filtered(points: usize, passing: Option<Passing>) -> Result<Choice, Why> {
        let query = SearchQuery {
            filter: Some(Filter::default()),
            ..query(10, None)
        };
        choose(&query, situation(points, Some(0)), || passing)
    }

    #[test]
    fn the_fewer_pass_the_longer_the_list() {
        let choose = |points, share| {
            let passing = Passing {
                share,
                candidates: points,
                doubts: points,
            };
            filtered(points, Some(passing)).map(|choice| choice.ef)
        };
        assert_eq!(choose(100_000, 0.5), Ok(80));
        assert_eq!(choose(100_000, 0.1), Ok(400));
        assert_eq!(choose(100_000, 0.01), Err(Why::FewMatch));
        assert_eq!(choose(1_000_000, 0.01), Ok(4000));
        assert_eq!(
            choose(1_000_000_000, 0.001),
            Err(Why::FewMatch),
            "no endless lists"
        );
        assert_eq!(filtered(1_000_000_000, None), Err(Why::FewMatch));
    }

    #[test]
    fn what_passes_is_scanned_if_that_is_less_work_than_the_graph() {
        let choose = |points: usize, candidates: usize| {
            let passing = Passing {
                share: candidates as f64 / points as f64,
                candidates,
                doubts: 0,
            };
            filtered(points, Some(passing))
        };
        assert_eq!(choose(100_000, 1000), Err(Why::FewMatch));
        assert_eq!(choose(1_000_000, 10_000), Err(Why::FewMatch));
        let half = choose(100_000, 50_000).expect("worth it");
        assert_eq!(half.ef, 80);
        assert_eq!(half.widen(80), Some(320));
        assert_eq!(half.widen(3200), None, "longer than the scan");
    }

    #[test]
    fn plans_read_like_sentences() {
        let plan = Plan::Graph {
            ef: 64,
            unindexed: 3,
            filtered: true,
            matching: Some(1_234_567),
            widened: false,
        };
        assert_eq!(
            plan.to_string(),
            "filtered graph, ef 64, 1,234,567 points match, and 3 points not in it yet"
        );
        assert_eq!(
            Plan::Exact(Why::FewPoints).to_string(),
            "exact scan: few points"
        );
        let matching = |doubts| Plan::Matching {
            points: 1156,
            doubts,
            why: Why::FewMatch,
        };
        assert_eq!(
            matching(0).to_string(),
            "exact scan of 1,156 matching points: few points pass the filter"
        );
        let inverted = |matching| Plan::Inverted {
            postings: 4321,
            filtered: true,
            matching,
        };
        assert_eq!(inverted(None).to_string(), "inverted index, 4,321 postings");
        assert_eq!(
            inverted(Some(17)).to_string(),
            "inverted index, 4,321 postings, 17 points match"
        );
        assert_eq!(
            matching(20).to_string(),
            "exact scan of 1,156 points, of which 20 had to be asked whether they match: few points pass the filter"
        );
    }
}
