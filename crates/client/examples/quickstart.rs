//! The example of the README: a collection, three points, a filtered search that sees its own write.
//!
//! `pando serve` in one terminal, `cargo run -p pando-client --example quickstart` in another.

use pando_client::model::{
    CollectionName, CollectionSchema, Filter, Metric, Payload, Point, SearchQuery,
};
use pando_client::{Consistency, Pando};
use serde_json::json;

/// Runs the example against a node's public API, `http://host:port`.
pub async fn run(endpoint: &str) -> Result<String, Box<dyn std::error::Error>> {
    let pando = Pando::builder().endpoint(endpoint).connect().await?;

    let animals = CollectionName::parse("animals")?;
    pando
        .create_collection(&animals, CollectionSchema::single(3, Metric::Cosine))
        .await?;

    let point = |id: u64, vector: [f32; 3], name: &str, legs: u32| {
        let payload = Payload::from_json(json!({ "name": name, "legs": legs }))?;
        Ok::<_, Box<dyn std::error::Error>>(Point::new(id, vector.to_vec(), payload))
    };
    let written = pando
        .upsert(
            &animals,
            vec![
                point(1, [0.9, 0.1, 0.0], "heron", 2)?,
                point(2, [0.8, 0.3, 0.1], "otter", 4)?,
                point(3, [0.1, 0.2, 0.9], "ant", 6)?,
            ],
        )
        .await?;

    // Any member answers; with the index of the write, its answer includes the write.
    let filter = r#"{"must": [{"key": "legs", "range": {"gte": 4}}]}"#;
    let query = SearchQuery {
        filter: Some(Filter::from_json(filter)?),
        ..SearchQuery::new(vec![1.0, 0.0, 0.0], 1)
    };
    let hits = pando
        .search(&animals, query, Consistency::AtLeast(written.log_index))
        .await?;
    let nearest = hits.first().ok_or("no hit")?;
    let payload = nearest.point.payload.as_ref().ok_or("no payload")?;
    Ok(format!(
        "{} with score {:.3}",
        payload.to_json()["name"],
        nearest.score
    ))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it found")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "nearest with four legs or more: {}",
        run("http://127.0.0.1:7700").await?
    );
    Ok(())
}
