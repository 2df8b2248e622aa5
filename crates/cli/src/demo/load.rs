//! Step 2: real embeddings go in.

use anyhow::ensure;
use pando_model::{CollectionSchema, Consistency, CountQuery, Metric, VectorName};

use super::data::Data;
use super::world::World;
use crate::commands::cluster::check;
use crate::commands::import::{ImportOptions, import};
use crate::progress;

/// Returns the log index of the last write.
pub(super) async fn run(world: &mut World, data: &Data) -> anyhow::Result<u64> {
    let count = data.base.len() as u64;
    let first = data
        .base
        .first()
        .and_then(|p| p.vectors.get(&VectorName::default()));
    let dimension = u32::try_from(first.map_or(0, Vec::len))?;
    world.step(
        2,
        &format!("{count} points of WordNet x {dimension}, every write on disk on a majority"),
    )?;

    let client = world.client()?;
    let collection = world.collection.clone();
    client
        .create_collection(
            &collection,
            CollectionSchema::single(dimension, Metric::Cosine),
        )
        .await?;
    let bar = progress::bar("importing", Some(count));
    let points = data.base.clone().into_iter().map(Ok);
    let imported = import(&client, &collection, points, ImportOptions::default(), &bar).await;
    bar.finish_and_clear();
    let imported = imported?;

    for node in 0..world.nodes.len() {
        let seen = Consistency::AtLeast(imported.log_index);
        let counted = world
            .client_of(node)?
            .count(&collection, CountQuery::default(), seen)
            .await?;
        ensure!(
            counted == count,
            "{} counts {counted} points instead of {count}",
            world.nodes[node].name
        );
    }
    // One more entry, so that the nodes have on disk that everything before it is committed: a node killed later
    // misses what comes later, and nothing of this.
    let verified = client.verify_cluster().await?;
    check(&verified)?;
    world.say(format_args!("   {}", imported.text()))?;
    world.say(format_args!(
        "   every node counts {count} points, and all roots are equal"
    ))?;
    world.note("import", imported.json());
    Ok(imported.log_index)
}
