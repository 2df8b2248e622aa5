//! A search by the graph: what it finds, and what it does not know yet, scored anew from the vectors themselves.
//!
//! Scores are those of the exact scan to the last bit; the graph decides only which points are looked at. Where the slab
//! is packed, those that may be among the hits are scored from their vectors themselves, as they are there. A row that
//! is no point's any more has no slot and drops out here.

use pando_model::SearchQuery;
use rayon::prelude::*;

use crate::band::Band;
use crate::distance::score_rows;
use crate::exact::{self, Points};
use crate::matching::Matching;
use crate::plan::{Choice, Plan, Why};
use crate::reach::Reach;
use crate::rows::Rows;
use crate::spread::Spreader;

/// Where the graph leaves no more candidates than the hits and this share of them, their vectors are asked at once.
const SPARE_SHARE: usize = 2;
/// Slots scored by one job.
const SLOTS_PER_JOB: usize = 2048;

/// What may be the hits of a query, all of them scored; they are settled by [`exact::settle`].
pub(crate) type Found = (Band, Plan);

/// What may be the nearest points to a query, by the graph with a list of `choice`; or why that was not possible.
/// `matching` are the points that pass the query's filter, if it has one.
pub(crate) fn search(
    points: Points<'_>,
    rows: &Rows,
    query: &SearchQuery,
    matching: Option<&Matching<'_>>,
    choice: Choice,
) -> Result<Found, Why> {
    let half = rows.form.pack(&query.vector).ok_or(Why::GraphFailed)?;
    let passes = |slot: usize| matching.is_none_or(|matching| matching.passes(slot));
    let accept = |row: u64| rows.slot(row).is_some_and(passes);
    let keep = exact::keep(query);
    let reach = Reach::new(points.metric, rows.graph.params().coding, &half);
    let mut list = choice.ef;
    loop {
        let accept: Option<&crate::graph::Accept<'_>> = matching.is_some().then_some(&accept);
        let candidates = (rows.graph.search(&half, list, accept)).map_err(|_| Why::GraphFailed)?;
        let mut unindexed: Vec<usize> = (candidates.unindexed.iter())
            .filter_map(|row| rows.slot(*row))
            .collect();
        unindexed.sort_unstable();
        // Under a filter twice as many: what just suffices may have been met by chance on the way to something else.
        let enough = match matching {
            Some(matching) => (keep * 2).min(matching.candidates_len()),
            None => keep.min(choice.points.saturating_sub(unindexed.len())),
        };
        // A row that is just being indexed is in both, and no point may come twice.
        let slot_of = |row| rows.slot(row);
        let found = reach.slots(&candidates.found, slot_of, &unindexed, (keep, enough));
        if found.len() < enough {
            list = choice.widen(list).ok_or(Why::TooFewFound)?;
            continue;
        }
        let mut band = score(points, query, &unindexed, &passes);
        if points.slab.is_packed() && found.len() <= keep + keep / SPARE_SHARE {
            // The graph has told more than packed rows would.
            for slot in found {
                band.push_unscored(points.ids[slot], slot);
            }
        } else {
            band = band_of(points, query, &found, band, |_| true);
        }
        let plan = Plan::Graph {
            ef: list,
            unindexed: unindexed.len(),
            filtered: matching.is_some(),
            matching: matching.and_then(Matching::exact_len),
            widened: list > choice.ef,
        };
        return Ok((band, plan));
    }
}

/// What may be the nearest of the points that pass a filter, by looking at all of those that may.
pub(crate) fn scan(
    points: Points<'_>,
    query: &SearchQuery,
    matching: &Matching<'_>,
    why: Why,
) -> Found {
    let slots = matching.candidates();
    let band = score(points, query, &slots, &|slot| matching.passes(slot));
    let plan = Plan::Matching {
        points: slots.len(),
        doubts: matching.doubts(),
        why,
    };
    (band, plan)
}

/// The best of many slots, on all cores if they are worth it.
fn score(
    points: Points<'_>,
    query: &SearchQuery,
    slots: &[usize],
    passes: &(impl Fn(usize) -> bool + Sync),
) -> Band {
    let empty = || exact::empty(points, query);
    if slots.len() <= SLOTS_PER_JOB {
        return band_of(points, query, slots, empty(), passes);
    }
    slots
        .par_chunks(SLOTS_PER_JOB)
        .filter(|_| points.originals.is_waited_for())
        .map(|part| band_of(points, query, part, empty(), passes))
        .reduce(empty, |mut band, other| {
            band.merge(other);
            band
        })
}

/// Adds to a band what of these slots passes and may be near enough.
fn band_of(
    points: Points<'_>,
    query: &SearchQuery,
    slots: &[usize],
    mut band: Band,
    passes: impl Fn(usize) -> bool,
) -> Band {
    if slots.is_empty() {
        return band;
    }
    let spreader = Spreader::new(points.metric, &query.vector);
    let mut scratch = Vec::new();
    for slot in slots.iter().copied() {
        let Some((row, bound)) = points.slab.get(slot, &mut scratch) else {
            continue;
        };
        let mut score = [0.0];
        score_rows(points.metric, &query.vector, row, &mut score);
        let spread = spreader.spread(score[0], bound);
        if band.would_enter(spread, points.ids[slot]) && passes(slot) {
            band.push(spread, points.ids[slot], slot);
        }
    }
    band
}
