//! The exact scan: looks at every point, so it is right by construction. The oracle of any other plan, and the
//! plan itself for small sets.
//!
//! Chunks of rows are shared out to the rayon pool. Within a chunk, all queries of a batch go over a tile of rows
//! while it is in the cache. Each part keeps its own best points; merging them gives the same result however the
//! work was divided.
//!
//! Rows of a packed slab are unpacked tile by tile. What they have lost makes their scores uncertain by as much as a
//! bound says; the few points that may be among the best for all that is known are scored from their vectors
//! themselves in the end ([`Band`]). So hits and scores are those of the vectors, to the last bit.

use pando_model::{EncodedPayload, Filter, Metric, PointId, SearchQuery, Stamp, VectorName};
use rayon::prelude::*;

use crate::aligned::Aligned;
use crate::band::Band;
use crate::distance::score_rows;
use crate::originals::{self, Originals, SearchError};
use crate::slab::{self, Chunk, Slab};
use crate::spread::{Spread, Spreader};
use crate::top::Scored;

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
    /// Which of their vectors.
    pub(crate) name: &'a VectorName,
    /// Where the vectors themselves are.
    pub(crate) originals: &'a dyn Originals,
    /// The vectors as they are kept.
    pub(crate) slab: &'a Slab,
    /// Ids by slot.
    pub(crate) ids: &'a [PointId],
    /// Versions by slot.
    pub(crate) versions: &'a [Stamp],
    /// What no other version has, by slot.
    pub(crate) numbers: &'a [u64],
    /// Payloads by slot.
    pub(crate) payloads: &'a [EncodedPayload],
}

/// The nearest points to each query, nearest first, equal scores by id. The queries are of the slab's dimension.
pub(crate) fn search(
    points: Points<'_>,
    queries: &[&SearchQuery],
) -> Result<Vec<Vec<Scored>>, SearchError> {
    let kept = |query: &&SearchQuery| keep(query).min(points.ids.len());
    let most = queries.iter().map(kept).max().unwrap_or(0).max(1);
    let mut hits = Vec::with_capacity(queries.len());
    for together in queries.chunks((HITS_TOGETHER_MAX / most).max(1)) {
        let bands = search_together(points, together, most);
        originals::check(points.originals)?;
        for (band, query) in bands.into_iter().zip(together) {
            hits.push(settle(points, query, band)?);
        }
    }
    Ok(hits)
}

/// The hits of a query among what may belong to them.
pub(crate) fn settle(
    points: Points<'_>,
    query: &SearchQuery,
    band: Band,
) -> Result<Vec<Scored>, SearchError> {
    let top = band.settle(|slot| originals::score(points, &query.vector, slot))?;
    Ok(top.into_hits(query.offset))
}

/// How many hits a query's top holds.
pub(crate) fn keep(query: &SearchQuery) -> usize {
    query.limit.saturating_add(query.offset)
}

/// What may be among the hits of a query, before anything is known of it.
pub(crate) fn empty(points: Points<'_>, query: &SearchQuery) -> Band {
    Band::new(points.metric, keep(query), query.score_threshold)
}

fn search_together(points: Points<'_>, queries: &[&SearchQuery], most: usize) -> Vec<Band> {
    let batch = Batch::new(points, queries);
    let chunks = points.slab.chunks();
    let scan = |mut part: Part, chunk: &(usize, &Chunk)| {
        if points.originals.is_waited_for() {
            batch.scan(*chunk, &mut part);
        }
        part
    };
    let rows = points.ids.len();
    if rows * points.slab.dimension() * queries.len() < PARALLEL_MIN {
        return chunks.iter().fold(batch.part(), scan).bands;
    }
    let threads = rayon::current_num_threads();
    let parts = (rows / (most * ROWS_PER_HIT)).clamp(threads, threads * PARTS_PER_THREAD);
    chunks
        .par_iter()
        .with_min_len(chunks.len().div_ceil(parts))
        .fold(|| batch.part(), scan)
        .map(|part| part.bands)
        .reduce(
            || batch.bands(),
            |mut bands, others| {
                (bands.iter_mut().zip(others)).for_each(|(band, other)| band.merge(other));
                bands
            },
        )
}

/// What one part of the scan has found, and room for its work.
struct Part {
    bands: Vec<Band>,
    unpacked: Aligned,
    scores: Vec<f32>,
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
    spreader: Spreader,
    /// Which of the batch's filters.
    filter: Option<usize>,
}

impl<'a> Batch<'a> {
    fn new(points: Points<'a>, queries: &[&'a SearchQuery]) -> Self {
        let mut filters: Vec<&Filter> = Vec::new();
        let mut prepare = |query: &'a SearchQuery| Prepared {
            query,
            vector: Aligned::copy_of(&query.vector),
            spreader: Spreader::new(points.metric, &query.vector),
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

    fn bands(&self) -> Vec<Band> {
        let queries = self.queries.iter();
        queries.map(|it| empty(self.points, it.query)).collect()
    }

    fn part(&self) -> Part {
        Part {
            bands: self.bands(),
            unpacked: Aligned::zeros(0),
            scores: Vec::new(),
        }
    }

    fn scan(&self, (first, chunk): (usize, &Chunk), part: &mut Part) {
        let slab = self.points.slab;
        // Past the last slot there is memory, but no point.
        let left = self.points.ids.len().saturating_sub(first);
        let rows = chunk.rows(slab.dimension()).min(left);
        for row in (0..rows).step_by(self.tile_rows) {
            let count = self.tile_rows.min(rows - row);
            let tile = Tile {
                chunk,
                row,
                slot: first + row,
                rows: slab.tile((first, chunk), row, count, &mut part.unpacked),
                count,
            };
            let mut verdicts = Verdicts::new(self, tile);
            for (prepared, band) in self.queries.iter().zip(part.bands.iter_mut()) {
                scan_tile(
                    self.points,
                    tile,
                    prepared,
                    band,
                    &mut verdicts,
                    &mut part.scores,
                );
            }
        }
    }
}

/// Filters cost more than distances, so a filter is asked only about points that may be among the nearest. While that is
/// whatever passes, the filter goes first and saves distances.
fn scan_tile(
    Points { metric, ids, .. }: Points<'_>,
    tile: Tile<'_>,
    prepared: &Prepared<'_>,
    band: &mut Band,
    verdicts: &mut Verdicts<'_>,
    scores: &mut Vec<f32>,
) {
    let vector = prepared.vector.as_slice();
    let mut next = 0;
    if let Some(filter) = prepared.filter
        && prepared.query.score_threshold.is_none()
    {
        while next < tile.count && !band.is_full() {
            if tile.has(next) && verdicts.passes(filter, next) {
                let mut score = [0.0];
                score_rows(metric, vector, tile.rows(next, 1), &mut score);
                let (spread, slot) = (tile.spread(prepared, next, score[0]), tile.slot + next);
                band.push(spread, ids[slot], slot);
            }
            next += 1;
        }
    }
    scores.resize(tile.count - next, 0.0);
    score_rows(metric, vector, tile.rows(next, scores.len()), scores);
    for (i, score) in (next..).zip(scores.iter().copied()) {
        let spread = tile.spread(prepared, i, score);
        if !band.may_enter(spread) || !tile.has(i) {
            continue;
        }
        let id = ids[tile.slot + i];
        if band.would_enter(spread, id)
            && prepared
                .filter
                .is_none_or(|filter| verdicts.passes(filter, i))
        {
            band.push(spread, id, tile.slot + i);
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
    rows: slab::Tile<'a>,
    count: usize,
}

impl<'a> Tile<'a> {
    fn has(&self, i: usize) -> bool {
        self.chunk.has(self.row + i)
    }

    fn rows(&self, from: usize, count: usize) -> &'a [f32] {
        let dimension = self.rows.values.len() / self.count.max(1);
        &self.rows.values[from * dimension..][..count * dimension]
    }

    fn spread(&self, prepared: &Prepared<'_>, i: usize, score: f32) -> Spread {
        match self.rows.bounds {
            None => Spread::exact(score),
            Some(bounds) => prepared.spreader.spread(score, bounds[i]),
        }
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
