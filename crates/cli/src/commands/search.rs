//! `pando search`.

mod groups;

use std::path::PathBuf;

use clap::Args;
use pando_model::{
    CollectionName, Consistency, Examples, Explained, Explanation, Filter, GroupQuery, Hit,
    PointId, SearchQuery, VectorName, WithVectors,
};
use serde::Serialize;

use crate::context::Context;
use crate::output::{self, cut};
use crate::parse::{self, ExampleText};
use crate::point_json::{self, PointJson};
use crate::vector_json::VectorJson;
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

    /// How many candidates of the graph are scored by their vectors for each hit: more makes up for quantization
    #[arg(long, value_name = "X", conflicts_with = "exact")]
    oversampling: Option<f32>,

    /// Look at all points, so that no hit is missed
    #[arg(long)]
    exact: bool,

    /// What the answer must have seen: local, linearizable, or a log index
    #[arg(long, value_name = "LEVEL", default_value = "local", value_parser = parse::consistency)]
    consistency: Consistency,

    /// Show the vectors, too
    #[arg(long)]
    with_vectors: bool,

    /// Group the hits by this payload field; --limit is then the number of groups
    #[arg(long, value_name = "KEY", conflicts_with = "offset")]
    group_by: Option<String>,

    /// Most hits in a group
    #[arg(long, value_name = "N", default_value_t = 3, requires = "group_by")]
    group_size: usize,

    /// Tell how the hits were found, where, and in what time
    #[arg(long)]
    explain: bool,

    /// And unlike this one: an id or a vector as JSON; repeat it for more
    // `requires` alone does not hold where `--like` is ruled out by another of its group.
    #[arg(long, value_name = "ID|JSON", requires = "like",
          conflicts_with_all = ["vector", "id", "vectors"])]
    unlike: Vec<ExampleText>,
}

/// What is searched for; exactly one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Query {
    /// A vector as JSON: '[0.1, 0.2]', or by a sparse one '{"indices": [3, 17], "values": [0.5, 1.2]}'
    #[arg(long, value_name = "JSON")]
    vector: Option<VectorJson>,

    /// The vector of this point, which is itself left out of the hits
    #[arg(long, value_name = "ID")]
    id: Option<PointId>,

    /// Points like this one: an id or a vector as JSON; repeat it for more. Examples are left out of the hits
    #[arg(long, value_name = "ID|JSON")]
    like: Vec<ExampleText>,

    /// A vector from a file (.npy, .fvecs); see --row
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
}

impl Query {
    /// The query for so many hits.
    async fn read(
        self,
        row: u64,
        unlike: Vec<ExampleText>,
        limit: usize,
    ) -> anyhow::Result<SearchQuery> {
        if let Some(vector) = self.vector {
            return Ok(vector.query(limit));
        }
        if let Some(id) = self.id {
            return Ok(SearchQuery::by_id(id, limit));
        }
        if let Some(file) = self.vectors {
            let read = move || readers::vector_at(&file, row);
            let vector = tokio::task::spawn_blocking(read).await??;
            return Ok(SearchQuery::new(vector, limit));
        }
        let of = |texts: Vec<ExampleText>| texts.into_iter().map(|ExampleText(example)| example);
        let examples = Examples::default().like(of(self.like)).unlike(of(unlike));
        Ok(SearchQuery::by_examples(examples, limit))
    }
}

pub(crate) async fn run(context: &Context, args: SearchArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let query = args.query.read(args.row, args.unlike, args.limit).await?;
    let query = SearchQuery {
        vector_name: args.vector_name,
        filter: args.filter,
        offset: args.offset,
        score_threshold: args.threshold,
        ef: args.ef,
        oversampling: args.oversampling,
        exact: args.exact,
        with_vectors: if args.with_vectors {
            WithVectors::All
        } else {
            WithVectors::None
        },
        ..query
    };
    if let Some(group_by) = args.group_by {
        let query = GroupQuery {
            query: SearchQuery {
                explain: args.explain,
                ..query
            },
            group_by,
            group_size: args.group_size,
        };
        return groups::run(context, &args.collection, query, args.consistency).await;
    }
    query.validate()?;
    let (hits, explanation) = if args.explain {
        let search = client.search_explained(&args.collection, query, args.consistency);
        let Explained { hits, explanation } = search.await?;
        (hits, Some(explanation))
    } else {
        let search = client.search(&args.collection, query, args.consistency);
        (search.await?, None)
    };
    let json = || Hits {
        hits: hits.iter().map(PointJson::from).collect(),
        explanation: explanation.as_ref().map(Into::into),
    };
    let text = || {
        let how = explanation.as_ref().map(sentence).unwrap_or_default();
        format!("{}{how}", table(&hits))
    };
    context.format.show(json, text)?;
    Ok(())
}

/// What scripts get.
#[derive(Serialize)]
struct Hits<'a> {
    hits: Vec<PointJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<ExplanationJson<'a>>,
}

#[derive(Serialize)]
pub(super) struct ExplanationJson<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ef: Option<u32>,
    unindexed: u64,
    filtered: bool,
    widened: bool,
    matching: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    text: &'a str,
    elapsed_ms: f64,
    node: u64,
}

impl<'a> From<&'a Explanation> for ExplanationJson<'a> {
    fn from(explanation: &'a Explanation) -> Self {
        let plan = &explanation.plan;
        Self {
            kind: plan.kind.name(),
            ef: plan.ef,
            unindexed: plan.unindexed,
            filtered: plan.filtered,
            widened: plan.widened,
            matching: plan.matching,
            reason: &plan.reason,
            text: &plan.text,
            elapsed_ms: explanation.elapsed.as_secs_f64() * 1e3,
            node: explanation.node,
        }
    }
}

pub(super) fn sentence(explanation: &Explanation) -> String {
    let Explanation {
        plan,
        elapsed,
        node,
    } = explanation;
    let ms = elapsed.as_secs_f64() * 1e3;
    format!("\n{}; {ms:.2} ms on node {node}", plan.text)
}

/// Widest payload shown in a table.
const PAYLOAD_WIDTH: usize = 160;

pub(super) fn table(hits: &[Hit]) -> String {
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
