//! `pando search --group-by`.

use pando_model::{CollectionName, Consistency, GroupQuery, GroupedExplained, Value};
use serde::Serialize;

use super::{ExplanationJson, PAYLOAD_WIDTH, sentence};
use crate::context::Context;
use crate::output::{self, cut};
use crate::point_json::{self, PointJson};

/// What scripts get.
#[derive(Serialize)]
struct Groups<'a> {
    groups: Vec<Group<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<ExplanationJson<'a>>,
}

#[derive(Serialize)]
struct Group<'a> {
    value: serde_json::Value,
    hits: Vec<PointJson<'a>>,
}

pub(super) async fn run(
    context: &Context,
    collection: &CollectionName,
    query: GroupQuery,
    consistency: Consistency,
) -> anyhow::Result<()> {
    query.validate()?;
    let client = context.client()?;
    let found = client.search_groups(collection, query, consistency).await?;
    let group = |group: &pando_model::Group| Value::from(group.value.clone()).to_json();
    let json = || Groups {
        groups: (found.groups.iter())
            .map(|of| Group {
                value: group(of),
                hits: of.hits.iter().map(PointJson::from).collect(),
            })
            .collect(),
        explanation: found.explanation.as_ref().map(Into::into),
    };
    context.format.show(json, || text(&found))?;
    Ok(())
}

fn text(found: &GroupedExplained) -> String {
    let how = found.explanation.as_ref().map(sentence).unwrap_or_default();
    if found.groups.is_empty() {
        return format!("no groups{how}");
    }
    let mut table = output::table(["group", "id", "score", "payload"]);
    for group in &found.groups {
        let value = Value::from(group.value.clone()).to_json().to_string();
        for hit in &group.hits {
            let payload = hit.point.payload.as_ref().map(|p| p.to_json().to_string());
            table.add_row([
                cut(&value, PAYLOAD_WIDTH),
                hit.point.id.to_string(),
                format!("{:.4}", hit.score),
                cut(&payload.unwrap_or_default(), PAYLOAD_WIDTH),
            ]);
        }
    }
    let hits = found.groups.iter().flat_map(|group| &group.hits);
    let vectors = point_json::vector_lines(hits.map(|hit| &hit.point));
    format!("{table}{vectors}{how}")
}
