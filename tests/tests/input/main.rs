//! Bad input, through the SDK and over the wire: each is refused with a typed error that names the limit or what is
//! expected, and nothing is applied.

mod collections;
mod expected;
mod nodes;
mod points;
mod searches;
mod wire;

use anyhow::Result;
use pando_model::{CollectionName, CollectionSchema, Metric, Payload, Point};
use pando_testkit::{ClusterOptions, ProcessCluster};

const PANDO: &str = env!("CARGO_BIN_EXE_pando-under-test");
const DIMENSION: u32 = 4;

fn name(text: &str) -> CollectionName {
    CollectionName::parse(text).expect("a good name")
}

fn good(id: u64) -> Point {
    Point::new(id, vec![1.0, 2.0, 3.0, 4.0], Payload::default())
}

/// A node alone, with a cosine collection of a few points, and one under an alias.
async fn node() -> Result<ProcessCluster> {
    let cluster = ProcessCluster::start(PANDO, 1, ClusterOptions::default()).await?;
    let sdk = cluster.sdk()?;
    let schema = CollectionSchema::single(DIMENSION, Metric::Cosine);
    sdk.create_collection(&name("words"), schema).await?;
    sdk.upsert(&name("words"), (0..10).map(good).collect())
        .await?;
    sdk.set_alias(&name("alias"), &name("words")).await?;
    Ok(cluster)
}
