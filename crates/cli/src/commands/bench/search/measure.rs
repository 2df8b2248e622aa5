//! Asking, and what comes of it: the truth once, then round after round.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pando_client::{ClientError, Pando};
use pando_model::{CollectionName, Consistency, Hit, Metric, PointId, SearchQuery};
use serde::Serialize;
use tokio::task::JoinSet;

use super::all;
use super::asked::{Asked, Question};
use crate::progress;

/// Digits of the histogram.
const DIGITS: u8 = 3;

/// How a round is searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// `None`: the node's default.
    pub(super) ef: Option<u32>,
    pub(super) clients: u32,
    /// Queries of one request.
    pub(super) batch: u32,
    pub(super) length: Duration,
}

/// What a round came to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// `exact`, `default`, or the length of the list.
    pub(super) ef: String,
    pub(super) clients: u32,
    /// Queries of one request; its time is that of each of them.
    pub(super) batch: u32,
    /// Share of the true hits that were found.
    pub(super) recall: f64,
    pub(super) queries_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) searches: u64,
}

/// What the exact scan finds, and what that costs.
pub(super) struct Truth {
    hits: Vec<True>,
    metric: Metric,
    pub(super) row: Row,
}

struct True {
    ids: BTreeSet<PointId>,
    /// The worst score among them.
    worst: Option<f32>,
}

/// Asks every query once, one at a time, of the exact scan.
pub(super) async fn truth(
    client: &Pando,
    collection: &CollectionName,
    asked: &Asked,
    metric: Metric,
) -> anyhow::Result<Truth> {
    let bar = progress::bar("scanning for the truth", Some(asked.queries.len() as u64));
    let mut histogram = Histogram::new(DIGITS)?;
    let mut hits = Vec::with_capacity(asked.queries.len());
    let begun = Instant::now();
    for question in &asked.queries {
        let query = SearchQuery {
            exact: true,
            ..question.query.clone()
        };
        let since = Instant::now();
        let found = client.search(collection, query, Consistency::Local).await?;
        histogram.record(u64::try_from(since.elapsed().as_micros())?)?;
        let found = counted(question, found, asked.limit);
        hits.push(True {
            worst: found.last().map(|hit| hit.score),
            ids: found.iter().map(|hit| hit.point.id).collect(),
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let row = row("exact".to_owned(), (1, 1), &histogram, begun.elapsed(), 1.0);
    Ok(Truth { hits, metric, row })
}

/// Asks for as long as the setting says, and at least every query once; recall is that of the first time.
pub(super) async fn round(
    client: &Pando,
    collection: &CollectionName,
    asked: &Asked,
    truth: &Truth,
    setting: Setting,
) -> anyhow::Result<Row> {
    let name = setting.ef.map_or("default".to_owned(), |ef| ef.to_string());
    let spinner = progress::spinner(&format!("ef {name}, clients: {}", setting.clients));
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    // The questions are shared by all clients, and each of them lives no longer than this call.
    let questions = Arc::new(asked.clone());
    for _ in 0..setting.clients {
        let (client, collection) = (client.clone(), collection.clone());
        let (next, questions) = (Arc::clone(&next), Arc::clone(&questions));
        tasks.spawn(async move {
            one_client(&client, &collection, &questions, &next, begun, setting).await
        });
    }
    let clients = all(tasks).await?;
    let took = begun.elapsed();
    spinner.finish_and_clear();
    let mut histogram = Histogram::<u64>::new(DIGITS)?;
    let (mut found, mut there) = (0, 0);
    for (seen, firsts) in clients {
        histogram.add(&seen)?;
        for (number, hits) in firsts {
            let true_hits = &truth.hits[number];
            found += true_hits.found_in(&hits, truth.metric);
            there += true_hits.ids.len();
        }
    }
    let recall = if there == 0 {
        1.0
    } else {
        found as f64 / there as f64
    };
    let (clients, batch) = (setting.clients, setting.batch);
    Ok(row(name, (clients, batch), &histogram, took, recall))
}

type Firsts = Vec<(usize, Vec<(PointId, f32)>)>;

/// Asks one batch of queries after another; returns how long each took, and what was found for queries asked for the
/// first time.
async fn one_client(
    client: &Pando,
    collection: &CollectionName,
    asked: &Asked,
    next: &AtomicUsize,
    begun: Instant,
    setting: Setting,
) -> anyhow::Result<(Histogram<u64>, Firsts)> {
    let mut histogram = Histogram::new(DIGITS)?;
    let mut firsts = Vec::new();
    let (count, batch) = (asked.queries.len(), setting.batch as usize);
    loop {
        let from = next.fetch_add(batch, Ordering::Relaxed);
        if from >= count && begun.elapsed() >= setting.length {
            return Ok((histogram, firsts));
        }
        let questions: Vec<&Question> = (from..from + batch)
            .map(|number| &asked.queries[number % count])
            .collect();
        let query = |question: &&Question| SearchQuery {
            ef: setting.ef,
            ..question.query.clone()
        };
        let queries: Vec<_> = questions.iter().map(query).collect();
        let since = Instant::now();
        let found = search(client, collection, queries).await?;
        histogram.record(u64::try_from(since.elapsed().as_micros())?)?;
        for ((number, question), hits) in (from..count).zip(questions).zip(found) {
            let hits = counted(question, hits, asked.limit);
            let hits = hits.iter().map(|hit| (hit.point.id, hit.score)).collect();
            firsts.push((number, hits));
        }
    }
}

/// Asks queries in one request: one of its own where there is only one.
async fn search(
    client: &Pando,
    collection: &CollectionName,
    mut queries: Vec<SearchQuery>,
) -> Result<Vec<Vec<Hit>>, ClientError> {
    let local = Consistency::Local;
    match queries.pop() {
        Some(query) if queries.is_empty() => {
            Ok(vec![client.search(collection, query, local).await?])
        }
        last => {
            queries.extend(last);
            client.search_batch(collection, queries, local).await
        }
    }
}

/// The hits that count: not the point that was asked with.
fn counted(question: &Question, mut hits: Vec<Hit>, limit: usize) -> Vec<Hit> {
    hits.retain(|hit| Some(hit.point.id) != question.of);
    hits.truncate(limit);
    hits
}

impl True {
    /// How many of these are true hits, or as near as one: which of several equally near points is found is chance.
    fn found_in(&self, hits: &[(PointId, f32)], metric: Metric) -> usize {
        let near = |score: f32| {
            self.worst
                .is_some_and(|worst| match metric.higher_is_nearer() {
                    true => score >= worst,
                    false => score <= worst,
                })
        };
        let found = hits
            .iter()
            .filter(|(id, score)| self.ids.contains(id) || near(*score));
        found.count().min(self.ids.len())
    }
}

fn row(
    ef: String,
    (clients, batch): (u32, u32),
    histogram: &Histogram<u64>,
    took: Duration,
    recall: f64,
) -> Row {
    let searches = histogram.len() * u64::from(batch);
    let ms = |micros: u64| micros as f64 / 1000.0;
    Row {
        ef,
        clients,
        recall,
        batch,
        queries_per_second: searches as f64 / took.as_secs_f64(),
        p50_ms: ms(histogram.value_at_quantile(0.5)),
        p99_ms: ms(histogram.value_at_quantile(0.99)),
        searches,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equally_near_points_count_and_none_counts_twice() {
        let truth = True {
            ids: [1, 2].map(PointId::Num).into(),
            worst: Some(0.5),
        };
        let found = |hits: &[(u64, f32)], metric| {
            let hits: Vec<_> = hits.iter().map(|(id, s)| (PointId::Num(*id), *s)).collect();
            truth.found_in(&hits, metric)
        };
        assert_eq!(found(&[(1, 0.9), (3, 0.5)], Metric::Cosine), 2);
        assert_eq!(found(&[(1, 0.9), (3, 0.4)], Metric::Cosine), 1);
        assert_eq!(found(&[(4, 0.1), (3, 0.4)], Metric::Euclidean), 2);
        assert_eq!(found(&[(1, 0.9), (2, 0.5), (3, 0.5)], Metric::Dot), 2);
    }
}
