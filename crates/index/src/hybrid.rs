//! A search by the graph: what it finds, and what it does not know yet, scored anew from the vectors themselves.
//!
//! Scores are those of the exact scan to the last bit; the graph decides only which points are looked at. A row
//! that is no point's any more has no slot and drops out here.

use pando_model::SearchQuery;
use rayon::prelude::*;

use crate::distance::score_rows;
use crate::exact::{self, Points};
use crate::plan::{self, Plan, Situation, Why};
use crate::rows::Rows;
use crate::top::{Scored, Top};

/// Points of whose payloads a filter's share is estimated.
const SAMPLE: u64 = 1024;
/// Slots scored by one job.
const SLOTS_PER_JOB: usize = 2048;

/// The share of points that pass the query's filter, from a sample; `None` if none of it does.
pub(crate) fn share(points: Points<'_>, query: &SearchQuery) -> Option<f64> {
    let Some(filter) = &query.filter else {
        return Some(1.0);
    };
    let points_len = points.ids.len() as u64;
    let sample = points_len.min(SAMPLE);
    // Spread by multiplication: steps of equal length would see only every n-th of what is written in a pattern.
    let slot = |i: u64| {
        let spread = u128::from(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * u128::from(points_len);
        usize::try_from(spread >> 64).expect("below the number of points")
    };
    let passed = (0..sample)
        .map(slot)
        .filter(|slot| filter.matches(points.ids[*slot], &points.payloads[*slot]))
        .count();
    (passed > 0).then(|| passed as f64 / sample as f64)
}

/// The nearest points to a query, by the graph with a list of `ef`; or why that was not possible.
pub(crate) fn search(
    points: Points<'_>,
    rows: &Rows,
    query: &SearchQuery,
    situation: Situation,
    ef: usize,
) -> Result<(Vec<Scored>, Plan), Why> {
    let half = rows.form.convert(&query.vector).ok_or(Why::GraphFailed)?;
    let passes = |slot: usize| {
        let filter = query.filter.as_ref();
        filter.is_none_or(|filter| filter.matches(points.ids[slot], &points.payloads[slot]))
    };
    let accept = |row: u64| rows.slot(row).is_some_and(passes);
    let filtered = query.filter.is_some();
    let keep = exact::keep(query);
    let mut list = ef;
    loop {
        let accept: Option<&crate::graph::Accept<'_>> = filtered.then_some(&accept);
        let candidates = (rows.graph.search(&half, list, accept)).map_err(|_| Why::GraphFailed)?;
        let slots = |rows_of: &[u64]| {
            let mut slots: Vec<usize> = rows_of.iter().filter_map(|row| rows.slot(*row)).collect();
            slots.sort_unstable();
            slots.dedup();
            slots
        };
        let (found, unindexed) = (slots(&candidates.found), slots(&candidates.unindexed));
        // Under a filter twice as many: what just suffices may have been met by chance on the way to something else.
        let enough = match filtered {
            true => keep * 2,
            false => keep.min(situation.points.saturating_sub(unindexed.len())),
        };
        if found.len() < enough {
            list = plan::widen(list, situation).ok_or(Why::TooFewFound)?;
            continue;
        }
        let top = score(points, query, &unindexed, &passes);
        let top = top_of(points, query, &found, top, |_| true);
        let plan = Plan::Graph {
            ef: list,
            unindexed: unindexed.len(),
            filtered,
            widened: list > ef,
        };
        return Ok((top.into_hits(query.offset), plan));
    }
}

/// The best of many slots, on all cores if they are worth it.
fn score(
    points: Points<'_>,
    query: &SearchQuery,
    slots: &[usize],
    passes: &(impl Fn(usize) -> bool + Sync),
) -> Top {
    if slots.len() <= SLOTS_PER_JOB {
        return top_of(points, query, slots, empty(points, query), passes);
    }
    slots
        .par_chunks(SLOTS_PER_JOB)
        .map(|part| top_of(points, query, part, empty(points, query), passes))
        .reduce(
            || empty(points, query),
            |mut top, other| {
                top.merge(other);
                top
            },
        )
}

fn empty(points: Points<'_>, query: &SearchQuery) -> Top {
    Top::new(points.metric, exact::keep(query), query.score_threshold)
}

/// Adds to a top what of these slots passes and is near enough.
fn top_of(
    points: Points<'_>,
    query: &SearchQuery,
    slots: &[usize],
    mut top: Top,
    passes: impl Fn(usize) -> bool,
) -> Top {
    for slot in slots.iter().copied() {
        let Some(row) = points.slab.get(slot) else {
            continue;
        };
        let mut score = [0.0];
        score_rows(points.metric, &query.vector, row, &mut score);
        if top.would_enter(score[0], points.ids[slot]) && passes(slot) {
            top.push(score[0], points.ids[slot]);
        }
    }
    top
}
