//! Searches.

use anyhow::Result;
use pando_model::limits::RESULTS_MAX;
use pando_model::{Consistency, SearchQuery};

use super::expected::{check, invalid, over};
use super::{name, node};

#[tokio::test(flavor = "multi_thread")]
async fn bad_searches_are_refused() -> Result<()> {
    let cluster = node().await?;
    let sdk = cluster.sdk()?;
    let words = name("words");
    let search = |query| sdk.search(&words, query, Consistency::Local);
    let query = SearchQuery::new(vec![1.0; 4], 3);
    assert_eq!(search(query.clone()).await?.len(), 3);
    let bad = [
        (
            "a wrong dimension",
            SearchQuery {
                vector: vec![1.0; 5],
                ..query.clone()
            },
            over(4, "4"),
        ),
        (
            "NaN",
            SearchQuery {
                vector: vec![f32::NAN; 4],
                ..query.clone()
            },
            invalid("must be finite"),
        ),
        (
            "a zero vector under cosine",
            SearchQuery {
                vector: vec![0.0; 4],
                ..query.clone()
            },
            invalid("no cosine"),
        ),
        (
            "no results",
            SearchQuery {
                limit: 0,
                ..query.clone()
            },
            invalid("1 to 10000"),
        ),
        (
            "too many results",
            SearchQuery {
                limit: RESULTS_MAX,
                offset: 1,
                ..query.clone()
            },
            over(RESULTS_MAX, "limit of 10000"),
        ),
        (
            "a threshold that is no number",
            SearchQuery {
                score_threshold: Some(f32::NAN),
                ..query
            },
            invalid("NaN"),
        ),
    ];
    for (what, query, expected) in bad {
        check(what, search(query).await, &expected);
    }
    let batch = sdk
        .search_batch(&name("words"), Vec::new(), Consistency::Local)
        .await;
    check("no queries", batch, &invalid("at least one"));
    cluster.finish().await
}
