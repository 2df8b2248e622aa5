//! `pando get`, `pando delete`, `pando count`.

use std::collections::BTreeSet;

use clap::Args;
use pando_model::limits::{POINTS_PER_WRITE_MAX, VALUES_PER_CONDITION_MAX};
use pando_model::{
    CollectionName, Consistency, CountQuery, Filter, PointId, Selector, StoredPoint, WithVectors,
};
use serde::Serialize;
use serde_json::json;

use crate::context::Context;
use crate::exit::{BadInput, No};
use crate::output::{self, Format, plural};
use crate::point_json::{self, PointJson};
use crate::{filter_text, parse};

/// Arguments of `pando get`.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Collection or alias
    #[arg(value_parser = CollectionName::parse)]
    collection: CollectionName,

    /// Id of a point, an integer or a UUID; repeat it for more
    #[arg(
        long = "id",
        value_name = "ID",
        required = true,
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    ids: Vec<PointId>,

    /// What the answer must have seen: local, linearizable, or a log index
    #[arg(long, value_name = "LEVEL", default_value = "local", value_parser = parse::consistency)]
    consistency: Consistency,

    /// Show the vectors, too
    #[arg(long)]
    with_vectors: bool,
}

/// Arguments of `pando delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Collection or alias
    #[arg(value_parser = CollectionName::parse)]
    collection: CollectionName,

    #[command(flatten)]
    which: Which,
}

/// Which points; exactly one way of saying it.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Id of a point, an integer or a UUID; repeat it for more
    #[arg(
        long = "id",
        value_name = "ID",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    ids: Vec<PointId>,

    /// All points that pass: 'pos = verb and year >= 1990', or the JSON form
    #[arg(long, value_name = "FILTER", value_parser = filter_text::parse)]
    filter: Option<Filter>,
}

/// Arguments of `pando count`.
#[derive(Debug, Args)]
pub(crate) struct CountArgs {
    /// Collection or alias
    #[arg(value_parser = CollectionName::parse)]
    collection: CollectionName,

    /// Only points that pass: 'pos = verb and year >= 1990', or the JSON form
    #[arg(long, value_name = "FILTER", value_parser = filter_text::parse)]
    filter: Option<Filter>,

    /// What the answer must have seen: local, linearizable, or a log index
    #[arg(long, value_name = "LEVEL", default_value = "local", value_parser = parse::consistency)]
    consistency: Consistency,
}

fn bounded(count: usize, max: usize) -> Result<(), BadInput> {
    if count > max {
        return Err(BadInput(format!("{count} ids are over the limit of {max}")));
    }
    Ok(())
}

/// Shows points; fails with the missing ids if some do not exist.
pub(crate) async fn get(context: &Context, args: GetArgs) -> anyhow::Result<()> {
    let ids: BTreeSet<PointId> = args.ids.into_iter().collect();
    bounded(ids.len(), VALUES_PER_CONDITION_MAX)?;
    let with_vectors = if args.with_vectors {
        WithVectors::All
    } else {
        WithVectors::None
    };
    let client = context.client()?;
    let points = client
        .get(
            &args.collection,
            ids.iter().copied(),
            true,
            with_vectors,
            args.consistency,
        )
        .await?;
    let json = || Points {
        points: points.iter().map(PointJson::with_version).collect(),
    };
    if !points.is_empty() || context.format == Format::Json {
        context.format.show(json, || table(&points))?;
    }
    let found: BTreeSet<PointId> = points.iter().map(|p| p.id).collect();
    let missing: Vec<String> = ids.difference(&found).map(ToString::to_string).collect();
    if !missing.is_empty() {
        return Err(No(format!("there is no point {}", missing.join(", "))).into());
    }
    Ok(())
}

/// What scripts get.
#[derive(Serialize)]
struct Points<'a> {
    points: Vec<PointJson<'a>>,
}

pub(super) fn table(points: &[StoredPoint]) -> String {
    let mut table = output::table(["id", "written", "payload"]);
    for point in points {
        let payload = point.payload.as_ref().map(|p| p.to_json().to_string());
        let (id, written) = (point.id.to_string(), point.version.to_string());
        table.add_row([id, written, payload.unwrap_or_default()]);
    }
    format!("{table}{}", point_json::vector_lines(points))
}

/// Deletes points. Deleting what is not there is no error.
pub(crate) async fn delete(context: &Context, args: DeleteArgs) -> anyhow::Result<()> {
    let selector = match args.which.filter {
        Some(filter) => Selector::Filter { filter, from: None },
        None => Selector::Ids(args.which.ids.into_iter().collect()),
    };
    if let Selector::Ids(ids) = &selector {
        bounded(ids.len(), POINTS_PER_WRITE_MAX)?;
    }
    let written = context.client()?.delete(&args.collection, selector).await?;
    let json = || json!({ "deleted": written.affected, "log_index": written.log_index });
    let text = || format!("deleted {}", plural(written.affected, "point"));
    context.format.show(json, text)?;
    Ok(())
}

/// Counts points.
pub(crate) async fn count(context: &Context, args: CountArgs) -> anyhow::Result<()> {
    let query = CountQuery {
        filter: args.filter,
    };
    let count = context
        .client()?
        .count(&args.collection, query, args.consistency)
        .await?;
    context
        .format
        .show(|| json!({ "count": count }), || count)?;
    Ok(())
}
