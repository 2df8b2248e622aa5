//! Step 3: real queries, shown, and all of them compared with the exact answer.

use anyhow::{Context as _, ensure};
use pando_client::Pando;
use pando_model::{
    CollectionName, Consistency, Filter, Hit, PointId, SearchQuery, Value, VectorName,
};
use serde_json::json;

use super::data::Data;
use super::world::World;
use crate::filter_text;
use crate::output::{self, cut};

/// Queries that are shown.
const SHOWN: [usize; 2] = [3, 5];
/// The query that is shown with a filter.
const FILTERED: usize = 10;
const FILTER: &str = "pos = verb";
const HITS_SHOWN: usize = 4;
/// Recall is that of the nearest so many.
const RECALL_AT: usize = 10;
const RECALL_MIN: f64 = 0.999;
/// Scores this close are one score: hits of equal score may stand in any order.
const SAME_SCORE: f64 = 1e-6;
const GLOSS_WIDTH: usize = 64;

pub(super) async fn run(world: &mut World, data: &Data, written: u64) -> anyhow::Result<()> {
    world.step(3, "what is near in meaning?")?;
    let client = world.client()?;
    let seen = Consistency::AtLeast(written);
    let collection = world.collection.clone();
    for shown in SHOWN {
        show(world, data, &client, shown, None, seen).await?;
    }
    show(
        world,
        data,
        &client,
        FILTERED,
        Some(filter_text::parse(FILTER)?),
        seen,
    )
    .await?;

    let leader = world.leader().await?;
    let follower = (leader + 1) % world.nodes.len();
    for (node, role) in [(leader, "leader"), (follower, "follower")] {
        let recall = recall(data, &world.client_of(node)?, &collection, seen).await?;
        let name = &world.nodes[node].name;
        world.say(format_args!(
            "   recall@{RECALL_AT} of {} queries against the exact answer, by {name} ({role}): {recall:.4}",
            data.queries.len()
        ))?;
        ensure!(
            recall >= RECALL_MIN,
            "recall by the {role} is {recall}, less than {RECALL_MIN}"
        );
        world.note(&format!("recall_{role}"), json!(recall));
    }
    Ok(())
}

async fn show(
    world: &World,
    data: &Data,
    client: &Pando,
    number: usize,
    filter: Option<Filter>,
    seen: Consistency,
) -> anyhow::Result<()> {
    let (vector, text) = data
        .queries
        .get(number)
        .zip(data.texts.get(number))
        .context("the data has too few queries")?;
    let filtered = filter.is_some();
    let query = SearchQuery {
        filter,
        ..SearchQuery::new(vector.clone(), HITS_SHOWN)
    };
    let hits = client.search(&world.collection, query, seen).await?;
    ensure!(
        hits.len() == HITS_SHOWN,
        "{} hits instead of {HITS_SHOWN}",
        hits.len()
    );
    let mut table = output::table(["score", "lemma", "pos", "category", "gloss"]);
    for hit in &hits {
        let [lemma, pos, category, gloss] =
            ["lemma", "pos", "category", "gloss"].map(|f| field(hit, f));
        ensure!(
            !filtered || pos == "verb",
            "a {pos} passed the filter {FILTER}"
        );
        table.add_row([
            format!("{:.3}", hit.score),
            lemma,
            pos,
            category,
            cut(&gloss, GLOSS_WIDTH),
        ]);
    }
    let condition = if filtered {
        format!("   [{FILTER}]")
    } else {
        String::new()
    };
    world.say(format_args!(
        "\"{}: {}\"{condition}\n{table}",
        text.lemma,
        cut(&text.gloss, 80)
    ))?;
    Ok(())
}

fn field(hit: &Hit, name: &str) -> String {
    match hit.point.payload.as_ref().and_then(|p| p.0.get(name)) {
        Some(Value::Str(text)) => text.clone(),
        other => other.map(|v| v.to_json().to_string()).unwrap_or_default(),
    }
}

async fn recall(
    data: &Data,
    client: &Pando,
    collection: &CollectionName,
    seen: Consistency,
) -> anyhow::Result<f64> {
    let queries = data.queries.iter().map(|vector| SearchQuery {
        with_payload: false,
        ..SearchQuery::new(vector.clone(), RECALL_AT)
    });
    let results = client
        .search_batch(collection, queries.collect(), seen)
        .await?;
    let mut right = 0;
    for ((query, truth), hits) in data.queries.iter().zip(&data.truth).zip(&results) {
        right += right_hits(data, query, truth, hits);
    }
    Ok(right as f64 / (data.queries.len() * RECALL_AT) as f64)
}

/// Hits that belong to the nearest, or are exactly as near as the last of them.
fn right_hits(data: &Data, query: &[f32], truth: &[u64], hits: &[Hit]) -> usize {
    let nearest = &truth[..truth.len().min(RECALL_AT)];
    let Some(last) = nearest.last().and_then(|row| cosine(data, query, *row)) else {
        return 0;
    };
    let is_right = |hit: &&Hit| {
        let PointId::Num(row) = hit.point.id else {
            return false;
        };
        nearest.contains(&row) || cosine(data, query, row).is_some_and(|c| c >= last - SAME_SCORE)
    };
    hits.iter().filter(is_right).count()
}

/// Computed here from the data, not taken from the server.
fn cosine(data: &Data, query: &[f32], row: u64) -> Option<f64> {
    let point = data.base.get(usize::try_from(row).ok()?)?;
    let vector = point.vectors.get(&VectorName::default())?;
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    Some(dot(query, vector) / (dot(query, query) * dot(vector, vector)).sqrt())
}

#[cfg(test)]
mod tests {
    use pando_model::{Payload, Point, Stamp, StoredPoint};

    use super::*;

    #[test]
    fn only_the_nearest_and_their_equals_are_right() {
        // 12 points turning away from the query; 9 and 10 point the same way.
        let angle = |id: u64| if id == 10 { 0.9 } else { id as f32 * 0.1 };
        let base = (0..12).map(|id| {
            Point::new(
                id,
                vec![angle(id).cos(), angle(id).sin()],
                Payload::default(),
            )
        });
        let data = Data {
            base: base.collect(),
            queries: vec![],
            texts: vec![],
            truth: vec![],
            updates: vec![],
            inserts: vec![],
        };
        let truth: Vec<u64> = (0..12).collect();
        let hit = |id: u64| Hit {
            score: 1.0,
            point: StoredPoint {
                id: id.into(),
                version: Stamp::at(1),
                payload: None,
                vectors: [].into(),
                sparse_vectors: [].into(),
            },
        };
        let right = |ids: &[u64]| {
            let hits: Vec<Hit> = ids.iter().copied().map(hit).collect();
            right_hits(&data, &[1.0, 0.0], &truth, &hits)
        };
        assert_eq!(right(&[0, 1, 9]), 3);
        assert_eq!(right(&[10]), 1, "as near as the tenth");
        assert_eq!(right(&[11, 99]), 0);
    }
}
