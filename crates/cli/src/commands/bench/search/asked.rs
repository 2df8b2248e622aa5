//! What is asked: vectors of a file, or those of points that are stored.

use std::path::Path;
use std::pin::pin;

use futures::TryStreamExt as _;
use pando_client::Pando;
use pando_model::{
    CollectionName, Consistency, PointId, ScrollQuery, SearchQuery, StoredPoint, VectorName,
    WithVectors,
};

use super::SearchArgs;
use crate::exit::{BadInput, No};
use crate::{progress, readers};

/// Ids of a page, and vectors of one request.
const PAGE: usize = 10_000;
const VECTORS: usize = 256;

/// A query vector, and the point whose it is.
type Sampled = (Vec<f32>, Option<PointId>);

/// One query.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) query: SearchQuery,
    /// The point whose vector it is, which does not count as a hit.
    pub(super) of: Option<PointId>,
}

/// All queries.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) queries: Vec<Question>,
    /// Hits that count.
    pub(super) limit: usize,
}

impl Asked {
    /// Reads them from the file that was given, or takes stored points from all over the collection.
    pub(super) async fn prepare(
        args: &SearchArgs,
        client: &Pando,
        collection: &CollectionName,
    ) -> anyhow::Result<Self> {
        let most = args.queries_max as usize;
        let limit = args.limit as usize;
        let vectors: Vec<Sampled> = match &args.queries {
            Some(file) => of_file(file, most)?,
            None => stored(client, collection, &args.vector_name, most).await?,
        };
        let question = |(vector, of): Sampled| Question {
            query: SearchQuery {
                vector_name: args.vector_name.clone(),
                filter: args.filter.clone(),
                with_payload: false,
                ..SearchQuery::new(vector, limit + usize::from(of.is_some()))
            },
            of,
        };
        let queries: Vec<Question> = vectors.into_iter().map(question).collect();
        for asked in &queries {
            asked.query.validate()?;
        }
        Ok(Self { queries, limit })
    }
}

fn of_file(file: &Path, most: usize) -> Result<Vec<Sampled>, BadInput> {
    let rows = readers::vectors(file)?.take(most);
    let vectors: Vec<_> = rows
        .map(|row| row.map(|vector| (vector, None)))
        .collect::<Result<_, _>>()?;
    if vectors.is_empty() {
        return Err(BadInput(format!("{}: it has no rows", file.display())));
    }
    Ok(vectors)
}

/// The vectors of points that lie at equal distances in the order of their ids.
async fn stored(
    client: &Pando,
    collection: &CollectionName,
    name: &VectorName,
    most: usize,
) -> anyhow::Result<Vec<Sampled>> {
    let ids = ids(client, collection).await?;
    let stride = ids.len().div_ceil(most).max(1);
    let sample: Vec<PointId> = ids.into_iter().step_by(stride).collect();
    let mut vectors = Vec::with_capacity(sample.len());
    for part in sample.chunks(VECTORS) {
        let found = client
            .get(
                collection,
                part.iter().copied(),
                false,
                WithVectors::All,
                Consistency::Local,
            )
            .await?;
        vectors.extend(found.into_iter().filter_map(|point| of_point(point, name)));
    }
    if vectors.is_empty() {
        let what = format!(
            "collection {collection} has no point with the vector {:?}",
            name.as_str()
        );
        return Err(No(what).into());
    }
    Ok(vectors)
}

fn of_point(point: StoredPoint, name: &VectorName) -> Option<Sampled> {
    let StoredPoint {
        id, mut vectors, ..
    } = point;
    Some((vectors.remove(name)?, Some(id)))
}

async fn ids(client: &Pando, collection: &CollectionName) -> anyhow::Result<Vec<PointId>> {
    let bar = progress::bar("reading ids", None);
    let query = ScrollQuery {
        filter: None,
        from: None,
        limit: PAGE,
        with_payload: false,
        with_vectors: WithVectors::None,
    };
    let mut points = pin!(client.scroll_all(collection, query, Consistency::Local));
    let mut ids = Vec::new();
    while let Some(point) = points.try_next().await? {
        ids.push(point.id);
        bar.set_position(ids.len() as u64);
    }
    bar.finish_and_clear();
    Ok(ids)
}
