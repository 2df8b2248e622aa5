//! `pando diff`: which points differ between two nodes, or between a node and an export.
//!
//! Trees are walked, the cost follows the difference and no vectors move. Both nodes are compared at one log index.

mod export;
mod report;
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use pando_client::{FrozenState, FrozenTree, Pando};
use pando_model::CollectionName;

use crate::context::Context;
use crate::exit::{BadInput, No};
use crate::{parse, progress};

use report::{Compared, Report};
use walk::{Local, Side, walk};

/// Arguments of `pando diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Collection; without it all of them, and the catalogue
    #[arg(value_parser = CollectionName::parse, required_unless_present = "a")]
    collection: Option<CollectionName>,

    /// Public API of the first node, host:port
    #[arg(long, value_name = "ADDR", value_parser = parse::node_url, requires = "b")]
    a: Option<String>,

    /// Public API of the second node, a member of the same cluster
    #[arg(long, value_name = "ADDR", value_parser = parse::node_url, requires = "a")]
    b: Option<String>,

    /// A file that `export` wrote (.jsonl or .jsonl.gz), to be compared with the node named by --node
    #[arg(long, value_name = "FILE", conflicts_with_all = ["a", "b"], required_unless_present = "a")]
    export: Option<PathBuf>,

    /// How many points differ (the default)
    #[arg(long, conflicts_with = "ids")]
    summary: bool,

    /// Which points differ
    #[arg(long)]
    ids: bool,
}

pub(crate) async fn run(context: &Context, args: DiffArgs) -> anyhow::Result<()> {
    let report = match (&args.a, &args.b, &args.export, &args.collection) {
        (Some(a), Some(b), ..) => two_nodes(context, (a, b), args.collection.as_ref()).await?,
        (_, _, Some(file), Some(collection)) => with_export(context, file, collection).await?,
        _ => return Err(BadInput("give --a and --b, or a collection and --export".into()).into()),
    };
    let json = || report.to_json(args.ids);
    context.format.show(json, || report.text(args.ids))?;
    if report.is_equal() {
        return Ok(());
    }
    Err(No(report.verdict()).into())
}

async fn two_nodes(
    context: &Context,
    (a, b): (&String, &String),
    only: Option<&CollectionName>,
) -> anyhow::Result<Report> {
    let (client_a, client_b) = (context.client_of([a])?, context.client_of([b])?);
    let of = async |client: &Pando| client.cluster_status().await.map(|status| status.cluster);
    let cluster_a = of(&client_a).await.context("the first node")?;
    if cluster_a != of(&client_b).await.context("the second node")? {
        return Err(BadInput(
            "the nodes belong to two clusters, whose log indexes mean different things: export one's collection and \
             compare the other with it by --export"
                .into(),
        )
        .into());
    }
    let state_a = client_a.freeze().await.context("the first node")?;
    let index = state_a.log_index;
    let state_b = client_b.frozen(index).await.context("the second node")?;
    let (trees_a, trees_b) = (by_name(&state_a, only), by_name(&state_b, only));
    if let (Some(name), true, true) = (only, trees_a.is_empty(), trees_b.is_empty()) {
        return Err(No(format!("neither node has a collection {name}")).into());
    }
    let mut names: Vec<&str> = trees_a.keys().chain(trees_b.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    let mut collections = Vec::new();
    for name in names {
        let (tree_a, tree_b) = (trees_a.get(name).copied(), trees_b.get(name).copied());
        let bar = progress::bar(name, None);
        // Two trees of one name that were created apart have other salts, and keys that mean nothing to each other.
        let same = |a: &FrozenTree, b: &FrozenTree| (a.tree, a.salt) == (b.tree, b.salt);
        let unlike = tree_a.zip(tree_b).is_some_and(|(a, b)| !same(a, b));
        if unlike {
            return Err(No(format!(
                "collection {name} is another one on each node: it was dropped and created anew"
            ))
            .into());
        }
        let points = (tree_a.map(|t| t.points), tree_b.map(|t| t.points));
        let found = if tree_a.map(|t| t.root) == tree_b.map(|t| t.root) {
            Vec::new()
        } else {
            let side = |client: &Pando, tree: Option<&FrozenTree>| match tree {
                Some(tree) => Side::node(client, index, tree.tree),
                None => Side::Local(Local::default()),
            };
            let sides = (side(&client_a, tree_a), side(&client_b, tree_b));
            walk(&sides.0, &sides.1, &bar).await?
        };
        bar.finish_and_clear();
        collections.push(Compared::new(name, points, found));
    }
    Ok(Report {
        index,
        a: format!("node {}", state_a.node),
        b: format!("node {}", state_b.node),
        collections,
        catalogue: only.is_none() && state_a.root != state_b.root,
        note: None,
    })
}

fn by_name<'a>(
    state: &'a FrozenState,
    only: Option<&CollectionName>,
) -> BTreeMap<&'a str, &'a FrozenTree> {
    let trees = state.collections.iter();
    let wanted = trees.filter(|tree| only.is_none_or(|only| only.as_str() == tree.name));
    wanted.map(|tree| (tree.name.as_str(), tree)).collect()
}

async fn with_export(
    context: &Context,
    file: &Path,
    collection: &CollectionName,
) -> anyhow::Result<Report> {
    let client = context.client()?;
    let state = client.freeze().await?;
    let tree = by_name(&state, Some(collection))
        .into_values()
        .next()
        .ok_or_else(|| No(format!("the node has no collection {collection}")))?;
    let node = Side::node(&client, state.log_index, tree.tree);
    let bar = progress::bar("comparing", None);
    let exported = export::read(file, tree.salt, &node, &bar).await?;
    let points = (Some(tree.points), Some(exported.local.tree.len()));
    let found = walk(&node, &Side::Local(exported.local), &bar).await?;
    bar.finish_and_clear();
    let note = (exported.without_version > 0).then(|| {
        format!(
            "{} of the file's points have no version (it was written by an older release): their content is compared, \
             and a point that was written again with the same content counts as equal",
            exported.without_version
        )
    });
    Ok(Report {
        index: state.log_index,
        a: format!("node {}", state.node),
        b: file.display().to_string(),
        collections: vec![Compared::new(collection.as_str(), points, found)],
        catalogue: false,
        note,
    })
}
