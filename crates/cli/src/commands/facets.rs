//! `pando facets`: how many points have each value of a payload field.

use clap::Args;
use pando_model::{CollectionName, Consistency, FacetQuery, Filter, Value};
use serde_json::json;

use crate::context::Context;
use crate::output::{self, cut};
use crate::{filter_text, parse};

/// Arguments of `pando facets`.
#[derive(Debug, Args)]
pub(crate) struct FacetsArgs {
    /// Collection or alias
    #[arg(value_parser = CollectionName::parse)]
    collection: CollectionName,

    /// Dotted path of the payload field
    key: String,

    /// Only points that pass: 'pos = verb and year >= 1990', or the JSON form
    #[arg(long, value_name = "FILTER", value_parser = filter_text::parse)]
    filter: Option<Filter>,

    /// Most values
    #[arg(long, short = 'k', value_name = "N", default_value_t = 10)]
    limit: usize,

    /// What the answer must have seen: local, linearizable, or a log index
    #[arg(long, value_name = "LEVEL", default_value = "local", value_parser = parse::consistency)]
    consistency: Consistency,
}

/// Widest value shown in a table.
const VALUE_WIDTH: usize = 100;

pub(crate) async fn run(context: &Context, args: FacetsArgs) -> anyhow::Result<()> {
    let query = FacetQuery {
        key: args.key,
        filter: args.filter,
        limit: args.limit,
    };
    query.validate()?;
    let client = context.client()?;
    let facets = client
        .facets(&args.collection, query, args.consistency)
        .await?;
    let rows: Vec<_> = (facets.into_iter())
        .map(|facet| (Value::from(facet.value).to_json(), facet.count))
        .collect();
    let json = || {
        let facet =
            |(value, count): &(serde_json::Value, u64)| json!({ "value": value, "count": count });
        json!({ "facets": rows.iter().map(facet).collect::<Vec<_>>() })
    };
    let text = || {
        if rows.is_empty() {
            return "no values".to_owned();
        }
        let mut table = output::table(["value", "points"]);
        for (value, count) in &rows {
            table.add_row([cut(&value.to_string(), VALUE_WIDTH), count.to_string()]);
        }
        table.to_string()
    };
    context.format.show(json, text)?;
    Ok(())
}
