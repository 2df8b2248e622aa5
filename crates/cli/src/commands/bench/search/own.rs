//! A node that runs for as long as the benchmark does, with the points of a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use pando_client::Pando;
use pando_model::{CollectionName, CollectionSchema, VectorParams};
use serde::Serialize;
use tempfile::TempDir;

use super::SearchArgs;
use crate::commands::bench::stage::{figures, patience};
use crate::commands::bench::usage;
use crate::commands::import::{ImportOptions, import};
use crate::context::Context;
use crate::exit::{BadInput, Late};
use crate::process::{Launch, NodeProcess};
use crate::progress;
use crate::readers::{self, Defaults};

/// Pause between two looks whether all is indexed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The node, loaded and indexed.
pub(super) struct Own {
    pub(super) client: Pando,
    pub(super) collection: CollectionName,
    node: NodeProcess,
    load_seconds: f64,
    indexed_seconds: f64,
    // Last: the process ends first, then what it writes to is removed.
    _directory: TempDir,
}

/// What loading and indexing took, and what the node has in memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Account {
    /// Until every point was acknowledged.
    pub(super) load_seconds: f64,
    /// Until no vector waited for the graph any more, from the beginning of the load.
    pub(super) indexed_seconds: f64,
    /// Of the whole process, its storage's cache included.
    pub(super) resident_bytes: u64,
}

impl Own {
    pub(super) async fn start(
        context: &Context,
        args: &SearchArgs,
        file: &Path,
    ) -> anyhow::Result<Self> {
        let defaults = Defaults {
            first_id: 0,
            vector_name: args.vector_name.clone(),
        };
        let schema = schema_of(file, args, defaults.clone())?;
        let points = readers::points(file, args.payloads.as_deref(), defaults)?;
        let bar = progress::bar("loading", points.total);
        let patience = patience(points.total.unwrap_or(u64::from(u32::MAX)));

        let mut directory = tempfile::Builder::new();
        let directory = directory
            .prefix("pando-bench-")
            .tempdir_in(super::parent(args))?;
        let graph = args.graph_vectors_min;
        let launch = Launch {
            flags: (graph
                .iter()
                .map(|least| format!("--graph-vectors-min={least}")))
            .collect(),
            patience,
            ..Launch::default()
        };
        let node = NodeProcess::start("node".to_owned(), directory.path(), launch).await?;
        let client = context.client_of([&node.at.api])?.with_timeout(patience);
        client.init_cluster().await?;
        let collection = CollectionName::parse("bench")?;
        client.create_collection(&collection, schema).await?;

        let begun = Instant::now();
        let loaded = import(&client, &collection, points, ImportOptions::default(), &bar).await;
        bar.finish_and_clear();
        let load_seconds = loaded?.took.as_secs_f64();
        indexed(&node, begun, patience).await?;
        Ok(Self {
            indexed_seconds: begun.elapsed().as_secs_f64(),
            load_seconds,
            client,
            collection,
            node,
            _directory: directory,
        })
    }

    /// What it took so far, and what it holds now.
    pub(super) fn account(&self) -> anyhow::Result<Account> {
        Ok(Account {
            load_seconds: self.load_seconds,
            indexed_seconds: self.indexed_seconds,
            resident_bytes: usage::resident_bytes(self.node.pid()?)?,
        })
    }
}

/// A collection for points like the first one of a file.
fn schema_of(
    file: &Path,
    args: &SearchArgs,
    defaults: Defaults,
) -> anyhow::Result<CollectionSchema> {
    let first = readers::points(file, None, defaults)?.next();
    let first = first.ok_or_else(|| BadInput(format!("{}: it has no rows", file.display())))??;
    let mut vectors = BTreeMap::new();
    for (name, values) in first.vectors {
        let params = VectorParams::new(u32::try_from(values.len())?, args.metric);
        vectors.insert(name, params);
    }
    Ok(CollectionSchema {
        vectors,
        sparse_vectors: first.sparse_vectors.into_keys().collect(),
    })
}

async fn indexed(node: &NodeProcess, begun: Instant, patience: Duration) -> anyhow::Result<()> {
    let spinner = progress::spinner("indexing");
    loop {
        if figures(node).await?.count("pando_index_backlog")? == 0 {
            spinner.finish_and_clear();
            return Ok(());
        }
        if begun.elapsed() > patience {
            return Err(Late(format!("the graph was not ready within {patience:?}")).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
