//! `pando scroll`: one page of points in the order of a payload field.

use clap::Args;
use pando_model::{
    CollectionName, Consistency, Filter, OrderBy, OrderedPage, OrderedScroll, PageToken,
    WithVectors,
};
use serde::Serialize;

use super::points::table;
use crate::context::Context;
use crate::point_json::PointJson;
use crate::{filter_text, parse};

/// Arguments of `pando scroll`.
#[derive(Debug, Args)]
pub(crate) struct ScrollArgs {
    /// Collection or alias
    #[arg(value_parser = CollectionName::parse)]
    collection: CollectionName,

    /// Dotted path of the payload field: numbers, then strings, then points that have neither
    #[arg(long, value_name = "KEY")]
    order_by: String,

    /// Large values first
    #[arg(long)]
    descending: bool,

    /// Only points that pass: 'pos = verb and year >= 1990', or the JSON form
    #[arg(long, value_name = "FILTER", value_parser = filter_text::parse)]
    filter: Option<Filter>,

    /// Most points on the page
    #[arg(long, short = 'k', value_name = "N", default_value_t = 10)]
    limit: usize,

    /// Where the page begins, as the page before it says
    #[arg(long, value_name = "TOKEN", value_parser = token)]
    page_token: Option<PageToken>,

    /// What the answer must have seen: local, linearizable, or a log index
    #[arg(long, value_name = "LEVEL", default_value = "local", value_parser = parse::consistency)]
    consistency: Consistency,

    /// Show the vectors, too
    #[arg(long)]
    with_vectors: bool,
}

/// Reads what [`hex`] wrote.
fn token(text: &str) -> Result<PageToken, String> {
    let pair = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(digits, 16).ok()
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    let token = bytes.and_then(|bytes| PageToken::decode(&bytes).ok());
    token.ok_or_else(|| "give the token of the page before as it was".to_owned())
}

fn hex(token: &PageToken) -> String {
    let bytes = token.encode();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What scripts get.
#[derive(Serialize)]
struct Page<'a> {
    points: Vec<PointJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

pub(crate) async fn run(context: &Context, args: ScrollArgs) -> anyhow::Result<()> {
    let order = OrderBy {
        key: args.order_by,
        descending: args.descending,
    };
    let query = OrderedScroll {
        filter: args.filter,
        after: args.page_token,
        with_vectors: if args.with_vectors {
            WithVectors::All
        } else {
            WithVectors::None
        },
        ..OrderedScroll::new(order, args.limit)
    };
    query.validate()?;
    let client = context.client()?;
    let page = client.scroll_ordered(&args.collection, query, args.consistency);
    let OrderedPage { points, next } = page.await?;
    let next = next.as_ref().map(hex);
    let json = || Page {
        points: points.iter().map(PointJson::with_version).collect(),
        next: next.clone(),
    };
    let text = || {
        let more = next
            .as_ref()
            .map(|token| format!("\nmore: --page-token {token}"));
        format!("{}{}", table(&points), more.unwrap_or_default())
    };
    context.format.show(json, text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use pando_model::{PointId, SortKey};

    use super::*;

    #[test]
    fn tokens_are_digits() {
        let place = PageToken {
            order: OrderBy::descending("year"),
            key: SortKey::Text("\u{e9}".to_owned()),
            id: PointId::Num(7),
        };
        assert_eq!(token(&hex(&place)), Ok(place));
        for bad in ["", "0", "xx", "00", "\u{e9}"] {
            assert!(token(bad).is_err(), "{bad}");
        }
    }
}
