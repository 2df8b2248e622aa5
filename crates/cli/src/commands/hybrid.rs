//! `pando hybrid`: several searches, fused.

use std::str::FromStr;

use clap::Args;
use pando_model::{
    CollectionName, Consistency, Examples, Filter, HybridQuery, RANK_CONSTANT, SearchQuery,
    VectorName, WithVectors,
};
use serde::{Deserialize, Serialize};

use super::search::{ExplanationJson, sentence, table};
use crate::context::Context;
use crate::filter_text;
use crate::parse::{self, ExampleText};
use crate::point_json::PointJson;
use crate::vector_json::VectorJson;

/// Arguments of `pando hybrid`.
#[derive(Debug, Args)]
pub(crate) struct HybridArgs {
    /// Collection or alias
    #[arg(value_parser = CollectionName::parse)]
    collection: CollectionName,

    /// One of the searches as JSON, repeat it for more: '{"vector": [0.1, 0.2], "vector_name": "title", "limit": 50}';
    /// a sparse "vector" is {"indices": [3, 17], "values": [0.5, 1.2]}; in place of "vector", "like" and "unlike" list
    /// ids and vectors; also "filter", "threshold", "ef", "exact"
    #[arg(long = "query", value_name = "JSON", required = true)]
    queries: Vec<QueryText>,

    /// How many hits
    #[arg(long, short = 'k', value_name = "N", default_value_t = 10)]
    limit: usize,

    /// How many hits to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,

    /// A hit's score is the sum of 1 / (this + its rank) over the searches
    #[arg(long, value_name = "N", default_value_t = RANK_CONSTANT)]
    rank_constant: u32,

    /// What the answer must have seen: local, linearizable, or a log index
    #[arg(long, value_name = "LEVEL", default_value = "local", value_parser = parse::consistency)]
    consistency: Consistency,

    /// Show the vectors, too
    #[arg(long)]
    with_vectors: bool,

    /// Tell how each search was answered
    #[arg(long)]
    explain: bool,
}

/// A search as JSON.
#[derive(Clone, Debug, PartialEq)]
struct QueryText(SearchQuery);

/// Hits each search contributes where it does not say.
const DEPTH: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryJson {
    vector: Option<VectorJson>,
    #[serde(default)]
    like: Vec<serde_json::Value>,
    #[serde(default)]
    unlike: Vec<serde_json::Value>,
    #[serde(default)]
    vector_name: String,
    filter: Option<serde_json::Value>,
    limit: Option<usize>,
    threshold: Option<f32>,
    ef: Option<u32>,
    oversampling: Option<f32>,
    #[serde(default)]
    exact: bool,
}

impl FromStr for QueryText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let json: QueryJson = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let limit = json.limit.unwrap_or(DEPTH);
        let query = match (json.vector, json.like.is_empty()) {
            (Some(vector), true) => vector.query(limit),
            (None, false) => {
                let examples = Examples::default()
                    .like(examples(json.like)?)
                    .unlike(examples(json.unlike)?);
                SearchQuery::by_examples(examples, limit)
            }
            _ => return Err("give either \"vector\" or \"like\"".to_owned()),
        };
        let query = SearchQuery {
            vector_name: VectorName::parse(&json.vector_name).map_err(|e| e.to_string())?,
            filter: json.filter.map(filter).transpose()?,
            score_threshold: json.threshold,
            ef: json.ef,
            oversampling: json.oversampling,
            exact: json.exact,
            ..query
        };
        query.validate().map_err(|e| e.to_string())?;
        Ok(Self(query))
    }
}

fn examples(json: Vec<serde_json::Value>) -> Result<Vec<pando_model::Example>, String> {
    let example = |json: serde_json::Value| {
        let text = match json {
            serde_json::Value::String(id) => id,
            other => other.to_string(),
        };
        text.parse().map(|ExampleText(example)| example)
    };
    json.into_iter().map(example).collect()
}

/// Either form: an object, or the short one as a string.
fn filter(json: serde_json::Value) -> Result<Filter, String> {
    let text = match json {
        serde_json::Value::String(short) => short,
        other => other.to_string(),
    };
    filter_text::parse(&text).map_err(|e| e.to_string())
}

/// What scripts get.
#[derive(Serialize)]
struct Hits<'a> {
    hits: Vec<PointJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    explanations: Vec<ExplanationJson<'a>>,
}

pub(crate) async fn run(context: &Context, args: HybridArgs) -> anyhow::Result<()> {
    let query = HybridQuery {
        rank_constant: args.rank_constant,
        offset: args.offset,
        explain: args.explain,
        with_vectors: if args.with_vectors {
            WithVectors::All
        } else {
            WithVectors::None
        },
        ..HybridQuery::new(
            args.queries.into_iter().map(|QueryText(query)| query),
            args.limit,
        )
    };
    query.validate()?;
    let client = context.client()?;
    let found = client
        .search_hybrid(&args.collection, query, args.consistency)
        .await?;
    let json = || Hits {
        hits: found.hits.iter().map(PointJson::from).collect(),
        explanations: found.explanations.iter().map(Into::into).collect(),
    };
    let text = || {
        let how: String = found.explanations.iter().map(sentence).collect();
        format!("{}{how}", table(&found.hits))
    };
    context.format.show(json, text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use pando_model::PointId;

    use super::*;

    #[test]
    fn searches_are_read_from_json() {
        let query = |text: &str| text.parse::<QueryText>().map(|QueryText(query)| query);
        let text = r#"{"vector": [0.5, 1], "vector_name": "title", "filter": "pos = verb", "limit": 5, "ef": 80}"#;
        let read = query(text).expect("fine");
        assert_eq!((read.vector.as_slice(), read.limit), (&[0.5, 1.0][..], 5));
        assert_eq!((read.vector_name.as_str(), read.ef), ("title", Some(80)));
        assert_eq!(read.filter, filter_text::parse("pos = verb").ok());

        let text = r#"{"vector": {"indices": [3], "values": [2]}, "vector_name": "terms"}"#;
        let read = query(text).expect("fine");
        let vector = read.sparse_vector.expect("a sparse one");
        assert_eq!((vector.indices(), vector.values()), (&[3][..], &[2.0][..]));
        assert!(read.vector.is_empty());

        let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let text = format!(r#"{{"like": [7, "{uuid}"], "unlike": [[0.5, 1]]}}"#);
        let read = query(&text).expect("fine");
        let ids = [PointId::Num(7), uuid.parse().expect("an id")];
        let examples = Examples::default().like(ids).unlike([vec![0.5, 1.0]]);
        assert_eq!((read.like, read.limit), (Some(examples), DEPTH));

        for (bad, says) in [
            ("{}", "either"),
            (r#"{"vector": [1], "like": [1]}"#, "either"),
            (r#"{"vector": [1], "limits": 1}"#, "limits"),
            (r#"{"vector": [1], "limit": 0}"#, "limit"),
            (r#"{"vector": [1], "filter": "a or b"}"#, "filter"),
            (r#"{"like": ["x"]}"#, "bad point id"),
        ] {
            assert!(query(bad).is_err_and(|e| e.contains(says)), "{bad}");
        }
    }
}
