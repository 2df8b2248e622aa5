//! Pando's index as a node has it, without storage and network.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use pando_index::{CollectionIndex, IndexOptions, Numbered};
use pando_model::{
    CollectionSchema, Filter, Metric, Payload, PointId, SearchQuery, Stamp, VectorName,
};
use serde::Serialize;
use serde_json::json;

use crate::EFS;
use crate::data::Data;
use crate::measure::{Engine, Row, rounds};

/// Fewer than a node would ask for, so that a small set shows the graph, too.
const GRAPH_ROWS_MIN: usize = 1_000;
/// Every so many points are deleted and written again.
const UPDATED_EVERY: usize = 10;
/// Filters pass one point of so many.
const FILTERS: [usize; 4] = [2, 10, 100, 1_000];
/// Filtered queries: for each the truth is scanned for, too.
const FILTERED_QUERIES: usize = 500;

pub(crate) struct Measured {
    pub(crate) engine: Engine,
    pub(crate) updates: Updates,
    pub(crate) filtered: Vec<Filtered>,
}

/// What deleting and writing again does.
#[derive(Debug, Serialize)]
pub(crate) struct Updates {
    points: usize,
    seconds: f64,
    recall_before: f64,
    recall_after: f64,
}

/// A filtered search at the default list.
#[derive(Debug, Serialize)]
pub(crate) struct Filtered {
    one_of: usize,
    plan: String,
    row: Row,
}

fn write(index: &mut CollectionIndex, data: &Data, row: usize) -> anyhow::Result<()> {
    let fields = FILTERS.map(|every| (format!("of{every}"), json!(row % every)));
    let payload = Payload::from_json(json!(BTreeMap::from(fields)))?.encode();
    let vectors = BTreeMap::from([(VectorName::default(), data.base[row].clone())]);
    index.upsert(PointId::Num(row as u64), Stamp::at(1), &vectors, payload);
    Ok(())
}

fn wait(index: &CollectionIndex) {
    while index.is_indexing() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn query(data: &Data, number: usize, ef: Option<u32>) -> SearchQuery {
    SearchQuery {
        ef,
        ..SearchQuery::new(data.queries[number].clone(), data.limit)
    }
}

fn ids(index: &CollectionIndex, data: &Data, query: SearchQuery) -> anyhow::Result<Vec<u64>> {
    let found = index.search(&[query], &Numbered(&data.base))?;
    let id = |id| match id {
        PointId::Num(number) => number,
        PointId::Uuid(_) => u64::MAX,
    };
    Ok(found.iter().flatten().map(|hit| id(hit.id)).collect())
}

pub(crate) fn run(data: &Data, threads: usize) -> anyhow::Result<Measured> {
    let schema = CollectionSchema::single(u32::try_from(data.dimension)?, Metric::Cosine);
    let options = IndexOptions {
        graph_rows_min: GRAPH_ROWS_MIN,
        ..IndexOptions::default()
    };
    let mut index = CollectionIndex::with_options(&schema, options);
    let begun = Instant::now();
    for row in 0..data.base.len() {
        write(&mut index, data, row)?;
    }
    wait(&index);
    let build_seconds = begun.elapsed().as_secs_f64();
    ensure!(index.segments() > 0, "so few vectors get no graph");
    let mut rows = Vec::new();
    for threads in [1, threads] {
        for ef in EFS {
            let search = |number: usize| ids(&index, data, query(data, number, Some(ef)));
            rows.push(rounds(ef, threads, &data.truth, search)?);
        }
    }
    let memory_bytes = index.memory_bytes();
    let filtered = FILTERS.map(|one_of| filtered(&index, data, one_of));
    let filtered = filtered.into_iter().collect::<Result<_, _>>()?;
    Ok(Measured {
        engine: Engine {
            name: "pando, in process",
            build_seconds,
            memory_bytes,
            rows,
        },
        filtered,
        updates: updates(&mut index, data)?,
    })
}

/// Recall and speed of what a client gets that names no list.
fn default(index: &CollectionIndex, data: &Data) -> anyhow::Result<Row> {
    let search = |number: usize| ids(index, data, query(data, number, None));
    rounds(0, 1, &data.truth, search)
}

fn updates(index: &mut CollectionIndex, data: &Data) -> anyhow::Result<Updates> {
    let recall_before = default(index, data)?.recall;
    let begun = Instant::now();
    let updated: Vec<usize> = (0..data.base.len()).step_by(UPDATED_EVERY).collect();
    for row in &updated {
        index.remove(PointId::Num(*row as u64));
    }
    for row in &updated {
        write(index, data, *row)?;
    }
    wait(index);
    Ok(Updates {
        points: updated.len(),
        seconds: begun.elapsed().as_secs_f64(),
        recall_before,
        recall_after: default(index, data)?.recall,
    })
}

fn filtered(index: &CollectionIndex, data: &Data, one_of: usize) -> anyhow::Result<Filtered> {
    let json = json!({ "must": [{ "key": format!("of{one_of}"), "match": { "value": 0 } }] });
    let filter = Filter::from_json(&json.to_string())?;
    let query = |number: usize, exact| SearchQuery {
        filter: Some(filter.clone()),
        exact,
        ..query(data, number, None)
    };
    let numbers = 0..data.queries.len().min(FILTERED_QUERIES);
    let truth = numbers.map(|number| ids(index, data, query(number, true)));
    let truth = truth.collect::<Result<Vec<_>, _>>()?;
    let plan = index.search_planned(&[query(0, false)], &Numbered(&data.base))?[0]
        .plan
        .to_string();
    let row = rounds(0, 1, &truth, |number| ids(index, data, query(number, false)))?;
    Ok(Filtered { one_of, plan, row })
}
