//! `pando search`.

use std::path::PathBuf;

use clap::Args;
use pando_model::{
    CollectionName, Consistency, Filter, Hit, PointId, SearchQuery, StoredPoint, VectorName,
    WithVectors,
};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{BadInput, No};
use crate::output::{self, cut};
use crate::parse::{self, VectorText};
use crate::point_json::{self, PointJson};
use crate::{filter_text, readers};

/// Arguments of `pando search`.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Collection or alias
    #[arg(value_parser = CollectionName::parse)]
    collection: CollectionName,

    #[command(flatten)]
    query: Query,

    /// Row of the file given by --vectors, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0, requires = "vectors")]
    row: u64,

    /// Which of the collection's vectors; the default one has no name
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true,
          value_parser = VectorName::parse)]
    vector_name: VectorName,

    /// How many hits
    #[arg(long, short = 'k', value_name = "N", default_value_t = 10)]
    limit: usize,

    /// How many hits to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,

    /// Only points that pass: 'pos = verb and year >= 1990', or the JSON form
    #[arg(long, value_name = "FILTER", value_parser = filter_text::parse)]
    filter: Option<Filter>,

    /// Worst score: at least this similarity, at most this distance
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    threshold: Option<f32>,

    /// How long a list the graph is searched with: longer finds more and takes longer
    #[arg(long, value_name = "N", conflicts_with = "exact")]
    ef: Option<u32>,

    /// Look at all points, so that no hit is missed
    #[arg(long)]
    exact: bool,

    /// What the answer must have seen: local, linearizable, or a log index
    #[arg(long, value_name = "LEVEL", default_value = "local", value_parser = parse::consistency)]
    consistency: Consistency,

    /// Show the vectors, too
    #[arg(long)]
    with_vectors: bool,
}

/// What is searched for; exactly one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Query {
    /// A vector as JSON: '[0.1, 0.2]'
    #[arg(long, value_name = "JSON")]
    vector: Option<VectorText>,

    /// The vector of this point, which is itself left out of the hits
    #[arg(long, value_name = "ID")]
    id: Option<PointId>,

    /// A vector from a file (.npy, .fvecs); see --row
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, args: SearchArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let mut filter = args.filter;
    let vector = match (args.query.vector, args.query.id, args.query.vectors) {
        (Some(VectorText(vector)), None, None) => vector,
        (None, Some(id), None) => {
            let found = client
                .get(
                    &args.collection,
                    [id],
                    false,
                    WithVectors::All,
                    args.consistency,
                )
                .await?;
            filter = Some(without(filter, id));
            vector_of(found, id, &args.vector_name)?
        }
        (None, None, Some(file)) => {
            let row = args.row;
            tokio::task::spawn_blocking(move || readers::vector_at(&file, row)).await??
        }
        _ => return Err(BadInput("give one of --vector, --id, --vectors".to_owned()).into()),
    };
    let query = SearchQuery {
        vector_name: args.vector_name,
        filter,
        offset: args.offset,
        score_threshold: args.threshold,
        ef: args.ef,
        exact: args.exact,
        with_vectors: if args.with_vectors {
            WithVectors::All
        } else {
            WithVectors::None
        },
        ..SearchQuery::new(vector, args.limit)
    };
    query.validate()?;
    let hits = client
        .search(&args.collection, query, args.consistency)
        .await?;
    let json = || Hits {
        hits: hits.iter().map(PointJson::from).collect(),
    };
    context.format.show(json, || table(&hits))?;
    Ok(())
}

fn without(filter: Option<Filter>, id: PointId) -> Filter {
    let mut filter = filter.unwrap_or_default();
    filter
        .must_not
        .push(pando_model::Condition::HasId([id].into()));
    filter
}

fn vector_of(found: Vec<StoredPoint>, id: PointId, name: &VectorName) -> anyhow::Result<Vec<f32>> {
    let point = found
        .into_iter()
        .next()
        .ok_or_else(|| No(format!("there is no point {id}")))?;
    let vector = point.vectors.into_iter().find(|(n, _)| n == name);
    Ok(vector
        .ok_or_else(|| No(format!("point {id} has no vector {name}")))?
        .1)
}

/// What scripts get.
#[derive(Serialize)]
struct Hits<'a> {
    hits: Vec<PointJson<'a>>,
}

/// Widest payload shown in a table.
const PAYLOAD_WIDTH: usize = 160;

fn table(hits: &[Hit]) -> String {
    if hits.is_empty() {
        return "no hits".to_owned();
    }
    let mut table = output::table(["#", "id", "score", "payload"]);
    for (rank, hit) in hits.iter().enumerate() {
        let payload = hit.point.payload.as_ref().map(|p| p.to_json().to_string());
        table.add_row([
            (rank + 1).to_string(),
            hit.point.id.to_string(),
            format!("{:.4}", hit.score),
            cut(&payload.unwrap_or_default(), PAYLOAD_WIDTH),
        ]);
    }
    format!(
        "{table}{}",
        point_json::vector_lines(hits.iter().map(|hit| &hit.point))
    )
}
