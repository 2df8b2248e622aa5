//! The exact scan: looks at every point, so it is right by construction. The oracle of any other plan, and the
//! plan itself for small sets.
//!
//! Chunks of rows are shared out to the rayon pool. Within a chunk, all queries of a batch go over a tile of rows
//! while it is in the cache. Each part keeps its own best points; merging them gives the same result however the
//! work was divided.

use pando_model::{EncodedPayload, Filter, Metric, PointId, SearchQuery};
use rayon::prelude::*;

use crate::distance::score_rows;
use crate::slab::{Aligned, Chunk, Slab};
use crate::top::{Scored, Top};

/// Rows all queries go over before the next ones are fetched: well within a core's second-level cache.
const TILE_BYTES: usize = 128 << 10;
/// Below this many products, waking other threads costs more than it saves.
const PARALLEL_MIN: usize = 1 << 18;
/// Parts per thread: enough to even out, few enough that merging stays cheap.
const PARTS_PER_THREAD: usize = 4;
/// A part has this many rows for each hit it keeps, or filling its top is most of its work.
const ROWS_PER_HIT: usize = 8;
/// Queries that go over a tile together keep no more than this many hits, or their tops would not stay in the
/// cache. It bounds what a batch allocates, too.
const HITS_TOGETHER_MAX: usize = 16 << 10;

/// The points to be searched, by one of their vectors.
#[derive(Clone, Copy)]
pub(crate) struct Points<'a> {
    /// How vectors are compared.
    pub(crate) metric: Metric,
    /// The vectors.
    pub(crate) slab: &'a Slab,
    /// Ids by slot.
    pub(crate) ids: &'a [PointId],
    /// Payloads by slot.
    pub(crate) payloads: &'a [EncodedPayload],
}

/// The nearest points to each query, nearest first, equal scores by id. The queries are of the slab's dimension.
pub(crate) fn search(points: Points<'_>, queries: &[&SearchQuery]) -> Vec<Vec<Scored>> {
    let kept = |query: &&SearchQuery| keep(query).min(points.ids.len());
    let most = queries.iter().map(kept).max().unwrap_or(0).max(1);
    queries
        .chunks((HITS_TOGETHER_MAX / most).max(1))
        .flat_map(|together| search_together(points, together, most))
        .collect()
}

/// How many hits a query's top holds.
pub(crate) fn keep(query: &SearchQuery) -> usize {
    query.limit.saturating_add(query.offset)
}

fn search_together(points: Points<'_>, queries: &[&SearchQuery], most: usize) -> Vec<Vec<Scored>> {
    let batch = Batch::new(points, queries);
    let chunks = points.slab.chunks();
    let scan = |mut tops: Vec<Top>, (first, chunk): &(usize, &Chunk)| {
        batch.scan(*first, chunk, &mut tops);
        tops
    };
    let rows = points.ids.len();
    let tops = if rows * points.slab.dimension() * queries.len() < PARALLEL_MIN {
        chunks.iter().fold(batch.tops(), scan)
    } else {
        let threads = rayon::current_num_threads();
        let parts = (rows / (most * ROWS_PER_HIT)).clamp(threads, threads * PARTS_PER_THREAD);
        chunks
            .par_iter()
            .with_min_len(chunks.len().div_ceil(parts))
            .fold(|| batch.tops(), scan)
            .reduce(
                || batch.tops(),
                |mut tops, others| {
                    (tops.iter_mut().zip(others)).for_each(|(top, other)| top.merge(other));
                    tops
                },
            )
    };
    (tops.into_iter().zip(queries))
        .map(|(top, query)| top.into_hits(query.offset))
        .collect()
}

/// Queries by the same vector name, made ready.
struct Batch<'a> {
    points: Points<'a>,
    tile_rows: usize,
    queries: Vec<Prepared<'a>>,
    /// The different filters among the queries: each is evaluated at most once for a point.
    filters: Vec<&'a Filter>,
}

struct Prepared<'a> {
    query: &'a SearchQuery,
    vector: Aligned,
    /// Which of the batch's filters.
    filter: Option<usize>,
}

impl<'a> Batch<'a> {
    fn new(points: Points<'a>, queries: &[&'a SearchQuery]) -> Self {
        let mut filters: Vec<&Filter> = Vec::new();
        let mut prepare = |query: &'a SearchQuery| Prepared {
            query,
            vector: Aligned::copy_of(&query.vector),
            filter: query.filter.as_ref().map(|filter| {
                let known = filters.iter().position(|known| *known == filter);
                known.unwrap_or_else(|| {
                    filters.push(filter);
                    filters.len() - 1
                })
            }),
        };
        let queries = queries.iter().map(|query| prepare(query)).collect();
        let row_bytes = points.slab.dimension() * size_of::<f32>();
        Self {
            points,
            tile_rows: (TILE_BYTES / row_bytes).max(1),
            queries,
            filters,
        }
    }

    fn tops(&self) -> Vec<Top> {
        let top = |prepared: &Prepared<'_>| {
            let query = prepared.query;
            Top::new(self.points.metric, keep(query), query.score_threshold)
        };
        self.queries.iter().map(top).collect()
    }

    fn scan(&self, first: usize, chunk: &Chunk, tops: &mut [Top]) {
        let dimension = self.points.slab.dimension();
        let mut scores = Vec::new();
        for (i, rows) in chunk
            .values()
            .chunks(self.tile_rows * dimension)
            .enumerate()
        {
            // Past the last slot there is memory, but no point.
            let row = i * self.tile_rows;
            let left = self.points.ids.len().saturating_sub(first + row);
            let count = (rows.len() / dimension).min(left);
            let tile = Tile {
                chunk,
                row,
                slot: first + row,
                rows: &rows[..count * dimension],
                count,
            };
            let mut verdicts = Verdicts::new(self, tile);
            for (prepared, top) in self.queries.iter().zip(tops.iter_mut()) {
                self.scan_tile(tile, prepared, top, &mut verdicts, &mut scores);
            }
        }
    }

    /// Filters cost more than distances, so a filter is asked only about points that would enter the top. While
    /// the top takes anything that passes, that is every point: then the filter goes first and saves distances.
    fn scan_tile(
        &self,
        tile: Tile<'_>,
        prepared: &Prepared<'_>,
        top: &mut Top,
        verdicts: &mut Verdicts<'_>,
        scores: &mut Vec<f32>,
    ) {
        let Points { metric, ids, .. } = self.points;
        let vector = prepared.vector.as_slice();
        let mut next = 0;
        if let Some(filter) = prepared.filter
            && prepared.query.score_threshold.is_none()
        {
            while next < tile.count && !top.is_full() {
                if tile.has(next) && verdicts.passes(filter, next) {
                    let mut score = [0.0];
                    score_rows(metric, vector, tile.rows(next, 1), &mut score);
                    top.push(score[0], ids[tile.slot + next]);
                }
                next += 1;
            }
        }
        scores.resize(tile.count - next, 0.0);
        score_rows(metric, vector, tile.rows(next, scores.len()), scores);
        for (i, score) in (next..).zip(scores.iter().copied()) {
            if !top.may_enter(score) || !tile.has(i) {
                continue;
            }
            let id = ids[tile.slot + i];
            if top.would_enter(score, id)
                && prepared
                    .filter
                    .is_none_or(|filter| verdicts.passes(filter, i))
            {
                top.push(score, id);
            }
        }
    }
}

/// Some consecutive rows of a chunk.
#[derive(Clone, Copy)]
struct Tile<'a> {
    chunk: &'a Chunk,
    /// The first row, in the chunk.
    row: usize,
    /// Its slot.
    slot: usize,
    rows: &'a [f32],
    count: usize,
}

impl<'a> Tile<'a> {
    fn has(&self, i: usize) -> bool {
        self.chunk.has(self.row + i)
    }

    fn rows(&self, from: usize, count: usize) -> &'a [f32] {
        let dimension = self.rows.len() / self.count.max(1);
        &self.rows[from * dimension..][..count * dimension]
    }
}

/// What the filters of a batch said about the points of a tile.
struct Verdicts<'a> {
    points: Points<'a>,
    filters: &'a [&'a Filter],
    slot: usize,
    count: usize,
    /// By filter, then row; empty if there are no filters.
    known: Vec<Option<bool>>,
}

impl<'a> Verdicts<'a> {
    fn new(batch: &'a Batch<'a>, tile: Tile<'_>) -> Self {
        Self {
            points: batch.points,
            filters: &batch.filters,
            slot: tile.slot,
            count: tile.count,
            known: vec![None; batch.filters.len() * tile.count],
        }
    }

    fn passes(&mut self, filter: usize, i: usize) -> bool {
        let Points { ids, payloads, .. } = self.points;
        let slot = self.slot + i;
        *self.known[filter * self.count + i]
            .get_or_insert_with(|| self.filters[filter].matches(ids[slot], &payloads[slot]))
    }
}
